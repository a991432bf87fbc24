//! What one event counts for, and for whom.

use super::{Dimension, Latencies, Ratings, Series, Slot, Totals, Window};
use crate::domain::llm_request::{Event, ModelChoice, State};
use crate::domain::{Micros, StreamId, TenantId};
use std::sync::Arc;

/// The part of one event in every total that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    pub totals: Totals,
    pub keys: Vec<Key>,
}

/// For whom something counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub tenant: TenantId,
    pub dimension: Dimension,
    pub key: Arc<str>,
}

impl Key {
    /// Where it counts at a moment, in windows of one size.
    pub fn slot(&self, window: Window, at: Micros) -> Slot {
        let Self { tenant, dimension, key } = self;
        let series = Series { tenant: *tenant, dimension: *dimension, key: key.clone(), window };
        Slot { series, start: window.start_of(at) }
    }
}

/// The key of a model, in [`Dimension::Model`] and [`Dimension::Offer`].
pub fn model_key(model: &ModelChoice) -> Arc<str> {
    format!("{}/{}", model.provider_id, model.model_id).into()
}

/// Whether a failed attempt with this code says that its provider did not do what it should. What the caller asked, and
/// how long it was ready to wait, is not the provider's fault: nobody can talk a model that others use down.
fn is_providers_fault(error: &str) -> bool {
    let codes = ["connect", "overloaded", "server", "garbage", "cut", "quota", "auth", "not_found"];
    codes.contains(&error) || error.starts_with("timeout_")
}

/// Whether an event of this name counts for anything: spares the others their payload.
pub fn is_counted(name: &str) -> bool {
    !matches!(name, "RequestSubmitted" | "AnswerPartAdded")
}

/// What an event counts for. `state` is the request's at the event or at any later one. A request that ended without an
/// attempt counts for the model that was its first choice.
pub fn count(stream: &StreamId, event: &Event, state: &State) -> Option<Counted> {
    let attempted = |number: i64| state.attempt(number).map(|attempt| &attempt.model);
    let estimated = |number: i64| state.attempt(number).map_or(0, |attempt| attempt.cost_estimated_pico_usd);
    // Of unknown cost, also where it is heard of later: what it did cost is counted beside.
    let lost = |attempt: Option<i64>| Totals::of_call(None, None, attempt.map(estimated));
    let (totals, model) = match event {
        Event::RequestSubmitted(_) | Event::AnswerPartAdded(_) => return None,
        Event::AttemptStarted(it) if it.previous_lost => (lost(Some(it.attempt - 1)), attempted(it.attempt - 1)),
        Event::AttemptStarted(_) => return None,
        Event::AttemptLost(it) => (lost(Some(it.attempt)), attempted(it.attempt)),
        Event::AttemptFailed(it) => {
            let estimate = (it.sent || it.usage.is_some()).then(|| estimated(it.attempt));
            let call = Totals::of_call(it.usage.as_ref(), it.cost_pico_usd, estimate);
            let provider_failures = u64::from(is_providers_fault(&it.error));
            (Totals { attempts_failed: 1, provider_failures, ..call }, attempted(it.attempt))
        }
        Event::RequestCompleted(it) => {
            let call = Totals::of_call(Some(&it.usage), it.cost_pico_usd, Some(estimated(it.attempt)));
            let latencies = Latencies::of(u64::try_from(it.latency_ms).unwrap_or(0));
            (Totals { requests_completed: 1, latencies, ..call }, Some(&it.model))
        }
        Event::ExtraCallRecorded(it) => {
            let call = Totals::of_call(it.usage.as_ref(), it.cost_pico_usd, Some(estimated(it.attempt)));
            (Totals { extra_calls: 1, ..call }, Some(&it.model))
        }
        Event::AnswerRated(it) => {
            let ratings = Ratings::of(stream.tenant, it.after_millionths);
            (Totals { ratings, ..Totals::default() }, Some(&it.model))
        }
        Event::RequestFailed(it) => (Totals { requests_failed: 1, ..lost(it.open_attempt) }, state.model()),
        Event::RequestExpired(it) => (Totals { requests_expired: 1, ..lost(it.open_attempt) }, state.model()),
        Event::RequestCancelled(_) => (Totals { requests_cancelled: 1, ..Totals::default() }, state.model()),
    };
    Some(Counted { totals, keys: keys(stream, state, model) })
}

fn keys(stream: &StreamId, state: &State, model: Option<&ModelChoice>) -> Vec<Key> {
    let request = &state.request;
    let id = |id: uuid::Uuid| Arc::from(id.to_string());
    let offered_by = model.map_or(stream.tenant, |model| TenantId(model.provider_tenant_id));
    let keys = [
        (stream.tenant, Dimension::Tenant, Some(id(stream.tenant.0))),
        (stream.tenant, Dimension::Project, request.project.as_deref().map(Arc::from)),
        (stream.tenant, Dimension::Agent, request.agent_id.map(id)),
        (stream.tenant, Dimension::Coupling, request.coupling_id.map(id)),
        (stream.tenant, Dimension::Model, model.map(model_key)),
        (offered_by, Dimension::Offer, model.map(model_key)),
    ];
    keys.into_iter().filter_map(|(tenant, dimension, key)| Some(Key { tenant, dimension, key: key? })).collect()
}
