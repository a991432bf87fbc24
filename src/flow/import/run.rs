//! The run of an import: batches in, a few under way at a time, what became of them told in their order.

use super::entry::{Fault, Item, Refused};
use super::passed;
use super::places::Places;
use super::report::{Event, Fate, Progress, Report, Told};
use super::wanted::Wanted;
use super::{ImportSettings, Order, Retire};
use crate::domain::{Aggregate, StreamId};
use crate::flow::gateway::Gateway;
use crate::flow::query::{self, ListQuery, Query};
use futures::stream::{Stream, StreamExt as _};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;

/// Most bytes of entries in one batch, unless a single one has more.
pub const BATCH_BYTES_MAX: usize = 1 << 20;
/// Providers that are read together, with all their models.
const PROVIDERS_PAGE: usize = 50;

/// Why an import ended before its end: a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended(pub String);

impl Ended {
    pub fn stopped() -> Self {
        Self("the node is stopping; import the same again to finish it".into())
    }
}

impl From<query::Error> for Ended {
    fn from(error: query::Error) -> Self {
        tracing::warn!(%error, "an import could not read what is there");
        Self("what is there could not be read; import the same again to finish it, and see the log".into())
    }
}

/// Entries that came together, and the bytes of the body that were read for them.
#[derive(Debug, Default)]
pub struct Batch {
    pub entries: Vec<Result<Item, Refused>>,
    /// What was passed over and is only told of.
    pub passed: Vec<Told>,
    pub bytes: u64,
}

/// Carries an import out.
pub struct Engine {
    pub gateway: Arc<Gateway>,
    pub query: Arc<Query>,
    /// Makes the ids of commands.
    pub ids: Arc<dyn Fn() -> Uuid + Send + Sync>,
    pub settings: ImportSettings,
    /// How long the outcome of a batch is waited for.
    pub wait: Duration,
    pub order: Order,
}

/// What came so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The ids of the entries, with their lines; of a part [`part_id`].
    pub lines: HashMap<Uuid, u64>,
}

/// By what a part of a resource is known.
pub(super) fn part_id(stream: StreamId, part: &str) -> Uuid {
    Uuid::new_v5(&stream.id, part.as_bytes())
}

/// An entry with the stream that it is of, or what is told of one that is not imported.
pub(super) type Admitted = Result<(StreamId, Item), Told>;

/// What is known of the whole before it begins.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outset {
    pub entries_total: Option<u64>,
    pub has_more: bool,
}

/// Cuts the entries of a document into batches; what was passed over is told of first.
pub fn batches(
    entries: Vec<Result<Item, Refused>>,
    passed: Vec<Told>,
    bytes: u64,
    batch_max: usize,
) -> impl Stream<Item = Result<Batch, String>> {
    let mut batches: Vec<Batch> = Vec::new();
    let (mut current, mut held, mut count) = (Batch { bytes, passed, ..Batch::default() }, 0, 0);
    for entry in entries {
        let (size, weight) = entry.as_ref().map_or((0, 1), |item| (item.bytes, item.weight()));
        let is_full = count + weight > batch_max || held + size > BATCH_BYTES_MAX;
        if is_full && (!current.entries.is_empty() || !current.passed.is_empty()) {
            batches.push(std::mem::take(&mut current));
            (held, count) = (0, 0);
        }
        held += size;
        count += weight;
        current.entries.push(entry);
    }
    batches.push(current);
    futures::stream::iter(batches.into_iter().map(Ok))
}

