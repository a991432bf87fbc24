//! One request and its answer, in this order: outage, route, key, body, form, limits, fault, latency, answer.
//!
//! What never reaches the limits (an outage, a wrong key, a body that cannot be read) is not counted by them.

use super::answer::{Answer, short};
use super::control;
use super::draw::{Draw, Purpose};
use super::embed::{self, EmbedAsk};
use super::fault::{self, Fault};
use super::flow::{Cut, Flow, Pace, Spoil, garbled, millis};
use super::headers::{self, insert};
use super::limiter::{Cost, Denial, Standing};
use super::settings::Settings;
use super::state::{Call, Fake, Outage};
use super::stats::ID_BYTES_MAX;
use super::window::{Exceeded, SPAN};
use super::wire::{NoRoute, Operation, Trouble, Wire};
use super::{anthropic, gemini, models, openai};
use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Longest that a body may take to come in.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// After which a 429 that was asked for may be tried again.
const FORCED_WAIT: Duration = Duration::from_secs(1);
/// Where a request names itself; the first that is there counts.
const ID_HEADERS: [&str; 2] = ["x-agentverse-request-id", "x-request-id"];

/// Answers anything.
///
/// # Errors
/// [`Cut`] closes the connection without an answer.
pub async fn answer(fake: Arc<Fake>, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
    if request.uri().path().starts_with("/fake/") {
        return Ok(control::answer(&fake, request).await);
    }
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let wire = Wire::of(path, |header| head.headers.contains_key(header));
    let operation = wire.operation(&head.method, path, head.uri.query().unwrap_or_default());
    let kind = operation.map_or("unknown", |operation| operation.kind(wire));
    let call = Call::begin(&fake, kind, request_id(&head.headers));
    let settings = fake.settings();
    let exchange = Exchange { fake, settings, wire, call, headers: HeaderMap::new() };
    exchange.answer(&head, operation, body).await
}

fn request_id(headers: &HeaderMap) -> Option<Box<str>> {
    let id = ID_HEADERS.iter().find_map(|name| headers.get(*name))?.to_str().ok()?;
    Some(id[..id.floor_char_boundary(ID_BYTES_MAX)].into())
}

/// The key that a request shows, wherever its wire puts it; empty when there is none.
fn key(head: &Parts) -> &str {
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = || header("authorization")?.strip_prefix("Bearer ");
    let query = || head.uri.query()?.split('&').find_map(|pair| pair.strip_prefix("key="));
    bearer().or_else(|| header("x-api-key")).or_else(|| header("x-goog-api-key")).or_else(query).unwrap_or_default()
}

struct Exchange {
    fake: Arc<Fake>,
    settings: Arc<Settings>,
    wire: Wire,
    call: Call,
    /// What the answer's head gets beside the usual.
    headers: HeaderMap,
}

/// What is to be said when nothing goes wrong.
enum Reply<'a> {
    Text { answer: Answer, stream: bool, include_usage: bool },
    Vectors(EmbedAsk<'a>),
}

