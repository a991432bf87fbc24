//! Resources: lists, one by id, and what a coupling's score is made of.

use super::access::{Access, Loopback, is_catalogued};
use super::params::{self, Params};
use super::problem::{INVALID_QUERY, NO_ANSWER, Problem};
use super::search::{self, Shape};
use super::{Services, answer, as_of, cursor};
use crate::domain::{Aggregate, AnyState, Micros, StreamId, TenantId, coupling, llm_request};
use crate::flow::query::{At, Filter, ListQuery, Page, Place, Reach, Resource};
use axum::extract::Request;
use axum::response::Response;
use hyper::header::{ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};
use hyper::{StatusCode, Uri};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// Whether a list shows what the shared catalogue holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shared {
    With,
    Without,
    Only,
}

/// The values of the parameter `shared`.
pub const SHARED_CHOICES: [&str; 3] = ["true", "false", "only"];

pub async fn list(
    services: &Services,
    loopback: Loopback,
    aggregate: Aggregate,
    request: Request,
) -> Result<Response, Problem> {
    let access = Access::of(request.headers(), loopback)?;
    let mut params = Params::of(request.uri())?;
    let at = as_of::time_of_list(&mut params, services.query.now())?;
    let shape = Shape::of(&mut params, aggregate)?;
    let listing = listing(&access, aggregate, &mut params, &shape, at)?;
    params.finish()?;
    let (page, next) = match shape.is_search() {
        true => search::page(services, &listing, &shape).await?,
        false => page(services, &listing, at).await?,
    };
    let items: Vec<Value> = page.items.iter().map(|resource| shape.pick(render(resource))).collect();
    Ok(answer::json(StatusCode::OK, json!({ "items": items, "next_cursor": next }).to_string()))
}

/// One page in the order of ids, with the cursor of the next.
async fn page(services: &Services, listing: &Listing, at: Option<Micros>) -> Result<(Page, Option<String>), Problem> {
    let after = listing.cursor.as_ref().map(|text| place(&listing.parts, text)).transpose()?;
    let ask = ListQuery { after, ..listing.ask.clone() };
    let page = match at {
        Some(at) => {
            as_of::caught_up(services, ask.aggregate).await?;
            services.query.list_as_of(&ask, at).await?
        }
        None => services.query.list(&ask).await?,
    };
    let parts: Vec<&str> = listing.parts.iter().map(String::as_str).collect();
    let next = page.next.map(|place| {
        let bytes = [place.tenant.0.into_bytes(), place.id.into_bytes()].concat();
        cursor::encode(&parts, &bytes)
    });
    Ok((page, next))
}

/// What a list asks for.
#[derive(Clone, Debug)]
pub struct Listing {
    /// Without its place, which the cursor names.
    pub ask: ListQuery,
    /// What spells out the query for the cursor.
    pub parts: Vec<String>,
    pub cursor: Option<String>,
}

fn listing(
    access: &Access,
    aggregate: Aggregate,
    params: &mut Params,
    shape: &Shape,
    at: Option<Micros>,
) -> Result<Listing, Problem> {
    let limit = params.limit()?;
    let cursor = params.one("cursor")?;
    let named = params.all("id");
    let (reach, filters) = selection(access, aggregate, params)?;
    let visible = match aggregate {
        Aggregate::Tenant => access.listable_tenants()?.1,
        _ => None,
    };
    let ids = if named.is_empty() { visible } else { Some(asked(&named, limit, visible.as_deref())?) };
    if shape.is_search() && !named.is_empty() {
        let detail =
            "id goes with filters alone: what is looked for by its id is not searched or sorted; leave out q and sort";
        return Err(Problem::new(&INVALID_QUERY, detail));
    }
    if shape.is_search() && at.is_some() {
        let detail =
            "searches and sorts show what is there now, and no moment of the past: leave out q and sort, or as_of";
        return Err(Problem::new(&INVALID_QUERY, detail));
    }
    let mut parts = spelled_out(aggregate, &reach, &filters);
    parts.extend(shape.spelled_out());
    parts.extend(at.map(|at| format!("as_of={at}")));
    let ask = ListQuery { aggregate, reach, ids, filters, updated_since: shape.updated_since, after: None, limit };
    Ok(Listing { ask, parts, cursor })
}

