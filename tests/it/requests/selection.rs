//! Selection by what calls and users show: a model that dies is left by its couplings, and feedback shifts the next choice.

use super::{chat, node, provider};
use crate::e2e::http::{Answer, Client};
use crate::e2e::server::{Folder, eventually};
use crate::fake::server::Fake;
use serde_json::{Value, json};

/// A provider of one model `m`.
fn offer(client: &Client, name: &str, fake: &Fake, micro_usd: i64, quality: f64) -> String {
    let model = json!({
        "model_id": "m", "input_micro_usd_per_million": micro_usd, "output_micro_usd_per_million": micro_usd,
        "quality": quality,
    });
    provider(client, name, &fake.address, &json!({ "models": [model] }))
}

/// A coupling of an agent and a server of its own.
fn coupling(client: &Client, more: &Value) -> String {
    let agent = client.make("agents", &json!({"name": "Ada", "category": "research"}));
    let server = json!({"name": "Library", "category": "research", "transport": "stdio", "package": "npm:library"});
    let mut asked = json!({"agent_id": agent, "mcp_server_id": client.make("mcp-servers", &server)});
    for (field, value) in more.as_object().into_iter().flatten() {
        asked[field] = value.clone();
    }
    client.make("couplings", &asked)
}

fn in_use(client: &Client, coupling: &str) -> String {
    client.read(&format!("/v1/couplings/{coupling}"))["model"]["provider"].as_str().unwrap().to_owned()
}

fn ask(client: &Client, model: &str, text: &str) -> Answer {
    client.post("/v1/chat/completions", &chat(model, text))
}

/// The model `m` as its provider shows it.
fn shown(client: &Client, provider: &str) -> Value {
    client.read(&format!("/v1/llm-providers/{provider}"))["models"][0].clone()
}

/// The data of the last event of a coupling that has this name.
fn last(client: &Client, coupling: &str, name: &str) -> Value {
    let page = client.read(&format!("/v1/couplings/{coupling}/history"));
    let items = page["items"].as_array().unwrap();
    let found = items.iter().rfind(|item| item["type"].as_str().unwrap().ends_with(name));
    assert!(found.is_some(), "no {name}: {page}");
    found.unwrap()["data"].clone()
}

fn rejected(assessment: &Value, provider: &str) -> Value {
    let examples = assessment["rejected_examples"].as_array().unwrap();
    let found = examples.iter().find(|it| it["model"]["provider_id"] == provider);
    assert!(found.is_some(), "{assessment}");
    found.unwrap()["reason"].clone()
}

#[test]
fn a_model_that_dies_is_left_by_its_couplings_and_chosen_again_when_it_is_back() {
    let (one, other) = (Fake::start(&[]), Fake::start(&[]));
    let folder = Folder::new();
    let settings = ["rebind_after_s=1", "request_breaker_failures=2", "request_breaker_open_ms=200"];
    let server = node(&folder, &settings);
    let client = server.client();
    client.make("tenants", &json!({"name": "Acme", "tier": "diamond"}));
    let first = offer(&client, "first", &one, 1_000_000, 0.9);
    offer(&client, "second", &other, 2_000_000, 0.6);
    let cheapest = json!({"objective": "cost"});
    let moved = coupling(&client, &cheapest);
    let pinned = coupling(&client, &json!({"model": {"provider_id": first, "model_id": "m"}}));
    assert_eq!(in_use(&client, &moved), "first");

    one.post("/fake/down", &[], &json!({"mode": "refuse"}));
    eventually("the coupling has left the model that is down", || {
        let answer = ask(&client, &format!("coupling:{moved}"), "hello");
        assert_eq!(answer.status, 200, "it falls back meanwhile: {}", answer.text());
        (in_use(&client, &moved) == "second").then_some(())
    });
    let rebound = last(&client, &moved, "CouplingRebound");
    assert_eq!(rejected(&rebound["assessment"], &first), "moved_away");
    assert!(rebound["reason"].as_str().unwrap().starts_with("the model m is down"), "{rebound}");
    assert_eq!(shown(&client, &first)["model_health"], "down");
    eventually("the pinned coupling waits", || {
        (client.read(&format!("/v1/couplings/{pinned}"))["holds"] == json!(["provider"])).then_some(())
    });
    let meanwhile = coupling(&client, &cheapest);
    assert_eq!(in_use(&client, &meanwhile), "second");
    let established = last(&client, &meanwhile, "CouplingEstablished");
    assert_eq!(rejected(&established["assessment"], &first), "model_down");

    one.request("POST", "/fake/up", &[], "");
    assert_eq!(ask(&client, "first/m", "are you there").status, 200);
    eventually("the model is up", || (shown(&client, &first)["model_health"] == "up").then_some(()));
    eventually("the pinned coupling goes on", || {
        (client.read(&format!("/v1/couplings/{pinned}"))["status"] == "active").then_some(())
    });
    assert_eq!(in_use(&client, &moved), "second", "what works is left alone");
    assert_eq!(in_use(&client, &coupling(&client, &cheapest)), "first");
    server.stop();
    folder.check();
}

