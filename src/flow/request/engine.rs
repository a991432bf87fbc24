//! The engine: carries out the requests of all logs that this process owns, within every limit.
//!
//! ```text
//! appended / open requests / submit ─► queue ─► gate ─► model (catalogue, breaker, bulkhead, limits) ─► StartAttempt
//!                                        ▲                                                                  │ confirmed
//!                                        └── later ◄── EndAttempt ◄── failed ◄── the call ◄─────────────────┘
//!                                                  CompleteRequest ◄── answered ◄──┘
//! ```
//!
//! A request is in one of three places: in the queue, in one task that carries it out, or on its log alone (its id in the
//! spill). A call is made only after the log confirmed its `StartAttempt`, and begins only while lease and permit hold by
//! the monotonic clock. What a call came to is recorded whoever owns the log by then. Who takes over a log reads its open
//! requests, and waits leases out that are not its own.

mod assemble;
mod attempt;
mod board;
mod breakers;
mod call;
mod choose;
mod conclude;
mod config;
mod ends;
mod intake;
mod record;
mod reply;
mod say;
#[cfg(test)]
mod tests;
mod used;
mod view;
mod work;

pub use config::Config;
pub use reply::{Begun, Ended, Failure, How, NotSubmitted, Piece, Reply, Submit};
pub use view::{BreakerView, ModelView, ProviderView, Snapshot};

use crate::domain::llm_request::Event;
use crate::domain::{AnyEvent, LogId, Partitions, StreamId};
use crate::flow::request::bulkhead::{Bulkheads, Group};
use crate::flow::request::catalog::Catalog;
use crate::flow::request::limiter::Limiter;
use crate::flow::request::queue::{Gate, Item};
use crate::flow::request::seam::{Lane, OpenRequests, Watcher};
use crate::flow::request::stats::Stats;
use crate::flow::request::waits::Waits;
use crate::ports::index::Head;
use crate::ports::journal::Recorded;
use crate::ports::{Clock, Index, Llm, Topics};
use board::{Admitted, Board};
use breakers::Breakers;
use hashbrown::HashMap;
use intake::Arrival;
use parking_lot::Mutex;
use reply::Leaving;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use work::{Boxed, Caller, Request, Source, Work, gate_of, instant, submission};

/// Between two looks at what is due, at most.
const TICK: Duration = Duration::from_millis(100);
/// And at least, whatever is due.
const TICK_MIN: Duration = Duration::from_millis(2);
/// How long calls that were told to stop may take to record what they came to.
const STOPPED_FOR: Duration = Duration::from_secs(10);

/// What the engine works with.
pub struct Parts {
    pub llm: Arc<dyn Llm>,
    /// Must be running, as must be the engine.
    pub limiter: Limiter,
    pub topics: Arc<dyn Topics>,
    pub index: Arc<dyn Index>,
    pub open: Arc<dyn OpenRequests>,
    pub clock: Arc<dyn Clock>,
    pub partitions: Partitions,
    /// Any number, another one for each start: what waits are drawn from.
    pub seed: u64,
    pub config: Config,
}

/// See the module. Clones are the same engine.
#[derive(Clone)]
pub struct Engine(Arc<Shared>);

struct Shared {
    llm: Arc<dyn Llm>,
    limiter: Limiter,
    topics: Arc<dyn Topics>,
    index: Arc<dyn Index>,
    open: Arc<dyn OpenRequests>,
    clock: Arc<dyn Clock>,
    partitions: Partitions,
    config: Config,
    catalog: Catalog,
    bulkheads: Bulkheads,
    breakers: Arc<Breakers>,
    stats: Stats,
    waits: Waits,
    board: Mutex<Board>,
    arrivals: Mutex<HashMap<StreamId, Arrival>>,
    news: call::News,
    wake: Notify,
    tasks: TaskTracker,
    random: AtomicU64,
}

