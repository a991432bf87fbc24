//! The queue: requests that wait for a call, in the order in which they get one. Pure: time is an argument.
//!
//! **Classes.** Interactive goes before normal before batch. A class whose oldest request has *aged* gets a share of the
//! turns all the same ([`Config::share`]): nothing starves, and a backlog of hours does not hold up whoever waits for an
//! answer, as it would if age alone decided.
//!
//! **Gates.** A request waits at a gate: the model that it wants first, and the bulkhead that it would fall under. Whoever
//! runs the calls closes a gate while enough wait behind it, so that one congested model does not hold up the others. The
//! open gates of a class take turns. A tenant that is over a limit of its own is held at all of them.
//!
//! **Tenants** share a gate fairly by the tokens that their requests may use, which is what binds at most providers; every
//! request counts some on top, so that a flood of tiny ones counts too. See [`mod@line`].
//!
//! **Bounds.** Each class has room for so many. What comes from a log is never lost: over the bound it is for the caller to
//! keep its id ([`spill`]); a tenant that has less waiting than another displaces the other's newest. Every operation takes
//! time in the logarithm of what waits.

mod item;
mod line;
mod rate;
pub mod spill;
#[cfg(test)]
mod tests;

use crate::domain::llm_request::Priority;
use crate::domain::{StreamId, TenantId};
use hashbrown::{HashMap, HashSet};
pub use item::{CLASSES, Config, Gate, Item, Pushed, class_of};
use line::{Line, Place};
pub use rate::Rate;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

/// What a caller that finds no room is told, at least and at most.
const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// Part of the queue that must have drained before one comes again: room for one alone would be gone at once.
const DRAINED: f64 = 0.1;

#[derive(Debug)]
struct Entry {
    item: Item,
    /// Not before.
    delayed: Option<Instant>,
}

#[derive(Debug, Default)]
struct Class {
    lines: HashMap<Gate, Line>,
    /// Lines of open gates with somebody to serve, the one that waits longest for its turn first.
    open: BTreeSet<(u64, Gate)>,
    arrivals: BTreeSet<Place>,
    count: usize,
    /// Turns that went to others since it aged.
    passed_over: u32,
    /// What can be displaced, by tenant, and the tenants by how much they have.
    durable: HashMap<TenantId, BTreeSet<Place>>,
    largest: BTreeSet<(usize, TenantId)>,
    drained: Rate,
}

/// See the module.
#[derive(Debug)]
pub struct Queue {
    config: Config,
    entries: HashMap<StreamId, Entry>,
    classes: [Class; CLASSES],
    closed: HashSet<Gate>,
    paused: HashMap<Gate, Instant>,
    paused_until: BTreeSet<(Instant, Gate)>,
    held: HashMap<TenantId, Instant>,
    held_until: BTreeSet<(Instant, TenantId)>,
    delayed: BTreeSet<Place>,
    deadlines: BTreeSet<Place>,
    turns: u64,
}

impl Queue {
    pub fn new(config: Config) -> Self {
        Self {
            config,
            entries: HashMap::new(),
            classes: Default::default(),
            closed: HashSet::new(),
            paused: HashMap::new(),
            paused_until: BTreeSet::new(),
            held: HashMap::new(),
            held_until: BTreeSet::new(),
            delayed: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            turns: 0,
        }
    }

    /// Takes in a request, not to be served before `delayed`. One that is in already stays as it is.
    pub fn push(&mut self, item: Item, delayed: Option<Instant>, now: Instant) -> Pushed {
        if self.entries.contains_key(&item.stream) {
            return Pushed::In;
        }
        if self.room(item.priority) > 0 {
            self.insert(item, delayed);
            return Pushed::In;
        }
        match self.displace(class_of(item.priority), item.stream.tenant) {
            Some(displaced) => {
                self.insert(item, delayed);
                Pushed::Displaced(displaced)
            }
            None => Pushed::Full { retry_after: self.retry_after(item.priority, now) },
        }
    }

    /// Takes in a request that was taken out to be served and could not be. It is never refused, so that a class may hold
    /// more than its bound by as many as are being served.
    pub fn put_back(&mut self, item: Item, delayed: Option<Instant>) {
        if !self.entries.contains_key(&item.stream) {
            self.insert(item, delayed);
        }
    }

    /// Whose turn it is; [`Self::take`] then takes it. What is due by now is woken first.
    pub fn next(&mut self, now: Instant) -> Option<Item> {
        self.wake(now);
        let class = self.turn()?;
        let (_, gate) = self.classes[class].open.first()?;
        let (_, stream) = self.classes[class].lines.get(gate)?.first()?;
        self.entries.get(&stream).map(|entry| entry.item)
    }

