//! What stays on its log because the queue has no room: ids alone, until there is some.
//!
//! Tenants take turns in coming back, each with its nearest deadline first. There is room for so many ids; when it is used up
//! the least urgent go, and their logs are marked to be read again once half of the room is free.

use super::{CLASSES, class_of};
use crate::domain::llm_request::Priority;
use crate::domain::{LogId, Micros, StreamId, TenantId};
use hashbrown::HashMap;
use std::collections::{BTreeMap, BTreeSet};

/// One request that stayed on its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    pub log: LogId,
    pub stream: StreamId,
    pub priority: Priority,
    pub deadline_at: Micros,
    /// The stream's last record that is known: an older head of it is not to be trusted.
    pub position: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Spill {
    left_max: usize,
    left: HashMap<StreamId, Left>,
    classes: [BTreeMap<TenantId, BTreeSet<(Micros, StreamId)>>; CLASSES],
    deadlines: BTreeSet<(Micros, StreamId)>,
    /// The tenant that came back last, by class.
    last: [Option<TenantId>; CLASSES],
    /// Logs of which more was left than is kept.
    cut: BTreeSet<LogId>,
}

impl Spill {
    /// With room for so many ids.
    pub fn new(left_max: usize) -> Self {
        Self {
            left_max: left_max.max(1),
            left: HashMap::new(),
            classes: Default::default(),
            deadlines: BTreeSet::new(),
            last: Default::default(),
            cut: BTreeSet::new(),
        }
    }

    pub fn insert(&mut self, left: Left) {
        self.remove(&left.stream);
        if self.left.len() >= self.left_max {
            let Some(gone) = self.less_urgent(left.priority) else {
                self.cut.insert(left.log);
                return;
            };
            let gone = self.remove(&gone);
            self.cut.extend(gone.map(|gone| gone.log));
        }
        let tenants = &mut self.classes[class_of(left.priority)];
        tenants.entry(left.stream.tenant).or_default().insert((left.deadline_at, left.stream));
        self.deadlines.insert((left.deadline_at, left.stream));
        self.left.insert(left.stream, left);
    }

    pub fn remove(&mut self, stream: &StreamId) -> Option<Left> {
        let left = self.left.remove(stream)?;
        self.deadlines.remove(&(left.deadline_at, *stream));
        let tenants = &mut self.classes[class_of(left.priority)];
        if let Some(own) = tenants.get_mut(&stream.tenant) {
            own.remove(&(left.deadline_at, *stream));
            if own.is_empty() {
                tenants.remove(&stream.tenant);
            }
        }
        Some(left)
    }

    /// One of the least urgent class, if that is less urgent than `priority`. Any of it will do: it comes back by its log.
    fn less_urgent(&self, priority: Priority) -> Option<StreamId> {
        let least = self.classes.iter().skip(class_of(priority) + 1).rev().find(|tenants| !tenants.is_empty())?;
        least.last_key_value()?.1.last().map(|(_, stream)| *stream)
    }

    /// A log that is to be read again, now that there is room. It is not named twice.
    pub fn to_read_again(&mut self) -> Option<LogId> {
        if self.left.len() > self.left_max / 2 { None } else { self.cut.pop_first() }
    }

    /// Takes the next one of a class.
    pub fn take(&mut self, priority: Priority) -> Option<Left> {
        let class = class_of(priority);
        let tenants = &self.classes[class];
        let after = self.last[class].and_then(|last| {
            use std::ops::Bound::{Excluded, Unbounded};
            tenants.range((Excluded(last), Unbounded)).next()
        });
        let (tenant, own) = after.or_else(|| tenants.first_key_value())?;
        let (_, stream) = *own.first()?;
        self.last[class] = Some(*tenant);
        self.remove(&stream)
    }

    /// Takes out those whose deadline has passed, at most so many.
    pub fn expired(&mut self, now: Micros, left_max: usize) -> Vec<Left> {
        let due: Vec<_> = self.deadlines.iter().take_while(|due| due.0 <= now).take(left_max).copied().collect();
        due.into_iter().filter_map(|(_, stream)| self.remove(&stream)).collect()
    }

    /// Forgets those of a log that is not this process's any more.
    pub fn release(&mut self, log: LogId) {
        let gone: Vec<_> = self.left.values().filter(|left| left.log == log).map(|left| left.stream).collect();
        for stream in gone {
            self.remove(&stream);
        }
        self.cut.remove(&log);
    }

    pub fn len(&self) -> usize {
        self.left.len()
    }

    /// Whether no log has anything that is not taken in.
    pub fn is_empty(&self) -> bool {
        self.left.is_empty() && self.cut.is_empty()
    }
}
