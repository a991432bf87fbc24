//! `GET /v1/<plural>/{id}/history`: all that happened to a resource, and all that was refused; in pages, or followed
//! ([`follow`]). With `diff=true` each event tells what it changed, which costs a fold of all before the page.

use super::access::{Access, Loopback};
use super::entry::{kind_name, render};
use super::params::{self, Params};
use super::problem::Problem;
use super::{Services, answer, cursor, follow};
use crate::domain::record::RecordKind;
use crate::domain::{Aggregate, StreamId};
use crate::flow::query::{HistoryQuery, Order};
use axum::extract::Request;
use axum::response::Response;
use hyper::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;

pub async fn get(
    services: &Arc<Services>,
    loopback: Loopback,
    aggregate: Aggregate,
    request: Request,
) -> Result<Response, Problem> {
    if follow::is_wanted(request.headers()) {
        return followed(services, loopback, aggregate, request).await;
    }
    let access = Access::of(request.headers(), loopback)?;
    let id = params::id(request.uri())?;
    let mut params = Params::of(request.uri())?;
    let limit = params.limit()?;
    let order = params.choice("order", &[("asc", Order::OldestFirst), ("desc", Order::NewestFirst)])?;
    let order = order.unwrap_or_default();
    let kinds = kinds(&mut params)?;
    let diff = diff(&mut params)?;
    let cursor = params.one("cursor")?;
    params.finish()?;
    // Who goes on from a place and forgot to say that it follows is told of a bad one all the same.
    follow::after(request.headers())?;
    let mut absent = Access::not_found(aggregate, id);
    for tenant in access.readable(aggregate)? {
        let stream = StreamId::new(tenant, aggregate, id);
        let name = stream.to_string();
        let parts = [name.as_str(), if order == Order::OldestFirst { "asc" } else { "desc" }];
        let after = match cursor.as_deref().map(|text| cursor::decode(&parts, text)).transpose() {
            Ok(place) => place.map(u64::from_be_bytes),
            // It may be a cursor of the shared stream of this id.
            Err(problem) => {
                absent = problem;
                continue;
            }
        };
        let ask = HistoryQuery { stream, order, kinds: kinds.clone(), after, limit };
        let mut page = services.query.history(&ask).await?;
        if after.is_none() && page.entries.is_empty() && !exists(services, &ask).await? {
            continue;
        }
        if diff {
            services.query.tell_changes(&mut page.entries, &mut None).await?;
        }
        let next = page.next.map(|position| cursor::encode(&parts, &position.to_be_bytes()));
        let items: Vec<Value> = page.entries.iter().map(render).collect();
        return Ok(answer::json(StatusCode::OK, json!({ "items": items, "next_cursor": next }).to_string()));
    }
    Err(absent)
}

async fn followed(
    services: &Arc<Services>,
    loopback: Loopback,
    aggregate: Aggregate,
    request: Request,
) -> Result<Response, Problem> {
    let access = Access::of(request.headers(), loopback)?;
    let id = params::id(request.uri())?;
    let mut params = Params::of(request.uri())?;
    let kinds = kinds(&mut params)?;
    let diff = diff(&mut params)?;
    params.finish()?;
    let after = follow::after(request.headers())?;
    let followers = request.extensions().get().cloned();
    for tenant in access.readable(aggregate)? {
        let stream = StreamId::new(tenant, aggregate, id);
        let ask = HistoryQuery { stream, order: Order::OldestFirst, kinds: kinds.clone(), after, limit: 1 };
        let any = HistoryQuery { kinds: Vec::new(), order: Order::NewestFirst, after: None, ..ask.clone() };
        if !services.query.history(&any).await?.entries.is_empty() {
            return follow::begin(services, ask, diff, followers).await;
        }
    }
    Err(Access::not_found(aggregate, id))
}

/// Whether anything at all is recorded of the stream, whatever the kinds that were asked for.
async fn exists(services: &Services, ask: &HistoryQuery) -> Result<bool, Problem> {
    if ask.kinds.is_empty() {
        return Ok(false);
    }
    let any = HistoryQuery { kinds: Vec::new(), order: Order::NewestFirst, limit: 1, ..ask.clone() };
    Ok(!services.query.history(&any).await?.entries.is_empty())
}

fn kinds(params: &mut Params) -> Result<Vec<RecordKind>, Problem> {
    let all = [RecordKind::Event, RecordKind::Refusal, RecordKind::Unchanged];
    let choices: Vec<_> = all.iter().map(|kind| (kind_name(*kind), *kind)).collect();
    Ok(params.choice("kind", &choices)?.into_iter().collect())
}

/// Whether to tell what each event changed.
fn diff(params: &mut Params) -> Result<bool, Problem> {
    Ok(params.choice("diff", &[("true", true), ("false", false)])?.unwrap_or_default())
}
