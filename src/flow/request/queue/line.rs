//! The requests of one class at one gate: fair between tenants, and in the order of arrival for each.
//!
//! Fairness is start-time fair queueing. Every tenant has a virtual time, which each of its requests moves on by its cost,
//! and the tenant with the lowest goes next; one that comes (back) starts where the line is. Between two tenants that wait
//! all along, what they were served differs by at most one request of each, however large. Deficit round robin gives as
//! much, but goes round as often as the largest request has quanta: one of a million tokens would cost thousands of
//! rounds.

use crate::domain::{StreamId, TenantId};
use hashbrown::HashMap;
use std::collections::BTreeSet;
use tokio::time::Instant;

/// A place in a tenant's own order.
pub type Place = (Instant, StreamId);

#[derive(Debug, Default)]
pub struct Line {
    tenants: HashMap<TenantId, Own>,
    /// Tenants that have a request here and are not held, by their virtual time.
    ready: BTreeSet<(u64, TenantId)>,
    /// Tenants that have none and were served ahead of the line: they are remembered until it has caught up.
    ahead: BTreeSet<(u64, TenantId)>,
    /// Virtual time of the tenant that was served last.
    virtual_now: u64,
    /// When the line had its last turn among those of its class.
    pub turn: u64,
}

#[derive(Debug, Default)]
struct Own {
    places: BTreeSet<Place>,
    virtual_time: u64,
    is_held: bool,
}

impl Line {
    pub fn new(turn: u64) -> Self {
        Self { turn, ..Self::default() }
    }

    pub fn insert(&mut self, place: Place, is_held: bool) {
        let tenant = place.1.tenant;
        let virtual_now = self.virtual_now;
        let own = self.tenants.entry(tenant).or_default();
        if own.places.is_empty() {
            self.ahead.remove(&(own.virtual_time, tenant));
            own.virtual_time = own.virtual_time.max(virtual_now);
            own.is_held = is_held;
            if !is_held {
                self.ready.insert((own.virtual_time, tenant));
            }
        }
        own.places.insert(place);
    }

    /// Takes one out; `served` is its cost where it was its turn, and nothing where it goes unserved.
    pub fn remove(&mut self, place: &Place, served: Option<u64>) {
        let tenant = place.1.tenant;
        let Some(own) = self.tenants.get_mut(&tenant) else { return };
        if !own.places.remove(place) {
            return;
        }
        self.ready.remove(&(own.virtual_time, tenant));
        if let Some(cost) = served {
            self.virtual_now = self.virtual_now.max(own.virtual_time);
            own.virtual_time = own.virtual_time.saturating_add(cost.max(1));
        }
        let (virtual_time, is_held) = (own.virtual_time, own.is_held);
        if !own.places.is_empty() {
            if !is_held {
                self.ready.insert((virtual_time, tenant));
            }
        } else if virtual_time > self.virtual_now {
            self.ahead.insert((virtual_time, tenant));
        } else {
            self.tenants.remove(&tenant);
        }
        while let Some(first) = self.ahead.first().filter(|first| first.0 <= self.virtual_now).copied() {
            self.ahead.remove(&first);
            self.tenants.remove(&first.1);
        }
    }

    /// Whose turn it is.
    pub fn first(&self) -> Option<Place> {
        let (_, tenant) = self.ready.first()?;
        self.tenants.get(tenant)?.places.first().copied()
    }

    pub fn hold(&mut self, tenant: TenantId, is_held: bool) {
        let Some(own) = self.tenants.get_mut(&tenant).filter(|own| !own.places.is_empty()) else { return };
        own.is_held = is_held;
        let entry = (own.virtual_time, tenant);
        if is_held {
            self.ready.remove(&entry);
        } else {
            self.ready.insert(entry);
        }
    }

    /// Whether nobody waits here, held or not.
    pub fn is_empty(&self) -> bool {
        self.tenants.len() == self.ahead.len()
    }
}
