//! Merge: one reader of many logs, each from its own position, in one sequence.
//!
//! Within a log the order is the log's. Across logs it is by `recorded_at`, as far as what is published can be seen: the
//! record that is given next is the oldest of those that come next in their logs. A record that is published later than
//! another log's younger one comes later; nothing waits for a log that is silent, and nothing can, for no log says how
//! old its next record will be. Where a reader stands is therefore one position for each log ([`Subscription::positions`])
//! and no time: only that is exact.
//!
//! What is held is bounded: each log has its share of `bytes_max`, and what is not taken is not read ahead.

use super::page::{Page, Room};
use super::{Feed, Hold, Shared};
use crate::domain::record::Record;
use crate::domain::{LogId, Micros};
use crate::ports::journal::Recorded;
use crate::ports::topic::Error;
use futures::stream::{self, StreamExt};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Pages read at a time.
const READS_MAX: usize = 8;
/// Records of a page: no page looks at fewer, nor at more.
const PAGE_MIN: usize = 8;
const PAGE_MAX: usize = 500;
/// What a record takes, to begin with: how many make a page.
const RECORD_BYTES_GUESS: usize = 1024;
/// While there is something to give, other logs are looked at this often.
const SWEEP: Duration = Duration::from_millis(5);
/// A reader that is less far back is not told: one that must read the journal only met the moment in which the feed began
/// to keep a log.
const BEHIND_MIN: u64 = 256;
/// A reader whose next record is older than this is late, wherever it is read from.
const LATE: Micros = 5_000_000;

/// Which records a reader wants.
pub type Wanted = Arc<dyn Fn(&Record) -> bool + Send + Sync>;

/// What a reader asks for.
pub struct Subscribe {
    /// Logs, each once, and the position after which the reader goes on.
    pub logs: Vec<(LogId, u64)>,
    /// Where it ends, in the order of `logs`: read from the log up to there, published or not. `None`: it goes on.
    pub until: Option<Vec<u64>>,
    pub wanted: Wanted,
    /// Most bytes that it holds, and one record of each log.
    pub bytes_max: usize,
    /// Whether it comes back to where it was: then it is told how far back that is.
    pub is_resumed: bool,
}

/// How far back a reader is that did not keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behind {
    /// Records of its logs that are published and not looked at.
    pub records: u64,
    /// When the next one that it gets was recorded, where that is known.
    pub oldest: Option<Micros>,
}

/// A reader of many logs.
pub struct Subscription {
    shared: Arc<Shared>,
    news: watch::Receiver<()>,
    lanes: Vec<Lane>,
    /// The lanes that hold a record, by the time of the first.
    next: BinaryHeap<Reverse<(Micros, usize)>>,
    wanted: Wanted,
    room: Room,
    swept: Option<Instant>,
    /// A lane is empty and its log has more.
    is_hungry: bool,
    /// It has had everything once, or since it fell behind.
    is_live: bool,
    /// It is told when it falls behind: from when it was live, or comes back, until it was told.
    is_unwarned: bool,
    behind: bool,
    _hold: Option<Hold>,
}

/// A log, as one reader sees it.
struct Lane {
    log: LogId,
    place: usize,
    /// All that is wanted up to here was given.
    at: u64,
    /// Up to here was looked.
    looked: u64,
    end: Option<u64>,
    held: VecDeque<Recorded>,
}

impl Lane {
    /// Where there is more to look at, up to where.
    fn more(&self, shared: &Shared) -> Option<u64> {
        let end = self.end.unwrap_or_else(|| shared.published(self.place));
        (end > self.looked).then_some(end)
    }
}

impl Feed {
    /// Reads many logs from a position each.
    ///
    /// # Errors
    /// When the fleet has no such log, or the journal cannot be read.
    pub async fn subscribe(&self, ask: Subscribe) -> Result<Subscription, Error> {
        let Subscribe { logs, until, wanted, bytes_max, is_resumed } = ask;
        let mut lanes = Vec::with_capacity(logs.len());
        for (number, (log, after)) in logs.into_iter().enumerate() {
            let end = until.as_ref().and_then(|until| until.get(number).copied());
            let place = self.shared.place(log)?;
            lanes.push(Lane { log, place, at: after, looked: after, end, held: VecDeque::new() });
        }
        // Before the first look: what is published from now on is heard of.
        let news = self.shared.news.subscribe();
        // What ends where the logs end now is all in the journal.
        let hold = match until {
            Some(_) => None,
            None => Some(self.shared.hold(lanes.iter().map(|lane| (lane.log, lane.place)).collect()).await?),
        };
        let share = bytes_max / lanes.len().max(1);
        let room =
            Room { records_max: (share / RECORD_BYTES_GUESS).clamp(PAGE_MIN, PAGE_MAX), bytes_max: share.max(1) };
        Ok(Subscription {
            shared: self.shared.clone(),
            news,
            lanes,
            next: BinaryHeap::new(),
            wanted,
            room,
            swept: None,
            is_hungry: false,
            is_live: false,
            is_unwarned: is_resumed,
            behind: false,
            _hold: hold,
        })
    }
}

