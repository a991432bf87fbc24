//! A coupling asks its model.

use super::fixtures::*;
use crate::domain::agent::Lifecycle;
use crate::domain::common::PromptStorage;
use crate::domain::coupling::*;
use crate::domain::llm_provider;
use crate::domain::llm_request::{self, DEADLINE_MS_MAX, ModelChoice, Operation, Priority, Submission, payload};
use crate::domain::personal::Personal;
use crate::domain::spec::{NOW, TENANT, meta, stream};
use crate::domain::tenant::{self, Project};
use crate::domain::{AnyCommand, TenantId};
use std::collections::BTreeSet;

const REQUEST: Uuid = Uuid::from_u128(0x4e0);
const PAYLOAD: &str = r#"{"messages":[{"role":"user","content":"Hi"}],"max_tokens":64}"#;

fn ask() -> RequestCompletion {
    RequestCompletion { request_id: REQUEST, payload: PAYLOAD.into(), ..Default::default() }
}

fn choice(home: TenantId, provider_id: Uuid, model_id: &str) -> ModelChoice {
    ModelChoice { provider_tenant_id: home.0, provider_id, model_id: model_id.into() }
}

/// What an active coupling of this scene asks for.
fn asked(scene: &Scene, established: &Event, command: RequestCompletion) -> CompletionRequested {
    let outcome = scene.spec([established.clone()]).when(command);
    let [Event::CompletionRequested(event)] = outcome.events() else { panic!("{:?}", outcome.events()) };
    event.clone()
}

fn refused(scene: &Scene, history: Vec<Event>, code: &str) -> crate::domain::Rejection {
    scene.spec(history).when(ask()).then_refused(code)
}

#[test]
fn an_active_coupling_asks_its_model_and_then_its_fallbacks() {
    let scene = scene();
    let established = scene.established(request());
    let Event::CouplingEstablished(event) = &established else { unreachable!() };
    let own = |model_id: &str| choice(TENANT, OWN, model_id);
    let all = [own("large"), own("small"), choice(TenantId::SHARED, SHARED, "medium")];
    let in_order = std::iter::once(&event.binding.model).chain(&event.binding.fallbacks);
    let models: Vec<_> = in_order
        .map(|model| all.iter().find(|it| it.model_id == model.model_id).expect("one of the scene's").clone())
        .collect();
    assert_eq!(models.len(), 3);
    let expected = Submission {
        coupling_id: Some(stream::<Coupling>().id),
        agent_id: Some(AGENT),
        coupling_version: Some(1),
        operation: Operation::ChatCompletion,
        models,
        payload: PAYLOAD.into(),
        payload_sha256: Some(payload::sha256(PAYLOAD)),
        payload_bytes: 61,
        priority: Priority::Normal,
        deadline_at: NOW + 3_600_000_000,
        storage: PromptStorage::Full,
        prompt_tokens_estimated: 16,
        output_tokens_max: Some(64),
        stream: false,
        awaited: false,
        project: None,
    };
    let requested = CompletionRequested { request_id: REQUEST, request: expected };
    let state = scene.spec([established.clone()]).when(ask()).then([requested.into()]);
    assert_eq!(state, after([established]), "the coupling stays as it is");
}

#[test]
fn the_caller_says_how_urgent_it_is_and_by_when() {
    let scene = scene();
    let established = scene.established(request());
    let command = RequestCompletion {
        operation: Operation::Embeddings,
        payload: r#"{"input":"Hi"}"#.into(),
        priority: Priority::Batch,
        deadline_ms: Some(1_500),
        stream: true,
        ..ask()
    };
    let it = asked(&scene, &established, command).request;
    assert_eq!((it.operation, it.priority, it.stream), (Operation::Embeddings, Priority::Batch, true));
    assert_eq!(it.deadline_at, NOW + 1_500_000);
}

#[test]
fn a_request_counts_for_the_project_that_the_agent_is_in() {
    let established = scene().established(request());
    let mut moved = scene();
    moved.agent().profile.project = Some("atlas".into());
    assert_eq!(asked(&moved, &established, ask()).request.project, None, "the tenant lists no such project");
    moved.tenant().projects.insert("atlas".into(), Project::default());
    let event = asked(&moved, &established, ask());
    assert_eq!(event.request.project.as_deref(), Some("atlas"));
    let submitted = llm_request::SubmitRequest::from(event.request);
    assert_eq!(submitted.project.as_deref(), Some("atlas"), "and it is submitted with it");
}

