//! Moving up: a folder's fleet becomes a cluster's, while `agentverse dev` works on the folder.
//!
//! ```text
//! folder ──► read what is synced ──► append, as it is ──► read back: count, check the chain, index ──► again, until near
//!                                                                                                        │ --switch
//!   marked as moved ◄── hand over what waits ◄── both sides equal? ◄── derived_to ◄── the rest ◄── the lock is ours
//! ```
//!
//! - **The chain is the proof.** Records keep log, position, bytes and hash. The fleet must be empty or hold the beginning
//!   of this very folder, which its head's hash proves; so a move that broke off anywhere goes on by running it again, and
//!   no progress is kept elsewhere. The folder is read from its beginning each time: the disk is much faster than the
//!   database, and every link is checked on the way.
//! - **Whoever writes to the fleet's logs meanwhile is found out.** Every log is claimed, after the comparison and not
//!   before it; a role that claims one back fences this run off.
//! - **The switch is short.** What is copied is read back, checked, counted and indexed at once, while `dev` works, not at
//!   the end: when its process ends only the last second is left. The fleet's `derived_to` remembers how far the index is
//!   and never passes the folder's own: what the folder still owes (reactions, outcomes) the fleet's derivers do.
//! - **Nothing is in two places.** Verification comes before the commands are handed over, for only then is there
//!   something to lose; and MOVED, which keeps `dev` from opening the folder, is written before the first of them.
//!   Handed over twice they are decided once, by their ids.
//!
//! Offsets do not move: the fleet's topics begin at 0, so `consumed` is 0 in every log. The events topics do not get the
//! history. Views are filled by the projectors, from the log.

mod error;
mod fleet;
mod report;
mod source;
mod switch;
mod target;

pub use error::{Error, Trouble};
pub use report::{Line, LogReport, Report};

use crate::adapters::embedded::{FolderError, Layout, Lock, Moved, Tail};
use crate::domain::{Aggregate, LogId, Partitions};
use crate::ports::clock::{Clock, SystemClock};
use crate::ports::{Index, Journal, Topics};
use crate::runtime::cluster::Links;
use crate::runtime::settings::Settings;
use fleet::LOGS_IN_FLIGHT;
use futures::stream::{self, StreamExt, TryStreamExt};
use source::{Round, Source};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use switch::Buried;
use target::{Stores, Target};
use tokio_util::sync::CancellationToken;

/// The folder is near when it is no more than this ahead.
const NEAR_BYTES: u64 = 1 << 20;

/// What to do.
#[derive(Clone, Debug)]
pub struct Options {
    pub data: PathBuf,
    /// End the folder's process and finish the move.
    pub switch: bool,
    /// How long the folder's process may take to end.
    pub stop_max: Duration,
}

/// What a run does now, for whoever watches.
#[derive(Clone, Copy, Debug)]
pub enum Told {
    /// The fleet holds something: is it this folder's?
    Comparing,
    /// What is there already is read back.
    Checking {
        records: u64,
    },
    /// Bytes of the folder that were read, bytes that it has, and records that were copied.
    Copied {
        bytes: u64,
        of: u64,
        records: u64,
    },
    /// The folder's process was told to end, or has to be, by whoever started it.
    Stopping {
        pid: Option<u32>,
    },
    HandingOver {
        commands: u64,
    },
}

/// The ports of the fleet that a folder moves to.
pub struct Fleet {
    pub journal: Arc<dyn Journal>,
    pub index: Arc<dyn Index>,
    pub topics: Arc<dyn Topics>,
}

/// Moves a folder, until told to stop.
///
/// # Errors
/// In words that say what to do; see [`Error::trouble`]. Running it again is always right.
pub async fn run(
    options: &Options,
    settings: &Settings,
    stop: &CancellationToken,
    tell: &(dyn Fn(Told) + Sync),
) -> Result<Report, Error> {
    tokio::select! {
        biased;
        () = stop.cancelled() => Err(Error::Stopped),
        report = connect_and_move(options, settings, tell) => report,
    }
}

