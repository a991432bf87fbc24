//! What is asked of the nodes, and what comes back.

use crate::cli::client::{ClientError, Connection, Request};
use crate::cli::url::{BaseUrl, append_query};
use crate::domain::Micros;
use crate::domain::decimal::scaled;
use futures::future::join_all;
use serde::Deserialize;
use std::time::Duration;
use uuid::Uuid;

/// `GET /v1/status/requests` of one node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Status {
    pub owned_logs: u64,
    pub running: u64,
    pub open_calls: u64,
    pub spilled: u64,
    pub queue: Vec<Class>,
    pub models: Vec<Model>,
    pub providers: Vec<Provider>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Class {
    pub priority: String,
    pub waiting: u64,
    pub oldest_wait_ms: u64,
    pub begun: u64,
    pub wait_ms_p50: Option<u64>,
    pub wait_ms_p95: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Model {
    pub provider_tenant_id: Uuid,
    pub provider_id: Uuid,
    pub model_id: String,
    pub open_calls: u64,
    pub window_ms: u64,
    pub calls: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub error_rate: f64,
    pub latency_ms_p50: Option<u64>,
    pub latency_ms_p95: Option<u64>,
    pub breaker: String,
    pub requests_per_minute: Option<u64>,
    pub tokens_per_minute: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Provider {
    pub tenant_id: Uuid,
    pub id: Uuid,
    pub name: String,
    pub requests_per_minute: Option<u64>,
    pub tokens_per_minute: Option<u64>,
}

/// A node at one moment.
#[derive(Clone, Debug)]
pub enum Seen {
    Up(Box<Status>),
    /// It answers, and carries no requests out.
    Other,
    Away(String),
}

/// One node that is watched.
pub struct Node {
    pub url: BaseUrl,
    connection: Connection,
}

impl Node {
    pub fn new(url: BaseUrl, timeout: Duration) -> Self {
        Self { connection: Connection::new(url.clone(), timeout), url }
    }

    async fn look(&mut self, tenant: Option<Uuid>) -> (Seen, Option<ClientError>) {
        let asked = self.connection.request(Request::get("/v1/status/requests", tenant)).await;
        match asked.and_then(|answer| answer.json::<Status>()) {
            Ok(status) => (Seen::Up(Box::new(status)), None),
            Err(ClientError::Problem(problem)) if problem.status == 404 => (Seen::Other, None),
            Err(error) => (Seen::Away(error.to_string()), Some(error)),
        }
    }
}

/// Asks all nodes at once. With the first error where none of them answered.
pub async fn look(nodes: &mut [Node], tenant: Option<Uuid>) -> (Vec<(String, Seen)>, Option<ClientError>) {
    let looks = nodes.iter_mut().map(async |node| {
        let (seen, error) = node.look(tenant).await;
        ((node.url.to_string(), seen), error)
    });
    let (seen, mut errors): (Vec<_>, Vec<_>) = join_all(looks).await.into_iter().unzip();
    let all_failed = errors.iter().all(Option::is_some);
    (seen, errors.drain(..).next().flatten().filter(|_| all_failed))
}

/// What a tenant's requests came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tenant {
    pub id: Uuid,
    pub name: String,
    pub monthly_budget_micro_usd: Option<u64>,
    /// Of today (UTC).
    pub requests: u64,
    pub tokens: u64,
    pub pico_usd: i128,
    /// Since the month began.
    pub month_pico_usd: i128,
    /// What calls were estimated to cost of which nobody learned the cost.
    pub month_unknown_pico_usd: i128,
}

#[derive(Deserialize)]
struct Page<T> {
    items: Vec<T>,
}

#[derive(Deserialize)]
struct Listed {
    id: Uuid,
    #[serde(default)]
    name: String,
    #[serde(default)]
    monthly_budget_micro_usd: Option<u64>,
}

#[derive(Deserialize)]
struct Day {
    start: String,
    requests_completed: u64,
    requests_failed: u64,
    requests_expired: u64,
    requests_cancelled: u64,
    input_tokens: u64,
    output_tokens: u64,
    cost_usd: String,
    /// Counts against the budget, too.
    unknown_cost_usd_estimated: String,
}

/// Which tenants are looked at, and the time it is.
#[derive(Clone, Copy, Debug)]
pub struct Tenants {
    pub tenant: Option<Uuid>,
    /// So many, in the order of their ids.
    pub most: u16,
    pub now: Micros,
}

/// The usage of the tenants, from the first of the nodes that tells it.
///
/// # Errors
/// What the last one said, when none does.
pub async fn tenants(nodes: &mut [Node], ask: Tenants) -> Result<Vec<Tenant>, ClientError> {
    let mut last = ClientError::Broken { cause: "no node was named".into() };
    for node in nodes {
        match usage(&mut node.connection, ask).await {
            Ok(tenants) => return Ok(tenants),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn usage(connection: &mut Connection, ask: Tenants) -> Result<Vec<Tenant>, ClientError> {
    let (today, month) = days(ask.now).ok_or_else(|| ClientError::Broken { cause: "the clock is off".into() })?;
    let target = format!("/v1/tenants?limit={}", ask.most);
    let page: Page<Listed> = connection.request(Request::get(target, ask.tenant)).await?.json()?;
    let mut tenants = Vec::with_capacity(page.items.len());
    for listed in page.items {
        let mut target = "/v1/usage?by=tenant&window=1d&limit=1000".to_owned();
        append_query(&mut target, "from", &month);
        let days: Page<Day> = connection.request(Request::get(target, Some(listed.id))).await?.json()?;
        tenants.push(added_up(listed, &days.items, &today));
    }
    Ok(tenants)
}

/// The date of a moment, and the first moment of its month, both in UTC.
fn days(now: Micros) -> Option<(String, String)> {
    let date = jiff::Timestamp::from_microsecond(now).ok()?.to_zoned(jiff::tz::TimeZone::UTC).date();
    Some((date.to_string(), format!("{}T00:00:00Z", date.first_of_month())))
}

fn added_up(listed: Listed, days: &[Day], today: &str) -> Tenant {
    let Listed { id, name, monthly_budget_micro_usd } = listed;
    let mut tenant = Tenant { id, name, monthly_budget_micro_usd, ..Tenant::default() };
    for day in days {
        let pico_usd = scaled(&day.cost_usd, 12).unwrap_or(0);
        tenant.month_pico_usd += pico_usd;
        tenant.month_unknown_pico_usd += scaled(&day.unknown_cost_usd_estimated, 12).unwrap_or(0);
        if day.start.starts_with(today) {
            tenant.pico_usd += pico_usd;
            let ends = [day.requests_completed, day.requests_failed, day.requests_expired, day.requests_cancelled];
            tenant.requests = ends.iter().fold(tenant.requests, |sum, count| sum.saturating_add(*count));
            tenant.tokens = tenant.tokens.saturating_add(day.input_tokens).saturating_add(day.output_tokens);
        }
    }
    tenant
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_days_of_the_month_are_added_up_and_today_is_told_apart() {
        // 2026-03-14T15:00:00Z
        let (today, month) = days(1_773_500_400_000_000).unwrap();
        assert_eq!((today.as_str(), month.as_str()), ("2026-03-14", "2026-03-01T00:00:00Z"));
        let day = |start: &str, cost: &str| Day {
            start: start.into(),
            requests_completed: 3,
            requests_failed: 1,
            requests_expired: 1,
            requests_cancelled: 1,
            input_tokens: 100,
            output_tokens: 20,
            cost_usd: cost.into(),
            unknown_cost_usd_estimated: "0.250000000000".into(),
        };
        let days = [
            day("2026-03-02T00:00:00.000000Z", "1.500000000000"),
            day("2026-03-14T00:00:00.000000Z", "0.000000000001"),
        ];
        let listed = Listed { id: Uuid::nil(), name: "Acme".into(), monthly_budget_micro_usd: Some(3_000_000) };
        let tenant = added_up(listed, &days, &today);
        assert_eq!((tenant.requests, tenant.tokens, tenant.pico_usd), (6, 120, 1));
        assert_eq!(tenant.month_pico_usd, 1_500_000_000_001);
        assert_eq!(tenant.month_unknown_pico_usd, 500_000_000_000);
    }
}