/// Reads which resources a question is about: whose, and which filters they must pass.
///
/// # Errors
/// When the request names no tenant, or a parameter has no such value.
pub fn selection(access: &Access, aggregate: Aggregate, params: &mut Params) -> Result<(Reach, Vec<Filter>), Problem> {
    let mut reach = match aggregate {
        Aggregate::Tenant => access.listable_tenants()?.0,
        _ => Reach::Tenants(access.readable(aggregate)?),
    };
    if is_catalogued(aggregate) {
        let [with, without, only] = SHARED_CHOICES;
        let choices = [(with, Shared::With), (without, Shared::Without), (only, Shared::Only)];
        reach = match (params.choice("shared", &choices)?, access.tenant()?) {
            (Some(Shared::Only), _) => Reach::Tenants(vec![TenantId::SHARED]),
            (Some(Shared::Without), tenant) => Reach::Tenants(vec![tenant]),
            (Some(Shared::With) | None, _) => reach,
        };
    }
    let filters = self::filters(aggregate, aggregate.all_filters(), params)?;
    Ok((reach, filters))
}

/// Those of the named filters that are asked for.
///
/// # Errors
/// When one has a value that it can never have: a mistyped one would show nothing, as if there were nothing.
pub fn filters(
    aggregate: Aggregate,
    names: impl Iterator<Item = &'static str>,
    params: &mut Params,
) -> Result<Vec<Filter>, Problem> {
    let mut filters = Vec::new();
    for name in names {
        let values = params.any_of(name, &aggregate.choices(name))?;
        if !values.is_empty() {
            filters.push(Filter { name: name.to_owned(), values });
        }
    }
    Ok(filters)
}

/// The ids that are named, each once; of those that may be seen.
fn asked(named: &[String], limit: usize, visible: Option<&[Uuid]>) -> Result<Vec<Uuid>, Problem> {
    let asked = named.iter().map(|id| Uuid::parse_str(id)).collect::<Result<Vec<_>, _>>();
    let mut asked = asked.map_err(|_| Problem::new(&INVALID_QUERY, "id must be a UUID"))?;
    asked.sort_unstable();
    asked.dedup();
    asked.retain(|id| visible.is_none_or(|ids| ids.contains(id)));
    if asked.len() > limit {
        return Err(Problem::new(&INVALID_QUERY, format!("{} ids are more than the limit of {limit}", asked.len())));
    }
    Ok(asked)
}

/// What must stay the same from page to page.
fn spelled_out(aggregate: Aggregate, reach: &Reach, filters: &[Filter]) -> Vec<String> {
    let mut parts = vec![aggregate.plural().to_owned()];
    match reach {
        Reach::All => parts.push("*".to_owned()),
        Reach::Tenants(tenants) => parts.extend(tenants.iter().map(TenantId::to_string)),
    }
    for filter in filters {
        parts.extend(filter.values.iter().map(|value| format!("{}={value}", filter.name)));
    }
    parts
}

fn place(parts: &[String], cursor: &str) -> Result<Place, Problem> {
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let bytes = cursor::decode::<32>(&parts, cursor)?;
    let (mut tenant, mut id) = ([0; 16], [0; 16]);
    tenant.copy_from_slice(&bytes[..16]);
    id.copy_from_slice(&bytes[16..]);
    Ok(Place { tenant: TenantId(Uuid::from_bytes(tenant)), id: Uuid::from_bytes(id) })
}

