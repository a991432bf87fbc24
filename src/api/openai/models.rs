//! `GET /v1/models`: what a request may name as its model.

use super::fault::{Fault, elsewhere};
use super::form::tenant;
use super::{Completions, nobody};
use crate::api::access::Loopback;
use crate::api::{Services, answer};
use crate::domain::TenantId;
use crate::flow::query;
use crate::flow::request::resolve::Offered;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use serde_json::{Value, json};

/// The path before a model's name.
const PREFIX: &str = "/v1/models/";

pub async fn list(services: &Services, loopback: Loopback, request: Request) -> Response {
    let tenant = tenant(request.headers(), loopback);
    let listed = async {
        let tenant = tenant?;
        let offered = offered(services.completions.as_ref().ok_or_else(elsewhere)?, tenant).await?;
        let data: Vec<_> = offered.iter().map(model).collect();
        Ok::<_, Fault>(json!({ "object": "list", "data": data }))
    };
    respond(listed.await)
}

pub async fn retrieve(services: &Services, loopback: Loopback, request: Request) -> Response {
    let (tenant, uri) = (tenant(request.headers(), loopback), request.uri().clone());
    let found = async {
        let (tenant, path) = (tenant?, uri.path());
        let name = crate::api::params::percent_decoded(path.strip_prefix(PREFIX).unwrap_or_default());
        let name = name.ok_or_else(|| Fault::invalid("model", "the model's name is not UTF-8"))?;
        let completions = services.completions.as_ref().ok_or_else(elsewhere)?;
        let offered = offered(completions, tenant).await?;
        if let Some(one) = offered.iter().find(|offered| offered.name.eq_ignore_ascii_case(&name)) {
            return Ok(model(one));
        }
        let message = format!("there is no model {name:?}; GET /v1/models lists those there are");
        let fault = Fault::new(StatusCode::NOT_FOUND, "invalid_request_error", "model_not_found", message);
        Err(nobody::or_else(completions, tenant, fault).await)
    };
    respond(found.await)
}

async fn offered(completions: &Completions, tenant: TenantId) -> Result<Vec<Offered>, Fault> {
    Ok(completions.resolver.offered(tenant).await.map_err(query::Error::from)?)
}

/// As OpenAI's API shows it. It tells no time of a model's making: nobody told us.
fn model(offered: &Offered) -> Value {
    json!({ "id": offered.name, "object": "model", "created": 0, "owned_by": offered.provider })
}

fn respond(result: Result<Value, Fault>) -> Response {
    match result {
        Ok(value) => answer::json(StatusCode::OK, value.to_string()),
        Err(fault) => fault.into_response(),
    }
}