#[test]
fn a_coupling_that_is_not_active_says_what_holds_it() {
    let scene = scene();
    let established = scene.established(request());
    refused(&scene, vec![], "not_found");
    let held = vec![established.clone(), suspended(Hold::Provider), suspended(Hold::Manual)];
    let rejection = refused(&scene, held, "coupling_not_active");
    assert_eq!((&*rejection.details["status"], &*rejection.details["holds"]), ("suspended", "manual, provider"));
    assert!(rejection.message.contains("manual, provider"), "{}", rejection.message);
    let rejection = refused(&scene, vec![established, ended()], "coupling_not_active");
    assert_eq!(rejection.details["status"], "ended");
    let none = CouplingRefused { request: Request::default(), reasons: vec![], assessment: Assessment::default() };
    assert_eq!(refused(&scene, vec![none.into()], "coupling_not_active").details["status"], "refused");
}

#[test]
fn tenant_agent_and_server_are_asked_as_they_are_now() {
    let established = scene().established(request());
    let history = || vec![established.clone()];
    for (status, code) in [(tenant::Status::Suspended, "tenant_suspended"), (tenant::Status::Closed, "tenant_closed")] {
        let mut scene = scene();
        scene.tenant().status = status;
        refused(&scene, history(), code);
    }
    let mut unknown = scene();
    unknown.tenant = None;
    asked(&unknown, &established, ask());
    let mut decommissioned = scene();
    decommissioned.agent().lifecycle = Lifecycle::Decommissioned;
    refused(&decommissioned, history(), "agent_decommissioned");
    let mut barred = scene();
    barred.agent().profile.project = Some("atlas".into());
    let rules = Project { allowed_mcp_servers: Some(vec![]), allowed_llm_providers: None };
    barred.tenant().projects.insert("atlas".into(), rules);
    refused(&barred, history(), "server_not_allowed");
}

#[test]
fn a_prompt_that_would_not_be_stored_is_refused() {
    let established = scene().established(request());
    for storage in [PromptStorage::Hashed, PromptStorage::None] {
        let mut scene = scene();
        scene.tenant().prompt_storage = storage;
        for priority in [Priority::Interactive, Priority::Normal] {
            let outcome = scene.spec([established.clone()]).when(RequestCompletion { priority, ..ask() });
            assert_eq!(outcome.then_refused("prompt_not_stored").details["prompt_storage"], storage.name());
        }
    }
}

/// The node that holds the payload asks the coupling's rules by themselves; what it then submits is stored without it.
#[test]
fn a_node_may_carry_out_what_is_not_stored() {
    let mut scene = scene();
    scene.tenant().prompt_storage = PromptStorage::Hashed;
    let state = after([scene.established(request())]);
    let (envelope, world) = (Envelope::new(Uuid::from_u128(9), stream::<Coupling>()), scene.world());
    let context = Context { now: NOW, envelope: &envelope, version: 1, world: &world };
    let command = RequestCompletion { priority: Priority::Interactive, ..ask() };
    let submission = submission(&state, &command, &context).expect("let through");
    assert_eq!((submission.storage, submission.coupling_version), (PromptStorage::Hashed, Some(1)));
    let submit = llm_request::Command::SubmitRequest(submission.into());
    let decision = llm_request::LlmRequest::decide(&llm_request::State::default(), &submit, &context);
    let events = decision.expect("submitted").events;
    let [llm_request::Event::RequestSubmitted(event)] = &events[..] else { panic!("{events:?}") };
    assert!(event.request.payload.is_absent());
    assert_eq!(event.request.payload_sha256, Some(payload::sha256(PAYLOAD)));
}

#[test]
fn models_that_the_project_does_not_allow_are_left_out() {
    let established = scene().established(request());
    let allowing = |providers: Vec<Uuid>| {
        let mut scene = scene();
        scene.agent().profile.project = Some("atlas".into());
        let rules = Project { allowed_mcp_servers: None, allowed_llm_providers: Some(providers) };
        scene.tenant().projects.insert("atlas".into(), rules);
        scene
    };
    let models = asked(&allowing(vec![SHARED]), &established, ask()).request.models;
    assert_eq!(models, [choice(TenantId::SHARED, SHARED, "medium")]);
    let rejection = refused(&allowing(vec![]), vec![established.clone()], "model_not_allowed");
    assert_eq!(rejection.details["project"], "atlas");
}

