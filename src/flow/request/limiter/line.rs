//! Who waits, for what, and who goes next.

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

#[derive(Default)]
pub struct State {
    pub desks: HashMap<LimitKey, Desk>,
    /// Who waits, by the order in which they came.
    pub line: BTreeMap<u64, Ticket>,
    tickets: u64,
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
    /// When to look again, for keys that told to wait.
    pub again: Vec<Instant>,
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
        self.desks.entry_ref(key).or_insert_with(|| Desk::new(now))
    }

    /// A caller comes: those before it wait for the same as before, so nobody but it is looked at.
    pub fn arrive(&mut self, ticket: Ticket, holder: u64, now: Instant) -> (u64, Pass) {
        self.tickets += 1;
        let number = self.tickets;
        let keys: Vec<_> = ticket.wants.iter().map(|(key, _)| key.clone()).collect();
        for key in &keys {
            self.desk(key, now);
        }
        self.line.insert(number, ticket);
        let mut pass = Pass::default();
        self.try_into(number, now, &mut pass);
        self.ask(keys, holder, now, &mut pass);
        (number, pass)
    }

    /// A look at the whole line, from the front.
    pub fn pass(&mut self, holder: u64, now: Instant) -> Pass {
        let mut keys: Vec<_> = self.wanted().into_iter().cloned().collect();
        keys.sort_unstable();
        keys.iter().for_each(|key| self.desk(key, now).look());
        let mut pass = Pass::default();
        let numbers: Vec<u64> = self.line.keys().copied().collect();
        numbers.into_iter().for_each(|number| self.try_into(number, now, &mut pass));
        self.ask(keys, holder, now, &mut pass);
        pass
    }

    /// The keys that somebody waits for.
    fn wanted(&self) -> HashSet<&LimitKey> {
        self.line.values().flat_map(|ticket| &ticket.wants).map(|(key, _)| key).collect()
    }

    fn ask(&mut self, keys: Vec<LimitKey>, holder: u64, now: Instant, pass: &mut Pass) {
        for key in keys {
            let desk = self.desk(&key, now);
            match desk.ask(holder, now) {
                Some(ask) => pass.asks.push((key, ask)),
                None => pass.again.extend(desk.look_again(now)),
            }
        }
    }

    fn try_into(&mut self, number: u64, now: Instant, pass: &mut Pass) {
        match self.try_one(number, now) {
            Tried::Served(parts, send_by) => {
                pass.served.extend(self.line.remove(&number).map(|ticket| (parts, send_by, ticket.answer)));
            }
            Tried::Refused(refused) => {
                pass.refused.extend(self.line.remove(&number).map(|ticket| (refused, ticket.answer)));
            }
            Tried::Waits => {}
        }
    }

    fn try_one(&mut self, number: u64, now: Instant) -> Tried {
        let Self { desks, line, .. } = self;
        let Some(ticket) = line.get(&number) else { return Tried::Waits };
        let mut lacking = Vec::new();
        for (key, amounts) in &ticket.wants {
            let Some(desk) = desks.get(key) else { continue };
            if let Some(refused) = desk.refuses(key, *amounts) {
                return Tried::Refused(refused);
            }
            if desk.held || !desk.has(*amounts, now) {
                lacking.push((key, *amounts));
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
        let stuck = |key: &LimitKey| desks.get(key).is_some_and(|desk| desk.ask_at > now);
        let any_stuck = lacking.iter().any(|(key, _)| stuck(key));
        let asked: Vec<_> = lacking.iter().filter(|(key, _)| !any_stuck || stuck(key)).cloned().collect();
        let alone = lacking.len() == 1;
        for (key, amounts) in asked {
            let Some(desk) = desks.get_mut(key) else { continue };
            if let Some(until) = desk.until.filter(|until| desk.ask_at > now && *until > ticket.deadline) {
                return Tried::Refused(Refused::Later { key: key.clone(), at: until, why: desk.why });
            }
            desk.held |= alone;
            desk.demand(amounts);
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
                let most = (SPREAD * u32::try_from(reserved.active).unwrap_or(u32::MAX)).min(SPREAD_MAX);
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
            let lacks = desk.held || !desk.has(*amounts, now);
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
        let wanted: HashSet<_> = self.wanted().into_iter().cloned().collect();
        self.desks.retain(|key, desk| {
            if !wanted.contains(key) {
                desk.look();
            }
            desk.tick(now, all);
            returns.extend(desk.give_back(now, all).map(|(op, returned)| (key.clone(), op, returned)));
            all || !desk.is_idle(now)
        });
        returns
    }
}

enum Tried {
    Served(Vec<Part>, Instant),
    Refused(Refused),
    Waits,
}