impl Exchange {
    async fn answer(
        mut self,
        head: &Parts,
        operation: Result<Operation<'_>, NoRoute>,
        body: Incoming,
    ) -> Result<Response<Body>, Cut> {
        match self.fake.outage() {
            Outage::Drop => return Err(Cut),
            Outage::Refuse => return Ok(self.trouble(503, "this stand-in is down; POST /fake/up ends it")),
            Outage::None => {}
        }
        let operation = match operation {
            Ok(operation) => operation,
            Err(error) => return Ok(self.no_route(error, head.uri.path())),
        };
        let key = key(head);
        if !self.fake.fixed.keys.is_empty() && !self.fake.fixed.keys.iter().any(|known| known == key) {
            return Ok(self.trouble(401, "the API key is missing or wrong"));
        }
        match operation {
            Operation::Models => {
                let list = models::list(self.wire, &self.fake.fixed.models);
                return Ok(self.whole(list, 0));
            }
            Operation::Model(model) => {
                let one = models::one(self.wire, model);
                return Ok(self.whole(one, 0));
            }
            Operation::Generate { .. } | Operation::Embed { .. } => {}
        }
        let body = match self.read(body).await? {
            Ok(body) => body,
            Err((status, message)) => return Ok(self.trouble(status, &message)),
        };
        let forced = head.headers.get(fault::HEADER).map(|value| Fault::forced(value.to_str().unwrap_or_default()));
        let reply = self.understand(operation, &body);
        let (forced, reply) = match (forced.transpose(), reply) {
            (Ok(forced), Ok(reply)) => (forced, reply),
            (Err(message), _) | (_, Err(message)) => return Ok(self.trouble(400, &message)),
        };
        if forced == Some(Some(Fault::Status(429))) {
            self.fake.stats(|stats| stats.fault("error"));
            return Ok(self.too_many("a limit was reached, as asked for", "requests", Some(FORCED_WAIT)));
        }
        let (model, cost) = match &reply {
            Reply::Text { answer, .. } => (answer.model.as_str(), answer.cost()),
            Reply::Vectors(ask) => (&*ask.model, Cost { prompt: ask.prompt_tokens, completion: 0, completion_max: 0 }),
        };
        let fault = forced.unwrap_or_else(|| Fault::drawn(&self.settings, self.call.number));
        // What fails before its first token has no more tokens than its prompt.
        let completion = if matches!(fault, Some(Fault::Status(_) | Fault::Hang)) { 0 } else { cost.completion };
        let (admitted, standing) = self.call.admit(&self.settings, key, model, Cost { completion, ..cost });
        if self.settings.rate_headers {
            headers::rate(&mut self.headers, self.wire, &standing, self.fake.clock.now());
        }
        if let Err(denial) = admitted {
            return Ok(self.denied(denial, &standing));
        }
        self.reply(reply, fault).await
    }

