//! An answer on its way: in one piece, or in server-sent events as they come.

use super::AnswerIds;
use super::fault::Fault;
use crate::api::answer::json;
use crate::domain::llm_request::usd;
use crate::domain::{Rejection, StreamId};
use crate::flow::request::engine::{Begun, Ended, How, Piece, Reply};
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use futures::stream;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{StatusCode, header};
use std::convert::Infallible;
use std::sync::Arc;
use uuid::Uuid;

const REQUEST_ID: HeaderName = HeaderName::from_static("agentverse-request-id");
const ATTEMPTS: HeaderName = HeaderName::from_static("agentverse-attempts");
const PROVIDER_ID: HeaderName = HeaderName::from_static("agentverse-provider-id");
const COST_USD: HeaderName = HeaderName::from_static("agentverse-cost-usd");
/// What ends a stream.
const DONE: &[u8] = b"data: [DONE]\n\n";

/// The response to a request that was taken.
///
/// # Errors
/// Where its log refused it.
pub async fn of(
    mut reply: Reply,
    stream: StreamId,
    is_stream: bool,
    ids: &Arc<AnswerIds>,
) -> Result<Response, Rejection> {
    let mut begun = None;
    let response = loop {
        match reply.next().await {
            Some(Piece::Begun(first)) if is_stream => {
                let (ids, mut is_first) = (ids.clone(), true);
                let see = move |chunk: &[u8]| {
                    if std::mem::take(&mut is_first) {
                        ids.remember(stream.tenant, chunk, stream.id);
                    }
                };
                break streamed(reply, &first, see);
            }
            Some(Piece::Begun(first)) => begun = Some(first),
            Some(Piece::End(ended)) => match ended.how {
                How::Refused(rejection) => return Err(rejection),
                _ => {
                    ended.body.iter().for_each(|body| ids.remember(stream.tenant, body, stream.id));
                    break whole(begun.as_deref(), *ended);
                }
            },
            // No chunk comes before the beginning, nor with an answer in one piece.
            Some(Piece::Chunk(_)) => {}
            None => break Fault::unavailable("the node is stopping; send the request again").into_response(),
        }
    };
    Ok(named(response, stream.id))
}

/// Says which request it was.
pub fn named(mut response: Response, request_id: Uuid) -> Response {
    if let Ok(id) = HeaderValue::try_from(request_id.to_string()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn whole(begun: Option<&Begun>, ended: Ended) -> Response {
    let mut response = match (ended.how, ended.body) {
        (How::Completed, Some(body)) => json(StatusCode::OK, body),
        (how, _) => fault(how).into_response(),
    };
    let headers = response.headers_mut();
    if let Some(begun) = begun {
        describe(headers, begun);
    }
    headers.insert(ATTEMPTS, HeaderValue::from(ended.attempts));
    if let Some(cost) = ended.cost_pico_usd.and_then(|pico| HeaderValue::try_from(usd(pico)).ok()) {
        headers.insert(COST_USD, cost);
    }
    response
}

/// Why there is no answer.
pub fn fault(how: How) -> Fault {
    match how {
        How::Failed(failure) => failure.into(),
        How::Refused(rejection) => rejection.into(),
        How::Expired(last) => expired(last.as_ref().map(|last| last.message.as_str())),
        How::Ended => Fault::conflict("cancelled", "the request was cancelled, or ended by somebody else"),
        How::NotTaken { is_unknown: false } => {
            Fault::unavailable("another node took over before the call was made; send the request again")
        }
        How::NotTaken { is_unknown: true } => Fault::unavailable(
            "another node took over, and it is not known whether it has the request; with an Idempotency-Key it can be \
             sent again without a second call",
        ),
        How::Completed => Fault::unavailable("the answer was lost on its way; send the request again"),
    }
}

/// Why there is no answer of a request whose deadline passed; `last` is what its last attempt came to, if one failed.
pub fn expired(last: Option<&str>) -> Fault {
    let message = match last {
        Some(last) => format!(
            "the deadline passed; the last attempt failed: {last}; set a later deadline (AgentVerse-Deadline-Ms)"
        ),
        None => "the deadline passed before a model could answer; set a later one (AgentVerse-Deadline-Ms)".to_owned(),
    };
    let fault = Fault::new(StatusCode::GATEWAY_TIMEOUT, "server_error", "deadline_passed", message);
    Fault { is_final: true, ..fault }
}

/// `see` is shown every chunk.
fn streamed(reply: Reply, begun: &Begun, see: impl FnMut(&[u8]) + Send + 'static) -> Response {
    let events = stream::unfold(Some((reply, see)), async |going| {
        let (mut reply, mut see) = going?;
        loop {
            return match reply.next().await? {
                Piece::Begun(_) => continue,
                Piece::Chunk(chunk) => {
                    see(&chunk);
                    Some((Ok::<_, Infallible>(event(&chunk)), Some((reply, see))))
                }
                Piece::End(ended) => Some((Ok(last(ended.how)), None)),
            };
        }
    });
    let mut response = Body::from_stream(events).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // Proxies that gather would hold back what is meant to be seen as it comes.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    describe(headers, begun);
    headers.insert(ATTEMPTS, HeaderValue::from(begun.attempt));
    response
}

/// What ends a stream: the mark of a whole one, or what went wrong.
fn last(how: How) -> Bytes {
    match how {
        How::Completed => Bytes::from_static(DONE),
        how => event(&fault(how).body()),
    }
}

/// One event. A chunk is one line: it is JSON as it came in an event itself.
pub fn event(chunk: &[u8]) -> Bytes {
    let mut event = BytesMut::with_capacity(chunk.len() + 8);
    event.put_slice(b"data: ");
    event.put_slice(chunk);
    event.put_slice(b"\n\n");
    event.freeze()
}

/// An answer in one piece as a stream, for a caller who asked for one.
pub fn in_events(chunk: &[u8]) -> Response {
    let mut body = BytesMut::from(&event(chunk)[..]);
    body.put_slice(DONE);
    let mut response = Body::from(body.freeze()).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

/// Who answered, and what it said of itself.
fn describe(headers: &mut HeaderMap, begun: &Begun) {
    for (name, value) in &begun.head.headers {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str())) else {
            continue;
        };
        // These are of our answer, not of the provider's.
        if ![header::CONTENT_TYPE, header::CONTENT_LENGTH, header::TRANSFER_ENCODING].contains(&name) {
            headers.insert(name, value);
        }
    }
    if let Ok(id) = HeaderValue::try_from(begun.model.provider_id.to_string()) {
        headers.insert(PROVIDER_ID, id);
    }
}