    /// Takes the one out whose turn it is, and counts it as served.
    pub fn take(&mut self, stream: StreamId, now: Instant) -> Option<Item> {
        let item = self.remove_as(stream, true)?;
        let served = class_of(item.priority);
        self.turns += 1;
        let gate = item.gate;
        if let Some(line) = self.classes[served].lines.get_mut(&gate) {
            let before = (line.turn, gate);
            line.turn = self.turns;
            let after = (line.turn, gate);
            let open = &mut self.classes[served].open;
            if open.remove(&before) {
                open.insert(after);
            }
        }
        self.classes[served].drained.count(now);
        self.classes[served].passed_over = 0;
        for class in (0..CLASSES).filter(|class| *class != served) {
            let waits = self.has_aged(class, now) && !self.classes[class].open.is_empty();
            let passed_over = &mut self.classes[class].passed_over;
            *passed_over = if waits { passed_over.saturating_add(1) } else { 0 };
        }
        Some(item)
    }

    /// Takes one out that is not wanted any more.
    pub fn cancel(&mut self, stream: StreamId) -> Option<Item> {
        self.remove_as(stream, false)
    }

    /// Takes out those whose deadline has passed, at most so many.
    pub fn expired(&mut self, now: Instant, items_max: usize) -> Vec<Item> {
        let due: Vec<_> = self.deadlines.iter().take_while(|place| place.0 <= now).take(items_max).copied().collect();
        due.into_iter().filter_map(|(_, stream)| self.cancel(stream)).collect()
    }

    /// Lets one be served at once that was delayed.
    pub fn hasten(&mut self, stream: StreamId) {
        let Some(until) = self.entries.get(&stream).and_then(|entry| entry.delayed) else { return };
        self.undelay((until, stream));
    }

    /// Serves nothing at this gate, until told otherwise.
    pub fn close(&mut self, gate: Gate) {
        if self.closed.insert(gate) {
            (0..CLASSES).for_each(|class| self.fix(class, gate));
        }
    }

    pub fn open(&mut self, gate: Gate) {
        if self.closed.remove(&gate) {
            (0..CLASSES).for_each(|class| self.fix(class, gate));
        }
    }

    /// Serves nothing at this gate before `until`, open or not.
    pub fn pause(&mut self, gate: Gate, until: Instant) {
        if let Some(before) = self.paused.insert(gate, until) {
            self.paused_until.remove(&(before, gate));
        }
        self.paused_until.insert((until, gate));
        (0..CLASSES).for_each(|class| self.fix(class, gate));
    }

    /// Serves nothing of this tenant before `until`.
    pub fn hold(&mut self, tenant: TenantId, until: Instant) {
        if let Some(before) = self.held.insert(tenant, until) {
            self.held_until.remove(&(before, tenant));
        }
        self.held_until.insert((until, tenant));
        self.set_held(tenant, true);
    }

    /// When there is something to do next, unless something comes before.
    pub fn wakes_at(&self) -> Option<Instant> {
        let first = |set: &BTreeSet<Place>| set.first().map(|place| place.0);
        let held = self.held_until.first().map(|held| held.0);
        let paused = self.paused_until.first().map(|paused| paused.0);
        [first(&self.delayed), first(&self.deadlines), held, paused].into_iter().flatten().min()
    }

