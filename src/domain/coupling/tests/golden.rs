//! One sample per record with a value of its own in every field: the bytes under `tests/golden/coupling`.

use super::fixtures::*;
use crate::domain::common::{Modality, PromptStorage, Requirements};
use crate::domain::coupling::*;
use crate::domain::golden;
use crate::domain::llm_request::{ModelChoice, Operation, Priority, Submission};
use crate::domain::spec::TENANT;
use crate::domain::wire::Wire;

fn asked() -> Request {
    Request {
        agent_id: AGENT,
        mcp_server_id: SERVER,
        model: Some(reference(OWN, "vendor/large")),
        objective: Objective::Quality,
        cost_per_1k_tokens_micro_usd_max: Some(750),
        required_capabilities: vec![
            Capability::ToolCalling,
            Capability::StructuredOutput,
            Capability::ImageInput,
            Capability::AudioInput,
            Capability::VideoInput,
            Capability::FileInput,
        ],
    }
}

fn binding() -> Binding {
    Binding {
        model: reference(OWN, "vendor/large"),
        provider_name: "Vendor".into(),
        provider_tenant_id: TENANT.0,
        pinned: true,
        fallbacks: vec![reference(SHARED, "medium"), reference(OWN, "small")],
        score: 0.8125,
    }
}

fn part(value: f64, weight: f64, unknown: Unknown) -> Part {
    Part { value: Some(value), weight, unknown: Some(unknown) }
}

fn assessment() -> Assessment {
    let rejected = |reason: Unfit| RejectedModel {
        model: reference(SHARED, reason.name()),
        reason,
        detail: reason.meaning().into(),
    };
    Assessment {
        seen: SeenVersions {
            tenant_version: Some(1),
            agent_version: Some(2),
            mcp_server_tenant_id: Some(TENANT.0),
            mcp_server_version: Some(3),
            llm_provider_id: Some(OWN),
            llm_provider_tenant_id: Some(TENANT.0),
            llm_provider_version: Some(4),
        },
        threshold: 0.375,
        objective: Objective::Latency,
        requirements: Requirements {
            cost_per_1k_tokens_micro_usd_max: Some(750),
            latency_ms_max: Some(2_000),
            quality_min: Some(0.5),
            context_tokens_min: Some(128_000),
            modalities: vec![Modality::Text, Modality::Image, Modality::Audio, Modality::Video, Modality::File],
        },
        required_capabilities: vec![Capability::ToolCalling],
        parts: Parts {
            skills: part(0.84375, 0.35, Unknown::NoTools),
            domains: part(0.5, 0.25, Unknown::NoCategory),
            model: part(0.625, 0.2, Unknown::NotMeasured),
            cost: part(0.75, 0.125, Unknown::NoPrice),
        },
        score: Some(0.8125),
        reliability: Some(0.875),
        skill_matches: vec![SkillMatch { skill: "search".into(), tool: "search_code".into(), share: 0.5 }],
        models_seen: 14,
        candidate_count: 3,
        candidates: vec![Candidate {
            model: reference(OWN, "vendor/large"),
            provider_name: "Vendor".into(),
            micro_usd_per_1k_tokens: Some(412.5),
            latency_ms_p50: Some(1_200),
            quality: Some(0.875),
            model_part: Some(0.625),
            cost_part: Some(0.75),
            score: 0.8125,
            latency_is_measured: true,
            quality_is_measured: true,
            error_rate: Some(0.125),
            calls: 40,
        }],
        rejected: Unfit::ALL.map(|reason| RejectedCount { reason, count: 1 }).to_vec(),
        rejected_examples: Unfit::ALL.map(rejected).to_vec(),
    }
}

fn commands() -> Vec<Command> {
    let Request { agent_id, mcp_server_id, model, objective, cost_per_1k_tokens_micro_usd_max, required_capabilities } =
        asked();
    let rebind = RebindCoupling {
        model: Some(reference(SHARED, "medium")),
        away_from_provider: Some(OWN),
        away_from_model: Some("vendor/large".into()),
        reason: "retired by its provider".into(),
    };
    vec![
        RequestCoupling {
            agent_id,
            mcp_server_id,
            model,
            objective,
            cost_per_1k_tokens_micro_usd_max,
            required_capabilities,
        }
        .into(),
        rebind.into(),
        SuspendCoupling { hold: Hold::Tenant, reason: "unpaid".into() }.into(),
        ResumeCoupling { hold: Hold::Provider }.into(),
        EndCoupling { reason: "no longer needed".into() }.into(),
        RequestCompletion {
            request_id: Uuid::from_u128(0x4e0),
            operation: Operation::Embeddings,
            payload: "{\"input\":\"Hi\"}".into(),
            priority: Priority::Batch,
            deadline_ms: Some(60_000),
            stream: true,
        }
        .into(),
    ]
}

