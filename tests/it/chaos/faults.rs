//! What may happen to a cluster.

use super::fleet::{Fleet, SESSION, note};
use super::servers::Servers;
use crate::crash::load::Random;
use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// A processor is killed, and started again a while later.
    ProcessorKilled(usize),
    /// A processor sleeps until the group has given its logs away, and wakes as if nothing had been. The database stands
    /// still for the moment in which it falls asleep, so that answers wait for it that were true before the takeover: it
    /// wakes with decisions to append.
    ProcessorPaused(usize),
    ProjectorKilled(usize),
    /// A worker is killed with calls under way, and started again a while later.
    WorkerKilled(usize),
    /// A worker sleeps with calls under way, until the group has given its logs away.
    WorkerPaused(usize),
    BrokerRestarted,
    /// The database, or one node of its ring, is killed and started again.
    DatabaseRestarted(u64),
    /// A processor's packets go nowhere for a while.
    NetworkCut,
}

impl Fault {
    /// Every kind in turn, each on a random one of those that it can happen to. Every other is a pause: those make the
    /// zombies.
    pub fn of(round: u64, random: &mut Random, fleet: &Fleet, ring: bool) -> Self {
        let processor = random.below(fleet.processors.len() as u64) as usize;
        let worker = random.below(fleet.workers.len() as u64) as usize;
        if round.is_multiple_of(2) {
            return if round.is_multiple_of(4) { Self::WorkerPaused(worker) } else { Self::ProcessorPaused(processor) };
        }
        match (round / 2) % 6 {
            0 => Self::WorkerKilled(worker),
            1 => Self::BrokerRestarted,
            2 => Self::ProcessorKilled(processor),
            3 if fleet.namespace.is_some() => Self::NetworkCut,
            4 => Self::DatabaseRestarted(if ring { 1 + random.below(3) } else { 0 }),
            _ => Self::ProjectorKilled(random.below(fleet.projectors.len() as u64) as usize),
        }
    }

    /// Lets it happen, and mends it.
    pub fn happen(self, fleet: &mut Fleet, servers: &mut Servers, random: &mut Random) {
        let config = fleet.config();
        let mut while_down = |most: u64| std::thread::sleep(Duration::from_millis(random.below(most)));
        note(&format!("{self:?}"));
        match self {
            Self::ProcessorKilled(place) => {
                fleet.processors[place].kill();
                while_down(3_000);
                fleet.processors[place].start(&config);
            }
            Self::ProcessorPaused(place) => {
                servers.run(&["pause", "cassandra"]);
                while_down(200);
                fleet.processors[place].pause();
                servers.run(&["resume", "cassandra"]);
                std::thread::sleep(SESSION + Duration::from_secs(2));
                while_down(3_000);
                fleet.processors[place].resume();
            }
            Self::ProjectorKilled(place) => {
                fleet.projectors[place].kill();
                while_down(3_000);
                fleet.projectors[place].start(&config);
            }
            Self::WorkerKilled(place) => {
                fleet.workers[place].kill();
                while_down(3_000);
                fleet.workers[place].start(&config);
            }
            Self::WorkerPaused(place) => {
                fleet.workers[place].pause();
                std::thread::sleep(SESSION + Duration::from_secs(2));
                while_down(3_000);
                fleet.workers[place].resume();
            }
            Self::BrokerRestarted => {
                servers.run(&["kill", "kafka"]);
                while_down(2_000);
                servers.run(&["start", "kafka"]);
            }
            Self::DatabaseRestarted(node) => {
                let name = if node == 0 { "cassandra".to_owned() } else { format!("cassandra{node}") };
                servers.run(&["kill", &name]);
                while_down(2_000);
                servers.run(&["start", &name]);
            }
            Self::NetworkCut => {
                if let Some(namespace) = &fleet.namespace {
                    namespace.cut(SESSION + Duration::from_secs(3));
                }
            }
        }
        note("mended");
    }
}
