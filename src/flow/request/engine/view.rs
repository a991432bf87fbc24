//! How the engine does: a snapshot for views, and the gauges.

use super::{Engine, Shared};
use crate::domain::limit::LimitKey;
use crate::domain::llm_request::ModelChoice;
use crate::domain::{Aggregate, StreamId, TenantId};
use crate::flow::request::breaker::{Heard, State};
use crate::flow::request::catalog::ProviderInfo;
use crate::flow::request::queue::CLASSES;
use crate::flow::request::stats::ModelStats;
use crate::flow::request::waits::WaitStats;
use crate::metrics::handles;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// The engine at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub owned_logs: usize,
    /// Requests that wait, by class: interactive, normal, batch.
    pub waiting: [usize; CLASSES],
    /// How long the oldest of each class waits.
    pub oldest: [Duration; CLASSES],
    /// How long those waited that were begun within the last minute.
    pub waits: [WaitStats; CLASSES],
    /// Requests that stay on their logs for want of room.
    pub spilled: usize,
    /// Requests that are carried out, those that wait for their limits included.
    pub running: usize,
    /// Models that are called, or were within the last minute, sorted by provider and name.
    pub models: Vec<ModelView>,
    /// Their providers.
    pub providers: Vec<ProviderView>,
    /// Breakers that are not closed.
    pub breakers: Vec<BreakerView>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ModelView {
    pub stats: ModelStats,
    /// As the provider told it of this model, where it did.
    pub requests_per_minute: Option<u64>,
    pub tokens_per_minute: Option<u64>,
}

/// A provider with its own limits, which all of its models share; absent: unlimited.
#[derive(Clone, Debug, PartialEq)]
pub struct ProviderView {
    pub provider_tenant_id: Uuid,
    pub provider_id: Uuid,
    pub info: ProviderInfo,
}

#[derive(Clone, Debug, PartialEq)]
pub struct BreakerView {
    pub model: ModelChoice,
    /// `open` or `half_open`.
    pub state: &'static str,
    /// When a call goes through again, where it is open.
    pub opens_in: Option<Duration>,
}

impl Engine {
    /// What the breakers of all models heard that this process called, as far as they are remembered.
    pub fn heard(&self) -> Vec<(ModelChoice, Heard)> {
        self.0.breakers.heard()
    }

    pub fn snapshot(&self) -> Snapshot {
        let now = Instant::now();
        let view = |(model, state): (ModelChoice, State)| {
            let opens_in = match state {
                State::Open { until } => Some(until.saturating_duration_since(now)),
                State::Closed | State::HalfOpen => None,
            };
            BreakerView { model, state: state.name(), opens_in }
        };
        let breakers = self.0.breakers.open(now).into_iter().map(view).collect();
        let models: Vec<_> = self.0.stats.snapshot(now).into_iter().map(|stats| self.model_view(stats)).collect();
        let providers = self.providers(&models);
        let board = self.0.board.lock();
        Snapshot {
            owned_logs: board.owned_logs().len(),
            waiting: board.depths(),
            oldest: board.oldest(now),
            waits: self.0.waits.snapshot(now),
            spilled: board.spill.len(),
            running: board.running(),
            models,
            providers,
            breakers,
        }
    }

    fn model_view(&self, stats: ModelStats) -> ModelView {
        let key = LimitKey::Model { provider: provider_of(&stats.model), model: stats.model.model_id.clone() };
        let (requests_per_minute, tokens_per_minute) = self.0.news.told(&key).unwrap_or_default();
        ModelView { stats, requests_per_minute, tokens_per_minute }
    }

    /// Each provider of these models once; the models come sorted by provider.
    fn providers(&self, models: &[ModelView]) -> Vec<ProviderView> {
        let mut streams: Vec<_> = models.iter().map(|model| provider_of(&model.stats.model)).collect();
        streams.dedup();
        let view = |stream: StreamId| {
            let (provider_tenant_id, provider_id) = (stream.tenant.0, stream.id);
            Some(ProviderView { provider_tenant_id, provider_id, info: self.0.catalog.provider(stream)? })
        };
        streams.into_iter().filter_map(view).collect()
    }
}

fn provider_of(model: &ModelChoice) -> StreamId {
    StreamId::new(TenantId(model.provider_tenant_id), Aggregate::LlmProvider, model.provider_id)
}

impl Shared {
    /// Shows how it stands in the gauges.
    pub(super) fn show(&self) {
        let (waiting, spilled) = {
            let board = self.board.lock();
            (board.depths(), board.spill.len())
        };
        let handles = handles();
        let gauges =
            [&handles.request_waiting_interactive, &handles.request_waiting_normal, &handles.request_waiting_batch];
        gauges.iter().zip(waiting).for_each(|(gauge, waiting)| gauge.set(waiting as f64));
        handles.request_spilled.set(spilled as f64);
        handles.request_open_breakers.set(self.breakers.open(Instant::now()).len() as f64);
    }
}
