//! What a request says: its tenant, its model, how urgent it is.

use super::fault::Fault;
use super::wrong;
use crate::api::access::{Access, Loopback};
use crate::api::commands::{IDEMPOTENCY_KEY, text};
use crate::api::problem::{BODY_TOO_LARGE, Problem, UNSUPPORTED_MEDIA_TYPE};
use crate::domain::TenantId;
use crate::domain::llm_request::payload::PAYLOAD_BYTES_MAX;
use crate::domain::llm_request::{DEADLINE_MS_MAX, Operation, Priority};
use crate::domain::record::ATTRIBUTE_BYTES_MAX;
use crate::flow::receive::{Media, media};
use crate::flow::request::resolve::{Asked, Shape};
use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName};
use uuid::Uuid;

const PRIORITY: HeaderName = HeaderName::from_static("agentverse-priority");
const DEADLINE_MS: HeaderName = HeaderName::from_static("agentverse-deadline-ms");

/// A request as it came.
#[derive(Debug)]
pub struct Form {
    /// Its `request_id` is nil until one is drawn.
    pub asked: Asked,
    pub idempotency_key: Option<String>,
}

/// The tenant of the header `AgentVerse-Tenant`, or the one that is given as the API key.
///
/// # Errors
/// When neither names one, or both another.
pub fn tenant(headers: &HeaderMap, loopback: Loopback) -> Result<TenantId, Fault> {
    let access = Access::of(headers, loopback)?;
    let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let key: Option<TenantId> = bearer.and_then(|key| Uuid::parse_str(key.trim()).ok()).map(TenantId);
    match (access.tenant(), key) {
        (Ok(tenant), _) => Ok(tenant),
        (Err(_), Some(tenant)) => Ok(tenant),
        (Err(problem), None) => {
            let detail = format!("{}; or give its UUID as the API key", problem.detail);
            Err(Problem { detail, ..problem }.into())
        }
    }
}

/// A body must say that it is JSON: a foreign web page can make a browser send anything else here.
///
/// # Errors
/// When it does not.
pub fn check_media(headers: &HeaderMap) -> Result<(), Fault> {
    match text(headers, &CONTENT_TYPE)?.map(media) {
        Some(Media::Json) => Ok(()),
        _ => {
            let message = "set the content type application/json (curl: -H 'content-type: application/json')";
            Err(Problem::new(&UNSUPPORTED_MEDIA_TYPE, message).into())
        }
    }
}

impl Form {
    /// # Errors
    /// When it is no request that can be understood.
    pub fn read(headers: &HeaderMap, tenant: TenantId, operation: Operation, body: &Bytes) -> Result<Self, Fault> {
        if body.len() > PAYLOAD_BYTES_MAX {
            let bytes = body.len();
            let message = format!("the body has {bytes} bytes, and at most {PAYLOAD_BYTES_MAX} are taken; send less");
            return Err(Problem::new(&BODY_TOO_LARGE, message).into());
        }
        let payload = std::str::from_utf8(body)
            .map_err(|_| Fault::invalid("body", "the body is not UTF-8; send a JSON object in UTF-8"))?;
        let shape = Shape::read(payload)?;
        let key = text(headers, &IDEMPOTENCY_KEY)?;
        if key.is_some_and(|key| key.is_empty() || key.len() > ATTRIBUTE_BYTES_MAX) {
            let message = format!("Idempotency-Key must have 1 to {ATTRIBUTE_BYTES_MAX} bytes");
            return Err(Fault::invalid("Idempotency-Key", message));
        }
        let asked = Asked {
            awaited: false,
            tenant,
            request_id: Uuid::nil(),
            operation,
            model: shape.model.into_owned(),
            payload: payload.to_owned(),
            priority: priority(headers)?,
            deadline_ms: deadline_ms(headers)?,
            stream: shape.stream.unwrap_or(false) && operation == Operation::ChatCompletion,
        };
        Ok(Self { asked, idempotency_key: key.map(str::to_owned) })
    }
}

fn priority(headers: &HeaderMap) -> Result<Priority, Fault> {
    let all = [Priority::Interactive, Priority::Normal, Priority::Batch];
    let Some(name) = text(headers, &PRIORITY)? else { return Ok(Priority::Interactive) };
    let found = all.into_iter().find(|priority| priority.name() == name);
    found.ok_or_else(|| Fault::invalid("AgentVerse-Priority", "must be interactive, normal or batch"))
}

fn deadline_ms(headers: &HeaderMap) -> Result<Option<i64>, Fault> {
    let Some(value) = text(headers, &DEADLINE_MS)? else { return Ok(None) };
    let read = value.trim().parse().ok().filter(|ms| (1..=DEADLINE_MS_MAX).contains(ms));
    let message = || format!("must be a whole number of milliseconds from 1 to {DEADLINE_MS_MAX}");
    read.map(Some).ok_or_else(|| Fault::invalid("AgentVerse-Deadline-Ms", message()))
}

impl<'a> Shape<'a> {
    fn read(payload: &'a str) -> Result<Self, Fault> {
        // A struct would also be read from a list.
        if payload.trim_start().starts_with('[') {
            return Err(Fault::invalid("body", "the body is a list; send a JSON object"));
        }
        let read = serde_json::from_str(payload);
        read.map_err(|error| wrong::of(payload).unwrap_or_else(|| wrong::unreadable(&error)))
    }
}
