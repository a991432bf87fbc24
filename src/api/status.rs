//! `GET /v1/status/requests`: how the requests of this node do, at this moment and over the last minute.
//!
//! It shows one node: whoever wants the whole adds up what its nodes say. On a loopback connection without a tenant it
//! shows every provider; else those of the tenant and of the shared catalogue. What waits is counted over all tenants.

use super::access::{Access, Loopback};
use super::params::Params;
use super::problem::{NOT_FOUND, Problem};
use super::{Services, answer};
use crate::domain::llm_request::{ModelChoice, Priority};
use crate::domain::{Aggregate, TenantId};
use crate::flow::query::Reach;
use crate::flow::request::engine::{BreakerView, ModelView, ProviderView, Snapshot};
use crate::flow::request::stats::ModelStats;
use axum::extract::Request;
use axum::response::Response;
use hyper::StatusCode;
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

/// The classes of the queue, in its order.
const CLASSES: [Priority; 3] = [Priority::Interactive, Priority::Normal, Priority::Batch];

pub fn requests(services: &Services, loopback: Loopback, request: &Request) -> Result<Response, Problem> {
    let access = Access::of(request.headers(), loopback)?;
    let sight = Sight::of(&access)?;
    Params::of(request.uri())?.finish()?;
    let Some(completions) = &services.completions else {
        let detail = "this node carries no requests to LLMs out; ask one that runs `work` or `dev`";
        return Err(Problem::new(&NOT_FOUND, detail));
    };
    Ok(answer::json(StatusCode::OK, render(&completions.engine.snapshot(), &sight).to_string()))
}

/// Whose providers are shown.
enum Sight {
    All,
    Of(Vec<TenantId>),
}

impl Sight {
    fn of(access: &Access) -> Result<Self, Problem> {
        match access.listable_tenants()? {
            (Reach::All, _) => Ok(Self::All),
            _ => access.readable(Aggregate::LlmProvider).map(Self::Of),
        }
    }

    fn has(&self, tenant: Uuid) -> bool {
        match self {
            Self::All => true,
            Self::Of(tenants) => tenants.contains(&TenantId(tenant)),
        }
    }
}

fn render(snapshot: &Snapshot, sight: &Sight) -> Value {
    let class = |index: usize| {
        let waits = &snapshot.waits[index];
        json!({
            "priority": CLASSES[index].name(),
            "waiting": snapshot.waiting[index],
            "oldest_wait_ms": ms(snapshot.oldest[index]),
            "begun": waits.begun,
            "wait_ms_p50": waits.p50.map(ms),
            "wait_ms_p95": waits.p95.map(ms),
        })
    };
    let calls: u64 = snapshot.models.iter().map(|model| model.stats.open_calls).sum();
    let providers = snapshot.providers.iter().filter(|it| sight.has(it.provider_tenant_id)).map(provider);
    json!({
        "owned_logs": snapshot.owned_logs,
        "running": snapshot.running,
        "open_calls": calls,
        "spilled": snapshot.spilled,
        "queue": (0..CLASSES.len()).map(class).collect::<Vec<_>>(),
        "models": models(snapshot, sight),
        "providers": providers.collect::<Vec<_>>(),
    })
}

/// Models with their breakers; one that is not called because its breaker is open is shown, too.
fn models(snapshot: &Snapshot, sight: &Sight) -> Vec<Value> {
    let is_in_sight = |model: &ModelChoice| sight.has(model.provider_tenant_id);
    let breaker_of = |model: &ModelChoice| snapshot.breakers.iter().find(|breaker| breaker.model == *model);
    let called = snapshot.models.iter().filter(|model| is_in_sight(&model.stats.model));
    let mut shown: Vec<Value> =
        called.clone().map(|view| with_breaker(model(view), breaker_of(&view.stats.model))).collect();
    let is_called = |breaker: &&BreakerView| snapshot.models.iter().any(|model| model.stats.model == breaker.model);
    let idle = snapshot.breakers.iter().filter(|breaker| is_in_sight(&breaker.model) && !is_called(breaker));
    shown.extend(idle.map(|breaker| {
        let stats = ModelStats::idle(breaker.model.clone());
        let view = ModelView { stats, requests_per_minute: None, tokens_per_minute: None };
        with_breaker(model(&view), Some(breaker))
    }));
    shown
}

