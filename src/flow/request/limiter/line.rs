//! Who waits, for what, and who goes next.
//!
//! A caller that waits stands in the queue of each key that something is asked of for it: those that it lacks, or only
//! those among them that told to wait. So a key that gives something concerns its own queue alone, and a look at that
//! leaves at most [`LOOKED_MAX`] callers waiting, however many there are behind them.

use super::desk::{Desk, Lease};
use super::permit::Part;
use super::{Answer, Refused, SOON, SPREAD, SPREAD_MAX};
use crate::domain::limit::{Amounts, Ask, LimitKey, Outcome, Reserved, Returned};
use crate::domain::{Micros, TenantId};
use crate::ports::limits::Error;
use hashbrown::{HashMap, HashSet};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Most callers that one look at a key finds to wait on. Those behind them come nearer with each that goes.
pub const LOOKED_MAX: usize = 256;

#[derive(Default)]
pub struct State {
    pub desks: HashMap<LimitKey, Desk>,
    /// Who waits, by the order in which they came.
    pub line: BTreeMap<u64, Ticket>,
    tickets: u64,
    /// The last operation of the desks that were cleared: one that is opened again counts on from there.
    ops: u64,
    random: u64,
}

pub struct Ticket {
    pub wants: Vec<(LimitKey, Amounts)>,
    pub deadline: Instant,
    pub answer: oneshot::Sender<Answer>,
}

/// What one look at the line came to, done once the lock is free.
#[derive(Default)]
pub struct Pass {
    pub served: Vec<(Vec<Part>, Instant, oneshot::Sender<Answer>)>,
    pub refused: Vec<(Refused, oneshot::Sender<Answer>)>,
    pub asks: Vec<(LimitKey, Ask)>,
    /// When to look again at keys that told to wait.
    pub again: Vec<(LimitKey, Instant)>,
    /// Keys that may have to be asked.
    touched: HashSet<LimitKey>,
    /// Callers that were looked at and wait on.
    pub left: usize,
}

impl Pass {
    fn touch(&mut self, key: &LimitKey) {
        if !self.touched.contains(key) {
            self.touched.insert(key.clone());
        }
    }
}

/// A key that is named twice is one limit with both amounts.
pub fn each_once(wants: &[(LimitKey, Amounts)]) -> Vec<(LimitKey, Amounts)> {
    let mut once: Vec<(LimitKey, Amounts)> = Vec::with_capacity(wants.len());
    for (key, amounts) in wants {
        match once.iter_mut().find(|(other, _)| other == key) {
            Some((_, sum)) => *sum = sum.plus(*amounts),
            None => once.push((key.clone(), *amounts)),
        }
    }
    once
}

pub fn duration(span: Micros) -> Duration {
    Duration::from_micros(span.max(0).unsigned_abs())
}

impl State {
    /// `seed` may be anything; processes that have different ones do not meet at the same moment again and again.
    pub fn new(seed: u64) -> Self {
        Self { random: seed | 1, ..Self::default() }
    }

    pub fn desk(&mut self, key: &LimitKey, now: Instant) -> &mut Desk {
        self.desks.entry_ref(key).or_insert_with(|| Desk::new(self.ops, now))
    }

    /// A caller comes: those before it wait for the same as before, so nobody but it is looked at.
    pub fn arrive(&mut self, ticket: Ticket, holder: u64, now: Instant) -> (u64, Pass) {
        self.tickets += 1;
        let number = self.tickets;
        let mut pass = Pass::default();
        for (key, _) in &ticket.wants {
            self.desk(key, now);
            pass.touch(key);
        }
        self.line.insert(number, ticket);
        self.try_into(number, None, now, &mut pass);
        self.ask(holder, now, &mut pass);
        (number, pass)
    }

    /// A look at those who wait for these keys, from the front.
    pub fn pass(&mut self, keys: &[LimitKey], holder: u64, now: Instant) -> Pass {
        let mut pass = Pass::default();
        for key in keys {
            self.look(key, now, &mut pass);
            pass.touch(key);
        }
        self.ask(holder, now, &mut pass);
        pass
    }

    /// The keys that somebody waits for.
    pub fn wanted(&self) -> Vec<LimitKey> {
        let wanted = self.desks.iter().filter(|(_, desk)| !desk.queue.is_empty());
        let mut keys: Vec<_> = wanted.map(|(key, _)| key.clone()).collect();
        keys.sort_unstable();
        keys
    }

    fn look(&mut self, key: &LimitKey, now: Instant, pass: &mut Pass) {
        let (mut next, mut left) = (0, 0);
        self.desk(key, now).look();
        while left < LOOKED_MAX {
            let queue = self.desks.get(key).map(|desk| &desk.queue);
            let Some(number) = queue.and_then(|queue| queue.range(next..).next().copied()) else { break };
            next = number + 1;
            left += usize::from(self.try_into(number, Some(key), now, pass));
        }
        pass.left += left;
    }

    fn ask(&mut self, holder: u64, now: Instant, pass: &mut Pass) {
        let mut keys: Vec<_> = pass.touched.drain().collect();
        keys.sort_unstable();
        for key in keys {
            let desk = self.desk(&key, now);
            match desk.ask(holder, now) {
                Some(ask) => pass.asks.push((key, ask)),
                None => pass.again.extend(desk.look_again(now).map(|at| (key, at))),
            }
        }
    }

