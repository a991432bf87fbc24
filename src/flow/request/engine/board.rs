//! The board: what waits, what is carried out, under which claims. One lock, held for moments; nothing here waits.

use super::config::Config;
use super::work::{Boxed, Source, Stop, Why, Work};
use crate::domain::llm_request::Priority;
use crate::domain::{LogId, StreamId};
use crate::flow::request::queue::spill::{Left, Spill};
use crate::flow::request::queue::{CLASSES, Gate, Item, Pushed, Queue, Rate};
use crate::flow::request::seam::Lane;
use crate::ports::index::Head;
use hashbrown::HashMap;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// So many may wait behind a gate that lets hardly any through.
const GATE_WAITING_MIN: usize = 4;
/// From so many gates on, those that nobody waits behind are forgotten.
const ROOMS_MAX: usize = 4096;
/// Expiries under way, beside what is carried out.
const EXPIRING_MAX: usize = 1024;

/// New requests that one log takes in a row. What costs is a batch of a log, more than a request of it: those that come at
/// the same time share it, however many logs there are. The more come, the more logs have their turn at the same time.
const STREAK: usize = 256;

/// A claim of a log.
pub struct Owned {
    pub generation: u64,
    pub lane: Arc<dyn Lane>,
}

/// Those who were let through a gate, and wait for their limits.
#[derive(Debug, Default)]
struct Behind {
    waiting: usize,
    passed: Rate,
}

/// What became of a request that came.
pub enum Admitted {
    In,
    /// It is there already.
    Repeated,
    /// Its log is not owned (under this claim).
    NotOwned,
    /// There is no room; one that a log has stays there, and comes back by itself.
    Full(Duration),
}

/// See the module.
pub struct Board {
    queue: Queue,
    pub spill: Spill,
    logs: BTreeMap<LogId, Owned>,
    /// New requests that were given a log.
    placed: usize,
    waiting: HashMap<StreamId, Box<Work>>,
    /// By stream and claim: a call may go on when its log is claimed anew.
    running: BTreeMap<(StreamId, u64), Arc<Stop>>,
    behind: HashMap<Gate, Behind>,
    held_bytes: usize,
    generations: u64,
    is_stopping: bool,
}

impl Board {
    pub fn new(config: &Config) -> Self {
        Self {
            queue: Queue::new(config.queue),
            spill: Spill::new(config.left_max),
            logs: BTreeMap::new(),
            placed: 0,
            waiting: HashMap::new(),
            running: BTreeMap::new(),
            behind: HashMap::new(),
            held_bytes: 0,
            generations: 0,
            is_stopping: false,
        }
    }

    /// A claim begins. Gives its number, and what was left of an earlier one.
    pub fn own(&mut self, log: LogId, lane: Arc<dyn Lane>) -> (u64, Vec<Boxed>) {
        let left = self.release(log);
        self.generations += 1;
        self.logs.insert(log, Owned { generation: self.generations, lane });
        (self.generations, left)
    }

    /// A claim ends. What waits under it is another's; what is carried out goes on.
    pub fn release(&mut self, log: LogId) -> Vec<Boxed> {
        if self.logs.remove(&log).is_none() {
            return Vec::new();
        }
        self.spill.release(log);
        let gone: Vec<_> = self.waiting.values().filter(|work| work.log == log).map(|work| work.stream()).collect();
        gone.iter().filter_map(|stream| self.unwait(stream)).collect()
    }

    pub fn owned(&self, log: LogId) -> Option<&Owned> {
        self.logs.get(&log)
    }

    pub fn owned_logs(&self) -> Vec<LogId> {
        self.logs.keys().copied().collect()
    }

    /// The log for the next new request; `None` where none is owned.
    pub fn next_log(&mut self) -> Option<LogId> {
        let turn = (self.placed / STREAK).checked_rem(self.logs.len())?;
        self.placed = self.placed.wrapping_add(1);
        self.logs.keys().nth(turn).copied()
    }

    pub fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    /// Begins to stop: gives those whose callers wait; the others are in their logs.
    pub fn stop(&mut self) -> Vec<Boxed> {
        self.is_stopping = true;
        let all: Vec<_> = self.waiting.keys().copied().collect();
        all.iter().filter_map(|stream| self.unwait(stream)).collect()
    }

