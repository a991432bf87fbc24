//! The demo's stand-in provider, in the same process, and the requests that are made to it.
//!
//! It listens on a loopback port of its own, the one of the last start where that is free, so that a second start changes
//! nothing. The requests go the way that anybody's do: over HTTP, to the couplings of the demo.

use crate::cli::client::{self, ClientError, Connection, Request};
use crate::cli::exit::Error;
use crate::cli::fake_provider;
use crate::cli::url::BaseUrl;
use crate::domain::StreamId;
use crate::domain::llm_request::Priority;
use crate::runtime::demo::{Ask, StandIn, ask};
use crate::runtime::node::fresh_id;
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// How it behaves: like a provider on a good day, with a failure now and then.
const MANNERS: &[&str] = &[
    "--latency-ms=lognormal:350,1800",
    "--token-latency-ms=uniform:2-8",
    "--output-tokens=uniform:20-160",
    "--cached-share=0.2",
    "--error-rate=0.01",
    "--error-statuses=500,503",
];
/// Requests under way at a time; while there are so many, no further ones are made.
const ASKS_MAX: usize = 16;
/// Longest that the node may take for one.
const TIMEOUT: Duration = Duration::from_secs(120);
/// One in so many goes as a command to its coupling, and nobody waits for the answer.
const COMMANDS: u64 = 5;

/// A stand-in that listens.
pub struct Listening {
    listener: TcpListener,
    pub endpoint: String,
}

/// Listens where it did before, as far as the node knows and the port is free; else on any free port.
///
/// # Errors
/// When no port can be had.
pub async fn listen(stand_in: &StandIn, node: &BaseUrl) -> Result<Listening, Error> {
    let on = |port| TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let before = match port_of_before(stand_in, node).await {
        Some(port) => on(port).await.ok(),
        None => None,
    };
    let listener = match before {
        Some(listener) => Ok(listener),
        None => on(0).await,
    };
    let cannot = |cause: std::io::Error| Error::failed(format!("the stand-in provider cannot listen: {cause}"));
    let listener = listener.map_err(cannot)?;
    let endpoint = format!("http://{}/v1", listener.local_addr().map_err(cannot)?);
    Ok(Listening { listener, endpoint })
}

async fn port_of_before(stand_in: &StandIn, node: &BaseUrl) -> Option<u16> {
    let provider = stand_in.provider()?;
    let target = format!("/v1/llm-providers/{}", provider.id);
    let answer = client::request(node, TIMEOUT, Request::get(target, Some(provider.tenant.0))).await.ok()?;
    let shown: Value = answer.json().ok()?;
    let endpoint = shown["endpoint"].as_str()?;
    let authority = endpoint.strip_prefix("http://")?.split('/').next()?;
    let address: SocketAddr = authority.parse().ok()?;
    // Below it are ports of the system, and the one that stands for nowhere.
    Some(address.port()).filter(|port| *port >= 1024)
}

/// Serves until told to stop.
///
/// # Errors
/// When the manners are none that it has.
pub fn serve(listening: Listening, stop: CancellationToken) -> Result<impl Future<Output = ()>, Error> {
    fake_provider::serve_with(MANNERS, listening.listener, stop)
}

/// Makes requests until told to stop, so many per minute.
pub async fn keep_busy(node: BaseUrl, couplings: Vec<StreamId>, per_minute: u64, stop: CancellationToken) {
    if per_minute == 0 {
        return;
    }
    let mut turns = turns(per_minute);
    let couplings = Arc::new(Mutex::new(couplings));
    let room = Arc::new(Semaphore::new(ASKS_MAX));
    for number in 0.. {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = turns.tick() => {}
        }
        let Ok(place) = room.clone().try_acquire_owned() else { continue };
        let Some(next) = ask(number, &couplings.lock()) else {
            tracing::warn!("no coupling of the demo takes requests any more");
            return;
        };
        let (node, couplings, stop) = (node.clone(), couplings.clone(), stop.clone());
        tokio::spawn(async move {
            let coupling = next.coupling;
            let request = request(&next, number % COMMANDS == 0);
            let mut connection = Connection::new(node, TIMEOUT);
            let answer = tokio::select! {
                () = stop.cancelled() => return,
                answer = connection.request(request) => answer,
            };
            if let Err(ClientError::Problem(problem)) = answer
                && is_final(problem.status)
            {
                tracing::debug!(%coupling, %problem, "a coupling of the demo takes no requests");
                couplings.lock().retain(|it| *it != coupling);
            }
            drop(place);
        });
    }
}

