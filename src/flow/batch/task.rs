//! One batch under way: submit, look, record, until every request has ended.

use super::lines::Lines;
use super::make::{Made, Maker, error, too_large};
use super::runner::{Shared, Word};
use super::say;
use super::stand::{Stand, refusal, stands};
use super::survey::survey;
use super::tally::{End, Tally};
use crate::domain::llm_batch::{Command, EndBatch, RecordBatchProgress, State, request_stream};
use crate::domain::llm_request::{self, Operation};
use crate::domain::wire::WireError;
use crate::domain::{Micros, StreamId, TenantId};
use crate::flow::request::seam::{Answered, Lane};
use crate::ports::topic::Accepted;
use crate::ports::{index, topic};
use Trouble::NotOurs;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Requests that are read and submitted together.
const PAGE: usize = 100;
/// Requests of a page that are resolved at a time.
const RESOLVED_AT_ONCE: usize = 16;
/// Between two looks: at first, and at most.
const LOOK: Duration = Duration::from_millis(100);
const LOOK_MAX: Duration = Duration::from_secs(2);
/// Which part of what a command may make the errors in one record of progress may be.
const ERRORS_SHARE: usize = 4;
/// How long after the window's end a request is waited for of which no log knows anything.
const GRACE: Micros = 600 * 1_000_000;

/// Why a step could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The claim ended, or the log says that the batch is another's work by now.
    #[error("the batch is not this process's any more")]
    NotOurs,
    #[error(transparent)]
    Index(#[from] index::Error),
    #[error(transparent)]
    Topics(#[from] topic::Error),
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("the index does not show the whole file yet")]
    NotYet,
}

/// What is done with requests that nobody has submitted yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Submit,
    Cancel,
    Expire,
}

/// See the module.
pub struct Task {
    shared: Arc<Shared>,
    batch: StreamId,
    lane: Arc<dyn Lane>,
    word: Arc<Word>,
    operation: Operation,
    expires_at: Micros,
    requests: i64,
    parts: i64,
    lines: Option<Lines>,
    tally: Tally,
    /// Requests beyond the ones that the index knows which a predecessor may have submitted all the same.
    unsure: usize,
    /// Whether this process saw the batch begin: nobody else has submitted anything of it.
    is_first: bool,
    cancelled: BTreeSet<i64>,
    recorded: Instant,
}

impl Task {
    /// `None` where the batch does not run.
    pub fn new(
        shared: Arc<Shared>,
        batch: StreamId,
        state: &State,
        lane: Arc<dyn Lane>,
        word: Arc<Word>,
    ) -> Option<Self> {
        let run = state.run.as_ref().filter(|_| state.is_running())?;
        let is_first = word.is_first;
        Some(Self {
            tally: Tally::of(run, shared.config.command_bytes_max / ERRORS_SHARE),
            operation: run.operation,
            expires_at: run.expires_at,
            requests: state.file.requests,
            parts: state.file.parts,
            lines: None,
            unsure: if is_first { 0 } else { shared.config.in_flight_max },
            is_first,
            cancelled: BTreeSet::new(),
            recorded: Instant::now(),
            shared,
            batch,
            lane,
            word,
        })
    }

    pub fn tenant(&self) -> TenantId {
        self.batch.tenant
    }

    /// How long until the window's end.
    pub fn expires_in(&self) -> Duration {
        let left = self.expires_at.saturating_sub(self.shared.clock.now());
        Duration::from_micros(u64::try_from(left).unwrap_or_default())
    }