#[test]
fn a_fallback_that_is_gone_is_left_out() {
    let established = scene().established(by(Objective::Quality));
    let names = |scene: &Scene| -> Vec<String> {
        let mut names: Vec<_> =
            asked(scene, &established, ask()).request.models.into_iter().map(|it| it.model_id).collect();
        names.sort();
        names
    };
    let Event::CouplingEstablished(event) = &established else { unreachable!() };
    assert_eq!(event.binding.model.provider_id, OWN, "the scene's fallback elsewhere is the shared one");
    assert_eq!(names(&scene()), ["large", "medium", "small"]);
    assert_eq!(names(&scene().without_model("medium")), ["large", "small"]);
    assert_eq!(event.binding.model.model_id, "large", "the other one of its provider is a fallback");
    assert_eq!(names(&scene().without_model("small")), ["large", "medium"]);
    // The model in use is taken as it is: what ends it reaches the coupling by itself.
    assert_eq!(names(&scene().without_model("large")), ["large", "medium", "small"]);
    let mut deregistered = scene();
    deregistered.shared().status = llm_provider::Status::Deregistered;
    assert_eq!(names(&deregistered), ["large", "small"]);
    let mut unknown = scene();
    unknown.providers.remove(1);
    assert_eq!(names(&unknown), ["large", "small"]);
    // The tenant's own provider of the same id is the one that is meant.
    let mut both = scene();
    both.providers.push((TENANT, SHARED, provider("Mine", vec![model("medium", 200, 900, 0.75)])));
    let models = asked(&both, &established, ask()).request.models;
    assert!(models.contains(&choice(TENANT, SHARED, "medium")), "{models:?}");
}

#[test]
fn values_outside_their_fields_are_refused_by_field() {
    let scene = scene();
    let established = scene.established(request());
    let sealed = crate::domain::personal::Sealed { key_id: "k".into(), nonce: vec![1], ciphertext: vec![2] };
    let cases = [
        ("request_id", RequestCompletion { request_id: Uuid::nil(), ..ask() }),
        ("deadline_ms", RequestCompletion { deadline_ms: Some(0), ..ask() }),
        ("deadline_ms", RequestCompletion { deadline_ms: Some(DEADLINE_MS_MAX + 1), ..ask() }),
        ("payload", RequestCompletion { payload: Personal::Absent, ..ask() }),
        ("payload", RequestCompletion { payload: Personal::Sealed(sealed), ..ask() }),
        ("payload", RequestCompletion { payload: "{}".into(), ..ask() }),
        ("payload", RequestCompletion { operation: Operation::Embeddings, ..ask() }),
    ];
    for (field, command) in cases {
        let rejection = scene.spec([established.clone()]).when(command.clone()).then_refused("invalid");
        assert_eq!(rejection.details["field"], field, "{command:?}");
    }
}

#[test]
fn what_is_looked_up_is_what_is_behind_the_binding() {
    let state = after([scene().established(by(Objective::Quality))]);
    let envelope = Envelope::new(Uuid::from_u128(9), stream::<Coupling>());
    let lookups = |state: &State| Coupling::lookups(state, &ask().into(), &envelope);
    let heads: Vec<_> = lookups(&state)
        .into_iter()
        .map(|lookup| match lookup {
            Lookup::Stream(stream) => (stream.tenant, stream.aggregate, stream.id),
            Lookup::Providers(_) => panic!("not the whole catalogue"),
        })
        .collect();
    let expected = [
        (TENANT, Aggregate::Tenant, TENANT.0),
        (TENANT, Aggregate::Agent, AGENT),
        (TENANT, Aggregate::McpServer, SERVER),
        (TENANT, Aggregate::LlmProvider, OWN),
        (TENANT, Aggregate::LlmProvider, SHARED),
        (TenantId::SHARED, Aggregate::LlmProvider, SHARED),
    ];
    assert_eq!(heads.iter().copied().collect::<BTreeSet<_>>(), BTreeSet::from(expected));
    assert_eq!(heads.len(), expected.len(), "each once");
    assert!(lookups(&State::default()).is_empty());
}

/// The reaction's command, decided on the new stream as the system's own, gives the request that the coupling let through.
#[test]
fn its_reaction_submits_the_request() {
    let scene = scene();
    let established = scene.established(request());
    let event = asked(&scene, &established, ask());
    let state = after([established, event.clone().into()]);
    let meta = meta(stream::<Coupling>(), 2);
    assert!(Coupling::reaction_lookups(&event.clone().into(), &state, &meta).is_empty());
    let reactions = Coupling::react(&event.clone().into(), &state, &meta, &World::default());
    let [Reaction::Send { name: "submit_request", to, command: AnyCommand::LlmRequest(command) }] = &reactions[..]
    else {
        panic!("{reactions:?}")
    };
    assert_eq!(*to, StreamId::new(TENANT, Aggregate::LlmRequest, REQUEST));
    let mut envelope = Envelope::new(Uuid::from_u128(9), *to);
    envelope.source = crate::domain::envelope::SYSTEM_SOURCE.into();
    let context = Context { now: NOW + 1, envelope: &envelope, version: 0, world: &World::default() };
    let decision = llm_request::LlmRequest::decide(&llm_request::State::default(), command, &context);
    let submitted = llm_request::RequestSubmitted { request: event.request };
    assert_eq!(decision, Ok(Decision::event(llm_request::Event::RequestSubmitted(submitted))));
}
