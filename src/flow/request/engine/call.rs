//! The call itself: begun only while lease and permit hold, passed on as it comes, settled by what it used.

use super::Shared;
use super::assemble::Assembly;
use super::attempt::Started;
use super::reply::{Begun, Piece};
use super::used::{is_batch, usage_of};
use super::work::{Caller, Request, Why, Work};
use crate::domain::limit::{Amounts, LimitKey, PAUSE_MAX};
use crate::domain::llm_request::{ANSWER_BYTES_MAX, ModelChoice, Operation, Price, Usage};
use crate::domain::{Micros, limit};
use crate::flow::request::breaker::Verdict;
use crate::flow::request::catalog::{Estimate, Model, micro_usd};
use crate::flow::request::limiter::Permit;
use crate::metrics::handles;
use crate::ports::llm::{self, Answer, Call, Chunk, End, Error, Head, Kind, Progress, RateLimits, Waited, Window};
use bytes::Bytes;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// A lease with less life than this begins no call any more.
const BEGINS: Duration = Duration::from_millis(100);
/// A call that had so long and is not complete says something of its provider, whoever broke it off.
const FAIR: Duration = Duration::from_secs(30);
/// What a provider that says to wait, and not how long, is left alone.
const PAUSE: Duration = Duration::from_secs(1);
/// Models whose limits are remembered as they were told.
const NEWS_MAX: usize = 4096;

/// What became of a call.
pub struct Called {
    pub came: Came,
    pub seen: Seen,
    pub latency: Duration,
    /// It was broken off because its request's deadline passed, and had less than [`FAIR`] time.
    pub is_cut_short: bool,
    /// What it used, as far as is known, and whether that is estimated.
    pub usage: Option<(Usage, bool)>,
    /// What it was charged at, where any price is known.
    pub price: Option<Price>,
}

pub enum Came {
    /// The answer is complete; it is in the body, or was passed on.
    Answered {
        body: Option<Bytes>,
        end: End,
    },
    Failed(Box<Error>),
    /// It was given up.
    Left {
        why: Why,
        is_sent: bool,
    },
    /// It never began.
    NotSent(&'static str),
}

/// What was seen of an answer.
pub struct Seen {
    pub head: Head,
    pub first_byte: Option<Duration>,
    pub assembly: Assembly,
    /// Whether a caller has some of it.
    pub is_passed_on: bool,
}

impl Called {
    /// What it says of its provider.
    pub fn verdict(&self) -> Verdict {
        match &self.came {
            Came::Answered { .. } => Verdict::Alive,
            Came::Left { .. } | Came::NotSent(_) => Verdict::Unknown,
            // How long somebody is ready to wait is not the provider's fault: others call it, too.
            Came::Failed(_) if self.is_cut_short => Verdict::Unknown,
            Came::Failed(error) => verdict(error.kind),
        }
    }
}

fn verdict(kind: Kind) -> Verdict {
    match kind {
        Kind::Connect | Kind::Timeout(_) | Kind::Overloaded | Kind::Server | Kind::Garbage | Kind::Cut => {
            Verdict::Failed
        }
        Kind::RateLimited | Kind::Quota | Kind::Auth | Kind::NotFound | Kind::TooLarge => Verdict::Alive,
        Kind::BadRequest | Kind::ContextLength | Kind::ContentFilter => Verdict::Alive,
    }
}

impl Shared {
    #[expect(clippy::too_many_arguments, reason = "what a call is made of")]
    pub(super) async fn call(
        &self,
        work: &Work,
        request: &Request,
        model: &Model,
        choice: &ModelChoice,
        estimate: Estimate,
        started: &Started,
        permit: Permit,
    ) -> Called {
        let caller = work.caller();
        let head = Head::default();
        let assembly = Assembly::new(ANSWER_BYTES_MAX);
        let mut seen = Seen { head, first_byte: None, assembly, is_passed_on: false };
        let deadline = started.lease_ends.min(work.item.deadline);
        let permit = match self.send(work, model, estimate, deadline, permit).await {
            Ok(permit) => permit,
            Err(came) => {
                return Called { came, seen, latency: Duration::ZERO, is_cut_short: false, usage: None, price: None };
            }
        };
        handles().request_open_calls.increment(1.0);
        let begun = Instant::now();
        let open = self.stats.open(choice, begun);
        let call = Call {
            target: model.target.clone(),
            request_id: Some(work.stream().id),
            operation: match request.operation {
                Operation::ChatCompletion => llm::Operation::ChatCompletion,
                Operation::Embeddings => llm::Operation::Embeddings,
            },
            request: request.payload.clone().unwrap_or_default(),
            stream: request.stream && caller.is_some(),
            timeouts: self.config.timeouts,
            deadline,
        };
        let exchange = self.exchange(call, caller, choice, started.attempt, &mut seen);
        let came = tokio::select! {
            biased;
            why = work.stop.told() => Came::Left { why, is_sent: true },
            came = exchange => came,
            // Whatever the client of the provider does, nothing goes on beyond the lease.
            () = tokio::time::sleep_until(deadline) => Came::Failed(out_of_time(model)),
        };
        drop(open);
        handles().request_open_calls.decrement(1.0);
        let usage = usage_of(&came, &seen, request);
        let price = model.price_of(is_batch(&came));
        settle(permit, &came, usage.map(|(usage, _)| usage), &price);
        self.hear(model, &came, &seen).await;
        let is_out_of_time = matches!(&came, Came::Failed(error) if error.kind == Kind::Timeout(Waited::Total));
        let is_cut_short = is_out_of_time && deadline < begun + self.config.timeouts.total.min(FAIR);
        Called { came, seen, latency: begun.elapsed(), is_cut_short, usage, price: known(price) }
    }