fn rate(client: &Client, request: &str, score: f64) -> Answer {
    client.post("/v1/feedback", &json!({"request_id": request, "score": score, "comment": "as I see it"}))
}

#[test]
fn feedback_shifts_the_choice_of_the_couplings_that_are_made_afterwards() {
    let (one, other) = (Fake::start(&[]), Fake::start(&[]));
    let folder = Folder::new();
    let server = node(&folder, &["statistics_interval_s=1", "statistics_calls_min=1"]);
    let client = server.client();
    client.make("tenants", &json!({"name": "Acme", "tier": "diamond"}));
    let first = offer(&client, "first", &one, 1_000_000, 0.9);
    let second = offer(&client, "second", &other, 1_000_000, 0.6);
    let best = json!({"objective": "quality"});
    let before = coupling(&client, &best);
    assert_eq!(in_use(&client, &before), "first");

    let mut request = String::new();
    for number in 0..6 {
        for (model, score) in [("first/m", 0.1), ("second/m", 1.0)] {
            let answer = ask(&client, model, &format!("question {number}"));
            assert_eq!(answer.status, 200, "{}", answer.text());
            answer.header("agentverse-request-id").clone_into(&mut request);
            // By the answer's own id, or by the request's.
            let named =
                if number % 2 == 0 { answer.json()["id"].as_str().unwrap().to_owned() } else { request.clone() };
            let told = rate(&client, &named, score);
            assert_eq!((told.status, &told.json()["request_id"]), (200, &json!(request)), "{}", told.text());
        }
    }
    let (code, told, error) = server.cli(&["feedback", &request, "0.99"], None);
    assert_eq!((code, &told["request_id"]), (Some(0), &json!(request)), "{error}");
    for (status, named, score) in [(400, request.as_str(), 1.5), (404, "chatcmpl-of-another", 0.5), (404, &first, 0.5)]
    {
        assert_eq!(rate(&client, named, score).status, status, "{named} {score}");
    }
    eventually("the ratings are measured", || {
        let [low, high] = [&first, &second].map(|provider| shown(&client, provider)["measured"].clone());
        let is_enough = [&low, &high].iter().all(|it| it["ratings"].as_i64().is_some_and(|raters| raters >= 5));
        (is_enough && low["rating_mean"] == 0.1 && high["rating_mean"].as_f64()? > 0.99).then_some(())
    });
    let after = coupling(&client, &best);
    assert_eq!(in_use(&client, &after), "second");
    let explained = client.read(&format!("/v1/couplings/{after}/explain"));
    assert_eq!(explained["choice"]["candidates"][0]["quality_is_measured"], true, "{explained}");
    assert_eq!(in_use(&client, &before), "first", "what was chosen before stays");
    let offers = client.walk("/v1/usage?by=offer&window=1h", 10);
    let ratings: i64 = offers.iter().map(|item| item["ratings"].as_i64().unwrap()).sum();
    assert_eq!(ratings, 13, "a change is one too: {offers:?}");
    server.stop();
    folder.check();
}
