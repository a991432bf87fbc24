//! Which model a request is sent to: the first of its own that is known, whose breaker and bulkhead let it through, and
//! whose limits give a permit. What was passed over on the way, and why, is in the event.

use super::Shared;
use super::breakers::Passed;
use super::reply::Failure;
use super::work::{Request, Work};
use crate::domain::limit::{Dimension, LimitKey, Why};
use crate::domain::llm_request::{ModelChoice, Rejected};
use crate::domain::tenant;
use crate::flow::request::bulkhead::Room;
use crate::flow::request::catalog::{Estimate, Model, Tenancy};
use crate::flow::request::limiter::{Permit, Refused};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// When to come again where nothing better is known.
const SOON: Duration = Duration::from_millis(200);
/// When to come again where something is missing that somebody must set right.
const LATER: Duration = Duration::from_secs(1);
/// Longest that a tenant is held for what its limit told: a limit may be raised, a budget refunded.
const HELD_MAX: Duration = Duration::from_secs(2);

/// Of a model without prices, where the tenant has a budget: what nobody knows the cost of cannot be held against it.
const PRICE_UNKNOWN: &str = "price_unknown";

/// A model that can be called now.
pub struct Chosen {
    /// Its place among the request's.
    pub index: usize,
    pub choice: ModelChoice,
    pub model: Arc<Model>,
    pub estimate: Estimate,
    pub rejected: Vec<Rejected>,
    pub permit: Permit,
    pub passed: Passed,
    pub room: Room,
}

pub enum Choice {
    Go(Box<Chosen>),
    /// None can be called before.
    Wait(Instant),
    /// None can be called before, and neither can what others at the gate want.
    Pause(Instant),
    /// The tenant can do nothing before, whatever the model.
    Hold(Instant),
    /// None will ever do.
    Fail(Failure),
}