    /// Says that the call goes out now. A permit that ran out while the attempt was started is replaced.
    async fn send(
        &self,
        work: &Work,
        model: &Model,
        estimate: Estimate,
        deadline: Instant,
        mut permit: Permit,
    ) -> Result<Permit, Came> {
        loop {
            if let Some(why) = work.stop.is_told() {
                permit.cancel();
                return Err(Came::Left { why, is_sent: false });
            }
            if Instant::now() + BEGINS >= deadline {
                permit.cancel();
                return Err(Came::NotSent("lease_over"));
            }
            if permit.send() {
                return Ok(permit);
            }
            let wants = model.wants(work.stream().tenant, estimate);
            let patience = (Instant::now() + self.config.patience).min(deadline);
            let acquired = tokio::select! {
                biased;
                why = work.stop.told() => return Err(Came::Left { why, is_sent: false }),
                acquired = self.limiter.acquire(&wants, patience) => acquired,
            };
            permit = acquired.map_err(|_| Came::NotSent("permit_over"))?;
        }
    }

    async fn exchange(
        &self,
        call: Call,
        caller: Option<&Caller>,
        choice: &ModelChoice,
        attempt: i64,
        seen: &mut Seen,
    ) -> Came {
        let begun = Instant::now();
        let mut streamed = match self.llm.call(call).await {
            Err(error) => return Came::Failed(error),
            Ok(Answer::Whole(whole)) => {
                seen.head = whole.head;
                return Came::Answered { body: Some(whole.body), end: whole.end };
            }
            Ok(Answer::Streamed(streamed)) => streamed,
        };
        seen.head = streamed.head;
        seen.first_byte = Some(begun.elapsed());
        loop {
            let data = match streamed.chunks.next().await {
                Some(Ok(Chunk::Data(data))) => data,
                Some(Ok(Chunk::End(end))) => return Came::Answered { body: None, end },
                Some(Err(error)) => return Came::Failed(error),
                None => return Came::Answered { body: None, end: End::default() },
            };
            seen.assembly.add(&data);
            let Some(caller) = caller else { continue };
            if !seen.is_passed_on {
                seen.is_passed_on = true;
                let begun = Begun { model: choice.clone(), attempt, head: seen.head.clone() };
                if let Err(why) = self.pass_on(caller, Piece::Begun(Box::new(begun))).await {
                    return Came::Left { why, is_sent: true };
                }
            }
            if let Err(why) = self.pass_on(caller, Piece::Chunk(data)).await {
                return Came::Left { why, is_sent: true };
            }
        }
    }