fn model(view: &ModelView) -> Value {
    let ModelView { stats, requests_per_minute, tokens_per_minute } = view;
    json!({
        "provider_tenant_id": stats.model.provider_tenant_id,
        "provider_id": stats.model.provider_id,
        "model_id": stats.model.model_id,
        "open_calls": stats.open_calls,
        "window_ms": ms(stats.window),
        "calls": stats.calls,
        "input_tokens": stats.input_tokens,
        "output_tokens": stats.output_tokens,
        "error_rate": stats.error_rate,
        "latency_ms_p50": stats.latency_p50.map(ms),
        "latency_ms_p95": stats.latency_p95.map(ms),
        "answer_tokens_per_second": stats.tokens_per_second,
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
    })
}

fn with_breaker(mut model: Value, breaker: Option<&BreakerView>) -> Value {
    model["breaker"] = json!(breaker.map_or("closed", |breaker| breaker.state));
    model["breaker_opens_in_ms"] = json!(breaker.and_then(|breaker| breaker.opens_in).map(ms));
    model
}

fn provider(view: &ProviderView) -> Value {
    json!({
        "tenant_id": view.provider_tenant_id,
        "id": view.provider_id,
        "name": &*view.info.name,
        "requests_per_minute": view.info.requests_per_minute,
        "tokens_per_minute": view.info.tokens_per_minute,
    })
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::request::catalog::ProviderInfo;
    use crate::flow::request::waits::WaitStats;

    fn choice(tenant: u128, model_id: &str) -> ModelChoice {
        let (provider_tenant_id, provider_id) = (Uuid::from_u128(tenant), Uuid::from_u128(5));
        ModelChoice { provider_tenant_id, provider_id, model_id: model_id.into() }
    }

    fn called(tenant: u128, model_id: &str) -> ModelView {
        let stats = ModelStats { calls: 30, open_calls: 2, ..ModelStats::idle(choice(tenant, model_id)) };
        ModelView { stats, requests_per_minute: Some(60), tokens_per_minute: None }
    }

    fn provider(tenant: u128) -> ProviderView {
        let info = ProviderInfo { name: "p".into(), requests_per_minute: Some(600), tokens_per_minute: None };
        ProviderView { provider_tenant_id: Uuid::from_u128(tenant), provider_id: Uuid::from_u128(5), info }
    }

    fn snapshot() -> Snapshot {
        let open = |model| BreakerView { model, state: "open", opens_in: Some(Duration::from_secs(9)) };
        let second = Duration::from_secs(1);
        let begun = WaitStats { begun: 3, p50: Some(second), p95: Some(2 * second) };
        Snapshot {
            owned_logs: 32,
            waiting: [0, 7, 0],
            oldest: [Duration::ZERO, second, Duration::ZERO],
            waits: [WaitStats::default(), begun, WaitStats::default()],
            spilled: 1,
            running: 4,
            models: vec![called(0, "a"), called(0xa, "mine"), called(0xb, "theirs")],
            providers: vec![provider(0), provider(0xa), provider(0xb)],
            breakers: vec![open(choice(0, "a")), open(choice(0, "dead")), open(choice(0xb, "dead"))],
        }
    }

    fn ids(shown: &Value) -> Vec<&str> {
        shown["models"].as_array().unwrap().iter().map(|model| model["model_id"].as_str().unwrap()).collect()
    }

    #[test]
    fn the_queue_the_calls_and_the_breakers_are_shown() {
        let shown = render(&snapshot(), &Sight::All);
        assert_eq!(ids(&shown), ["a", "mine", "theirs", "dead", "dead"]);
        let normal = json!({
            "priority": "normal", "waiting": 7, "oldest_wait_ms": 1_000, "begun": 3, "wait_ms_p50": 1_000, "wait_ms_p95": 2_000,
        });
        assert_eq!((&shown["queue"][1], &shown["open_calls"]), (&normal, &json!(6)));
        let [first, mine] = [&shown["models"][0], &shown["models"][1]];
        assert_eq!((&first["breaker"], &first["breaker_opens_in_ms"]), (&json!("open"), &json!(9_000)));
        assert_eq!((&mine["breaker"], &mine["breaker_opens_in_ms"]), (&json!("closed"), &Value::Null));
        assert_eq!((&mine["calls"], &mine["requests_per_minute"]), (&json!(30), &json!(60)));
        assert_eq!(&shown["providers"][0]["requests_per_minute"], &json!(600));
    }

    #[test]
    fn a_tenant_sees_its_own_providers_and_the_shared_ones() {
        let sight = Sight::Of(vec![TenantId(Uuid::from_u128(0xa)), TenantId::SHARED]);
        let shown = render(&snapshot(), &sight);
        assert_eq!(ids(&shown), ["a", "mine", "dead"]);
        assert_eq!(shown["providers"].as_array().unwrap().len(), 2);
    }
}
