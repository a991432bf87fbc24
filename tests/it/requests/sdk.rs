//! OpenAI's own Python package, unmodified, in front of providers of three wires, through a coupling too.

use super::{coupling, node, provider};
use crate::clients::{PROGRAMS, python, succeeded};
use crate::e2e::server::Folder;
use crate::fake::server::Fake;
use serde_json::json;
use std::path::Path;
use std::process::Command;

#[test]
fn openais_package_works_with_upstreams_of_three_wires() {
    let Some(python) = python() else { return };
    let fake = Fake::start(&["--latency-ms", "fixed:20"]);
    let folder = Folder::new();
    let server = node(&folder, &[]);
    let client = server.client();
    let tenant = client.tenant.clone().unwrap();
    client.make("tenants", &json!({"name": "Acme", "tier": "diamond"}));
    let able = json!({"tool_calling": true, "structured_output": true});
    let model = |id: &str, price: i64| {
        let mut model =
            json!({"model_id": id, "input_micro_usd_per_million": price, "output_micro_usd_per_million": price});
        model.as_object_mut().unwrap().extend(able.as_object().unwrap().clone());
        model
    };
    let models = |chat: &str, embedding: &str| json!([model(chat, 1_000_000), model(embedding, 10_000)]);
    let root = format!("http://{}", fake.address);
    provider(&client, "openai", &fake.address, &json!({"models": models("gpt-4o-mini", "text-embedding-3-small")}));
    let anthropic =
        json!({"wire_protocol": "anthropic", "endpoint": root, "models": [model("claude-sonnet-4-5", 1_000)]});
    provider(&client, "anthropic", &fake.address, &anthropic);
    let gemini = json!({"wire_protocol": "gemini", "endpoint": format!("{root}/v1beta"), "models": models("gemini-2.5-flash", "gemini-embedding-001")});
    provider(&client, "gemini", &fake.address, &gemini);
    // The cheapest, which is Anthropic's.
    let coupling = format!(
        "coupling:{}",
        coupling(&client, &json!({"objective": "cost", "required_capabilities": ["tool_calling"]}))
    );

    for (model, embedding) in [
        ("openai/gpt-4o-mini", Some("openai/text-embedding-3-small")),
        ("anthropic/claude-sonnet-4-5", None),
        ("gemini/gemini-2.5-flash", Some("gemini/gemini-embedding-001")),
        (&coupling, None),
    ] {
        let mut command = Command::new(&python);
        command.arg(Path::new(PROGRAMS).join("openai_sdk.py")).env("PYTHONDONTWRITEBYTECODE", "1");
        command.args([&format!("http://{}/v1", client.address), &tenant, model]).args(embedding);
        let said = succeeded(model, &command.output().unwrap());
        assert!(said.contains("still there"), "{model}: {said}");
    }
    server.stop();
    assert_eq!(folder.check()["problem_count"], 0);
}