    /// Passes a piece on to whoever reads. While that one is slow the provider is not read either.
    pub(super) async fn pass_on(&self, caller: &Caller, piece: Piece) -> Result<(), Why> {
        match tokio::time::timeout(self.config.reader_stall_max, caller.pieces.send(piece)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Why::CallerGone),
            Err(_) => Err(Why::ReaderStalled),
        }
    }

    /// Passes on what the provider told of its limits: always where it says to wait, else where it is news.
    ///
    /// What remains of a limit, and when it is whole again, pauses nothing after a success: the limit itself is known, and
    /// is kept by exact books.
    async fn hear(&self, model: &Model, came: &Came, seen: &Seen) {
        let (rates, pause) = match came {
            Came::Failed(error) => (error.rates(), pause(error)),
            _ => (&seen.head.rates, None),
        };
        let (requests, tokens) = (rates.requests.limit, tokens_limit(rates));
        let key = model.limit_key();
        let is_news = self.news.is_new(&key, requests, tokens);
        if pause.is_none() && !is_news {
            return;
        }
        let pause = pause.map(|pause| Micros::try_from(pause.as_micros()).unwrap_or(PAUSE_MAX).min(PAUSE_MAX));
        let news = limit::News { pause, requests_per_minute: requests, tokens_per_minute: tokens };
        if let Err(error) = self.limiter.throttle(&key, &news).await {
            tracing::warn!(%key, %error, "what a provider told of its limits could not be passed on");
        }
    }
}

/// What each model's provider said last of its limits.
#[derive(Default)]
pub struct News(Mutex<HashMap<LimitKey, PerMinute>>);

/// Requests and tokens.
pub type PerMinute = (Option<u64>, Option<u64>);

impl News {
    pub fn told(&self, key: &LimitKey) -> Option<PerMinute> {
        self.0.lock().get(key).copied()
    }

    fn is_new(&self, key: &LimitKey, requests: Option<u64>, tokens: Option<u64>) -> bool {
        if requests.is_none() && tokens.is_none() {
            return false;
        }
        let mut known = self.0.lock();
        if known.len() >= NEWS_MAX {
            known.clear();
        }
        known.insert(key.clone(), (requests, tokens)) != Some((requests, tokens))
    }
}

fn tokens_limit(rates: &RateLimits) -> Option<u64> {
    let both = || rates.input_tokens.limit?.checked_add(rates.output_tokens.limit?);
    rates.tokens.limit.or_else(both)
}

/// How long a provider that turned a request away for its limits is to be left alone.
fn pause(error: &Error) -> Option<Duration> {
    if error.kind != Kind::RateLimited {
        return error.retry_after();
    }
    let rates = error.rates();
    let used_up = |window: &Window| window.reset_after.filter(|_| window.remaining == Some(0));
    let resets = [rates.requests, rates.tokens, rates.input_tokens, rates.output_tokens];
    let reset = resets.iter().filter_map(used_up).max();
    Some(rates.retry_after.or(reset).unwrap_or(PAUSE))
}

/// Tells the limits what a call came to. What nobody knows counts as it was estimated.
fn settle(permit: Permit, came: &Came, usage: Option<Usage>, price: &Price) {
    if matches!(came, Came::Failed(error) if error.progress == Progress::NotSent) {
        return permit.settle(Amounts::ZERO);
    }
    match usage {
        Some(usage) => permit.settle(Amounts {
            requests: 1,
            tokens: (usage.input_tokens + usage.output_tokens).max(0).unsigned_abs(),
            micro_usd: usage.cost_pico_usd(price).map_or(0, micro_usd).max(0).unsigned_abs(),
        }),
        None => drop(permit),
    }
}

/// Prices, where any is known.
fn known(price: Price) -> Option<Price> {
    let prices = [price.input_micro_usd_per_million, price.output_micro_usd_per_million];
    prices.iter().any(Option::is_some).then_some(price)
}

fn out_of_time(model: &Model) -> Box<Error> {
    let kind = Kind::Timeout(Waited::Total);
    let message = "the answer was not complete in time".to_owned();
    let complaint = llm::Complaint { message, kind: "timeout".into(), param: None, code: None };
    let (provider, head) = (model.target.provider.to_string(), Head::default());
    Box::new(Error { provider, kind, progress: Progress::Sent, head, complaint, cause: None, usage: None })
}