    pub fn stop_running(&self) {
        self.running.values().for_each(|stop| stop.tell(Why::Stopping));
    }

    /// Takes in a request, not to be carried out before `delayed`.
    pub fn admit(&mut self, work: Box<Work>, delayed: Option<Instant>, config: &Config, now: Instant) -> Admitted {
        let stream = work.stream();
        if self.is_stopping || self.owned(work.log).is_none_or(|owned| owned.generation != work.generation) {
            return Admitted::NotOwned;
        }
        if self.waiting.contains_key(&stream) || self.running.contains_key(&(stream, work.generation)) {
            return Admitted::Repeated;
        }
        self.spill.remove(&stream);
        match self.queue.push(work.item, delayed, now) {
            Pushed::In => {}
            Pushed::Displaced(item) => self.displace(item),
            Pushed::Full { retry_after } => {
                self.spill_over(&work);
                return Admitted::Full(retry_after);
            }
        }
        self.wait(work, config);
        Admitted::In
    }

    /// Whose turn it is, told to be carried out: the gate is left when that has its limits, or gives up.
    pub fn next(&mut self, config: &Config, now: Instant) -> Option<Box<Work>> {
        // Also where nothing more can be carried out: what is due and stays would be due again at once.
        self.queue.wake(now);
        if self.is_stopping || self.running.len() >= config.running_max {
            return None;
        }
        loop {
            let Item { stream, gate, .. } = self.queue.next(now)?;
            if self.behind.len() >= ROOMS_MAX {
                self.behind.retain(|_, behind| behind.waiting > 0);
            }
            let behind = self.behind.entry(gate).or_default();
            // Who waits for a limit does so in the order of arrival: more than a second's worth would keep those waiting
            // that are more urgent.
            let a_second = behind.passed.per_second(now).ceil() as usize;
            if behind.waiting >= a_second.max(GATE_WAITING_MIN).min(config.gate_waiting_max.max(1)) {
                self.queue.close(gate);
                continue;
            }
            behind.waiting += 1;
            self.queue.take(stream, now);
            match self.unwait(&stream) {
                Some(work) => {
                    self.running.insert((stream, work.generation), work.stop.clone());
                    return Some(work);
                }
                None => self.leave_gate(gate, false, now),
            }
        }
    }

    /// Somebody has its limits, or gave up.
    pub fn leave_gate(&mut self, gate: Gate, has_passed: bool, now: Instant) {
        if let Some(behind) = self.behind.get_mut(&gate) {
            behind.waiting = behind.waiting.saturating_sub(1);
            if has_passed {
                behind.passed.count(now);
            }
        }
        self.queue.open(gate);
    }

    /// What was carried out waits again; it comes back where it must not.
    pub fn requeue(&mut self, work: Box<Work>, at: Option<Instant>, config: &Config) -> Option<Box<Work>> {
        self.running.remove(&(work.stream(), work.generation));
        let is_owned = self.owned(work.log).is_some_and(|owned| owned.generation == work.generation);
        if self.is_stopping || !is_owned || work.stop.is_told().is_some() {
            return Some(work);
        }
        self.queue.put_back(work.item, at);
        self.wait(work, config);
        None
    }

    /// Lets nothing of a tenant through before then.
    pub fn hold(&mut self, stream: StreamId, until: Instant) {
        self.queue.hold(stream.tenant, until);
    }

    /// Lets nothing through a gate before then.
    pub fn pause(&mut self, gate: Gate, until: Instant) {
        self.queue.pause(gate, until);
    }

    pub fn done(&mut self, work: &Work) {
        self.running.remove(&(work.stream(), work.generation));
    }

    /// The request ended: nobody carries it out any more.
    pub fn ended(&mut self, stream: StreamId) -> Option<Box<Work>> {
        self.spill.remove(&stream);
        self.tell(stream, Why::Ended);
        self.unwait(&stream)
    }

    /// Its caller went.
    pub fn abandon(&mut self, stream: StreamId) -> Option<Box<Work>> {
        self.tell(stream, Why::CallerGone);
        let is_callers = self.waiting.get(&stream).is_some_and(|work| work.caller().is_some());
        if is_callers { self.unwait(&stream) } else { None }
    }