/// Whether a coupling that answers so will go on answering so: it was refused, or has ended.
fn is_final(status: u16) -> bool {
    matches!(status, 400 | 403 | 404 | 409)
}

fn turns(per_minute: u64) -> Interval {
    let mut turns = tokio::time::interval(Duration::from_secs(60) / u32::try_from(per_minute).unwrap_or(u32::MAX));
    turns.set_missed_tick_behavior(MissedTickBehavior::Skip);
    turns
}

fn request(ask: &Ask, is_command: bool) -> Request {
    const JSON: &str = "application/json";
    let coupling = ask.coupling;
    let tenant = Some(coupling.tenant.0);
    let messages = json!([{ "role": "user", "content": ask.question }]);
    if is_command {
        let payload = json!({ "messages": messages, "max_tokens": ask.output_tokens_max }).to_string();
        let priority = if ask.priority == Priority::Interactive { Priority::Normal } else { ask.priority };
        let body = json!({ "request_id": fresh_id(), "payload": payload, "priority": priority });
        let target = format!("/v1/couplings/{}/request-completion", coupling.id);
        return Request::post(target, tenant, JSON, Bytes::from(body.to_string()));
    }
    let body = json!({
        "model": format!("coupling:{}", coupling.id),
        "messages": messages,
        "max_tokens": ask.output_tokens_max,
        "stream": ask.stream,
    });
    Request::post("/v1/chat/completions", tenant, JSON, Bytes::from(body.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Aggregate, TenantId};
    use uuid::Uuid;

    fn asked() -> Ask {
        let coupling = StreamId::new(TenantId(Uuid::from_u128(1)), Aggregate::Coupling, Uuid::from_u128(2));
        Ask { coupling, priority: Priority::Interactive, question: "why?", output_tokens_max: 40, stream: true }
    }

    fn body(request: &Request) -> Value {
        serde_json::from_slice(&request.body.as_ref().unwrap().1).unwrap()
    }

    #[test]
    fn a_request_goes_to_its_coupling_as_a_chat_or_as_a_command() {
        let chat = request(&asked(), false);
        assert_eq!((chat.target.as_str(), chat.tenant), ("/v1/chat/completions", Some(Uuid::from_u128(1))));
        assert_eq!(body(&chat)["model"], "coupling:00000000-0000-0000-0000-000000000002");
        assert_eq!((&body(&chat)["stream"], &body(&chat)["max_tokens"]), (&json!(true), &json!(40)));
        let command = request(&asked(), true);
        assert_eq!(command.target, "/v1/couplings/00000000-0000-0000-0000-000000000002/request-completion");
        assert_eq!(body(&command)["priority"], "normal", "nobody waits for it");
        let payload: Value = serde_json::from_str(body(&command)["payload"].as_str().unwrap()).unwrap();
        assert_eq!(payload["messages"][0]["content"], "why?");
    }

    #[tokio::test(start_paused = true)]
    async fn turns_come_as_often_as_was_asked_and_are_not_made_up_for() {
        let mut turns = turns(120);
        turns.tick().await;
        let begun = tokio::time::Instant::now();
        turns.tick().await;
        assert_eq!(begun.elapsed(), Duration::from_millis(500));
        tokio::time::advance(Duration::from_secs(60)).await;
        turns.tick().await;
        let late = tokio::time::Instant::now();
        turns.tick().await;
        assert!(late.elapsed() > Duration::from_millis(100));
    }

    #[test]
    fn the_manners_are_some_that_a_stand_in_has() {
        assert!(fake_provider::manners(MANNERS).is_ok());
    }
}
