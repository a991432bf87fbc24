//! How requests come in: as their logs take them, from the index after a claim, and back from the spill.

use super::conclude::lost;
use super::work::{Request, Source, State, Work, gate_of, instant, state_of};
use super::{Shared, say};
use crate::domain::llm_request::{AttemptEnd, LEASE_MARGIN_MS, Priority};
use crate::domain::{LogId, Micros, StreamId, TenantId};
use crate::flow::request::backoff;
use crate::flow::request::bulkhead::Group;
use crate::flow::request::catalog::Tenancy;
use crate::flow::request::queue::Item;
use crate::flow::request::queue::spill::Left;
use crate::ports::index::{Error, Head};
use hashbrown::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Arrivals that wait to be looked at. More stay on their logs.
const ARRIVALS_MAX: usize = 10_000;
/// Requests that come back at a time.
const BACK_MAX: usize = 1_000;
/// How long a tenant's tier is waited for; without it the smallest is taken.
const TENANCY_FOR: Duration = Duration::from_secs(2);
/// Between two tries to read the open requests of a log.
const AGAIN: backoff::Config = backoff::Config { first: Duration::from_millis(500), longest: Duration::from_secs(10) };

/// A request that came and was not looked at yet.
pub struct Arrival {
    log: LogId,
    /// The claim that it came under.
    generation: u64,
    head: Arc<Head>,
}

/// A request to be carried out.
struct Due {
    work: Box<Work>,
    /// When, where that is not at once.
    delayed: Option<Instant>,
    gone: Option<Gone>,
}

/// What a process left open that is gone.
struct Gone {
    attempt: i64,
    /// Its caller is gone, too, and nobody else can ask for the answer.
    is_unwanted: bool,
}

impl Shared {
    /// A request is new in its log. Says whether somebody must look.
    pub(super) fn arrive(&self, log: LogId, stream: StreamId, head: Option<&Arc<Head>>) -> bool {
        let Some(head) = head else { return false };
        let generation = {
            let board = self.board.lock();
            let Some(generation) = board.owned(log).map(|owned| owned.generation) else { return false };
            if board.is_known(stream, generation) {
                return false;
            }
            generation
        };
        self.keep_new(stream, Arrival { log, generation, head: head.clone() })
    }

    /// Keeps a request to be looked at, unless it is on its way already.
    fn keep(&self, stream: StreamId, arrival: Arrival) {
        if !self.board.lock().is_known(stream, arrival.generation) {
            self.keep_new(stream, arrival);
        }
    }

    /// Says whether it did: beyond the bound a request stays on its log.
    fn keep_new(&self, stream: StreamId, arrival: Arrival) -> bool {
        let mut arrivals = self.arrivals.lock();
        if arrivals.len() < ARRIVALS_MAX {
            arrivals.insert(stream, arrival);
            return true;
        }
        drop(arrivals);
        match state_of(&arrival.head) {
            Ok(state) => self.leave(arrival.log, stream, &state, arrival.head.position),
            Err(error) => tracing::error!(%stream, %error, "the head of a request cannot be read; rebuild the index"),
        }
        false
    }

    /// Leaves a request on its log, to come back when there is room.
    fn leave(&self, log: LogId, stream: StreamId, state: &State, position: u64) {
        let (priority, deadline_at) = (state.request.priority, state.request.deadline_at);
        if state.is_running() {
            self.board.lock().spill.insert(Left { log, stream, priority, deadline_at, position });
        }
    }

    /// Finds what a claimed log has open.
    pub(super) async fn recover(self: Arc<Self>, log: LogId, generation: u64) {
        let mut failures = 0;
        loop {
            let found = |page: Vec<(StreamId, Arc<Head>)>| {
                for (stream, head) in page {
                    self.keep(stream, Arrival { log, generation, head });
                }
                self.wake.notify_one();
            };
            let is_current = || self.board.lock().owned(log).is_some_and(|owned| owned.generation == generation);
            let Err(error) = self.open.open(log, &found).await else { return };
            if !is_current() {
                return;
            }
            failures += 1;
            tracing::warn!(%log, %error, "the open requests of a log could not be read; they are read again");
            let now = Instant::now();
            let far = now + Duration::from_secs(3600);
            tokio::time::sleep_until(AGAIN.next(failures, None, self.random(), now, far).unwrap_or(far)).await;
        }
    }

