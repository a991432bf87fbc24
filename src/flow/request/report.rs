//! Reports of models to their providers' streams, by every process that calls them: how they do ([`statistics`]), and
//! whether they are down ([`health`]).
//!
//! A report is a command like any other, so what a choice of models goes by is in the log. Several processes see the same
//! model. They need not know of one another: the id of a report is made from what it says and of which version of the
//! provider, so the same report has one effect, and the provider takes one of those that differ a little.
//!
//! A provider's head is read before anything is sent: most looks find that there is nothing to say.

mod health;
mod statistics;

use crate::domain::envelope::SYSTEM_SOURCE;
use crate::domain::id::reaction_command_id;
use crate::domain::llm_provider::{self, Command, LlmProvider, ModelHealth};
use crate::domain::llm_request::ModelChoice;
use crate::domain::wire::WireError;
use crate::domain::{Aggregate, Envelope, Lookup, Micros, Partitions, StreamId, TenantId, World};
use crate::flow::request::breaker::Heard;
use crate::flow::said::Said;
use crate::flow::world::Sight;
use crate::ports::topic::{Accepted, Lane};
use crate::ports::{Clock, Index, Topics, Usage, index, topic, usage};
use hashbrown::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// Between two looks, at most and at least.
const LOOK: Duration = Duration::from_secs(5);
const LOOK_MIN: Duration = Duration::from_millis(100);
/// Between two looks for models that are down and that this process does not call, at most.
const SEARCH: Duration = Duration::from_secs(60);
/// A report that its provider's head does not show after this long is sent again.
const AGAIN: Duration = Duration::from_secs(30);
/// Reports that are remembered to have been sent.
const SENT_MAX: usize = 10_000;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Index(#[from] index::Error),
    #[error(transparent)]
    Usage(#[from] usage::Error),
    #[error(transparent)]
    Topic(#[from] topic::Error),
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// When what is reported.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Between two looks at the statistics.
    pub statistics_every: Duration,
    /// Fewer calls in the last five minutes say nothing.
    pub calls_min: u64,
    /// A model whose breaker was not closed for so long, and that still fails, is down.
    pub down_after: Duration,
    /// A model that is down and was not tried for so long gets another chance.
    pub recheck_after: Duration,
}

impl Default for Config {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { statistics_every: seconds(60), calls_min: 20, down_after: seconds(120), recheck_after: seconds(600) }
    }
}

/// Tells what was heard of each model that this process calls.
pub type Ear = Arc<dyn Fn() -> Vec<(ModelChoice, Heard)> + Send + Sync>;

/// What reports are made from.
#[derive(Clone)]
pub struct Parts {
    pub ear: Ear,
    pub usage: Arc<dyn Usage>,
    pub index: Arc<dyn Index>,
    pub topics: Arc<dyn Topics>,
    pub clock: Arc<dyn Clock>,
    pub partitions: Partitions,
    pub config: Config,
}

/// See the module.
pub struct Reporter {
    parts: Parts,
    sight: Sight,
    /// The end of what was measured last.
    measured_to: Micros,
    /// When providers with models that are down were searched last, and which there were.
    searched_at: Option<Instant>,
    found: Vec<StreamId>,
    /// When a change of a model's health was reported, and of which version of its provider.
    sent: HashMap<(ModelChoice, ModelHealth, u64), Instant>,
}

impl Reporter {
    pub fn new(parts: Parts) -> Self {
        let sight = Sight::new(parts.index.clone(), parts.partitions);
        Self { parts, sight, measured_to: 0, searched_at: None, found: Vec::new(), sent: HashMap::new() }
    }

    /// Looks and reports until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let Config { statistics_every, down_after, recheck_after, .. } = self.parts.config;
        let look = LOOK.min(statistics_every).min(down_after / 4).min(recheck_after / 4).max(LOOK_MIN);
        let mut looks = tokio::time::interval(look);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut said = Said::nothing();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = looks.tick() => {}
            }
            let looked = tokio::select! {
                () = stop.cancelled() => return,
                looked = self.look() => looked,
            };
            if let Err(error) = looked
                && let Some(failures) = said.count(Instant::now())
            {
                tracing::warn!(%error, failures, "models could not be reported on; it is tried again");
            }
        }
    }

    /// One look at everything.
    ///
    /// # Errors
    /// When something cannot be read or sent; the next look tries again.
    pub async fn look(&mut self) -> Result<(), Error> {
        let heard = (self.parts.ear)();
        self.look_at_health(&heard).await?;
        let every = Micros::try_from(self.parts.config.statistics_every.as_micros()).unwrap_or(Micros::MAX).max(1);
        let now = self.parts.clock.now();
        let measured_to = now - now.rem_euclid(every);
        if measured_to > self.measured_to {
            self.look_at_statistics(&heard, measured_to).await?;
            self.measured_to = measured_to;
        }
        Ok(())
    }

    /// The heads of providers as they stand now.
    async fn providers(&mut self, streams: impl IntoIterator<Item = StreamId>) -> Result<World, Error> {
        let streams: HashSet<StreamId> = streams.into_iter().collect();
        self.sight.refresh();
        self.sight.foresee(streams.iter().copied()).await?;
        let lookups: Vec<_> = streams.into_iter().map(Lookup::Stream).collect();
        Ok(self.sight.world(&lookups).await?)
    }

    async fn send(&self, stream: StreamId, kind: &str, command: Command) -> Result<(), Error> {
        let command_id = reaction_command_id(stream.id, kind, &stream);
        let envelope = Envelope { source: SYSTEM_SOURCE.into(), ..Envelope::new(command_id, stream) };
        let accepted = Arc::new(Accepted::new(envelope, command.into())?);
        Ok(self.parts.topics.produce(vec![accepted], Lane::System).await?)
    }
}

fn provider_of(choice: &ModelChoice) -> StreamId {
    StreamId::new(TenantId(choice.provider_tenant_id), Aggregate::LlmProvider, choice.provider_id)
}

/// A provider that can be reported to, with its version, where it offers the model.
fn offering<'w>(world: &'w World, choice: &ModelChoice) -> Option<(u64, &'w llm_provider::State)> {
    let (version, state) = world.get::<LlmProvider>(&provider_of(choice))?;
    let is_offered = state.models.iter().any(|model| model.model_id == choice.model_id);
    (is_offered && state.status == llm_provider::Status::Registered).then_some((version, state))
}
