//! One picture of the whole: what the nodes say, added up.
//!
//! Counts are sums over the nodes. Percentiles cannot be added up from percentiles: those of the slowest node are shown.
//! Limits hold over all nodes, so what is used of one is right only if all nodes that call its provider are watched.

use super::gather::{Class, Model, Provider, Seen, Status, Tenant};
use crate::domain::llm_request::usd_of_many;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The classes of the queue, the most urgent first.
const CLASSES: [&str; 3] = ["interactive", "normal", "batch"];
/// Pico-dollars of a micro-dollar.
const PICO: f64 = 1e6;

#[derive(Clone, Debug, Default)]
pub struct Frame {
    pub nodes: Vec<NodeLine>,
    pub queue: Vec<Class>,
    pub spilled: u64,
    pub models: Vec<ModelLine>,
    pub tenants: Vec<TenantLine>,
    /// Why there are no tenants.
    pub no_tenants: Option<String>,
}

#[derive(Clone, Debug)]
pub struct NodeLine {
    pub url: String,
    /// Absent where it is up.
    pub trouble: Option<String>,
    pub owned_logs: u64,
    pub running: u64,
    pub open_calls: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ModelLine {
    pub provider: String,
    pub model_id: String,
    pub open_calls: u64,
    pub calls: u64,
    pub calls_per_second: f64,
    pub tokens_per_second: f64,
    pub latency_ms_p50: Option<u64>,
    pub latency_ms_p95: Option<u64>,
    /// 0..1.
    pub error_rate: f64,
    pub breaker: &'static str,
    /// Of the minute's limit, 0..: the provider's or the model's own, whichever is nearer.
    pub requests_used: Option<f64>,
    pub tokens_used: Option<f64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TenantLine {
    pub tenant: Tenant,
    /// Of the month's budget, 0..
    pub budget_used: Option<f64>,
}

/// Calls and tokens of a minute.
#[derive(Clone, Copy, Default)]
struct Minute {
    calls: u64,
    tokens: u64,
}

impl Minute {
    fn add(&mut self, model: &Model) {
        self.calls = self.calls.saturating_add(model.calls);
        self.tokens = self.tokens.saturating_add(model.input_tokens).saturating_add(model.output_tokens);
    }
}

impl Frame {
    pub fn new(seen: &[(String, Seen)], tenants: &Result<Vec<Tenant>, String>) -> Self {
        let up: Vec<&Status> = seen
            .iter()
            .filter_map(|(_, seen)| match seen {
                Seen::Up(status) => Some(&**status),
                Seen::Other | Seen::Away(_) => None,
            })
            .collect();
        Self {
            nodes: seen.iter().map(|(url, seen)| node(url, seen)).collect(),
            queue: CLASSES.map(|priority| class(priority, &up)).into(),
            spilled: up.iter().map(|status| status.spilled).sum(),
            models: models(&up),
            tenants: tenants.as_deref().unwrap_or_default().iter().map(tenant).collect(),
            no_tenants: tenants.as_ref().err().cloned(),
        }
    }

    /// The frame as JSON: times in milliseconds, shares from 0 to 1, money as exact text.
    pub fn to_json(&self) -> Value {
        let node = |it: &NodeLine| {
            json!({
                "url": it.url, "up": it.trouble.is_none(), "trouble": it.trouble, "owned_logs": it.owned_logs,
                "running": it.running, "open_calls": it.open_calls,
            })
        };
        let class = |it: &Class| {
            json!({
                "priority": it.priority, "waiting": it.waiting, "oldest_wait_ms": it.oldest_wait_ms, "begun": it.begun,
                "wait_ms_p50": it.wait_ms_p50, "wait_ms_p95": it.wait_ms_p95,
            })
        };
        let model = |it: &ModelLine| {
            json!({
                "provider": it.provider, "model_id": it.model_id, "open_calls": it.open_calls, "calls": it.calls,
                "calls_per_second": it.calls_per_second, "tokens_per_second": it.tokens_per_second,
                "latency_ms_p50": it.latency_ms_p50, "latency_ms_p95": it.latency_ms_p95, "error_rate": it.error_rate,
                "breaker": it.breaker, "requests_used": it.requests_used, "tokens_used": it.tokens_used,
            })
        };
        let tenant = |it: &TenantLine| {
            json!({
                "id": it.tenant.id, "name": it.tenant.name, "requests_today": it.tenant.requests,
                "tokens_today": it.tenant.tokens, "cost_usd_today": usd_of_many(it.tenant.pico_usd),
                "cost_usd_month": usd_of_many(it.tenant.month_pico_usd),
                "monthly_budget_micro_usd": it.tenant.monthly_budget_micro_usd, "budget_used": it.budget_used,
            })
        };
        json!({
            "nodes": self.nodes.iter().map(node).collect::<Vec<_>>(),
            "queue": self.queue.iter().map(class).collect::<Vec<_>>(),
            "spilled": self.spilled,
            "models": self.models.iter().map(model).collect::<Vec<_>>(),
            "tenants": self.tenants.iter().map(tenant).collect::<Vec<_>>(),
            "no_tenants": self.no_tenants,
        })
    }
}

fn node(url: &str, seen: &Seen) -> NodeLine {
    let line = |trouble: Option<&str>, status: &Status| NodeLine {
        url: url.to_owned(),
        trouble: trouble.map(str::to_owned),
        owned_logs: status.owned_logs,
        running: status.running,
        open_calls: status.open_calls,
    };
    match seen {
        Seen::Up(status) => line(None, status),
        Seen::Other => line(Some("carries no requests out"), &Status::default()),
        Seen::Away(why) => line(Some(why), &Status::default()),
    }
}

fn class(priority: &str, up: &[&Status]) -> Class {
    let mut sum = Class { priority: priority.to_owned(), ..Class::default() };
    for class in up.iter().flat_map(|status| &status.queue).filter(|class| class.priority == priority) {
        sum.waiting += class.waiting;
        sum.begun += class.begun;
        sum.oldest_wait_ms = sum.oldest_wait_ms.max(class.oldest_wait_ms);
        sum.wait_ms_p50 = sum.wait_ms_p50.max(class.wait_ms_p50);
        sum.wait_ms_p95 = sum.wait_ms_p95.max(class.wait_ms_p95);
    }
    sum
}

fn models(up: &[&Status]) -> Vec<ModelLine> {
    let mut providers: BTreeMap<(Uuid, Uuid), (Option<&Provider>, Minute)> = BTreeMap::new();
    let mut all: BTreeMap<(Uuid, Uuid, &str), Vec<&Model>> = BTreeMap::new();
    for status in up {
        for provider in &status.providers {
            providers.entry((provider.tenant_id, provider.id)).or_default().0 = Some(provider);
        }
        for model in &status.models {
            let key = (model.provider_tenant_id, model.provider_id);
            providers.entry(key).or_default().1.add(model);
            all.entry((key.0, key.1, &model.model_id)).or_default().push(model);
        }
    }
    let line = |((tenant, provider, model_id), models): ((Uuid, Uuid, &str), Vec<&Model>)| {
        let (known, of_all) = providers.get(&(tenant, provider)).copied().unwrap_or_default();
        model_line(known.map_or_else(|| provider.to_string(), |it| it.name.clone()), model_id, &models, known, of_all)
    };
    all.into_iter().map(line).collect()
}

fn model_line(name: String, id: &str, models: &[&Model], provider: Option<&Provider>, of_all: Minute) -> ModelLine {
    let mut own = Minute::default();
    models.iter().for_each(|model| own.add(model));
    let per_second = |count: fn(&Model) -> u64| -> f64 {
        models.iter().map(|model| count(model) as f64 * 1e3 / model.window_ms.max(1_000) as f64).sum()
    };
    let failed: f64 = models.iter().map(|model| model.error_rate * model.calls as f64).sum();
    let told = |of: fn(&Model) -> Option<u64>| models.iter().filter_map(|model| of(model)).min();
    let used = |own: u64, own_limit: Option<u64>, all: u64, limit: Option<u64>| {
        let share = |used: u64, limit: Option<u64>| limit.filter(|it| *it > 0).map(|it| used as f64 / it as f64);
        match (share(own, own_limit), share(all, limit)) {
            (Some(own), Some(all)) => Some(own.max(all)),
            (own, all) => own.or(all),
        }
    };
    ModelLine {
        provider: name,
        model_id: id.to_owned(),
        open_calls: models.iter().map(|model| model.open_calls).sum(),
        calls: own.calls,
        calls_per_second: per_second(|model| model.calls),
        tokens_per_second: per_second(|model| model.input_tokens.saturating_add(model.output_tokens)),
        latency_ms_p50: models.iter().filter_map(|model| model.latency_ms_p50).max(),
        latency_ms_p95: models.iter().filter_map(|model| model.latency_ms_p95).max(),
        error_rate: failed / own.calls.max(1) as f64,
        breaker: breaker(models),
        requests_used: used(
            own.calls,
            told(|model| model.requests_per_minute),
            of_all.calls,
            provider.and_then(|it| it.requests_per_minute),
        ),
        tokens_used: used(
            own.tokens,
            told(|model| model.tokens_per_minute),
            of_all.tokens,
            provider.and_then(|it| it.tokens_per_minute),
        ),
    }
}

/// Of the nodes' breakers the one that is worst.
fn breaker(models: &[&Model]) -> &'static str {
    let any = |state: &str| models.iter().any(|model| model.breaker == state);
    match (any("open"), any("half_open")) {
        (true, _) => "open",
        (false, true) => "half_open",
        (false, false) => "closed",
    }
}

fn tenant(tenant: &Tenant) -> TenantLine {
    let budget = tenant.monthly_budget_micro_usd.filter(|budget| *budget > 0);
    let counted = tenant.month_pico_usd + tenant.month_unknown_pico_usd;
    let budget_used = budget.map(|budget| counted as f64 / PICO / budget as f64);
    TenantLine { tenant: tenant.clone(), budget_used }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn status(calls: u64, breaker: &str) -> Status {
        let provider = Provider {
            name: "p".into(),
            requests_per_minute: Some(100),
            tokens_per_minute: None,
            ..Provider::default()
        };
        let model = |model_id: &str, calls| Model {
            model_id: model_id.into(),
            calls,
            window_ms: 60_000,
            input_tokens: 10 * calls,
            output_tokens: 2 * calls,
            error_rate: 0.5,
            latency_ms_p50: Some(calls),
            breaker: breaker.into(),
            ..Model::default()
        };
        let class = Class { priority: "normal".into(), waiting: 5, oldest_wait_ms: calls, ..Class::default() };
        Status {
            running: 1,
            queue: vec![class],
            models: vec![model("a/large", calls), model("small", 6)],
            providers: vec![provider],
            ..Status::default()
        }
    }

    pub fn tenants() -> Vec<Tenant> {
        let tenant = |id, name: &str, pico_usd| Tenant {
            id: Uuid::from_u128(id),
            name: name.into(),
            monthly_budget_micro_usd: Some(2_000_000),
            requests: 7,
            tokens: 900,
            pico_usd,
            month_pico_usd: 1_000_000_000_000,
            month_unknown_pico_usd: 0,
        };
        vec![tenant(1, "Acme", 5), tenant(2, "Umbra", 9)]
    }

    pub fn frame() -> Frame {
        let seen = [
            ("http://a".to_owned(), Seen::Up(Box::new(status(60, "closed")))),
            ("http://b".to_owned(), Seen::Up(Box::new(status(12, "open")))),
            ("http://c".to_owned(), Seen::Away("cannot reach http://c".into())),
            ("http://d".to_owned(), Seen::Other),
        ];
        Frame::new(&seen, &Ok(tenants()))
    }

    #[test]
    fn what_several_nodes_say_is_added_up_and_one_that_is_away_is_said_to_be() {
        let frame = frame();
        let large = &frame.models[0];
        assert_eq!((large.model_id.as_str(), large.calls, large.breaker), ("a/large", 72, "open"));
        assert!((large.calls_per_second - 1.2).abs() < 1e-9 && (large.tokens_per_second - 14.4).abs() < 1e-9);
        assert_eq!((large.latency_ms_p50, large.error_rate), (Some(60), 0.5), "the slowest node's");
        // The provider's limit is shared by its models: 72 + 12 calls of 100.
        assert_eq!((large.requests_used, large.tokens_used), (Some(0.84), None));
        let normal = &frame.queue[1];
        assert_eq!((normal.waiting, normal.oldest_wait_ms, frame.queue[0].waiting), (10, 60, 0));
        let troubles: Vec<_> = frame.nodes.iter().map(|node| node.trouble.as_deref()).collect();
        assert_eq!(troubles, [None, None, Some("cannot reach http://c"), Some("carries no requests out")]);
        assert_eq!(frame.tenants[0].budget_used, Some(0.5));
        let unknown = Tenant { month_unknown_pico_usd: 500_000_000_000, ..tenants()[0].clone() };
        assert_eq!(super::tenant(&unknown).budget_used, Some(0.75), "what nobody learned the cost of counts");
    }

    #[test]
    fn a_limit_that_the_provider_told_of_a_model_counts_where_it_is_nearer() {
        let mut status = status(60, "closed");
        status.models[0].requests_per_minute = Some(60);
        let seen = [("http://a".to_owned(), Seen::Up(Box::new(status)))];
        let frame = Frame::new(&seen, &Err("no tenant".into()));
        assert_eq!(frame.models[0].requests_used, Some(1.0));
        assert_eq!(frame.models[1].requests_used, Some(0.66));
        assert_eq!(frame.to_json()["no_tenants"], "no tenant");
    }

    #[test]
    fn json_has_money_exactly() {
        let json = frame().to_json();
        assert_eq!(json["tenants"][0]["cost_usd_today"], "0.000000000005");
        assert_eq!((&json["nodes"][2]["up"], &json["models"][0]["calls"]), (&json!(false), &json!(72)));
    }
}