    async fn read(&self, body: Incoming) -> Result<Result<Bytes, (u16, String)>, Cut> {
        let bytes_max = self.fake.fixed.body_bytes_max;
        match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, bytes_max).collect()).await {
            Err(_) => Ok(Err((408, "the body did not come in time".into()))),
            Ok(Ok(body)) => {
                let body = body.to_bytes();
                let hash = short(&blake3::hash(&body));
                self.fake.stats(|stats| stats.body(hash));
                Ok(Ok(body))
            }
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                Ok(Err((413, format!("the body is larger than {bytes_max} bytes; --body-bytes-max allows more"))))
            }
            // The client went away.
            Ok(Err(_)) => Err(Cut),
        }
    }

    fn understand<'a>(&self, operation: Operation<'_>, body: &'a [u8]) -> Result<Reply<'a>, String> {
        let ask = match (self.wire, operation) {
            (Wire::Gemini, Operation::Embed { model, batch }) => {
                return embed::gemini(body, model, batch, &self.settings).map(Reply::Vectors);
            }
            (_, Operation::Embed { .. }) => return embed::openai(body, &self.settings).map(Reply::Vectors),
            (Wire::Gemini, Operation::Generate { model, stream }) => gemini::generate(body, model, stream)?,
            (Wire::Anthropic, _) => anthropic::messages(body)?,
            (Wire::OpenAi | Wire::Gemini, _) => openai::chat(body)?,
        };
        let answer = Answer::new(&ask, &self.settings)?;
        Ok(Reply::Text { answer, stream: ask.stream, include_usage: ask.include_usage })
    }

    async fn reply(mut self, reply: Reply<'_>, fault: Option<Fault>) -> Result<Response<Body>, Cut> {
        if let Some(fault) = fault {
            self.fake.stats(|stats| stats.fault(fault.name()));
        }
        match fault {
            Some(Fault::Status(status)) => return Ok(self.trouble(status, "this failure was drawn or asked for")),
            Some(Fault::Hang) => {
                self.fake.stop.cancelled().await;
                return Err(Cut);
            }
            Some(Fault::Slow) => tokio::time::sleep(millis(f64::from(self.settings.slow_ms))).await,
            Some(Fault::Cut | Fault::Garbage) | None => {}
        }
        let number = self.call.number;
        let first = self.settings.latency_ms.draw(&mut Draw::new(self.settings.seed, Purpose::FirstToken, number));
        let mut pace = Pace {
            latency: self.settings.token_latency_ms,
            draw: Draw::new(self.settings.seed, Purpose::Token, number),
            begin: Instant::now() + millis(first),
        };
        if first > 0.0 {
            tokio::time::sleep_until(pace.begin).await;
        }
        let spoil = match fault {
            Some(Fault::Cut) => Spoil::Cut,
            Some(Fault::Garbage) => Spoil::Garbage,
            _ => Spoil::Nothing,
        };
        let paced = !pace.latency.is_zero();
        let (text, completion) = match reply {
            Reply::Vectors(ask) => (ask.answer(self.settings.seed), 0),
            Reply::Text { answer, stream: true, include_usage } => {
                let script = self.wire.script(&answer, include_usage);
                let mut response = self.head(200, "text/event-stream; charset=utf-8");
                let completion = answer.usage.completion;
                *response.body_mut() = Flow::body(script, completion, self.call, spoil, paced.then_some(pace));
                return Ok(response);
            }
            Reply::Text { answer, .. } => {
                let completion = answer.usage.completion;
                if paced {
                    let rest: f64 = (1..completion).map(|_| pace.latency.draw(&mut pace.draw)).sum();
                    tokio::time::sleep_until(pace.begin + millis(rest)).await;
                }
                (self.wire.whole(&answer), completion)
            }
        };
        self.call.sent(completion);
        Ok(match spoil {
            Spoil::Nothing => self.whole(text, completion),
            Spoil::Garbage => self.text(200, garbled(&text)),
            Spoil::Cut => {
                let mut response = self.head(200, JSON);
                *response.body_mut() = Flow::cut(&text, completion, self.call);
                response
            }
        })
    }

    fn whole(mut self, text: String, completion: u64) -> Response<Body> {
        self.call.sent(completion);
        self.call.answered();
        self.text(200, text)
    }

    fn text(mut self, status: u16, text: String) -> Response<Body> {
        let mut response = self.head(status, JSON);
        *response.body_mut() = text.into();
        response
    }

    /// An answer without its body; counted from here on.
    fn head(&mut self, status: u16, content_type: &'static str) -> Response<Body> {
        self.fake.stats(|stats| stats.answer(self.call.kind, status));
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        std::mem::swap(headers, &mut self.headers);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        let name = if self.wire == Wire::Anthropic { "request-id" } else { "x-request-id" };
        insert(headers, HeaderName::from_static(name), self.id());
        response
    }

    fn id(&self) -> String {
        format!("req_{:016x}", self.call.number)
    }

    fn trouble(self, status: u16, message: &str) -> Response<Body> {
        self.error(Trouble { status, message: message.into(), ..Trouble::default() })
    }

    fn error(self, trouble: Trouble) -> Response<Body> {
        let trouble = Trouble { request_id: self.id(), ..trouble };
        let text = self.wire.error(&trouble);
        self.text(trouble.status, text)
    }

    fn no_route(self, error: NoRoute, path: &str) -> Response<Body> {
        match error {
            NoRoute::Unknown => self.trouble(404, &format!("there is no {path} here; --help lists the routes")),
            NoRoute::Method => self.trouble(405, &format!("{path} does not take this method")),
            NoRoute::NotEvents => self.trouble(400, "this stand-in streams with ?alt=sse only"),
        }
    }

    fn denied(self, denial: Denial, standing: &Standing) -> Response<Body> {
        match denial {
            Denial::Full => self.trouble(
                503,
                "more requests, keys or models in 60 s than this stand-in may remember, so it cannot count exactly; raise --window-requests-max",
            ),
            Denial::Limit(refusal, asked) => {
                let (limit, name, used) = match refusal.exceeded {
                    Exceeded::Requests => (standing.limits.requests, "requests", standing.used.requests),
                    Exceeded::Tokens => (standing.limits.tokens, "tokens", standing.used.tokens),
                };
                let limit = limit.unwrap_or_default();
                let asked = if refusal.exceeded == Exceeded::Requests { 1 } else { asked };
                let message = match refusal.wait {
                    Some(_) => format!("Rate limit reached on {name} per min: Limit {limit}, Used {used}, Requested {asked}."),
                    None => format!("Request too large on {name} per min: Limit {limit}, Requested {asked}."),
                };
                // What never fits has no right time; the length of the window keeps a client from hammering.
                let wait = Duration::from_nanos(refusal.wait.unwrap_or(SPAN));
                self.too_many(&message, name, Some(wait))
            }
        }
    }

    fn too_many(mut self, message: &str, limit: &'static str, wait: Option<Duration>) -> Response<Body> {
        if let Some(wait) = wait {
            headers::retry_after(&mut self.headers, self.settings.retry_after, wait, self.fake.clock.now());
        }
        self.error(Trouble { status: 429, message: message.into(), limit: Some(limit), wait, ..Trouble::default() })
    }
}

const JSON: &str = "application/json";
