use super::*;
use crate::domain::common::{NAME_BYTES_MAX, TEXT_BYTES_MAX};
use crate::domain::spec::{NOW, Spec, TENANT, meta, stream};
use crate::domain::tenant::{self, Tenant};
use crate::domain::wire::Wire;
use crate::domain::{AnyState, TenantId, coupling, golden};
use proptest::prelude::*;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

mod commands;
mod measured;
mod models;
mod reactions;

type Provider = Spec<LlmProvider>;

fn access() -> Access {
    Access {
        name: "Example AI".into(),
        wire_protocol: WireProtocol::AzureOpenai,
        endpoint: Some("https://llm.example.com/v1".into()),
        api_key_env: Some("EXAMPLE_API_KEY".into()),
    }
}

/// A model whose every field says something.
fn model(model_id: &str) -> Model {
    Model {
        model_id: model_id.into(),
        name: format!("Model {model_id}"),
        context_tokens: Some(200_000),
        output_tokens_max: Some(64_000),
        input_micro_usd_per_million: Some(3_000_000),
        output_micro_usd_per_million: Some(15_000_000),
        cached_input_micro_usd_per_million: Some(300_000),
        cache_write_micro_usd_per_million: Some(3_750_000),
        batch_input_micro_usd_per_million: Some(1_500_000),
        batch_output_micro_usd_per_million: Some(7_500_000),
        priced_at: Some(1_767_225_600_000_000),
        price_source: Some("models.dev".into()),
        input_modalities: vec![Modality::Text, Modality::Image],
        output_modalities: vec![Modality::Text],
        tool_calling: Some(true),
        structured_output: Some(false),
        latency_ms_p50: Some(1_200),
        quality: Some(0.85),
    }
}

/// The same model at another price.
fn dearer(model_id: &str) -> Model {
    Model { input_micro_usd_per_million: Some(4_000_000), ..model(model_id) }
}

fn register(access: Access, models: Vec<Model>, limits: [Option<i64>; 2]) -> Command {
    let Access { name, wire_protocol, endpoint, api_key_env } = access;
    let [requests_per_minute, tokens_per_minute] = limits;
    Command::RegisterLlmProvider(RegisterLlmProvider {
        name,
        wire_protocol,
        endpoint,
        api_key_env,
        models,
        requests_per_minute,
        tokens_per_minute,
    })
}

fn revise(change: impl FnOnce(&mut ReviseLlmProvider)) -> Command {
    let mut command = ReviseLlmProvider::default();
    change(&mut command);
    Command::ReviseLlmProvider(command)
}

fn put(models: Vec<Model>) -> Command {
    Command::PutModels(PutModels { models })
}

fn retire(model_ids: &[&str]) -> Command {
    let model_ids = model_ids.iter().map(|id| (*id).into()).collect();
    Command::RetireModels(RetireModels { model_ids, reason: "old".into() })
}

fn limit(requests_per_minute: Option<i64>, tokens_per_minute: Option<i64>) -> Command {
    Command::SetLlmProviderLimits(SetLlmProviderLimits { requests_per_minute, tokens_per_minute })
}

fn report(health: Health) -> Command {
    Command::ReportLlmProviderHealth(ReportLlmProviderHealth { health, reason: "probe".into() })
}

fn deregister() -> Command {
    Command::DeregisterLlmProvider(DeregisterLlmProvider { reason: "contract ended".into() })
}

fn registered() -> Event {
    Event::LlmProviderRegistered(LlmProviderRegistered { access: access() })
}

fn added(models: Vec<Model>) -> Event {
    Event::ModelsAdded(ModelsAdded { models })
}

fn changed(before: Model, after: Model) -> Event {
    Event::ModelChanged(ModelChanged { before, after })
}

fn retired(model_id: &str) -> Event {
    Event::ModelRetired(ModelRetired { model_id: model_id.into(), reason: "old".into() })
}

fn limited(requests_per_minute: Option<i64>, tokens_per_minute: Option<i64>) -> Event {
    Event::LlmProviderLimitsSet(LlmProviderLimitsSet { requests_per_minute, tokens_per_minute })
}

fn health(before: Health, after: Health) -> Event {
    Event::LlmProviderHealthChanged(LlmProviderHealthChanged { before, after, reason: "probe".into() })
}

fn deregistered() -> Event {
    Event::LlmProviderDeregistered(LlmProviderDeregistered { reason: "contract ended".into() })
}

/// A registered provider with the models `a` and `b`.
fn with_models() -> Vec<Event> {
    vec![registered(), added(vec![model("a"), model("b")])]
}

/// One of each command, each of which changes something where it is allowed.
fn one_of_each() -> Vec<Command> {
    vec![
        register(access(), vec![model("a")], [None, None]),
        revise(|command| command.name = Some("Other".into())),
        put(vec![model("c")]),
        retire(&["a"]),
        limit(Some(60), None),
        report(Health::Active),
        deregister(),
        measured::report(measured::statistics()),
        measured::report_health("a", ModelHealth::Down),
    ]
}