    fn tell(&self, stream: StreamId, why: Why) {
        let of_stream = self.running.range((stream, 0)..=(stream, u64::MAX));
        of_stream.for_each(|(_, stop)| stop.tell(why));
    }

    /// An attempt of a request ended that waits for that.
    pub fn attempt_ended(&mut self, stream: StreamId, head: &Arc<Head>) {
        let Some(work) = self.waiting.get_mut(&stream) else { return };
        let before = work.held_bytes();
        if let Source::Log { head: held, position } = &mut work.source {
            (*held, *position) = (Some(head.clone()), head.position);
            self.held_bytes = self.held_bytes - before + head.state.len();
            self.queue.hasten(stream);
        }
    }

    /// Those whose deadline has passed; they count as carried out until they are done.
    pub fn expired(&mut self, config: &Config, now: Instant) -> Vec<Boxed> {
        if self.is_stopping {
            return Vec::new();
        }
        let room = (config.running_max + EXPIRING_MAX).saturating_sub(self.running.len());
        let due = self.queue.expired(now, room);
        let mut all: Vec<Boxed> = Vec::with_capacity(due.len());
        for item in due {
            let Some(work) = self.unwait(&item.stream) else { continue };
            self.running.insert((item.stream, work.generation), work.stop.clone());
            all.push(work);
        }
        all
    }

    /// Room in a class for what stayed on its log.
    pub fn takes_back(&self, priority: Priority) -> usize {
        if self.is_stopping { 0 } else { self.queue.room(priority) }
    }

    pub fn wakes_at(&self) -> Option<Instant> {
        self.queue.wakes_at()
    }

    pub fn depths(&self) -> [usize; CLASSES] {
        self.queue.depths()
    }

    pub fn oldest(&self, now: Instant) -> [Duration; CLASSES] {
        self.queue.oldest(now)
    }

    pub fn running(&self) -> usize {
        self.running.len()
    }

    pub fn is_known(&self, stream: StreamId, generation: u64) -> bool {
        self.waiting.contains_key(&stream) || self.running.contains_key(&(stream, generation))
    }

    fn wait(&mut self, mut work: Box<Work>, config: &Config) {
        if self.held_bytes + work.held_bytes() > config.held_bytes_max
            && let Source::Log { head, .. } = &mut work.source
        {
            *head = None;
        }
        self.held_bytes += work.held_bytes();
        self.waiting.insert(work.stream(), work);
    }

    fn unwait(&mut self, stream: &StreamId) -> Option<Box<Work>> {
        self.queue.cancel(*stream);
        let work = self.waiting.remove(stream)?;
        self.held_bytes = self.held_bytes.saturating_sub(work.held_bytes());
        Some(work)
    }

    fn displace(&mut self, item: Item) {
        if let Some(work) = self.unwait(&item.stream) {
            self.spill_over(&work);
        }
    }

    fn spill_over(&mut self, work: &Work) {
        if let Source::Log { position, .. } = &work.source {
            self.spill.insert(Left {
                log: work.log,
                stream: work.stream(),
                priority: work.item.priority,
                deadline_at: work.deadline_at,
                position: *position,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Aggregate;
    use crate::flow::request::seam::{Answered, NotTaken};
    use crate::ports::topic::Accepted;

    struct NoLane;

    #[async_trait::async_trait]
    impl Lane for NoLane {
        async fn send(&self, _: Arc<Accepted>) -> Result<Answered, NotTaken> {
            Err(NotTaken { unknown: false })
        }
    }

    #[test]
    fn new_requests_go_to_each_log_in_turn_many_in_a_row() {
        let mut board = Board::new(&Config::new("w1"));
        assert_eq!(board.next_log(), None);
        for partition in [7, 1, 4] {
            let log = LogId { aggregate: Aggregate::LlmRequest, partition };
            board.own(log, Arc::new(NoLane));
        }
        let placed: Vec<u16> = (0..4 * STREAK).map(|_| board.next_log().unwrap().partition).collect();
        let turns: Vec<u16> = placed.chunks(STREAK).map(|turn| turn[0]).collect();
        assert_eq!(turns, [1, 4, 7, 1]);
        assert!(placed.chunks(STREAK).all(|turn| turn.iter().all(|it| *it == turn[0])));
    }
}
