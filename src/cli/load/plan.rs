//! Which command goes to which stream when: worked out from the seed, so that a run can be repeated.
//!
//! Streams are dealt to *groups*, each of one tenant and one connection, so that a stream's commands go out in order
//! however the connections overtake each other. A group registers all its streams, then revises all of them, then all
//! of them again, each round in another order: every stream gets its share to within one command.

use uuid::{Builder, Uuid};

/// What a number of ids is for; ids of different uses never meet.
#[derive(Clone, Copy, Debug)]
pub enum Use {
    Tenant = 1,
    Stream = 2,
    Command = 3,
    Provision = 4,
}

/// The finaliser of splitmix64: a bijection on 64 bits that scatters well and costs a nanosecond.
pub fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The id of the `index`-th thing of a use: a version 4 UUID, scattered over the whole range. `index` is below 2^56.
pub fn id(seed: u64, use_: Use, index: u64) -> Uuid {
    let high = mix(seed ^ mix(((use_ as u64) << 56) | index));
    let low = mix(high ^ index);
    let mut bytes = [0u8; 16];
    bytes[..8].copy_from_slice(&high.to_be_bytes());
    bytes[8..].copy_from_slice(&low.to_be_bytes());
    Builder::from_random_bytes(bytes).into_uuid()
}

/// The size of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub seed: u64,
    pub tenants: u64,
    pub streams: u64,
    pub connections: u64,
    pub batch: u64,
    /// `None`: until the time is over.
    pub commands: Option<u64>,
}

/// The next command of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    pub stream: u64,
    /// The version that it leaves the stream at; 1 registers it.
    pub version: u64,
}

/// A share of the streams: one tenant, one connection.
#[derive(Clone, Debug)]
pub struct Group {
    seed: u64,
    pub tenant: u64,
    first: u64,
    streams: u64,
    round: u64,
    /// Streams of this round that had their command.
    done: u64,
    /// Where the round is, and how far apart its steps are (coprime to `streams`, so that it meets each stream once).
    at: u64,
    step: u64,
}

impl Plan {
    /// The groups of a connection; at least one where there are as many streams as tenants and connections.
    pub fn groups(&self, connection: u64) -> Vec<Group> {
        let all = self.tenants.max(self.connections);
        (connection..all)
            .step_by(usize::try_from(self.connections).unwrap_or(usize::MAX))
            .map(|group| {
                let (share, rest) = (self.streams / all, self.streams % all);
                let first = group * share + group.min(rest);
                let streams = share + u64::from(group < rest);
                Group::new(self.seed, group % self.tenants, first, streams)
            })
            .collect()
    }

    /// How many commands the `request`-th request of the run carries; `None` when there is no such request.
    pub fn size(&self, request: u64) -> Option<u64> {
        let size = match self.commands {
            Some(commands) => commands.saturating_sub(request.saturating_mul(self.batch)).min(self.batch),
            None => self.batch,
        };
        (size > 0).then_some(size)
    }
}

impl Group {
    fn new(seed: u64, tenant: u64, first: u64, streams: u64) -> Self {
        let mut group = Self { seed, tenant, first, streams, round: 0, done: 0, at: 0, step: 1 };
        group.begin_round();
        group
    }

    fn begin_round(&mut self) {
        self.round += 1;
        self.done = 0;
        let random = mix(self.seed ^ mix(self.first) ^ self.round);
        self.at = random % self.streams.max(1);
        self.step = 1 + mix(random) % self.streams.max(1);
        while gcd(self.step, self.streams) > 1 {
            self.step += 1;
        }
    }

    pub fn next(&mut self) -> Planned {
        if self.done == self.streams {
            self.begin_round();
        }
        let planned = Planned { stream: self.first + self.at, version: self.round };
        self.at = (self.at + self.step) % self.streams.max(1);
        self.done += 1;
        planned
    }
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{HashMap, HashSet};

    fn plan(tenants: u64, streams: u64, connections: u64) -> Plan {
        Plan { seed: 42, tenants, streams, connections, batch: 10, commands: Some(25) }
    }

    #[test]
    fn groups_share_out_every_stream_exactly_once() {
        for (tenants, streams, connections) in [(1, 100, 8), (3, 100, 8), (8, 101, 3), (5, 5, 1), (1, 1, 1)] {
            let plan = plan(tenants, streams, connections);
            let mut seen = HashSet::new();
            let mut used = HashSet::new();
            for mut group in (0..connections).flat_map(|connection| plan.groups(connection)) {
                used.insert(group.tenant);
                for _ in 0..group.streams {
                    let planned = group.next();
                    assert_eq!(planned.version, 1);
                    assert!(seen.insert(planned.stream), "{planned:?} twice");
                }
            }
            assert_eq!(seen.len() as u64, streams);
            assert_eq!(used.len() as u64, tenants);
            assert!(seen.iter().all(|stream| *stream < streams));
        }
    }

    #[test]
    fn each_round_takes_every_stream_to_its_next_version_in_another_order() {
        let plan = plan(1, 60, 1);
        let mut group = plan.groups(0).remove(0);
        let mut versions: HashMap<u64, u64> = HashMap::new();
        let mut orders = Vec::new();
        for _round in 0..5 {
            let order: Vec<Planned> = (0..60).map(|_| group.next()).collect();
            for planned in &order {
                let version = versions.entry(planned.stream).or_default();
                *version += 1;
                assert_eq!(planned.version, *version);
            }
            orders.push(order.iter().map(|planned| planned.stream).collect::<Vec<_>>());
        }
        assert_ne!(orders[0], orders[1]);
        assert!(versions.values().all(|version| *version == 5));
    }

    #[test]
    fn requests_carry_all_commands_and_no_more() {
        let plan = plan(1, 10, 1);
        let sizes: Vec<_> = (0..5).map(|request| plan.size(request)).collect();
        assert_eq!(sizes, [Some(10), Some(10), Some(5), None, None]);
        assert_eq!(Plan { commands: None, ..plan }.size(1 << 40), Some(10));
    }

    #[test]
    fn ids_are_reproducible_and_distinct_between_seeds_uses_and_indexes() {
        let all: HashSet<Uuid> = [1, 2]
            .into_iter()
            .flat_map(|seed| {
                [Use::Tenant, Use::Stream, Use::Command]
                    .into_iter()
                    .flat_map(move |use_| (0..1_000).map(move |index| id(seed, use_, index)))
            })
            .collect();
        assert_eq!(all.len(), 6_000);
        assert_eq!(id(7, Use::Tenant, 3), id(7, Use::Tenant, 3));
        assert_eq!(id(7, Use::Tenant, 3).get_version_num(), 4);
    }
}
