//! Bulkheads: how many calls a provider gets at a time from tenants of one group of tiers, so that neither a slow provider
//! nor one group takes every call that the process can make.

use crate::domain::StreamId;
use crate::domain::tenant::Tier;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Tiers that share a bulkhead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    /// Onyx and opal.
    Small,
    /// Sapphire and emerald.
    Middle,
    /// Diamond.
    Large,
}

impl Group {
    pub fn of(tier: Tier) -> Self {
        match tier {
            Tier::Onyx | Tier::Opal => Self::Small,
            Tier::Sapphire | Tier::Emerald => Self::Middle,
            Tier::Diamond => Self::Large,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Middle => "middle",
            Self::Large => "large",
        }
    }
}

/// Most calls at a time to one provider, by the group of the tenant's tier.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub small_calls_max: usize,
    pub middle_calls_max: usize,
    pub large_calls_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { small_calls_max: 50, middle_calls_max: 200, large_calls_max: 500 }
    }
}

impl Config {
    fn calls_max(&self, group: Group) -> usize {
        match group {
            Group::Small => self.small_calls_max,
            Group::Middle => self.middle_calls_max,
            Group::Large => self.large_calls_max,
        }
    }
}

/// Room for one call, given back when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Room {
    _permit: OwnedSemaphorePermit,
}

/// All bulkheads of a process.
#[derive(Debug)]
pub struct Bulkheads {
    config: Config,
    /// Those that were used lately.
    rooms: Mutex<HashMap<(StreamId, Group), Arc<Semaphore>>>,
}

/// From so many on, those that nobody is in are forgotten.
const ROOMS_MAX: usize = 4096;

impl Bulkheads {
    pub fn new(config: Config) -> Self {
        Self { config, rooms: Mutex::default() }
    }

    /// Room for a call, where there is some.
    pub fn enter(&self, provider: StreamId, group: Group) -> Option<Room> {
        let permit = self.semaphore(provider, group).try_acquire_owned().ok()?;
        Some(Room { _permit: permit })
    }

    /// Waits for room, in the order of those who wait.
    pub async fn wait(&self, provider: StreamId, group: Group) -> Option<Room> {
        let permit = self.semaphore(provider, group).acquire_owned().await.ok()?;
        Some(Room { _permit: permit })
    }

    fn semaphore(&self, provider: StreamId, group: Group) -> Arc<Semaphore> {
        let mut rooms = self.rooms.lock();
        if rooms.len() >= ROOMS_MAX {
            rooms.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
        }
        let calls_max = self.config.calls_max(group).clamp(1, Semaphore::MAX_PERMITS);
        rooms.entry((provider, group)).or_insert_with(|| Arc::new(Semaphore::new(calls_max))).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Aggregate, TenantId};
    use uuid::Uuid;

    fn provider(number: u128) -> StreamId {
        StreamId::new(TenantId::SHARED, Aggregate::LlmProvider, Uuid::from_u128(number))
    }

    #[tokio::test]
    async fn each_provider_and_group_has_room_of_its_own() {
        let config = Config { small_calls_max: 2, middle_calls_max: 1, large_calls_max: 1 };
        let bulkheads = Bulkheads::new(config);
        let first = bulkheads.enter(provider(1), Group::Small).expect("room");
        let _second = bulkheads.enter(provider(1), Group::Small).expect("room");
        assert!(bulkheads.enter(provider(1), Group::Small).is_none());
        assert!(bulkheads.enter(provider(1), Group::Middle).is_some());
        assert!(bulkheads.enter(provider(2), Group::Small).is_some());
        let waits = bulkheads.wait(provider(1), Group::Small);
        drop(first);
        assert!(waits.await.is_some());
    }

    #[test]
    fn better_tiers_have_more_room() {
        let rooms = |tier| Config::default().calls_max(Group::of(tier));
        let tiers = [Tier::Onyx, Tier::Opal, Tier::Sapphire, Tier::Emerald, Tier::Diamond];
        assert_eq!(tiers.map(rooms), [50, 50, 200, 200, 500]);
    }
}
