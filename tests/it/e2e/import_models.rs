//! Lists of models, taxonomies, and agents from templates through the real binary.

use super::imports::counts;
use super::server::{Folder, Server};
use serde_json::{Value, json};

/// A list of models as models.dev publishes it; of each model the price of a million tokens of input.
fn models(providers: &[(&str, &[(&str, f64)])]) -> Value {
    let provider = |(key, models): &(&str, &[(&str, f64)])| {
        let model = |(id, price): &(&str, f64)| {
            (
                id.to_string(),
                json!({"id": id, "name": id, "cost": {"input": price, "output": 1}, "limit": {"context": 8000}}),
            )
        };
        let models: serde_json::Map<_, _> = models.iter().map(model).collect();
        let provider = json!({"name": key.to_uppercase(), "npm": "@ai-sdk/openai-compatible", "env": [format!("{key}_KEY")],
            "api": format!("https://{key}.example/v1"), "models": models});
        (key.to_string(), provider)
    };
    Value::Object(providers.iter().map(provider).collect())
}

fn import(server: &Server, kind: &str, args: &[&str], list: &Value) -> (Option<i32>, Value) {
    let (code, report, told) = server.cli(&[&["import", kind, "-"], args].concat(), Some(&list.to_string()));
    assert_eq!(report["complete"], true, "{report} {told}");
    (code, report)
}

#[test]
fn a_list_of_models_is_a_difference_model_by_model_and_leaves_how_a_provider_is_reached() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.provisioned();
    let import = |kind: &str, args: &[&str], list: &Value| import(&server, kind, args, list);
    // One that is registered by hand is met by its name, and how it is reached stays.
    let by_hand =
        json!({"name": "Acme", "endpoint": "https://proxy.example/v1", "models": [{"model_id": "own", "name": "Own"}]});
    let by_hand = client.make("llm-providers", &by_hand);
    let many: Vec<(String, f64)> = (0..250).map(|number| (format!("labs/m{number:03}"), 1.5)).collect();
    let many: Vec<(&str, f64)> = many.iter().map(|(id, price)| (id.as_str(), *price)).collect();
    let list = models(&[("acme", &[("a", 0.25), ("b", 2.0)]), ("labs", &many)]);
    let (_, report) = import("llm-prices", &[], &list);
    assert_eq!(
        (counts(&report), &report["skipped"]),
        ([2, 0, 1, 0, 0], &json!(251)),
        "only those that are here: {report}"
    );
    assert_eq!(counts(&import("models-dev", &["--dry-run"], &list).1), [251, 0, 3, 0, 0]);
    assert_eq!(counts(&import("models-dev", &["--as-of", "2026-01-31"], &list).1), [251, 0, 3, 0, 0]);
    assert_eq!(counts(&import("models-dev", &[], &list).1), [0, 0, 254, 0, 0]);
    let acme = client.read(&format!("/v1/llm-providers/{by_hand}"));
    assert_eq!((&acme["endpoint"], &acme["name"]), (&json!("https://proxy.example/v1"), &json!("Acme")), "{acme}");
    assert_eq!(acme["models"][0]["input_micro_usd_per_million"], 250_000, "{acme}");
    let labs = &client.walk("/v1/llm-providers?shared=false&name=LABS", 10)[0];
    assert_eq!(
        (&labs["model_count"], &labs["endpoint"], &labs["api_key_env"]),
        (&json!(250), &json!("https://labs.example/v1"), &json!("labs_KEY"))
    );
    assert_eq!(labs["models"][0]["priced_at"], 1_769_817_600_000_000_i64, "{}", labs["models"][0]);
    server.stop();
    folder.check();
}

#[test]
fn models_that_a_list_has_no_more_are_retired_and_no_provider_is() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.provisioned();
    let import = |args: &[&str], list: &Value| import(&server, "models-dev", args, list);
    let by_hand =
        client.make("llm-providers", &json!({"name": "Acme", "models": [{"model_id": "own", "name": "Own"}]}));
    let many: Vec<(String, f64)> = (0..250).map(|number| (format!("m{number:03}"), 1.5)).collect();
    let many: Vec<(&str, f64)> = many.iter().map(|(id, price)| (id.as_str(), *price)).collect();
    let list = models(&[("acme", &[("a", 0.25), ("b", 2.0)]), ("labs", &many)]);
    assert_eq!(counts(&import(&[], &list).1), [253, 0, 1, 0, 0]);

    // A price that changed, one that is none, and a provider that is not in the list.
    let list =
        json!({"acme": {"models": {"a": {"cost": {"input": 0.5, "output": 1}}, "c": {"cost": {"input": "much"}}}}});
    let (code, report) = import(&["--retire-missing"], &list);
    assert_eq!((code, counts(&report)), (Some(3), [0, 1, 1, 1, 0]), "{report}");
    let told = &report["listed"][0];
    assert_eq!((&told["key"], &told["field"]), (&json!("acme/c"), &json!("cost.input")), "{told}");
    assert_eq!(report["listed"][1]["key"], "acme/a");
    assert!(
        report["listed"][1]["fields"].as_array().unwrap().contains(&json!("input_micro_usd_per_million")),
        "{report}"
    );

    let list = models(&[("acme", &[("a", 0.5)]), ("labs", &many[..100])]);
    let (code, report) = import(&["--retire-missing", "--provider", "acme"], &list);
    assert_eq!((code, counts(&report)), (Some(0), [0, 0, 2, 0, 1]), "its b, and nothing of another: {report}");
    for args in [&["--retire-missing", "--dry-run"][..], &["--retire-missing"]] {
        let (code, report) = import(args, &list);
        assert_eq!((code, counts(&report)), (Some(0), [0, 0, 103, 0, 150]), "{report}");
    }
    let ids = |models: &Value| models.as_array().unwrap().iter().map(|it| it["model_id"].clone()).collect::<Vec<_>>();
    let acme = client.read(&format!("/v1/llm-providers/{by_hand}"));
    assert_eq!(ids(&acme["models"]), ["a", "own"], "what somebody added by hand stays");
    assert_eq!(counts(&import(&["--retire-missing"], &json!({"labs": {"models": {}}})).1), [0, 0, 1, 0, 101]);
    let labs = &client.walk("/v1/llm-providers?shared=false&name=LABS", 10)[0];
    assert_eq!((&labs["status"], &labs["model_count"]), (&json!("registered"), &json!(0)), "{labs}");
    assert_eq!(counts(&import(&[], &list).1)[0], 101, "what is published again comes back");

    let (code, _, told) = server.cli(&["import", "models-dev", "-", "--provider", "nobody"], Some(&list.to_string()));
    assert!(code != Some(0) && told.contains("its providers: acme, labs"), "{told}");
    server.stop();
    folder.check();
}