    pub fn contains(&self, stream: &StreamId) -> bool {
        self.entries.contains_key(stream)
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many wait, by class.
    pub fn depths(&self) -> [usize; CLASSES] {
        std::array::from_fn(|class| self.classes[class].count)
    }

    /// How many more the class takes.
    pub fn room(&self, priority: Priority) -> usize {
        let class = class_of(priority);
        self.config.waiting_max[class].saturating_sub(self.classes[class].count)
    }

    /// How long the oldest of each class that is not delayed has waited.
    pub fn oldest(&self, now: Instant) -> [Duration; CLASSES] {
        std::array::from_fn(|class| {
            let oldest = self.classes[class].arrivals.first();
            oldest.map_or(Duration::ZERO, |place| now.saturating_duration_since(place.0))
        })
    }

    /// When to come again, by how fast the class drains.
    pub fn retry_after(&self, priority: Priority, now: Instant) -> Duration {
        let class = &self.classes[class_of(priority)];
        let seconds = class.count as f64 * DRAINED / class.drained.per_second(now).max(f64::MIN_POSITIVE);
        let longest = RETRY_AFTER_MAX.as_secs_f64();
        Duration::from_secs_f64(seconds.min(longest)).max(RETRY_AFTER_MIN)
    }

    /// The class whose turn it is: the most urgent one, unless one that has aged was passed over often enough.
    fn turn(&self) -> Option<usize> {
        let can = |class: &usize| !self.classes[*class].open.is_empty();
        let due = |class: &usize| self.classes[*class].passed_over + 1 >= self.config.share[*class];
        let aged = (1..CLASSES).rev().filter(can).find(|class| self.classes[*class].passed_over > 0 && due(class));
        aged.or_else(|| (0..CLASSES).find(can))
    }

    fn has_aged(&self, class: usize, now: Instant) -> bool {
        let oldest = self.classes[class].arrivals.first();
        oldest.is_some_and(|place| now.saturating_duration_since(place.0) >= self.config.aged_after[class])
    }

    /// Lets in what is due by now: requests that were delayed, tenants that were held, gates that were paused.
    pub fn wake(&mut self, now: Instant) {
        while let Some(place) = self.delayed.first().filter(|place| place.0 <= now).copied() {
            self.undelay(place);
        }
        while let Some(held) = self.held_until.first().filter(|held| held.0 <= now).copied() {
            self.held_until.remove(&held);
            self.held.remove(&held.1);
            self.set_held(held.1, false);
        }
        while let Some(paused) = self.paused_until.first().filter(|paused| paused.0 <= now).copied() {
            self.paused_until.remove(&paused);
            self.paused.remove(&paused.1);
            (0..CLASSES).for_each(|class| self.fix(class, paused.1));
        }
    }

    fn undelay(&mut self, place: Place) {
        self.delayed.remove(&place);
        let Some(entry) = self.entries.get_mut(&place.1) else { return };
        entry.delayed = None;
        let item = entry.item;
        self.line_up(&item);
    }

    fn insert(&mut self, item: Item, delayed: Option<Instant>) {
        let class = &mut self.classes[class_of(item.priority)];
        class.count += 1;
        if item.is_durable {
            resize(class, item.stream.tenant, |places| places.insert(item.place()));
        }
        self.deadlines.insert((item.deadline, item.stream));
        self.entries.insert(item.stream, Entry { item, delayed });
        match delayed {
            Some(until) => drop(self.delayed.insert((until, item.stream))),
            None => self.line_up(&item),
        }
    }

    fn line_up(&mut self, item: &Item) {
        let is_held = self.held.contains_key(&item.stream.tenant);
        let class = class_of(item.priority);
        let turns = self.turns;
        self.classes[class].arrivals.insert(item.place());
        self.classes[class].lines.entry(item.gate).or_insert_with(|| Line::new(turns)).insert(item.place(), is_held);
        self.fix(class, item.gate);
    }

    fn remove_as(&mut self, stream: StreamId, is_served: bool) -> Option<Item> {
        let Entry { item, delayed } = self.entries.remove(&stream)?;
        self.deadlines.remove(&(item.deadline, stream));
        let number = class_of(item.priority);
        let class = &mut self.classes[number];
        class.count -= 1;
        if item.is_durable {
            resize(class, stream.tenant, |places| places.remove(&item.place()));
        }
        if let Some(until) = delayed {
            self.delayed.remove(&(until, stream));
            return Some(item);
        }
        class.arrivals.remove(&item.place());
        if let Some(line) = class.lines.get_mut(&item.gate) {
            line.remove(&item.place(), is_served.then(|| item.cost()));
        }
        self.fix(number, item.gate);
        Some(item)
    }

    /// Puts a line among the open ones or takes it out, by how it stands; one where nobody waits is forgotten.
    fn fix(&mut self, class: usize, gate: Gate) {
        let is_closed = self.closed.contains(&gate) || self.paused.contains_key(&gate);
        let Class { lines, open, .. } = &mut self.classes[class];
        let Some(line) = lines.get(&gate) else { return };
        let entry = (line.turn, gate);
        if !is_closed && line.first().is_some() {
            open.insert(entry);
            return;
        }
        open.remove(&entry);
        if line.is_empty() {
            lines.remove(&gate);
        }
    }

    fn set_held(&mut self, tenant: TenantId, is_held: bool) {
        for class in 0..CLASSES {
            // Gates are few beside requests: a tenant is held when a limit tells so, at most once in a while.
            let gates: Vec<_> = self.classes[class].lines.keys().copied().collect();
            for gate in gates {
                if let Some(line) = self.classes[class].lines.get_mut(&gate) {
                    line.hold(tenant, is_held);
                }
                self.fix(class, gate);
            }
        }
    }

    /// Takes out the newest of the tenant that has the most, where that is more than this one would have.
    fn displace(&mut self, class: usize, tenant: TenantId) -> Option<Item> {
        let own = self.classes[class].durable.get(&tenant).map_or(0, BTreeSet::len);
        let (most, largest) = self.classes[class].largest.last().copied()?;
        if most <= own + 1 {
            return None;
        }
        let (_, newest) = self.classes[class].durable.get(&largest)?.last().copied()?;
        self.remove_as(newest, false)
    }
}

/// Changes what of a tenant can be displaced.
fn resize(class: &mut Class, tenant: TenantId, change: impl FnOnce(&mut BTreeSet<Place>) -> bool) {
    let places = class.durable.entry(tenant).or_default();
    class.largest.remove(&(places.len(), tenant));
    change(places);
    match places.len() {
        0 => drop(class.durable.remove(&tenant)),
        left => drop(class.largest.insert((left, tenant))),
    }
}