impl Engine {
    /// Imports batches until they end, which is at the first that is an error: why the body broke off. What is told goes
    /// to `events`; once nobody listens there the import ends.
    pub async fn run(
        &self,
        batches: impl Stream<Item = Result<Batch, String>>,
        outset: Outset,
        events: &mpsc::Sender<Event>,
    ) -> Report {
        let mut run = Run {
            report: Report { kind: self.order.kind.name(), dry_run: self.order.dry_run, ..Report::default() },
            events,
            total: outset.entries_total,
            bytes: 0,
            begun: Instant::now(),
        };
        let seen = Mutex::new(Seen::default());
        let ended = match self.places().await {
            Ok(places) => self.entries(batches, &places, &seen, &mut run).await,
            Err(ended) => Err(ended),
        };
        let seen = seen.into_inner();
        let ended = match ended {
            Ok(()) => self.missing(&seen, outset, &mut run).await,
            Err(ended) => Err(ended),
        };
        let mut report = run.report;
        report.complete = ended.is_ok();
        report.ended_because = ended.err().map(|Ended(why)| why);
        report.seconds = run.begun.elapsed().as_secs_f64();
        report
    }

    async fn entries(
        &self,
        batches: impl Stream<Item = Result<Batch, String>>,
        places: &Places,
        seen: &Mutex<Seen>,
        run: &mut Run<'_>,
    ) -> Result<(), Ended> {
        run.progress().await?;
        let settled = batches.map(|batch| self.admit(batch, places, seen)).map(|admitted| async {
            let (bytes, entries) = admitted?;
            Ok::<_, Ended>((bytes, self.settle(entries).await?))
        });
        let mut settled = std::pin::pin!(settled.buffered(self.settings.batches_max));
        loop {
            let next = tokio::select! {
                biased;
                () = self.order.stop.cancelled() => return Err(Ended::stopped()),
                () = run.events.closed() => return Err(Ended::unheard()),
                next = settled.next() => next,
            };
            let Some(next) = next else { return Ok(()) };
            let (bytes, told) = next?;
            run.bytes += bytes;
            for told in told {
                // It may stand in another's place: what was told of is not missing.
                if let Some(id) = told.id {
                    seen.lock().lines.entry(id).or_insert(told.line.unwrap_or_default());
                }
                run.tell(told).await?;
            }
            run.progress().await?;
        }
    }

    /// The providers that the tenant has, where the file is a list of such.
    async fn places(&self) -> Result<Places, Ended> {
        let mut places = Places::default();
        if self.order.kind.source_of_offers().is_none() {
            return Ok(places);
        }
        let mut ask = ListQuery::all(Aggregate::LlmProvider, self.order.tenant, PROVIDERS_PAGE);
        loop {
            let page = self.query.list(&ask).await?;
            page.items.iter().for_each(|item| places.add(item));
            match page.next {
                Some(next) => ask.after = Some(next),
                None => return Ok(places),
            }
        }
    }

    /// Finds the streams of a batch's entries and notes their ids. Of lines of one key the first counts: which one comes
    /// last is known at the end only.
    fn admit(
        &self,
        batch: Result<Batch, String>,
        places: &Places,
        seen: &Mutex<Seen>,
    ) -> Result<(u64, Vec<Admitted>), Ended> {
        let batch = batch.map_err(Ended)?;
        let mut seen = seen.lock();
        let mut admitted: Vec<Admitted> = batch.passed.into_iter().map(Err).collect();
        for entry in batch.entries {
            match entry {
                Ok(item) => self.admit_one(item, places, &mut seen, &mut admitted),
                Err(refused) => admitted.push(Err(refused.into())),
            }
        }
        let entries_max = self.settings.entries_max;
        if seen.lines.len() > entries_max {
            let why =
                format!("it has more than {entries_max} entries; import it in parts, or raise import_entries_max");
            return Err(Ended(why));
        }
        Ok((batch.bytes, admitted))
    }

