//! Prices: published ones are imported into a node that is in use, and a budget holds nothing that has none.

use super::{chat, complete, node, provider};
use crate::e2e::server::{Folder, eventually};
use crate::fake::server::Fake;
use serde_json::json;

/// What models.dev publishes, of one provider.
const PUBLISHED: &str = r#"{"fake": {"id": "fake", "name": "fake", "npm": "@ai-sdk/openai", "env": ["FAKE_KEY"], "models": {
    "m": {"id": "m", "name": "M", "cost": {"input": 3, "output": 9}, "limit": {"context": 8000, "output": 1000}}
}}}"#;

#[test]
fn prices_are_imported_beside_what_calls_have_shown_and_a_budget_refuses_what_has_none() {
    let fake = Fake::start(&[]);
    let folder = Folder::new();
    let server = node(&folder, &[]);
    let client = server.client();
    client.make("tenants", &json!({"name": "Acme", "tier": "diamond", "monthly_budget_micro_usd": 1_000_000}));
    let unpriced = json!({"models": [{"model_id": "m"}]});
    let provider = provider(&client, "fake", &fake.address, &unpriced);
    let (status, refused) = complete(&client, &chat("fake/m", "hello"));
    assert_eq!((status, &refused["error"]["code"]), (400, &json!("price_unknown")), "{refused}");
    assert_eq!(fake.stats()["requests"], 0, "nobody knows what it would have cost");

    let import = ["import", "llm-prices", "-"];
    let (code, report, told) = server.cli(&import, Some(PUBLISHED));
    assert_eq!((code, &report["changed"], &report["created"]), (Some(0), &json!(1), &json!(0)), "{report} {told}");
    assert_eq!(report["listed"][0]["key"], "fake/m", "{report}");
    let shown = client.read(&format!("/v1/llm-providers/{provider}"))["models"][0].clone();
    assert_eq!(shown["input_micro_usd_per_million"], 3_000_000, "{shown}");
    eventually("calls are made", || (complete(&client, &chat("fake/m", "hello")).0 == 200).then_some(()));
    let (code, report, told) = server.cli(&import, Some(PUBLISHED));
    assert_eq!((code, &report["unchanged"], &report["changed"]), (Some(0), &json!(2), &json!(0)), "{report} {told}");
}

#[test]
fn a_body_that_is_too_large_is_refused_in_words_however_it_comes() {
    let folder = Folder::new();
    let server = node(&folder, &[]);
    let client = server.provisioned();
    let large = vec![b'x'; 12 << 20];
    let mut chunked = format!("{:x}\r\n", large.len()).into_bytes();
    chunked.extend_from_slice(&large);
    chunked.extend_from_slice(b"\r\n0\r\n\r\n");
    let tenant = client.tenant.clone().unwrap();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nAgentVerse-Tenant: {tenant}\r\ncontent-type: application/json\r\n"
    );
    for (framing, body) in
        [(format!("content-length: {}\r\n", large.len()), &large), ("transfer-encoding: chunked\r\n".into(), &chunked)]
    {
        for _ in 0..5 {
            let answer = crate::e2e::http::exchange(&client.address, &format!("{head}{framing}"), body);
            assert_eq!(answer.map(|answer| answer.status), Some(413), "{framing}");
        }
    }
}