#[test]
fn the_view_shows_the_provider_and_its_filters_find_it() {
    let bare = Model { model_id: "b".into(), ..Model::default() };
    let provider = Provider::given([
        registered(),
        added(vec![model("a/x"), bare]),
        limited(Some(60), None),
        health(Health::Unknown, Health::Degraded),
    ]);
    let state = provider.state();
    assert_eq!(
        serde_json::Value::from(LlmProvider::view(state)),
        json!({
            "name": "Example AI", "wire_protocol": "azure_openai", "endpoint": "https://llm.example.com/v1",
            "api_key_env": "EXAMPLE_API_KEY", "health": "degraded", "model_count": 2, "requests_per_minute": 60,
            "tokens_per_minute": null, "reason": "probe",
            "models": [
                {
                    "model_id": "a/x", "name": "Model a/x", "context_tokens": 200_000, "output_tokens_max": 64_000,
                    "input_micro_usd_per_million": 3_000_000, "output_micro_usd_per_million": 15_000_000,
                    "cached_input_micro_usd_per_million": 300_000, "cache_write_micro_usd_per_million": 3_750_000,
                    "batch_input_micro_usd_per_million": 1_500_000, "batch_output_micro_usd_per_million": 7_500_000,
                    "priced_at": 1_767_225_600_000_000_i64, "price_source": "models.dev", "input_modalities": ["text", "image"],
                    "output_modalities": ["text"], "tool_calling": true, "structured_output": false,
                    "latency_ms_p50": 1_200, "quality": 0.85, "measured": null, "model_health": "up",
                    "model_health_reason": "",
                },
                {
                    "model_id": "b", "name": "", "context_tokens": null, "output_tokens_max": null,
                    "input_micro_usd_per_million": null, "output_micro_usd_per_million": null,
                    "cached_input_micro_usd_per_million": null, "cache_write_micro_usd_per_million": null,
                    "batch_input_micro_usd_per_million": null, "batch_output_micro_usd_per_million": null,
                    "priced_at": null, "price_source": null, "input_modalities": [], "output_modalities": [],
                    "tool_calling": null, "structured_output": null, "latency_ms_p50": null, "quality": null,
                    "measured": null, "model_health": "up", "model_health_reason": "",
                },
            ],
        })
    );
    let facets: BTreeMap<_, _> =
        LlmProvider::FILTERS.iter().map(|filter| (*filter, LlmProvider::facet(state, filter))).collect();
    let expected = BTreeMap::from([
        ("name", vec!["Example AI".to_owned()]),
        ("wire_protocol", vec!["azure_openai".into()]),
        ("health", vec!["degraded".into()]),
        ("model", vec!["a/x".into(), "b".into()]),
    ]);
    assert_eq!(facets, expected);
    assert!(LlmProvider::facet(state, "colour").is_empty());
}

#[test]
fn a_wire_protocol_is_named_as_on_the_wire() {
    use WireProtocol::{Anthropic, AzureOpenai, Bedrock, Gemini, Openai};
    for protocol in [Openai, Anthropic, Gemini, Bedrock, AzureOpenai] {
        assert_eq!(serde_json::to_value(protocol).unwrap(), protocol.name());
    }
}

#[test]
fn the_status_is_one_word_and_deregistered_is_final() {
    let seen = |events: Vec<Event>| {
        let provider = Provider::given(events);
        (LlmProvider::status(provider.state()), LlmProvider::is_terminal(provider.state()))
    };
    assert_eq!(seen(vec![]), ("absent", false));
    assert_eq!(seen(vec![registered()]), ("registered", false));
    assert_eq!(seen(vec![registered(), deregistered()]), ("deregistered", true));
}

#[test]
fn a_state_survives_its_blob() {
    let provider = Provider::given([registered(), added(vec![model("a")]), limited(Some(1), Some(2)), deregistered()]);
    let state = AnyState::LlmProvider(Box::new(provider.state().clone()));
    assert_eq!(AnyState::from_blob(Aggregate::LlmProvider, &state.to_blob().unwrap()).unwrap(), state);
}

#[test]
fn a_command_may_leave_out_what_has_a_default() {
    let command = Command::from_json("RegisterLlmProvider", br#"{"name":"x","models":[{"model_id":"m"}]}"#).unwrap();
    let bare = Model { model_id: "m".into(), ..Model::default() };
    let plain = RegisterLlmProvider { name: "x".into(), models: vec![bare], ..RegisterLlmProvider::default() };
    assert_eq!(command, Command::RegisterLlmProvider(plain));
    for name in ["ReviseLlmProvider", "SetLlmProviderLimits", "DeregisterLlmProvider"] {
        assert_eq!(Command::from_json(name, b"{}").unwrap().name(), name);
    }
    let key = br#"{"name":"x","api_key":"sk-1"}"#;
    assert!(Command::from_json("RegisterLlmProvider", key).is_err(), "there is no field for a key");
}

#[test]
fn commands_keep_their_bytes() {
    let revision = ReviseLlmProvider {
        name: Some("Example AI".into()),
        wire_protocol: Some(WireProtocol::Bedrock),
        endpoint: Some("https://llm.example.com".into()),
        api_key_env: Some("EXAMPLE_API_KEY".into()),
    };
    golden::check(
        "llm_provider",
        vec![
            register(access(), vec![model("a")], [Some(60), Some(100_000)]),
            Command::ReviseLlmProvider(revision),
            put(vec![model("b/c"), Model { model_id: "bare".into(), ..Model::default() }]),
            retire(&["a", "b/c"]),
            limit(Some(60), Some(100_000)),
            report(Health::Degraded),
            deregister(),
            measured::report(measured::statistics()),
            measured::report_health("a", ModelHealth::Down),
        ],
    );
}

#[test]
fn events_keep_their_bytes() {
    let revised = Access { wire_protocol: WireProtocol::Gemini, ..access() };
    golden::check(
        "llm_provider",
        vec![
            registered(),
            Event::LlmProviderRevised(LlmProviderRevised { access: revised }),
            added(vec![model("a"), Model { model_id: "bare".into(), ..Model::default() }]),
            changed(model("a"), dearer("a")),
            retired("a"),
            limited(Some(60), Some(100_000)),
            health(Health::Active, Health::Offline),
            deregistered(),
            measured::changed(Some(measured::statistics()), measured::slower()),
            measured::went("a", ModelHealth::Up, ModelHealth::Down),
        ],
    );
}