#[test]
fn a_taxonomy_gives_every_skill_all_that_is_above_it() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.provisioned();
    let class = |name: &str, extends: &str| json!({"uid": 1, "caption": name, "description": "d", "extends": extends, "name": name, "attributes": {}});
    let mut classes =
        vec![class("planning", "reasoning"), class("reasoning", "base_skill"), class("route_planning", "planning")];
    let import = |args: &[&str], classes: &[Value]| {
        let text = json!({"skills": classes, "domains": [class("legal", "base_domain")]}).to_string();
        server.cli(&[&["import", "oasf-skills", "-"], args].concat(), Some(&text))
    };
    let (code, report, told) = import(&[], &classes);
    assert_eq!((code, counts(&report), &report["skipped"]), (Some(0), [3, 0, 0, 0, 0], &json!(1)), "{report} {told}");
    assert_eq!(counts(&import(&[], &classes).1), [0, 0, 3, 0, 0]);
    let below = client.walk("/v1/skills?ancestor=reasoning", 10);
    assert_eq!(below.len(), 2);
    let route = &client.walk("/v1/skills?name=route_planning", 10)[0];
    assert_eq!(
        (&route["ancestors"], &route["parent"], &route["category"]),
        (&json!(["planning", "reasoning"]), &json!("planning"), &json!("reasoning")),
        "{route}"
    );
    assert_eq!(client.walk("/v1/skills?parent=planning&category=reasoning", 10).len(), 1);
    classes.pop();
    assert_eq!(counts(&import(&["--retire-missing"], &classes).1), [0, 0, 2, 0, 1]);
    assert_eq!(client.walk("/v1/skills?status=retired", 10).len(), 1);
    server.stop();
    folder.check();
}

#[test]
fn agents_are_made_from_templates_and_have_what_was_set_where_their_lines_have_nothing() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.provisioned();
    let template = json!({"name": "clerk", "category": "office", "instructions": "Work for {team}.",
        "parameters": [{"name": "team"}], "skills": ["filing"]});
    server.cli(&["import", "agent-templates", "-"], Some(&template.to_string()));
    let lines = "{\"id\":1,\"name\":\"Ada\",\"skills\":[\"sums\"],\"params\":{\"team\":\"tax\"}}\n{\"id\":2,\"name\":\"Bo\",\"role\":\"chief\"}\n{\"id\":3,\"name\":\"Cy\",\"template\":\"nobody\"}\n";
    let args = [
        "import",
        "agents",
        "-",
        "--set",
        "template=clerk",
        "--set",
        "role=clerk",
        "--map",
        "template_parameters=params",
        "--set",
        "template_parameters={\"team\":\"all\"}",
    ];
    let (code, report, told) = server.cli(&args, Some(lines));
    assert_eq!((code, counts(&report)), (Some(3), [2, 0, 0, 1, 0]), "{report} {told}");
    assert!(report["listed"][0]["reason"].as_str().unwrap().contains("has such a template"), "{report}");
    let agent = |name: &str| client.walk(&format!("/v1/agents?name={name}"), 10)[0].clone();
    let (ada, bo) = (agent("Ada"), agent("Bo"));
    assert_eq!(
        (&ada["instructions"], &ada["skills"], &ada["role"]),
        (&json!("Work for tax."), &json!(["filing", "sums"]), &json!("clerk")),
        "{ada}"
    );
    assert_eq!(
        (&bo["instructions"], &bo["category"], &bo["role"]),
        (&json!("Work for all."), &json!("office"), &json!("chief")),
        "{bo}"
    );
    let (_, report, _) = server.cli(&args, Some(lines));
    assert_eq!(counts(&report), [0, 0, 2, 1, 0], "{report}");
    server.stop();
}