async fn connect_and_move(
    options: &Options,
    settings: &Settings,
    tell: &(dyn Fn(Told) + Sync),
) -> Result<Report, Error> {
    // Before any server is asked: what cannot be is said at once.
    let layout = folder(&options.data, settings)?;
    let links = Links::open(settings).await?;
    let fleet = Fleet { journal: links.journal.clone(), index: links.index.clone(), topics: links.topics.clone() };
    move_up(options, settings, layout, &fleet, tell).await
}

/// The folder, where nothing stands against moving it to this fleet.
fn folder(path: &Path, settings: &Settings) -> Result<Layout, Error> {
    let missing = || Error::Missing(path.to_owned());
    let layout = match path.is_dir() {
        true => Layout::existing(path)?.ok_or_else(missing)?,
        false => return Err(missing()),
    };
    let asked = name(settings);
    match Moved::read(&layout)? {
        Some(Moved { to, finished: true }) => return Err(Error::Moved { path: path.to_owned(), to }),
        Some(Moved { to, .. }) if to != asked => return Err(Error::Elsewhere { path: path.to_owned(), to, asked }),
        _ => {}
    }
    let (folder, fleet) = (layout.partitions, settings.fleet_partitions());
    match Aggregate::ALL.iter().find(|aggregate| fleet.of(**aggregate) != folder) {
        Some(aggregate) => Err(Error::Partitions { folder, aggregate: aggregate.name(), fleet: fleet.of(*aggregate) }),
        None => Ok(layout),
    }
}

/// The fleet in words that tell it from others.
fn name(settings: &Settings) -> String {
    let Settings { scylla_keyspace, scylla_nodes, topic_prefix, kafka_brokers, .. } = settings;
    format!("keyspace {scylla_keyspace} on {scylla_nodes} and topics {topic_prefix}agentverse.* on {kafka_brokers}")
}

async fn move_up(
    options: &Options,
    settings: &Settings,
    layout: Layout,
    fleet: &Fleet,
    tell: &(dyn Fn(Told) + Sync),
) -> Result<Report, Error> {
    let mut moving = Moving::begin(settings, layout, fleet, tell).await?;
    moving.catch_up().await?;
    if !options.switch {
        return moving.report(false, 0);
    }
    if !moving.source.is_held() {
        let lock = switch::take(&moving.layout, options.stop_max, tell).await?;
        moving.source.hold(Arc::new(lock))?;
    }
    moving.finish().await
}

/// A move under way.
struct Moving<'a> {
    layout: Layout,
    name: String,
    source: Source,
    targets: Vec<Target>,
    fleet: &'a Fleet,
    stores: Stores,
    buried: Buried,
    copied: u64,
    tell: &'a (dyn Fn(Told) + Sync),
}

impl<'a> Moving<'a> {
    /// Compares, claims, and reads back what is there.
    async fn begin(
        settings: &Settings,
        layout: Layout,
        fleet: &'a Fleet,
        tell: &'a (dyn Fn(Told) + Sync),
    ) -> Result<Self, Error> {
        let partitions = Partitions::from(layout.partitions);
        let states = fleet::states(&*fleet.journal, partitions).await?;
        // Where nobody has the folder it is kept so: then its whole end can be trusted.
        let lock = free(&layout)?;
        if states.values().any(|state| state.head > 0) {
            tell(Told::Comparing);
            let mut folder = open(&layout, partitions, lock.clone())?;
            tokio::task::block_in_place(|| fleet::compare(&mut folder, &states))?;
        }
        let stores = Stores {
            journal: fleet.journal.clone(),
            index: fleet.index.clone(),
            batch_bytes_max: settings.scylla_batch_bytes_max,
            batch_records_max: settings.batch_records_max,
        };
        let claims = stream::iter(partitions.logs().map(|log| Target::claim(log, &stores)));
        let mut targets: Vec<Target> = claims.buffer_unordered(LOGS_IN_FLIGHT).try_collect().await?;
        targets.sort_by_key(|target| target.log);
        tell(Told::Checking { records: targets.iter().map(Target::head).sum() });
        each(targets.iter_mut().map(|target| target.read_back(&stores))).await?;
        let buried = Buried::read_patiently(&*fleet.topics).await?;
        let source = open(&layout, partitions, lock)?;
        let name = name(settings);
        Ok(Self { layout, name, source, targets, fleet, stores, buried, copied: 0, tell })
    }