impl Engine {
    pub fn new(parts: Parts) -> Self {
        let Parts { llm, limiter, topics, index, open, clock, partitions, seed, config } = parts;
        Self(Arc::new(Shared {
            catalog: Catalog::new(index.clone(), partitions, config.catalog_kept_for),
            bulkheads: Bulkheads::new(config.bulkhead),
            breakers: Breakers::new(config.breaker),
            stats: Stats::default(),
            waits: Waits::default(),
            board: Mutex::new(Board::new(&config)),
            arrivals: Mutex::default(),
            news: call::News::default(),
            wake: Notify::new(),
            tasks: TaskTracker::new(),
            random: AtomicU64::new(seed),
            llm,
            limiter,
            topics,
            index,
            open,
            clock,
            partitions,
            config,
        }))
    }

    /// The log for a new request of [`Self::submit`], which must be of one that this process owns; `None` where it owns none.
    pub fn next_log(&self) -> Option<LogId> {
        self.0.board.lock().next_log()
    }

    /// Takes a request whose caller waits for the answer. It is durable before its call is made, and not before: what is
    /// refused, or dropped while it waits, leaves no trace.
    ///
    /// # Errors
    /// When it is not taken.
    pub async fn submit(&self, submit: Submit) -> Result<Reply, NotSubmitted> {
        let shared = &self.0;
        let command = submission(&submit).ok_or(NotSubmitted::NoRequest)?;
        let stream = submit.command.envelope.stream;
        let tenancy = shared.tenancy(stream.tenant).await;
        let group = Group::of(tenancy.tier);
        let (now, wall) = (Instant::now(), shared.clock.now());
        let request = Request::submitted(command, submit.payload.clone(), wall, tenancy.storage);
        let log = stream.log(shared.partitions);
        let generation = {
            let board = shared.board.lock();
            if board.is_stopping() {
                return Err(NotSubmitted::Stopping);
            }
            board.owned(log).ok_or(NotSubmitted::NotOwned)?.generation
        };
        let item = Item {
            stream,
            priority: command.priority,
            gate: gate_of(&request.models, group),
            tokens: request.tokens(),
            arrived: now,
            deadline: instant(request.deadline_at, wall, now),
            is_durable: false,
        };
        let (sender, pieces) = mpsc::channel(shared.config.chunks_max.max(1));
        let deadline_at = request.deadline_at;
        let caller = Caller { submit, request: Arc::new(request), pieces: sender, is_submitted: false };
        let source = Source::Caller(Box::new(caller));
        let work = Box::new(Work::new(log, generation, item, deadline_at, group, source));
        match shared.admit(work, None) {
            Admitted::In => {}
            Admitted::Repeated => return Err(NotSubmitted::Repeated),
            Admitted::NotOwned => return Err(NotSubmitted::NotOwned),
            Admitted::Full(retry_after) => return Err(NotSubmitted::Full { retry_after }),
        }
        let leaver = shared.clone();
        let leave = move || leaver.abandon(stream);
        Ok(Reply { pieces, _leaving: Leaving(Some(Box::new(leave))) })
    }

    /// Whether requests stay on their logs for want of room: whoever feeds the logs should pause.
    pub fn is_full(&self) -> bool {
        !self.0.board.lock().spill.is_empty()
    }

    /// Works until told to stop; then lets calls under way come to their end for a while.
    pub async fn run(&self, stop: CancellationToken) {
        let shared = &self.0;
        loop {
            let now = Instant::now();
            let until = shared.board.lock().wakes_at().map_or(now + TICK, |at| at.clamp(now + TICK_MIN, now + TICK));
            tokio::select! {
                () = stop.cancelled() => break,
                () = shared.wake.notified() => {}
                () = tokio::time::sleep_until(until) => {}
            }
            shared.take_arrivals().await;
            shared.expire();
            shared.take_back().await;
            shared.read_again();
            shared.pump();
            shared.show();
        }
        let left = shared.board.lock().stop();
        shared.drop_all(left);
        shared.tasks.close();
        if tokio::time::timeout(shared.config.stop_for, shared.tasks.wait()).await.is_err() {
            shared.board.lock().stop_running();
            // What they came to is recorded, or is found open by whoever comes next.
            let _ = tokio::time::timeout(STOPPED_FOR, shared.tasks.wait()).await;
        }
    }
}

