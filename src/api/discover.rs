//! `GET /v1/discover/<plural>`: who can do something, the best first, and why.

use super::access::{Access, Loopback};
use super::params::Params;
use super::problem::{INVALID_QUERY, Problem};
use super::resources::{self, render};
use super::{Services, answer};
use crate::domain::Aggregate;
use crate::flow::query::{Because, DiscoverQuery, Discovered, Reach};
use axum::extract::Request;
use axum::response::Response;
use hyper::StatusCode;
use serde_json::{Value, json};

/// What can be discovered.
pub const KINDS: [Aggregate; 3] = [Aggregate::Agent, Aggregate::McpServer, Aggregate::AgentTemplate];
/// Most hits of an answer, and how many it has that does not say.
pub const LIMIT_MAX: u64 = 100;
pub const LIMIT_DEFAULT: u64 = 20;
/// Longest `text`, in bytes.
const TEXT_BYTES_MAX: usize = 4 * 1024;

/// Filters that are wishes here: each value that a resource has adds to its score. The others must be passed.
pub fn wishes(aggregate: Aggregate) -> impl Iterator<Item = &'static str> {
    aggregate.filters().iter().copied().filter(|name| ["skill", "domain", "tool", "capability"].contains(name))
}

pub async fn get(
    services: &Services,
    loopback: Loopback,
    aggregate: Aggregate,
    request: Request,
) -> Result<Response, Problem> {
    let access = Access::of(request.headers(), loopback)?;
    let mut params = Params::of(request.uri())?;
    let ask = ask(&access, aggregate, &mut params)?;
    params.finish()?;
    let items: Vec<Value> = services.query.discover(&ask).await?.iter().map(shown).collect();
    Ok(answer::json(StatusCode::OK, json!({ "items": items }).to_string()))
}

fn ask(access: &Access, aggregate: Aggregate, params: &mut Params) -> Result<DiscoverQuery, Problem> {
    let text = params.one("text")?.unwrap_or_default();
    if text.len() > TEXT_BYTES_MAX {
        let detail = format!("text is {} bytes long, and at most {TEXT_BYTES_MAX} are read", text.len());
        return Err(Problem::new(&INVALID_QUERY, detail));
    }
    let wanted = resources::filters(aggregate, wishes(aggregate), params)?;
    let limit = params.number("limit", 1, LIMIT_MAX)?.unwrap_or(LIMIT_DEFAULT) as usize;
    let (reach, filters) = resources::selection(access, aggregate, params)?;
    if wanted.is_empty() && crate::domain::words::words(&text).is_empty() {
        let names: Vec<_> = wishes(aggregate).collect();
        let detail = format!("say what to look for: words in text, or one of: {}", names.join(", "));
        return Err(Problem::new(&INVALID_QUERY, detail));
    }
    let tenants = match reach {
        Reach::Tenants(tenants) => tenants,
        Reach::All => Vec::new(),
    };
    Ok(DiscoverQuery { aggregate, tenants, text, wanted, filters, limit })
}

fn shown(discovered: &Discovered) -> Value {
    let reasons = discovered.reasons.iter().map(|reason| {
        let mut shown = json!({ "field": reason.field, "value": reason.value });
        match &reason.because {
            Because::Asked => shown["because"] = json!("asked"),
            Because::Below(skill) => {
                shown["because"] = json!("below");
                shown["skill"] = json!(skill);
            }
            Because::Meant(skill) => {
                shown["because"] = json!("meant");
                shown["skill"] = json!(skill);
            }
            Because::Words(words) => {
                shown["because"] = json!("words");
                shown["words"] = json!(words);
            }
        }
        shown
    });
    json!({
        "score": discovered.score,
        "reasons": reasons.collect::<Vec<_>>(),
        "resource": render(&discovered.resource),
    })
}
