//! `/fake/`: what happened, and what shall happen. It answers also during an outage, and needs no key.

use super::state::{Fake, Outage};
use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};

/// Settings are short.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Every route, for who asks for another.
const ROUTES: &str = "GET /fake/stats, GET /fake/series, GET /fake/ids/{id}, GET and POST /fake/settings, POST /fake/down ({\"mode\": \"refuse\"} or \"drop\"), POST /fake/up, POST /fake/reset";

pub async fn answer(fake: &Fake, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let (status, json) = match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => work(fake, &head.method, head.uri.path(), &body.to_bytes()),
        Err(_) => (StatusCode::PAYLOAD_TOO_LARGE, json!({"error": "the body is too large or broke off"})),
    };
    let mut response = Response::new(Body::from(json.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

fn work(fake: &Fake, method: &Method, path: &str, body: &Bytes) -> (StatusCode, Value) {
    let route = path.strip_prefix("/fake/").unwrap_or_default();
    match (method.as_str(), route) {
        ("GET", "stats") => (StatusCode::OK, fake.report()),
        ("GET", "series") => (StatusCode::OK, json!(fake.series())),
        ("GET", "settings") => (StatusCode::OK, json!(*fake.settings())),
        ("POST", "settings") => match fake.change(body) {
            Ok(settings) => (StatusCode::OK, json!(*settings)),
            Err(error) => (StatusCode::BAD_REQUEST, json!({ "error": error })),
        },
        ("POST", "down") => match mode(body) {
            Ok(outage) => {
                fake.set_outage(outage);
                (StatusCode::OK, json!({"up": false}))
            }
            Err(error) => (StatusCode::BAD_REQUEST, json!({ "error": error })),
        },
        ("POST", "up") => {
            fake.set_outage(Outage::None);
            (StatusCode::OK, json!({"up": true}))
        }
        ("POST", "reset") => {
            fake.reset();
            (StatusCode::OK, json!({"reset": true}))
        }
        ("GET", _) if route.starts_with("ids/") => {
            (StatusCode::OK, json!(fake.stats(|stats| stats.of(&route["ids/".len()..]))))
        }
        _ => (StatusCode::NOT_FOUND, json!({"error": format!("there is no {method} {path}; there are {ROUTES}")})),
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Down {
    #[serde(default)]
    mode: Mode,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    Refuse,
    Drop,
}

fn mode(body: &[u8]) -> Result<Outage, String> {
    let down: Down = match body {
        [] => Down::default(),
        body => serde_json::from_slice(body).map_err(|cause| {
            format!("the body is empty, {{\"mode\": \"refuse\"}} or {{\"mode\": \"drop\"}}: {cause}")
        })?,
    };
    Ok(match down.mode {
        Mode::Refuse => Outage::Refuse,
        Mode::Drop => Outage::Drop,
    })
}