    /// Goes on until the batch has ended, or is another's.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut pause = LOOK;
        loop {
            let before = (self.tally.next(), self.tally.open().len());
            match self.step(&stop).await {
                Ok(true) | Err(NotOurs) => return,
                Ok(false) if before != (self.tally.next(), self.tally.open().len()) => pause = LOOK,
                Ok(false) => pause = (pause * 2).min(LOOK_MAX),
                Err(Trouble::NotYet) => {}
                Err(error) => {
                    tracing::warn!(batch = %self.batch, %error, "a batch waits; it is tried again");
                    pause = LOOK_MAX;
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.word.told.notified() => pause = LOOK,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn mode(&self) -> Mode {
        if self.word.is_cancelled.load(Ordering::Acquire) {
            Mode::Cancel
        } else if self.shared.clock.now() >= self.expires_at {
            Mode::Expire
        } else {
            Mode::Submit
        }
    }

    /// One round; whether it was the last.
    async fn step(&mut self, stop: &CancellationToken) -> Result<bool, Trouble> {
        let mode = self.mode();
        self.look(mode).await?;
        match mode {
            Mode::Submit => self.submit(stop).await?,
            Mode::Cancel | Mode::Expire => self.give_up(mode, stop).await?,
        }
        if mode == Mode::Cancel {
            self.cancel().await?;
        }
        self.record().await
    }

    /// Looks what became of the requests under way.
    async fn look(&mut self, mode: Mode) -> Result<(), Trouble> {
        let open: Vec<i64> = self.tally.open().iter().copied().collect();
        let is_over = self.shared.clock.now() >= self.expires_at.saturating_add(GRACE);
        for page in open.chunks(2 * PAGE) {
            for (number, stand) in self.stands(page.iter().copied()).await? {
                let end = match stand {
                    Stand::Unknown if mode == Mode::Expire && is_over => Some(End::Expired),
                    Stand::Unknown => None,
                    stand => self.end(number, stand, mode).await?,
                };
                if let Some(end) = end {
                    self.tally.settle(number, end);
                }
            }
        }
        Ok(())
    }

    async fn stands(&self, numbers: impl IntoIterator<Item = i64>) -> Result<Vec<(i64, Stand)>, index::Error> {
        stands(&*self.shared.index, self.shared.partitions, &self.batch, numbers).await
    }

    /// How a request that its log knows of has ended; `None` while it runs.
    async fn end(&self, number: i64, stand: Stand, mode: Mode) -> Result<Option<End>, Trouble> {
        use llm_request::Status::{Completed, Expired};
        let state = match stand {
            Stand::Known(state) => state,
            Stand::Unknown => return Ok(None),
            Stand::Refused => {
                let rejection = refusal(&*self.shared.index, request_stream(&self.batch, number)).await?;
                // What was cancelled before it was there has no error of its own.
                let is_none = mode == Mode::Cancel && rejection.code == "not_found";
                return Ok(Some(End::Failed((!is_none).then(|| error(number, rejection)))));
            }
        };
        Ok(match state.status {
            _ if state.is_running() => None,
            Completed => Some(End::Completed),
            Expired => Some(End::Expired),
            _ => Some(End::Failed(None)),
        })
    }

    /// Submits as many requests as may be under way.
    async fn submit(&mut self, stop: &CancellationToken) -> Result<(), Trouble> {
        while self.tally.next() <= self.requests && !stop.is_cancelled() {
            let room = self.shared.config.in_flight_max.saturating_sub(self.tally.open().len());
            if room == 0 {
                break;
            }
            let first = self.tally.next();
            let page = self.lines().await?.page(first, room.min(PAGE)).await?;
            if page.is_empty() {
                return Err(Trouble::NotYet);
            }
            let known =
                if self.is_first { Vec::new() } else { self.stands(page.iter().map(|(number, _)| *number)).await? };
            let mut known = known.into_iter().map(|(_, stand)| stand);
            let mut places = Vec::with_capacity(page.len());
            for (number, text) in page {
                places.push(match known.next().unwrap_or(Stand::Unknown) {
                    Stand::Unknown => Place::New(number, text),
                    stand => Place::Known(self.end(number, stand, Mode::Submit).await?),
                });
            }
            self.send(places).await?;
        }
        Ok(())
    }

    /// Submits what is new of a page, and notes the rest. All of it, or nothing.
    async fn send(&mut self, places: Vec<Place>) -> Result<(), Trouble> {
        let made: Vec<Made> = {
            let maker = Maker {
                shared: &self.shared,
                batch: self.batch,
                operation: self.operation,
                expires_at: self.expires_at,
            };
            let maker = &maker;
            let made = stream::iter(places).map(async |place| match place {
                Place::Known(end) => Ok(Made::Known(end)),
                Place::New(number, text) => maker.request(number, &text).await,
            });
            made.buffered(RESOLVED_AT_ONCE).try_collect().await?
        };
        let commands = made.iter().filter_map(Made::command).collect();
        let refused = self.produce(commands).await?;
        for (number, made) in (self.tally.next()..).zip(made) {
            match made {
                Made::Known(None) => self.tally.begin(),
                Made::Known(Some(end)) => self.tally.skip(end),
                Made::New(command) if refused.contains(&command.envelope.stream) => {
                    self.tally.skip(End::Failed(Some(error(number, too_large()))));
                }
                Made::New(_) => self.tally.begin(),
            }
        }
        Ok(())
    }

    /// Produces commands; gives the streams of those that are larger than their topic takes.
    async fn produce(&self, commands: Vec<Arc<Accepted>>) -> Result<Vec<StreamId>, Trouble> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let (topics, system) = (&self.shared.topics, topic::Lane::System);
        match topics.produce(commands.clone(), system).await {
            Ok(()) => return Ok(Vec::new()),
            Err(topic::Error::TooLarge(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let mut refused = Vec::new();
        for command in commands {
            let stream = command.envelope.stream;
            match topics.produce(vec![command], system).await {
                Ok(()) => {}
                Err(topic::Error::TooLarge(_)) => refused.push(stream),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(refused)
    }

    async fn lines(&mut self) -> Result<&mut Lines, Trouble> {
        let lines = match self.lines.take() {
            Some(lines) => lines,
            None => {
                let index = self.shared.index.clone();
                let found = survey(&*index, self.batch).await?;
                // The batch is told of before the index shows the file's last parts.
                if (found.parts.len() as i64) < self.parts {
                    return Err(Trouble::NotYet);
                }
                Lines::new(index, self.batch, found.parts)
            }
        };
        Ok(self.lines.insert(lines))
    }

    /// Submits nothing any more: what nobody submitted has ended.
    async fn give_up(&mut self, mode: Mode, stop: &CancellationToken) -> Result<(), Trouble> {
        let end = if mode == Mode::Expire { End::Expired } else { End::Failed(None) };
        while self.tally.next() <= self.requests && !stop.is_cancelled() {
            if self.is_first {
                self.tally.skip(end.clone());
                continue;
            }
            let first = self.tally.next();
            let last = self.requests.min(first + PAGE as i64 - 1);
            for (number, stand) in self.stands(first..=last).await? {
                match stand {
                    // A predecessor's command may be on its way: the cancellation goes the same way, and comes after it.
                    // One that comes after its deadline ends by itself.
                    Stand::Unknown if mode == Mode::Cancel && self.unsure > 0 => {
                        self.unsure -= 1;
                        self.tally.begin();
                    }
                    Stand::Unknown => self.tally.skip(end.clone()),
                    stand => match self.end(number, stand, mode).await? {
                        Some(end) => self.tally.skip(end),
                        None => self.tally.begin(),
                    },
                }
            }
        }
        Ok(())
    }

    /// Cancels what is under way, each request once.
    async fn cancel(&mut self) -> Result<(), Trouble> {
        let open: Vec<i64> = self.tally.open().difference(&self.cancelled).copied().collect();
        for page in open.chunks(PAGE) {
            let commands = page.iter().map(|number| say::cancel(&self.batch, request_stream(&self.batch, *number)));
            self.produce(commands.collect::<Result<_, _>>()?).await?;
            self.cancelled.extend(page);
        }
        Ok(())
    }

    /// Records how far the batch is, where that is due; whether it has ended.
    async fn record(&mut self) -> Result<bool, Trouble> {
        loop {
            self.tally.advance();
            let progress = self.tally.progress().clone();
            if progress.line >= self.requests {
                self.say(Command::EndBatch(EndBatch { progress })).await?;
                return Ok(true);
            }
            let (untold, share) = (self.tally.untold(), (self.requests / 20).max(1));
            let is_due = untold >= share || self.recorded.elapsed() >= self.shared.config.record_every;
            if untold == 0 || !(is_due || self.tally.is_full()) {
                return Ok(false);
            }
            self.say(Command::RecordBatchProgress(RecordBatchProgress { progress })).await?;
            self.recorded = Instant::now();
            self.tally.tell();
        }
    }

    async fn say(&self, command: Command) -> Result<(), Trouble> {
        let command = say::own(&self.batch, command, self.shared.clock.now())?;
        match self.lane.send(command).await {
            Ok(Answered::Applied | Answered::Unchanged | Answered::Repeated) => Ok(()),
            Ok(Answered::Refused(rejection)) => {
                tracing::warn!(batch = %self.batch, %rejection.code, "a batch is not as it was taken for; it is left alone");
                Err(NotOurs)
            }
            // Whoever claims the log goes on from what is on record.
            Err(_) => Err(NotOurs),
        }
    }
}

/// A request of a page, before its line was looked at.
enum Place {
    Known(Option<End>),
    New(i64, String),
}