impl Subscription {
    /// The next record that is there to be given; `None` where the reader has everything. Cancel-safe.
    ///
    /// # Errors
    /// When the journal cannot be read; the same call can be made again.
    pub async fn ready(&mut self) -> Result<Option<Recorded>, Error> {
        let is_stale = self.swept.is_none_or(|swept| swept.elapsed() >= SWEEP);
        if self.is_hungry || self.next.is_empty() || is_stale {
            self.fill().await?;
        }
        match self.next.peek() {
            None => (self.is_live, self.is_unwarned) = (true, true),
            Some(Reverse((recorded_at, _))) => self.heed(self.shared.clock.now() - recorded_at >= LATE),
        }
        Ok(self.pop())
    }

    /// The next record, where it is held already and in its turn.
    pub fn at_hand(&mut self) -> Option<Recorded> {
        if self.is_hungry { None } else { self.pop() }
    }

    fn pop(&mut self) -> Option<Recorded> {
        let Reverse((_, number)) = self.next.pop()?;
        let lane = &mut self.lanes[number];
        let recorded = lane.held.pop_front()?;
        lane.at = recorded.record.position;
        match lane.held.front() {
            Some(next) => self.next.push(Reverse((next.record.recorded_at, number))),
            None => {
                // What was not wanted needs no second look.
                lane.at = lane.looked;
                self.is_hungry |= lane.more(&self.shared).is_some();
            }
        }
        Some(recorded)
    }

    /// Whether it has had everything once, and kept up since.
    pub fn is_live(&self) -> bool {
        self.is_live
    }

    /// Waits until something was published.
    pub async fn news(&mut self) {
        if self.news.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether it has come to its end.
    pub fn is_over(&self) -> bool {
        self.lanes.iter().all(|lane| lane.held.is_empty() && lane.end.is_some_and(|end| lane.looked >= end))
    }

    /// Where the reader stands: all that it wants up to these positions was given to it, and nothing after them. In the
    /// order of [`Subscribe::logs`].
    pub fn positions(&self) -> impl Iterator<Item = u64> {
        self.lanes.iter().map(|lane| lane.at)
    }

    /// Notes that the reader fell behind, where that is so and it was not told.
    fn heed(&mut self, is_late: bool) {
        if is_late && self.is_unwarned && self.lag() >= BEHIND_MIN {
            (self.is_live, self.is_unwarned, self.behind) = (false, false, true);
        }
    }

    /// Once each time that the reader was up to date, or came back, and is so far back that memory does not have what
    /// comes next, or that this is seconds old.
    pub fn fell_behind(&mut self) -> Option<Behind> {
        if !std::mem::take(&mut self.behind) {
            return None;
        }
        let oldest = self.next.peek().map(|Reverse((recorded_at, _))| *recorded_at);
        Some(Behind { records: self.lag(), oldest })
    }

    /// Records of its logs that are published and were not given or passed over.
    fn lag(&self) -> u64 {
        self.lanes.iter().map(|lane| self.shared.published(lane.place).saturating_sub(lane.at)).sum()
    }

    /// Looks on in every log of which nothing is held, until there is something wanted or nothing more.
    async fn fill(&mut self) -> Result<(), Error> {
        self.swept = Some(Instant::now());
        self.news.mark_unchanged();
        loop {
            let lanes = self.lanes.iter().enumerate().filter(|(_, lane)| lane.held.is_empty());
            let hungry: Vec<_> = lanes.filter_map(|(number, lane)| Some((number, lane.more(&self.shared)?))).collect();
            self.is_hungry = !hungry.is_empty();
            if hungry.is_empty() {
                return Ok(());
            }
            let reads: Vec<_> = hungry.into_iter().map(|(number, end)| self.read(number, end)).collect();
            let mut reads = stream::iter(reads).buffer_unordered(READS_MAX);
            while let Some((number, page)) = reads.next().await {
                self.hold(number, page?);
            }
        }
    }

    fn read(&self, number: usize, end: u64) -> impl Future<Output = (usize, Result<Page, Error>)> + Send + use<> {
        let (shared, wanted, room) = (self.shared.clone(), self.wanted.clone(), self.room);
        let (log, place, looked) = (self.lanes[number].log, self.lanes[number].place, self.lanes[number].looked);
        async move { (number, shared.page((log, place), looked, end, room, &*wanted).await) }
    }

    fn hold(&mut self, number: usize, page: Page) {
        self.heed(page.is_from_log);
        let lane = &mut self.lanes[number];
        lane.looked = page.through;
        lane.held = page.records.into();
        match lane.held.front() {
            Some(first) => self.next.push(Reverse((first.record.recorded_at, number))),
            None => lane.at = lane.looked,
        }
    }
}
