//! A budget holds under concurrency: many callers at once never spend more than it and one reservation.

use super::{chat, complete, fleet, node, provider};
use crate::e2e::http::Client;
use crate::e2e::server::{Folder, eventually};
use crate::fake::server::Fake;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const CALLERS: usize = 64;
/// Each stops after so many refusals in a row: calls under way give back what they reserved and do not use.
const REFUSALS: usize = 20;
const AFTER_A_REFUSAL: Duration = Duration::from_millis(50);
const BUDGET_MICRO_USD: i64 = 1_000_000;
/// 100 tokens out at $100 a million are a cent; the prompt adds what the stand-in counts for it, less than a tenth of that.
const PRICES: (i64, i64) = (10_000_000, 100_000_000);
/// What a call reserves at most: 150 tokens out, and a prompt of fewer than 50.
const RESERVATION_MICRO_USD: i64 = 150 * 100 + 50 * 10;

fn spend(clients: &[Client]) -> u64 {
    let completed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (client, completed) = (&clients[caller % clients.len()], &completed);
            scope.spawn(move || {
                let mut refusals = 0;
                for number in 0.. {
                    let mut body = chat("fake/m", &format!("caller {caller}, call {number}"));
                    body["max_tokens"] = json!(150);
                    match complete(client, &body) {
                        (200, _) => {
                            refusals = 0;
                            completed.fetch_add(1, Ordering::Relaxed);
                        }
                        (429, error) => {
                            assert_eq!(error["error"]["code"], "over_budget", "{error}");
                            refusals += 1;
                            std::thread::sleep(AFTER_A_REFUSAL);
                        }
                        (status, error) => panic!("{status}: {error}"),
                    }
                    if refusals == REFUSALS {
                        return;
                    }
                }
            });
        }
    });
    completed.load(Ordering::Relaxed)
}

fn spent(client: &Client) -> i64 {
    let today = client.read("/v1/usage?by=tenant&window=1d");
    let items = today["items"].as_array().unwrap();
    let cost: f64 = items.iter().map(|item| item["cost_usd"].as_str().unwrap().parse::<f64>().unwrap()).sum();
    (cost * 1e6).round() as i64
}

/// What the tenant was told of its budget.
fn alerts(client: &Client, tenant: &str) -> Vec<String> {
    let page = client.read(&format!("/v1/tenants/{tenant}/history?limit=100"));
    let items = page["items"].as_array().unwrap().iter();
    let raised = items.filter(|item| item["type"] == "tenant.BudgetAlertRaised");
    raised.map(|item| item["data"]["level"].as_str().unwrap().to_owned()).collect()
}

fn holds(clients: &[Client], fake: &Fake) {
    let client = &clients[0];
    let tenant = client.tenant.clone().unwrap();
    client.make("tenants", &json!({"name": "Acme", "tier": "diamond", "monthly_budget_micro_usd": BUDGET_MICRO_USD}));
    let (input, output) = PRICES;
    let models =
        json!([{"model_id": "m", "input_micro_usd_per_million": input, "output_micro_usd_per_million": output}]);
    provider(client, "fake", &fake.address, &json!({ "models": models }));
    let completed = spend(clients);
    assert_eq!(fake.stats()["requests"].as_u64().unwrap(), completed, "{}", fake.stats());
    let cost = eventually("all of it is projected", || {
        let usage = client.read("/v1/usage?by=tenant&window=1d");
        let counted: u64 =
            usage["items"].as_array()?.iter().map(|item| item["requests_completed"].as_u64().unwrap()).sum();
        (counted == completed).then(|| spent(client))
    });
    eprintln!("{completed} calls, {cost} micro-dollars of {BUDGET_MICRO_USD}");
    assert!(cost <= BUDGET_MICRO_USD + RESERVATION_MICRO_USD, "{cost}");
    assert!(cost > BUDGET_MICRO_USD - 2 * RESERVATION_MICRO_USD, "{cost}: it stops long before the budget is used");
    eventually("the tenant is told at 80 % and at the end", || {
        (alerts(client, &tenant) == ["alert", "exhausted"]).then_some(())
    });

    // A larger budget lets calls through again.
    let raised = json!({"monthly_budget_micro_usd": 2 * BUDGET_MICRO_USD});
    client.post(&format!("/v1/tenants/{tenant}/set-budget?wait=projected"), &raised);
    let answer: (u16, Value) = eventually("calls go on", || {
        let answer = complete(client, &chat("fake/m", "once more"));
        (answer.0 == 200).then_some(answer)
    });
    assert_eq!(answer.1["object"], "chat.completion");
}

/// Calls that nobody learns the cost of count as they were estimated, and can be seen.
#[test]
fn a_provider_that_does_not_answer_in_time_uses_a_budget_up_and_the_tenant_sees_it() {
    let fake = Fake::start(&["--latency-ms", "fixed:2000"]);
    let folder = Folder::new();
    let server = node(&folder, &["llm_first_byte_ms_max=300", "request_attempts_max=1"]);
    let client = server.client();
    let tenant = client.tenant.clone().unwrap();
    client.make("tenants", &json!({"name": "Acme", "tier": "diamond", "monthly_budget_micro_usd": 35_000}));
    let (input, output) = PRICES;
    let models =
        json!([{"model_id": "m", "input_micro_usd_per_million": input, "output_micro_usd_per_million": output}]);
    provider(&client, "fake", &fake.address, &json!({ "models": models }));
    let mut body = chat("fake/m", "hello");
    body["max_tokens"] = json!(150);
    let codes: Vec<_> = (0..3).map(|_| complete(&client, &body).1["error"]["code"].clone()).collect();
    assert_eq!(codes, ["timeout_first_byte", "timeout_first_byte", "over_budget"]);
    let shown = eventually("both calls are counted", || {
        let usage = client.read("/v1/usage?by=tenant&window=1d");
        let item = usage["items"].as_array()?.first()?.clone();
        (item["calls_of_unknown_cost"] == 2).then_some(item)
    });
    let estimated: f64 = shown["unknown_cost_usd_estimated"].as_str().unwrap().parse().unwrap();
    assert!((0.030..=2.0 * RESERVATION_MICRO_USD as f64 / 1e6).contains(&estimated), "{shown}");
    assert_eq!(shown["cost_usd"], "0.000000000000");
    eventually("the tenant is told", || (alerts(&client, &tenant) == ["alert", "exhausted"]).then_some(()));
    server.stop();
    assert_eq!(folder.check()["problem_count"], 0);
}

#[test]
fn sixty_four_callers_on_one_node_spend_no_more_than_the_budget_and_one_reservation() {
    let fake = Fake::start(&["--output-tokens", "fixed:100", "--latency-ms", "uniform:5-50"]);
    let folder = Folder::new();
    let server = node(&folder, &[]);
    holds(&[server.client()], &fake);
    server.stop();
    assert_eq!(folder.check()["problem_count"], 0);
}

#[test]
fn sixty_four_callers_on_two_workers_spend_no_more_than_the_budget_and_one_reservation() {
    let Some((mut fleet, first)) = fleet("a budget in a fleet", &[]) else { return };
    let second = fleet.start_role("work");
    fleet.wait_until_ready(&second);
    let fake = Fake::start(&["--output-tokens", "fixed:100", "--latency-ms", "uniform:5-50"]);
    let other = fleet.client(&second, first.tenant.as_deref().unwrap());
    holds(&[first, other], &fake);
}