    /// Copies what the folder has until little is left; where nobody else writes, all of it.
    async fn catch_up(&mut self) -> Result<(), Error> {
        loop {
            // The runtime has other threads; this one has nothing to do but to read.
            let round = tokio::task::block_in_place(|| self.source.round())?;
            let (last, nothing) = (round.last, round.parts.is_empty());
            self.copy(round).await?;
            let (left, of) = self.source.distance()?;
            (self.tell)(Told::Copied { bytes: of.saturating_sub(left), of, records: self.copied });
            let near = !self.source.is_held() && left <= NEAR_BYTES;
            if last && (nothing || near || self.source.is_held()) {
                return Ok(());
            }
        }
    }

    async fn copy(&mut self, mut round: Round) -> Result<(), Error> {
        let before: u64 = self.targets.iter().map(Target::head).sum();
        let (stores, source) = (&self.stores, &self.source);
        let filling = self.targets.iter_mut().filter_map(|target| {
            let part = round.parts.remove(&target.log)?;
            let derived_to = source.logs.get(&target.log).map_or(0, |log| log.derived_to);
            Some(async move { target.fill(&part, derived_to, stores).await })
        });
        each(filling).await?;
        self.copied += self.targets.iter().map(Target::head).sum::<u64>() - before;
        for letter in round.letters {
            self.buried.bury(letter, &*self.fleet.topics).await?;
        }
        Ok(())
    }

    /// The rest, under the folder's lock.
    async fn finish(mut self) -> Result<Report, Error> {
        self.catch_up().await?;
        let (stores, source) = (&self.stores, &self.source);
        each(self.targets.iter_mut().map(|target| {
            let derived_to = source.logs.get(&target.log).map_or(0, |log| log.derived_to);
            target.settle(derived_to, stores)
        }))
        .await?;
        each(self.targets.iter().map(|target| target.confirm(stores))).await?;
        let unequal = self.report(false, 0)?.logs.iter().filter(|log| !log.equal).count();
        if unequal > 0 {
            return Err(Error::Unequal(unequal));
        }
        let moved = |finished| Moved { to: self.name.clone(), finished };
        moved(false).write(&self.layout)?;
        let commands = self.source.waiting().count() as u64;
        (self.tell)(Told::HandingOver { commands });
        let now = SystemClock.now();
        let topics = &*self.fleet.topics;
        let sent = switch::hand_over(self.source.waiting(), topics, &mut self.buried, now).await?;
        moved(true).write(&self.layout)?;
        self.report(true, sent)
    }

    fn report(&self, moved: bool, commands_handed_over: u64) -> Result<Report, Error> {
        let line = |target: &Target| {
            let folder = self.source.logs.get(&target.log).map(|log| log.tally).unwrap_or_default();
            let equal = folder == target.tally;
            LogReport { log: target.log.to_string(), id: target.log, folder, fleet: target.tally, equal }
        };
        Ok(Report {
            moved,
            fleet: self.name.clone(),
            partitions: self.layout.partitions,
            logs: self.targets.iter().map(line).collect(),
            records: self.targets.iter().map(Target::head).sum(),
            records_copied: self.copied,
            bytes_left: self.source.distance()?.0,
            commands_handed_over,
            dead_letters_handed_over: self.buried.count,
        })
    }
}

/// The folder's lock, where no process has it.
fn free(layout: &Layout) -> Result<Option<Arc<Lock>>, Error> {
    match layout.lock() {
        Ok(lock) => Ok(Some(Arc::new(lock))),
        Err(FolderError::Locked(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn open(layout: &Layout, partitions: Partitions, lock: Option<Arc<Lock>>) -> Result<Source, Error> {
    let logs: Vec<LogId> = partitions.logs().collect();
    let mut source = Source::new(Tail::new(layout), logs);
    if let Some(lock) = lock {
        source.hold(lock)?;
    }
    Ok(source)
}

/// Works on some logs at a time.
async fn each(work: impl Iterator<Item = impl Future<Output = Result<(), Error>>>) -> Result<(), Error> {
    stream::iter(work).buffer_unordered(LOGS_IN_FLIGHT).try_collect().await
}
