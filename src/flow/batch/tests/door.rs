//! A process that runs batches, and dies at one of its steps: from then on nothing that it does comes through.

use super::world::Store;
use crate::domain::{Aggregate, CorrelationKey, LogId, StreamId, TenantId};
use crate::flow::batch::runner::{Config, Parts, Runner};
use crate::flow::request::resolve::Resolver;
use crate::flow::request::seam::{Answered, Lane, NotTaken, OpenRequests, Watcher};
use crate::ports::index::{Error, Head, IndexRows, Known, OutcomeRef, Traced};
use crate::ports::journal::Recorded;
use crate::ports::letter::{Buried, DeadLetter, RedriveError, Redriven};
use crate::ports::topic::{self, Accepted, Delivery};
use crate::ports::{Index, Topics};
use async_trait::async_trait;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use uuid::Uuid;

const LOG: LogId = LogId { aggregate: Aggregate::LlmBatch, partition: 0 };

/// What the process reaches the world through.
struct Way {
    store: Arc<Store>,
    left: AtomicUsize,
    takes_effect: AtomicBool,
}

/// Whether a step comes through, and whether the process hears of it.
enum Step {
    Done,
    Unheard,
    Nothing,
}

impl Way {
    fn step(&self) -> Step {
        let before = self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| Some(left.saturating_sub(1)));
        match before {
            Ok(0) => Step::Nothing,
            Ok(1) if self.takes_effect.load(Ordering::Acquire) => Step::Unheard,
            Ok(1) => Step::Nothing,
            _ => Step::Done,
        }
    }

    fn read(&self) -> Result<(), Error> {
        match self.step() {
            Step::Done => Ok(()),
            _ => Err(Error::Unavailable("the process is dead".to_owned())),
        }
    }
}

/// See the module.
pub struct Door {
    way: Arc<Way>,
    runner: Runner,
}

impl Door {
    /// A process that owns the batch's log, with so many requests of a batch under way at most.
    pub fn open(store: &Arc<Store>, in_flight_max: usize) -> Self {
        let left = AtomicUsize::new(usize::MAX);
        let way = Arc::new(Way { store: store.clone(), left, takes_effect: AtomicBool::new(false) });
        let runner = Runner::new(Parts {
            index: way.clone(),
            topics: way.clone(),
            resolver: Resolver::new(way.clone(), 1.into(), store.clone()),
            open: way.clone(),
            clock: store.clone(),
            partitions: 1.into(),
            config: Config { in_flight_max, command_bytes_max: 1 << 20, record_every: Duration::from_secs(10) },
        });
        store.watch(Some(runner.clone()));
        runner.owned(LOG, way.clone());
        Self { way, runner }
    }

    /// Lets so many more steps but one through; the last one takes effect, or does not.
    pub fn die_after(&self, steps: usize, takes_effect: bool) {
        self.way.takes_effect.store(takes_effect, Ordering::Release);
        self.way.left.store(steps, Ordering::Release);
    }

    pub fn is_dead(&self) -> bool {
        self.way.left.load(Ordering::Acquire) == 0
    }

    /// The claim ends, and the process with it.
    pub async fn close(self) {
        self.way.store.watch(None);
        self.runner.released(LOG);
        self.runner.stop().await;
    }
}

#[async_trait]
impl Lane for Way {
    async fn send(&self, command: Arc<Accepted>) -> Result<Answered, NotTaken> {
        match self.step() {
            Step::Done => Ok(self.store.append(&command).await),
            Step::Unheard => {
                drop(self.store.append(&command).await);
                Err(NotTaken { unknown: true })
            }
            Step::Nothing => Err(NotTaken { unknown: true }),
        }
    }
}

#[async_trait]
impl OpenRequests for Way {
    async fn open(&self, _: LogId, found: &(dyn Fn(Vec<(StreamId, Arc<Head>)>) + Send + Sync)) -> Result<(), Error> {
        self.read()?;
        found(self.store.open());
        Ok(())
    }
}

#[async_trait]
impl Index for Way {
    async fn heads(&self, log: LogId, streams: &[StreamId]) -> Result<Vec<Option<Arc<Head>>>, Error> {
        self.read()?;
        self.store.heads(log, streams).await
    }
    async fn edges(&self, from: StreamId, after: Option<StreamId>, edges_max: usize) -> Result<Vec<StreamId>, Error> {
        self.read()?;
        self.store.edges(from, after, edges_max).await
    }
    async fn history(&self, stream: StreamId, before: u64, records_max: usize) -> Result<Vec<Recorded>, Error> {
        self.read()?;
        self.store.history(stream, before, records_max).await
    }
    async fn apply(&self, _: LogId, _: IndexRows, _: u64) -> Result<(), Error> {
        unreachable!()
    }
    async fn applied_to(&self, _: LogId) -> Result<u64, Error> {
        unreachable!()
    }
    async fn known(&self, _: StreamId, _: Uuid) -> Result<Option<Known>, Error> {
        unreachable!()
    }
    async fn outcome(&self, _: TenantId, _: Uuid) -> Result<Option<OutcomeRef>, Error> {
        unreachable!()
    }
    async fn trace(&self, _: CorrelationKey, _: usize) -> Result<Vec<Traced>, Error> {
        unreachable!()
    }
}

#[async_trait]
impl Topics for Way {
    /// Command by command: a process can die between two of a page.
    async fn produce(&self, commands: Vec<Arc<Accepted>>, _: topic::Lane) -> Result<(), topic::Error> {
        for command in commands {
            let step = self.step();
            if !matches!(step, Step::Nothing) {
                drop(self.store.append(&command).await);
            }
            if !matches!(step, Step::Done) {
                return Err(topic::Error::Unavailable("the process is dead".to_owned()));
            }
        }
        Ok(())
    }
    async fn poll(&self, _: LogId, _: u64, _: usize) -> Result<Vec<Delivery>, topic::Error> {
        std::future::pending().await
    }
    async fn publish(&self, _: LogId, _: Arc<[Recorded]>) -> Result<(), topic::Error> {
        unreachable!()
    }
    async fn follow(&self, _: LogId, _: u64, _: usize) -> Result<Vec<Recorded>, topic::Error> {
        unreachable!()
    }
    async fn bury(&self, _: DeadLetter) -> Result<(), topic::Error> {
        unreachable!()
    }
    async fn dead_letters(&self, _: u64, _: usize) -> Result<Vec<(u64, Buried)>, topic::Error> {
        unreachable!()
    }
    async fn dead_letter(&self, _: u64) -> Result<Option<Buried>, topic::Error> {
        unreachable!()
    }
    async fn redrive(&self, _: u64, _: bool) -> Result<Redriven, RedriveError> {
        unreachable!()
    }
}