    /// Whether it waits on. `looked` is the key whose queue is looked at.
    fn try_into(&mut self, number: u64, looked: Option<&LimitKey>, now: Instant, pass: &mut Pass) -> bool {
        let tried = self.try_one(number, looked, now, pass);
        if matches!(tried, Tried::Waits) {
            return true;
        }
        let Some(ticket) = self.remove(number) else { return false };
        match tried {
            Tried::Served(parts, send_by) => {
                // What is left may be too little for the next.
                ticket.wants.iter().for_each(|(key, _)| pass.touch(key));
                pass.served.push((parts, send_by, ticket.answer));
            }
            Tried::Refused(refused) => pass.refused.push((refused, ticket.answer)),
            Tried::Waits => {}
        }
        false
    }

    /// Takes a caller out of the line.
    pub fn remove(&mut self, number: u64) -> Option<Ticket> {
        let ticket = self.line.remove(&number)?;
        for (key, _) in &ticket.wants {
            if let Some(desk) = self.desks.get_mut(key) {
                desk.queue.remove(&number);
            }
        }
        Some(ticket)
    }

    fn try_one(&mut self, number: u64, looked: Option<&LimitKey>, now: Instant, pass: &mut Pass) -> Tried {
        let Self { desks, line, .. } = self;
        let Some(ticket) = line.get(&number) else { return Tried::Waits };
        let mut lacking = Vec::new();
        for (key, amounts) in &ticket.wants {
            let Some(desk) = desks.get(key) else { continue };
            if let Some(refused) = desk.refuses(key, *amounts) {
                return Tried::Refused(refused);
            }
            if desk.is_held(number) || !desk.has(*amounts, now) {
                lacking.push(key);
            }
        }
        if lacking.is_empty() {
            let take = |(key, amounts): &(LimitKey, Amounts)| {
                let (lease, ends) = desks.get_mut(key)?.take(*amounts, now)?;
                Some((Part { key: key.clone(), lease, amounts: *amounts }, ends))
            };
            let (parts, ends): (Vec<_>, Vec<_>) = ticket.wants.iter().filter_map(take).unzip();
            return Tried::Served(parts, ends.into_iter().min().unwrap_or(ticket.deadline));
        }
        // Nothing is asked of the others before the one that holds the call up can give.
        let alone = lacking.len() == 1;
        let stuck = |key: &LimitKey| desks.get(key).is_some_and(|desk| desk.ask_at > now);
        if lacking.iter().any(|key| stuck(key)) {
            lacking.retain(|key| stuck(key));
        }
        for (key, amounts) in &ticket.wants {
            let Some(desk) = desks.get_mut(key) else { continue };
            if !lacking.contains(&key) {
                desk.queue.remove(&number);
                continue;
            }
            if let Some(until) = desk.until.filter(|until| desk.ask_at > now && *until > ticket.deadline) {
                return Tried::Refused(Refused::Later { key: key.clone(), at: until, why: desk.why });
            }
            if alone {
                desk.hold(number);
            }
            // What it asks of a key that it waited for before was counted when that was looked at.
            if desk.queue.insert(number) || looked == Some(key) {
                desk.demand(*amounts);
                pass.touch(key);
            }
        }
        Tried::Waits
    }

    /// Takes in the answer of the store.
    pub fn answered(&mut self, key: &LimitKey, ask: Ask, began: Instant, answer: Result<Reserved, Error>) {
        let now = Instant::now();
        let random = self.random();
        let desk = self.desk(key, now);
        desk.busy = false;
        let reserved = match answer {
            Ok(reserved) => reserved,
            Err(error) => return desk.failed(now, key, &error, ask.returned, Some(ask.op)),
        };
        desk.failures = 0;
        desk.mark = reserved.mark;
        desk.too_large = None;
        match reserved.outcome {
            Outcome::Granted(grant) => {
                desk.leases.push(Lease::new(&grant, reserved.at, began, now));
                (desk.until, desk.why) = (None, None);
            }
            Outcome::Wait { until, why } => {
                let most = SPREAD.saturating_mul(u32::try_from(reserved.active).unwrap_or(u32::MAX)).min(SPREAD_MAX);
                let spread = most * (random % 1000) as u32 / 1000;
                desk.wait(now, duration(until - reserved.at), spread, Some(why));
            }
            Outcome::TooLarge { dimension, limit } => desk.too_large = Some((dimension, limit)),
        }
    }

    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// What the one who goes is told.
    pub fn later(&self, wants: &[(LimitKey, Amounts)], now: Instant) -> Refused {
        let soon = now + SOON;
        let lacking = wants.iter().filter_map(|(key, amounts)| {
            let desk = self.desks.get(key)?;
            let lacks = desk.held_by.is_some() || !desk.has(*amounts, now);
            lacks.then(|| (desk.until.map_or(soon, |until| until.max(soon)), key, desk.why))
        });
        let last = lacking.max_by_key(|(at, _, _)| *at);
        let (at, key, why) = match (last, wants.first()) {
            (Some((at, key, why)), _) => (at, key.clone(), why),
            (None, Some((key, _))) => (soon, key.clone(), None),
            (None, None) => (soon, LimitKey::Tenant(TenantId::SHARED), None),
        };
        Refused::Later { key, at, why }
    }

    /// What can go back now, one operation for each key; everything at the end.
    pub fn returns(&mut self, now: Instant, all: bool) -> Vec<(LimitKey, u64, Returned)> {
        let mut returns = Vec::new();
        self.desks.retain(|key, desk| {
            if desk.queue.is_empty() {
                desk.look();
            }
            desk.tick(now, all);
            returns.extend(desk.give_back(now, all).map(|(op, returned)| (key.clone(), op, returned)));
            let kept = all || !desk.is_idle(now);
            if !kept {
                self.ops = self.ops.max(desk.op);
            }
            kept
        });
        returns
    }
}

enum Tried {
    Served(Vec<Part>, Instant),
    Refused(Refused),
    Waits,
}