    /// Looks at what came.
    pub(super) async fn take_arrivals(self: &Arc<Self>) {
        // Nothing is taken before all is known that must be asked for: what ends meanwhile is not there any more.
        let tenants: HashSet<_> = self.arrivals.lock().keys().map(|stream| stream.tenant).collect();
        let mut groups: HashMap<TenantId, Group> = HashMap::new();
        for tenant in tenants {
            groups.insert(tenant, Group::of(self.tenancy(tenant).await.tier));
        }
        let (now, later): (Vec<_>, Vec<_>) = std::mem::take(&mut *self.arrivals.lock())
            .into_iter()
            .partition(|(stream, _)| groups.contains_key(&stream.tenant));
        let is_left = !later.is_empty();
        self.arrivals.lock().extend(later);
        for (stream, Arrival { log, generation, head }) in now {
            match self.work(log, generation, stream, head, groups[&stream.tenant]) {
                Ok(Some(Due { work, delayed, gone })) => {
                    let _ = self.admit(work, delayed);
                    // It is told back, and the request's turn comes at once, or it is over.
                    if let Some(gone) = gone {
                        self.tasks.spawn(self.clone().lose(log, stream, gone));
                    }
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%stream, %error, "the head of a request cannot be read; rebuild the index")
                }
            }
        }
        if is_left {
            self.wake.notify_one();
        }
    }

    /// What is to be done for a request as its head shows it, and when.
    fn work(
        &self,
        log: LogId,
        generation: u64,
        stream: StreamId,
        head: Arc<Head>,
        group: Group,
    ) -> Result<Option<Due>, Error> {
        let state = state_of(&head)?;
        if !state.is_running() {
            return Ok(None);
        }
        let (now, wall) = (Instant::now(), self.clock.now());
        let request = Request::of(&state.request);
        let item = Item {
            stream,
            priority: state.request.priority,
            gate: gate_of(&request.models, group),
            tokens: request.tokens(),
            arrived: arrived(state.submitted_at, wall, now),
            deadline: instant(request.deadline_at, wall, now),
            is_durable: true,
        };
        let position = head.position;
        let source = Source::Log { head: Some(head), position };
        let work = Box::new(Work::new(log, generation, item, request.deadline_at, group, source));
        let delayed = lease_over(&state).map(|at| instant(at, wall, now)).filter(|at| *at > now);
        let gone = state.open().filter(|open| self.config.is_alone && open.worker != self.config.worker);
        let gone = gone.map(|open| Gone { attempt: open.attempt, is_unwanted: state.request.awaited });
        Ok(Some(Due { work, delayed, gone }))
    }

    /// Says of an attempt that it is lost, so that its lease need not be waited out. What nobody wants is not paid again.
    async fn lose(self: Arc<Self>, log: LogId, stream: StreamId, gone: Gone) {
        let unwanted = gone.is_unwanted.then(|| say::abandon(stream));
        // In this order: once the attempt is lost the request's turn may come.
        for command in unwanted.into_iter().chain([say::lose(stream, gone.attempt)]) {
            match command {
                Ok(command) => drop(self.record(log, command).await),
                Err(error) => drop(lost(&error)),
            }
        }
    }

    /// A tenant's tier and settings. While the index does not tell, the least that a tenant can have.
    pub(super) async fn tenancy(&self, tenant: TenantId) -> Tenancy {
        match tokio::time::timeout(TENANCY_FOR, self.catalog.tenant(tenant)).await {
            Ok(Ok(tenancy)) => tenancy,
            Ok(Err(error)) => {
                tracing::warn!(%tenant, %error, "a tenant's tier cannot be read: the smallest is taken");
                Tenancy::UNKNOWN
            }
            Err(_) => Tenancy::UNKNOWN,
        }
    }

    /// Brings requests back from their logs as far as there is room.
    pub(super) async fn take_back(&self) {
        let lefts: Vec<Left> = {
            let mut board = self.board.lock();
            let mut lefts = Vec::new();
            for priority in [Priority::Interactive, Priority::Normal, Priority::Batch] {
                let room = board.takes_back(priority).min(BACK_MAX);
                lefts.extend(std::iter::from_fn(|| board.spill.take(priority)).take(room));
            }
            lefts
        };
        let mut logs: HashMap<LogId, Vec<Left>> = HashMap::new();
        for left in lefts {
            logs.entry(left.log).or_default().push(left);
        }
        for (log, lefts) in logs {
            let Some(generation) = self.board.lock().owned(log).map(|owned| owned.generation) else { continue };
            let streams: Vec<_> = lefts.iter().map(|left| left.stream).collect();
            let heads = match self.index.heads(log, &streams).await {
                Ok(heads) => heads,
                Err(error) => {
                    tracing::warn!(%log, %error, "requests that wait in a log could not be read; they are read again");
                    vec![None; streams.len()]
                }
            };
            for (left, head) in lefts.into_iter().zip(heads) {
                // The index may be behind the log for a moment.
                match head.filter(|head| head.position >= left.position) {
                    Some(head) => {
                        self.keep(left.stream, Arrival { log, generation, head });
                        self.wake.notify_one();
                    }
                    None => self.leave_again(log, generation, left),
                }
            }
        }
    }

    /// Reads a log again of which more was left than is kept, once there is room: one at a time.
    pub(super) fn read_again(self: &Arc<Self>) {
        let mut board = self.board.lock();
        let Some(log) = board.spill.to_read_again() else { return };
        if let Some(generation) = board.owned(log).map(|owned| owned.generation) {
            drop(board);
            self.tasks.spawn(self.clone().recover(log, generation));
        }
    }

    fn leave_again(&self, log: LogId, generation: u64, left: Left) {
        let mut board = self.board.lock();
        if board.owned(log).is_some_and(|owned| owned.generation == generation) {
            board.spill.insert(left);
        }
    }
}

/// Until when an attempt counts as under way that is not known to have ended.
pub fn lease_over(state: &State) -> Option<Micros> {
    let open = state.attempts.last().filter(|attempt| attempt.end == AttemptEnd::Open)?;
    Some(open.lease_until.saturating_add(LEASE_MARGIN_MS * 1_000))
}

/// A moment of the past, by the monotonic clock.
fn arrived(at: Micros, wall: Micros, now: Instant) -> Instant {
    let ago = Duration::from_micros(wall.saturating_sub(at).max(0).unsigned_abs());
    now.checked_sub(ago).unwrap_or(now)
}