    /// Admits an entry, refuses it with all its parts, or leaves it out where it was not asked for.
    fn admit_one(&self, mut item: Item, places: &Places, seen: &mut Seen, admitted: &mut Vec<Admitted>) {
        let Order { kind, tenant, asked, .. } = &self.order;
        let stream = match &mut item.wanted {
            Wanted::Provider(provider) => {
                provider.priced_at = asked.priced_at;
                places.stream(*kind, *tenant, provider, asked)
            }
            _ => Ok(Some(kind.stream(*tenant, &item.key))),
        };
        let stream = stream.and_then(|stream| {
            let first = stream.and_then(|stream| seen.lines.get(&stream.id));
            match (first, &item.wanted) {
                (None, _) => Ok(stream),
                (Some(first), Wanted::Provider(_)) => Err(Fault::whole(format!(
                    "it is the same provider here as the one on line {first}; say which is meant with \
                     provider={}=NAME_OR_ID",
                    item.key
                ))),
                (Some(first), _) => {
                    Err(Fault::whole(format!("line {first} has the same key already; give each agent one line")))
                }
            }
        });
        match stream {
            Ok(Some(stream)) => {
                seen.lines.insert(stream.id, item.line);
                if let Wanted::Provider(provider) = &item.wanted {
                    let models = provider.offers.iter().zip(&item.parts);
                    seen.lines.extend(models.map(|(offer, part)| (part_id(stream, &offer.model_id), part.line)));
                }
                admitted.push(Ok((stream, item)));
            }
            Ok(None) => {
                let why = "its provider is not here, and only providers that are were asked for";
                admitted.extend(passed::skipped_whole(item, why).map(Err));
            }
            Err(fault) => {
                let own = std::iter::once((item.line, item.key));
                let all = own.chain(item.parts.into_iter().map(|part| (part.line, part.key)));
                admitted.extend(
                    all.map(|(line, key)| Told::from(Refused { line, key: Some(key), fault: fault.clone() })).map(Err),
                );
            }
        }
    }

    /// Retires what the file has no more, where that is asked for and safe.
    async fn missing(&self, seen: &Seen, outset: Outset, run: &mut Run<'_>) -> Result<(), Ended> {
        let is_forced = self.order.retire == Retire::Forced;
        let report = &mut run.report;
        let why_not = match self.order.retire {
            Retire::Never => return Ok(()),
            _ if report.undecided > 0 => Some("entries are undecided; import the same again"),
            _ if outset.has_more => Some("the list says that it goes on elsewhere; import all of its pages together"),
            _ if seen.lines.is_empty() && !is_forced => Some("the file has no entry that could be read"),
            _ if report.refused > 0 && !is_forced => {
                Some("entries were refused, and what is missing may be among them; correct them, or force it")
            }
            _ => None,
        };
        if let Some(why) = why_not {
            report.retire_skipped = Some(format!("nothing was retired: {why}"));
            return Ok(());
        }
        self.retire(seen, run).await
    }
}

impl Ended {
    fn unheard() -> Self {
        Self("nobody listens any more".into())
    }
}

/// What an import has come to so far, and who hears of it.
pub(super) struct Run<'a> {
    pub report: Report,
    events: &'a mpsc::Sender<Event>,
    total: Option<u64>,
    bytes: u64,
    begun: Instant,
}

impl Run<'_> {
    pub async fn tell(&mut self, told: Told) -> Result<(), Ended> {
        self.report.count(&told);
        if told.outcome == Fate::Unchanged && told.cuts.is_empty() {
            return Ok(());
        }
        self.events.send(Event::Entry(Box::new(told))).await.map_err(|_| Ended::unheard())
    }

    async fn progress(&self) -> Result<(), Ended> {
        let entries = self.report.entries;
        let seconds = self.begun.elapsed().as_secs_f64();
        let entries_per_second = if seconds > 0.0 { entries as f64 / seconds } else { 0.0 };
        let left = self.total.map(|total| total.saturating_sub(entries) as f64);
        let progress = Progress {
            entries,
            entries_total: self.total,
            bytes: self.bytes,
            entries_per_second,
            seconds_left: left.filter(|_| entries_per_second > 0.0).map(|left| left / entries_per_second),
        };
        self.events.send(Event::Progress(progress)).await.map_err(|_| Ended::unheard())
    }
}