pub async fn get(
    services: &Services,
    loopback: Loopback,
    aggregate: Aggregate,
    request: Request,
) -> Result<Response, Problem> {
    let resource = at_any_moment(services, loopback, aggregate, request.headers(), request.uri()).await?;
    let tag = format!("\"{}\"", resource.version);
    let unchanged = request.headers().get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response = match unchanged {
        true => answer::json(StatusCode::NOT_MODIFIED, ""),
        false => answer::json(StatusCode::OK, render(&resource).to_string()),
    };
    if let Ok(tag) = HeaderValue::try_from(tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    Ok(response)
}

pub async fn explain(services: &Services, loopback: Loopback, request: Request) -> Result<Response, Problem> {
    let resource = at_any_moment(services, loopback, Aggregate::Coupling, request.headers(), request.uri()).await?;
    let AnyState::Coupling(state) = &resource.state else {
        return Err(Access::not_found(Aggregate::Coupling, resource.stream.id));
    };
    Ok(answer::json(StatusCode::OK, coupling::explain(state).to_string()))
}

/// What a request to an LLM was answered, as its provider said it.
pub async fn answer_of(services: &Services, loopback: Loopback, request: Request) -> Result<Response, Problem> {
    let aggregate = Aggregate::LlmRequest;
    let access = Access::of(request.headers(), loopback)?;
    Params::of(request.uri())?.finish()?;
    let resource = readable(services, access, aggregate, params::id(request.uri())?, None).await?;
    let AnyState::LlmRequest(state) = &resource.state else {
        return Err(Access::not_found(aggregate, resource.stream.id));
    };
    let why = match state.status {
        llm_request::Status::Completed => match services.query.answer(resource.stream).await? {
            Some(text) => return Ok(answer::json(StatusCode::OK, text)),
            None => "it was answered, and the answer is not kept: the tenant keeps none, or it was larger than is kept",
        },
        _ if state.is_running() => "it is under way; follow its history (Accept: text/event-stream) to hear of its end",
        llm_request::Status::Failed => "it failed; its error and reason say why",
        llm_request::Status::Expired => "its deadline passed before it was answered",
        _ => "it was cancelled",
    };
    Err(Problem::new(&NO_ANSWER, why))
}

/// The resource in the path, as it stands or as of the moment that the query names.
async fn at_any_moment(
    services: &Services,
    loopback: Loopback,
    aggregate: Aggregate,
    headers: &HeaderMap,
    uri: &Uri,
) -> Result<Resource, Problem> {
    let access = Access::of(headers, loopback)?;
    let mut params = Params::of(uri)?;
    let at = as_of::moment(&mut params, services.query.now())?;
    params.finish()?;
    readable(services, access, aggregate, params::id(uri)?, at).await
}

/// A resource of the caller's tenant or of the shared catalogue.
async fn readable(
    services: &Services,
    access: Access,
    aggregate: Aggregate,
    id: Uuid,
    at: Option<At>,
) -> Result<Resource, Problem> {
    let mut absent = None;
    for tenant in access.readable(aggregate)? {
        let stream = StreamId::new(tenant, aggregate, id);
        match at {
            None => {
                if let Some(resource) = services.query.get(stream).await? {
                    return Ok(resource);
                }
            }
            Some(at) => match services.query.get_as_of(stream, at).await?.map(as_of::stood) {
                Some(Ok(resource)) => return Ok(resource),
                Some(Err(problem)) => absent = absent.or(Some(problem)),
                None => {}
            },
        }
    }
    Err(absent.unwrap_or_else(|| Access::not_found(aggregate, id)))
}

/// A resource as readers see it: what its aggregate shows, and what every resource has.
pub fn render(resource: &Resource) -> Value {
    item(&resource.stream, resource, resource.state.status(), resource.state.view())
}

fn item(stream: &StreamId, resource: &Resource, status: &str, mut fields: Map<String, Value>) -> Value {
    for (name, value) in [
        ("id", json!(stream.id)),
        ("tenant", json!(stream.tenant)),
        ("version", json!(resource.version)),
        ("status", json!(status)),
        ("created_at", json!(time(resource.created_at))),
        ("updated_at", json!(time(resource.updated_at))),
    ] {
        fields.insert(name.to_owned(), value);
    }
    Value::Object(fields)
}

/// RFC 3339 in UTC with microseconds; null for a time that no calendar has.
pub fn time(micros: Micros) -> Option<String> {
    jiff::Timestamp::from_microsecond(micros).ok().map(|time| format!("{time:.6}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: TenantId = TenantId(Uuid::from_u128(0xa));

    fn access() -> Access {
        let mut headers = HeaderMap::new();
        headers.insert(super::super::access::TENANT_HEADER, TENANT.to_string().parse().unwrap());
        Access::of(&headers, Loopback(true)).unwrap()
    }

    fn listed(aggregate: Aggregate, query: &str) -> Result<Listing, Problem> {
        let mut params = Params::of(&format!("/v1/x?{query}").parse().unwrap())?;
        let at = as_of::time_of_list(&mut params, Micros::MAX)?;
        let shape = Shape::of(&mut params, aggregate)?;
        let mut listing = listing(&access(), aggregate, &mut params, &shape, at)?;
        params.finish()?;
        if let Some(cursor) = &listing.cursor {
            listing.ask.after = Some(place(&listing.parts, cursor)?);
        }
        Ok(listing)
    }

    fn ask(aggregate: Aggregate, query: &str) -> Result<ListQuery, Problem> {
        listed(aggregate, query).map(|listing| listing.ask)
    }

    #[test]
    fn every_resource_has_the_common_fields_and_no_view_can_overwrite_them() {
        let stream = StreamId::new(TENANT, Aggregate::Agent, Uuid::from_u128(0xb));
        let state = AnyState::initial(Aggregate::Agent);
        let resource = Resource { stream, version: 3, created_at: 0, updated_at: 1_767_225_600_000_001, state };
        let view = [("name", json!("ada")), ("version", json!("mine"))];
        let view = view.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let expected = json!({
            "id": stream.id, "tenant": TENANT, "version": 3, "status": "idle", "name": "ada",
            "created_at": "1970-01-01T00:00:00.000000Z", "updated_at": "2026-01-01T00:00:00.000001Z",
        });
        assert_eq!(item(&stream, &resource, "idle", view), expected);
    }

    #[test]
    fn lists_of_catalogued_kinds_reach_the_shared_ones_as_asked() {
        let reach = |query| ask(Aggregate::McpServer, query).unwrap().reach;
        assert_eq!(reach(""), Reach::Tenants(vec![TENANT, TenantId::SHARED]));
        assert_eq!(reach("shared=false"), Reach::Tenants(vec![TENANT]));
        assert_eq!(reach("shared=only"), Reach::Tenants(vec![TenantId::SHARED]));
        let problem = ask(Aggregate::Agent, "shared=only").unwrap_err();
        assert!(
            problem.detail.contains("known: as_of, q, sort, updated_since, fields, limit, cursor, id, status"),
            "{}",
            problem.detail
        );
    }

    #[test]
    fn a_value_that_no_resource_can_have_is_refused_with_those_that_it_can() {
        let table = [
            (Aggregate::Agent, "risk_tier=HIGH", "risk_tier is \"HIGH\", and must be one of: low, medium, high"),
            (Aggregate::Agent, "status=active&status=absent", "one of: provisioning, active, idle, maintenance,"),
            (Aggregate::McpServer, "health=", "one of: unknown, active, degraded, offline"),
            (Aggregate::McpServer, "transport=http", "one of: stdio, streamable-http, sse"),
            (Aggregate::LlmBatch, "status=done", "cancelled, deleted"),
            (Aggregate::LlmBatch, "batch=true", "one of: no, yes"),
        ];
        for (aggregate, query, expected) in table {
            let problem = ask(aggregate, query).unwrap_err();
            assert_eq!(problem.kind, &INVALID_QUERY);
            assert!(problem.detail.contains(expected), "{query}: {}", problem.detail);
        }
        assert!(ask(Aggregate::Agent, "name=HIGH&risk_tier=high&risk_tier=low").is_ok());
    }

    #[test]
    fn the_list_of_tenants_shows_the_callers_own_alone() {
        assert_eq!(ask(Aggregate::Tenant, "").unwrap().ids, Some(vec![TENANT.0]));
        let other = format!("id={}", Uuid::from_u128(0xc));
        assert_eq!(ask(Aggregate::Tenant, &other).unwrap().ids, Some(vec![]));
    }

    #[test]
    fn a_cursor_goes_with_its_filters_and_its_tenant() {
        let parts = listed(Aggregate::Agent, "status=idle").unwrap().parts;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let bytes = [TENANT.0.into_bytes(), [9; 16]].concat();
        let cursor = cursor::encode(&parts, &bytes);
        let again = ask(Aggregate::Agent, &format!("status=idle&limit=7&cursor={cursor}")).unwrap();
        assert_eq!(again.after, Some(Place { tenant: TENANT, id: Uuid::from_bytes([9; 16]) }));
        assert!(ask(Aggregate::Agent, &format!("status=active&cursor={cursor}")).is_err());
        assert!(ask(Aggregate::Coupling, &format!("status=idle&cursor={cursor}")).is_err());
        let then = "status=idle&as_of=2026-01-01T01:00:00%2B01:00";
        assert!(ask(Aggregate::Agent, &format!("{then}&cursor={cursor}")).is_err(), "it is of the list of today");
        let parts = listed(Aggregate::Agent, then).unwrap().parts;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let cursor = cursor::encode(&parts, &bytes);
        assert!(ask(Aggregate::Agent, &format!("status=idle&as_of=2026-01-01T00:00:00Z&cursor={cursor}")).is_ok());
        assert!(ask(Aggregate::Agent, &format!("status=idle&as_of=2026-01-01T00:00:01Z&cursor={cursor}")).is_err());
    }
}