/// What one model says.
enum Tried {
    Go(Box<Chosen>),
    /// It will do soon: better wait for it than fall back.
    Stay(Instant),
    /// Not before.
    Later(&'static str, Instant),
    /// Not for this request.
    Never(&'static str),
    Hold(Instant),
    Fail(Failure),
}

impl Shared {
    /// Chooses a model, and waits a little for its limits.
    pub(super) async fn choose(&self, work: &mut Work, request: &Request) -> Choice {
        let tenancy = self.tenancy(work.stream().tenant).await;
        if let Some(failure) = closed(tenancy.status) {
            return Choice::Fail(failure);
        }
        let order = work.order(&request.models);
        let mut rejected = work.barred.clone();
        let mut again: Option<Instant> = None;
        for (place, index) in order.iter().enumerate() {
            let is_last = place + 1 == order.len();
            let choice = &request.models[*index];
            let reason = match self.try_model(work, request, tenancy, *index, is_last && again.is_none()).await {
                Tried::Go(mut chosen) => {
                    chosen.rejected = rejected;
                    return Choice::Go(chosen);
                }
                Tried::Stay(at) => return Choice::Pause(at),
                Tried::Hold(at) => return Choice::Hold(at),
                Tried::Fail(failure) => return Choice::Fail(failure),
                Tried::Later(reason, at) => {
                    again = Some(again.map_or(at, |again| again.min(at)));
                    reason
                }
                Tried::Never(reason) => {
                    work.barred.push(Rejected { model: choice.clone(), reason: reason.into() });
                    reason
                }
            };
            rejected.push(Rejected { model: choice.clone(), reason: reason.into() });
        }
        match again {
            Some(at) => Choice::Wait(at),
            None => Choice::Fail(none_left(work, &rejected)),
        }
    }

    /// `is_only`: no other can take its place.
    async fn try_model(&self, work: &Work, request: &Request, tenancy: Tenancy, index: usize, is_only: bool) -> Tried {
        let choice = &request.models[index];
        let model = match self.catalog.model(choice).await {
            Ok(Ok(model)) => model,
            Ok(Err(missing)) => return Tried::Never(missing.reason()),
            Err(error) => {
                tracing::warn!(%error, "a provider cannot be read; its requests wait");
                return Tried::Later("unreadable", Instant::now() + LATER);
            }
        };
        let estimate = model.estimate(request.operation, request.prompt_tokens, request.output_tokens_max);
        if tenancy.has_budget && !estimate.is_priced {
            return Tried::Never(PRICE_UNKNOWN);
        }
        let now = Instant::now();
        let passed = match self.breakers.pass(choice, now) {
            Ok(passed) => passed,
            Err(at) => return Tried::Later("breaker_open", at),
        };
        let patience = (now + self.config.patience).min(work.item.deadline);
        let room = match self.bulkheads.enter(model.provider, work.group) {
            Some(room) => Some(room),
            None if is_only => {
                let wait = self.bulkheads.wait(model.provider, work.group);
                tokio::time::timeout_at(patience, wait).await.ok().flatten()
            }
            None => None,
        };
        let Some(room) = room else { return Tried::Later("bulkhead_full", Instant::now() + SOON) };
        let wants = model.wants(work.stream().tenant, estimate);
        match self.limiter.acquire(&wants, patience).await {
            Ok(permit) => {
                let (choice, rejected) = (choice.clone(), Vec::new());
                Tried::Go(Box::new(Chosen { index, choice, model, estimate, rejected, permit, passed, room }))
            }
            Err(refused) => self.refused(refused, work, is_only),
        }
    }

    fn refused(&self, refused: Refused, work: &Work, is_only: bool) -> Tried {
        let now = Instant::now();
        match refused {
            Refused::Later { key: LimitKey::Tenant(_), at, why: Some(Why::Limit(Dimension::MicroUsd)) }
                if at >= work.item.deadline =>
            {
                let why = "the tenant's budget is used up, or reserved by requests under way, until after the deadline";
                Tried::Fail(Failure::new("over_budget", why, 429))
            }
            Refused::Later { key: LimitKey::Tenant(_), at, .. } => {
                Tried::Hold(at.clamp(now + SOON / 4, now + HELD_MAX))
            }
            Refused::Later { at, .. } if is_only || at <= now + self.config.fallback_after => {
                Tried::Stay(at.max(now + SOON / 4))
            }
            Refused::Later { at, .. } => Tried::Later("over_limit", at),
            Refused::TooLarge { key: LimitKey::Tenant(_), .. } => {
                let why = "the request may cost more than the tenant's whole budget; ask for fewer tokens";
                Tried::Fail(Failure::new("over_budget", why, 429))
            }
            Refused::TooLarge { .. } => Tried::Never("too_large"),
            Refused::Unset { key } => {
                tracing::warn!(%key, "no limit is set: calls wait for it");
                Tried::Later("limit_unset", now + LATER)
            }
        }
    }
}

/// A tenant that may do nothing.
fn closed(status: tenant::Status) -> Option<Failure> {
    match status {
        tenant::Status::Suspended => {
            Some(Failure::new("tenant_suspended", "the tenant is suspended; resume it with ResumeTenant first", 403))
        }
        tenant::Status::Closed => Some(Failure::new("tenant_closed", "the tenant is closed for good", 403)),
        tenant::Status::Absent | tenant::Status::Active => None,
    }
}

/// No model is left: the last failure says why, or else the last reason for which one was passed over.
fn none_left(work: &Work, rejected: &[Rejected]) -> Failure {
    if let Some(last) = &work.last {
        return last.clone();
    }
    let reason = rejected.last().map_or("unknown_model", |rejected| rejected.reason.as_str());
    let (status, why) = match reason {
        "too_large" => (400, "the request needs more tokens than the limits of its models allow at all"),
        PRICE_UNKNOWN => {
            let why = "the tenant has a budget, and the model has no price to hold against it; declare its prices (0 for \
                       what is free), or import them with `agentverse import llm-prices`";
            (400, why)
        }
        _ => (404, "none of the request's models can be called: their providers do not offer them"),
    };
    Failure::new(reason, why, status)
}