fn submission() -> Submission {
    let model = ModelChoice { provider_tenant_id: TENANT.0, provider_id: OWN, model_id: "vendor/large".into() };
    Submission {
        coupling_id: Some(Uuid::from_u128(0xc0)),
        agent_id: Some(AGENT),
        coupling_version: Some(7),
        operation: Operation::Embeddings,
        models: vec![model],
        payload: "{\"input\":\"Hi\"}".into(),
        payload_sha256: Some("ab".repeat(32)),
        payload_bytes: 14,
        priority: Priority::Interactive,
        deadline_at: 1_767_225_600_000_000,
        storage: PromptStorage::Hashed,
        prompt_tokens_estimated: 4,
        output_tokens_max: Some(64),
        stream: true,
        awaited: true,
        project: Some("archive".into()),
    }
}

fn events() -> Vec<Event> {
    let details = [("score".to_owned(), "0.25".to_owned())].into();
    let reason = Reason { code: "score_below_threshold".into(), message: "too low".into(), details };
    let established = CouplingEstablished {
        request: asked(),
        mcp_server_tenant_id: TENANT.0,
        binding: binding(),
        assessment: assessment(),
    };
    vec![
        Event::CouplingEstablished(established),
        CouplingRefused { request: asked(), reasons: vec![reason], assessment: assessment() }.into(),
        CouplingRebound {
            model_before: reference(SHARED, "medium"),
            binding: binding(),
            reason: "retired by its provider".into(),
            assessment: assessment(),
        }
        .into(),
        Event::CouplingSuspended(CouplingSuspended {
            hold: Hold::Provider,
            reason: "its provider is offline".into(),
            assessment: Some(assessment()),
        }),
        CouplingResumed { hold: Hold::Tenant }.into(),
        Event::CouplingEnded(CouplingEnded { reason: "its agent was decommissioned".into() }),
        CompletionRequested { request_id: Uuid::from_u128(0x4e0), request: submission() }.into(),
    ]
}

#[test]
fn the_bytes_of_every_record_stay_as_they_are() {
    golden::assert_full(&commands());
    golden::assert_full(&events());
    golden::check("coupling", commands());
    golden::check("coupling", events());
}

/// Every symbol of every enum fits its schema, and so does every field that may be absent.
#[test]
fn every_enum_value_and_every_absent_field_fits_the_schema() {
    let unknowns = [
        Unknown::NoSkills,
        Unknown::NoTools,
        Unknown::NoDomains,
        Unknown::NoCategory,
        Unknown::NothingRequired,
        Unknown::NotMeasured,
        Unknown::NoBudget,
        Unknown::NoPrice,
        Unknown::NoModel,
    ];
    for unknown in unknowns {
        let mut assessment = Assessment::default();
        assessment.parts.cost.unknown = Some(unknown);
        round_trip(CouplingRefused { request: Request::default(), reasons: vec![], assessment }.into());
    }
    for hold in [Hold::Manual, Hold::Tenant, Hold::Provider] {
        round_trip(suspended(hold));
    }
}

fn round_trip(event: Event) {
    let mut bytes = Vec::new();
    event.encode(&mut bytes).expect("fits");
    let fingerprint = Event::codec(event.name()).expect("declared").fingerprint;
    assert_eq!(Event::decode(event.name(), fingerprint, &bytes).expect("comes back"), event);
}

/// What a producer may leave out is left out: the two ids make a coupling, one a completion, and `{}` the others.
#[test]
fn commands_in_json_need_only_what_has_no_default() {
    let json = format!(r#"{{"agent_id":"{AGENT}","mcp_server_id":"{SERVER}"}}"#);
    assert_eq!(Command::from_json("RequestCoupling", json.as_bytes()).expect("enough"), request().into());
    for name in &Command::NAMES[1..] {
        let json = if *name == "RequestCompletion" { format!(r#"{{"request_id":"{AGENT}"}}"#) } else { "{}".into() };
        Command::from_json(name, json.as_bytes()).expect("enough");
        assert!(Command::from_json(name, br#"{"colour":"red"}"#).is_err(), "{name}: a misspelt field is an error");
    }
}