impl Watcher for Engine {
    fn owned(&self, log: LogId, lane: Arc<dyn Lane>) {
        let (generation, left) = self.0.board.lock().own(log, lane);
        self.0.drop_all(left);
        self.0.tasks.spawn(self.0.clone().recover(log, generation));
    }

    fn appended(&self, log: LogId, records: &[Recorded], heads: &HashMap<StreamId, Arc<Head>>) {
        let shared = &self.0;
        let mut has_come = false;
        for recorded in records {
            let stream = recorded.record.stream();
            let event = recorded.decided.as_ref().and_then(|decided| decided.event.as_deref());
            let Some(AnyEvent::LlmRequest(event)) = event else { continue };
            match &**event {
                Event::RequestSubmitted(_) => has_come |= shared.arrive(log, stream, heads.get(&stream)),
                Event::AttemptFailed(_) | Event::AttemptLost(_) => {
                    if let Some(head) = heads.get(&stream) {
                        shared.board.lock().attempt_ended(stream, head);
                    }
                }
                Event::RequestCompleted(_)
                | Event::RequestFailed(_)
                | Event::RequestExpired(_)
                | Event::RequestCancelled(_) => {
                    shared.arrivals.lock().remove(&stream);
                    let left = shared.board.lock().ended(stream);
                    left.into_iter().for_each(|work| shared.end(&work, How::Ended, true));
                }
                Event::AttemptStarted(_)
                | Event::AnswerPartAdded(_)
                | Event::ExtraCallRecorded(_)
                | Event::AnswerRated(_) => {}
            }
        }
        if has_come {
            shared.wake.notify_one();
        }
    }

    fn released(&self, log: LogId) {
        let left = self.0.board.lock().release(log);
        self.0.drop_all(left);
    }
}

impl Shared {
    /// Takes a request in, and begins with whatever can be begun.
    fn admit(self: &Arc<Self>, work: Box<Work>, delayed: Option<Instant>) -> Admitted {
        let admitted = self.board.lock().admit(work, delayed, &self.config, Instant::now());
        if matches!(admitted, Admitted::In) {
            self.pump();
        }
        admitted
    }

    /// Begins to carry out all whose turn it is.
    fn pump(self: &Arc<Self>) {
        loop {
            let Some(work) = self.board.lock().next(&self.config, Instant::now()) else { return };
            let place = Place { shared: self.clone(), gate: work.item.gate, has_passed: false };
            // Boxed: it is large, and a task is moved as it is spawned.
            self.tasks.spawn(Box::pin(self.clone().carry_out(work, place)));
        }
    }

    /// A caller went: its request is dropped where it waits, and told to whoever carries it out.
    fn abandon(self: &Arc<Self>, stream: StreamId) {
        let left = self.board.lock().abandon(stream);
        if let Some(work) = left {
            let shared = self.clone();
            self.tasks.spawn(async move { shared.give_up(work, work::Why::CallerGone).await });
        }
    }

    /// Requests that this process has nothing to do with any more: the logs have them, callers are told.
    fn drop_all(&self, left: Vec<Boxed>) {
        left.iter().for_each(|work| self.end(work, How::NotTaken { is_unknown: false }, false));
    }

    fn random(&self) -> u64 {
        // SplitMix64.
        let mut z = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// A place behind a gate, left when it is dropped.
struct Place {
    shared: Arc<Shared>,
    gate: Gate,
    has_passed: bool,
}

impl Place {
    /// Its limits let it through.
    fn pass(mut self) {
        self.has_passed = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.board.lock().leave_gate(self.gate, self.has_passed, Instant::now());
        self.shared.pump();
    }
}
