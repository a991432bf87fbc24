//! What the file has no more: resources that this kind of import has brought, and that still live.

use super::diff::step;
use super::report::{Fate, Told};
use super::run::{Ended, Engine, Run, Seen};
use super::settle::Stopped;
use super::wanted::retirement;
use crate::domain::AnyCommand;
use crate::flow::query::{self, HistoryQuery, ListQuery, Order, Resource};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};

/// Resources that are looked at together.
const PAGE: usize = 500;
/// Histories that are read at once.
const READS_MAX: usize = 16;

impl Engine {
    /// Retires what was not seen, page by page.
    pub(super) async fn retire(&self, seen: &Seen, run: &mut Run<'_>) -> Result<(), Ended> {
        if self.order.kind.source_of_offers().is_some() {
            return self.retire_models(seen, run).await;
        }
        let mut ask = ListQuery::all(self.order.kind.aggregate(), self.order.tenant, PAGE);
        loop {
            if self.order.stop.is_cancelled() {
                return Err(Ended::stopped());
            }
            let page = self.query.list(&ask).await?;
            let missing = page.items.into_iter().filter(|item| !seen.lines.contains_key(&item.stream.id));
            let missing = missing.filter_map(|item| retirement(&item.state).map(|command| (item, command)));
            let ours: Vec<_> = stream::iter(missing)
                .map(|(item, command)| async {
                    let is_ours = self.has_brought(&item).await?;
                    Ok::<_, query::Error>(is_ours.then_some((item, command)))
                })
                .buffered(READS_MAX)
                .try_filter_map(async |found| Ok(found))
                .try_collect()
                .await?;
            self.retire_all(ours, run).await?;
            match page.next {
                Some(next) => ask.after = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Whether the resource's first record came with an import of this kind.
    async fn has_brought(&self, item: &Resource) -> Result<bool, query::Error> {
        let ask =
            HistoryQuery { stream: item.stream, order: Order::OldestFirst, kinds: Vec::new(), after: None, limit: 1 };
        match self.query.history(&ask).await {
            Ok(page) => {
                let source = self.order.kind.source();
                Ok(page.entries.first().is_some_and(|entry| entry.recorded.record.envelope.source == source))
            }
            // Nobody can say where it came from: it stays.
            Err(query::Error::TooLong) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn retire_all(&self, ours: Vec<(Resource, AnyCommand)>, run: &mut Run<'_>) -> Result<(), Ended> {
        let world = self.world().await?;
        let mut going = Vec::new();
        for (item, command) in ours {
            let mut after = item.state.clone();
            match step(&mut after, &command, item.stream, item.version, &world) {
                Err(rejection) => run.tell(told(&item, Fate::Refused, Some(rejection.message))).await?,
                Ok(_) if self.order.dry_run => run.tell(told(&item, Fate::Retired, None)).await?,
                Ok(_) => going.push((item, command)),
            }
        }
        let steps = going.iter().map(|(item, command)| (item.stream, vec![(command.clone(), item.version)]));
        let sent = self.send(steps.collect()).await?;
        for ((item, _), sent) in going.iter().zip(sent) {
            let (fate, reason) = retired(sent.stopped);
            run.tell(told(item, fate, reason)).await?;
        }
        Ok(())
    }
}

/// What became of a retirement.
pub(super) fn retired(stopped: Option<Stopped>) -> (Fate, Option<String>) {
    match stopped {
        None => (Fate::Retired, None),
        Some(Stopped::Undecided) => (Fate::Undecided, Some("not decided in time; import again".to_owned())),
        Some(Stopped::Refused(fault)) => (Fate::Refused, Some(fault.reason)),
        Some(Stopped::Mismatch(_)) => {
            (Fate::Refused, Some("it changed while it was to be retired; import again".to_owned()))
        }
    }
}

fn told(item: &Resource, outcome: Fate, reason: Option<String>) -> Told {
    let view = item.state.view();
    let name = view.get("name").and_then(|name| name.as_str());
    Told { name: name.map(str::to_owned), id: Some(item.stream.id), reason, ..Told::of(outcome) }
}
