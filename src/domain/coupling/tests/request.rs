use super::fixtures::*;
use crate::domain::agent::Lifecycle;
use crate::domain::coupling::*;
use crate::domain::spec::{Spec, TENANT, stream};
use crate::domain::tenant::{self, Project};
use crate::domain::{TenantId, mcp_server};

fn codes(scene: &Scene, request: RequestCoupling) -> Vec<String> {
    match scene.spec([]).when(request).events() {
        [Event::CouplingRefused(event)] => event.reasons.iter().map(|reason| reason.code.clone()).collect(),
        other => panic!("not refused: {other:?}"),
    }
}

fn project(scene: &mut Scene, rules: Project) {
    scene.agent().profile.project = Some("atlas".into());
    scene.tenant().projects.insert("atlas".into(), rules);
}

#[test]
fn a_fitting_pair_is_established_with_all_that_was_seen() {
    let scene = scene();
    let Event::CouplingEstablished(event) = scene.established(request()) else { unreachable!() };
    assert_eq!(event.mcp_server_tenant_id, TENANT.0);
    let expected = SeenVersions {
        tenant_version: Some(3),
        agent_version: Some(4),
        mcp_server_tenant_id: Some(TENANT.0),
        mcp_server_version: Some(5),
        llm_provider_id: Some(event.binding.model.provider_id),
        llm_provider_tenant_id: Some(event.binding.provider_tenant_id),
        llm_provider_version: Some(6),
    };
    assert_eq!(event.assessment.seen, expected);
    assert_eq!(event.assessment.models_seen, 3);
    assert_eq!(event.assessment.candidate_count, 3);
    assert_eq!(event.assessment.score, Some(event.binding.score));
    assert_eq!(event.binding.fallbacks.len(), 2);
    assert!(!event.binding.fallbacks.contains(&event.binding.model));

    let state = after([Event::CouplingEstablished(event.clone())]);
    assert_eq!(state.status, Status::Active);
    assert_eq!(state.binding, Some(event.binding));
    assert_eq!(state.request.agent_id, AGENT);
}

#[test]
fn the_score_of_a_known_pair_is_the_documented_sum() {
    let scene = scene().without_model("small").without_model("medium");
    let assessment = scene.assessed(request());
    // Two full matches 0.9375; the same domain 1; latency 1500 of 2000 is 0.625 and quality 0.9 over 0.5 is 0.9, mean
    // 0.7625; price 400 of 1000 is 0.8.
    let values = assessment.parts.all().map(|part| part.value);
    assert_eq!(values, [Some(0.9375), Some(1.0), Some(0.7625), Some(0.8)]);
    assert_eq!(assessment.score, Some(0.890625));
}

#[test]
fn each_missing_or_ended_party_is_a_reason() {
    let mut unknown_agent = scene();
    unknown_agent.agent = None;
    assert_eq!(codes(&unknown_agent, request()), ["agent_not_found"]);

    let mut decommissioned = scene();
    decommissioned.agent().lifecycle = Lifecycle::Decommissioned;
    assert_eq!(codes(&decommissioned, request()), ["agent_decommissioned"]);

    let mut unknown_server = scene();
    unknown_server.servers.clear();
    assert_eq!(codes(&unknown_server, request()), ["server_not_found"]);

    let mut deregistered = scene();
    deregistered.server().status = mcp_server::Status::Deregistered;
    assert_eq!(codes(&deregistered, request()), ["server_deregistered"]);

    for (status, code) in [(tenant::Status::Suspended, "tenant_suspended"), (tenant::Status::Closed, "tenant_closed")] {
        let mut scene = scene();
        scene.tenant().status = status;
        assert_eq!(codes(&scene, request()), [code]);
    }
}

#[test]
fn all_reasons_that_apply_are_collected_and_the_first_is_the_outcome() {
    let mut scene = scene();
    scene.tenant().status = tenant::Status::Suspended;
    scene.agent().lifecycle = Lifecycle::Decommissioned;
    scene.servers.clear();
    scene.providers.clear();
    let expected = ["tenant_suspended", "agent_decommissioned", "server_not_found", "no_model"];
    assert_eq!(codes(&scene, request()), expected);
    let rejection = scene.spec([]).when(request()).then_refused("tenant_suspended");
    assert!(rejection.message.contains("resume"), "{}", rejection.message);
}

#[test]
fn a_tenant_that_is_not_known_yet_bars_nothing() {
    let mut scene = scene();
    scene.tenant = None;
    scene.established(request());
}

#[test]
fn a_project_names_the_servers_and_providers_that_it_allows() {
    let mut no_server = scene();
    project(&mut no_server, Project { allowed_mcp_servers: Some(vec![]), allowed_llm_providers: None });
    assert_eq!(codes(&no_server, request()), ["server_not_allowed"]);

    let mut no_provider = scene();
    project(&mut no_provider, Project { allowed_mcp_servers: None, allowed_llm_providers: Some(vec![]) });
    assert_eq!(codes(&no_provider, request()), ["no_model"]);

    let mut one_of_each = scene();
    let rules = Project { allowed_mcp_servers: Some(vec![SERVER]), allowed_llm_providers: Some(vec![SHARED]) };
    project(&mut one_of_each, rules);
    let Event::CouplingEstablished(event) = one_of_each.established(request()) else { unreachable!() };
    assert_eq!(event.binding.model, reference(SHARED, "medium"));
    assert!(event.binding.fallbacks.is_empty());

    let mut other_project = scene();
    project(&mut other_project, Project { allowed_mcp_servers: Some(vec![]), allowed_llm_providers: Some(vec![]) });
    other_project.agent().profile.project = Some("zephyr".into());
    other_project.established(request());
}

#[test]
fn no_model_says_how_many_failed_on_what() {
    let mut scene = scene();
    scene.requirements().quality_min = Some(0.8);
    scene.requirements().latency_ms_max = Some(1_000);
    let rejection = scene.spec([]).when(request()).then_refused("no_model");
    assert_eq!(rejection.details["models_seen"], "3");
    assert_eq!(rejection.details["too_slow"], "1");
    assert_eq!(rejection.details["quality_too_low"], "2");
}

#[test]
fn the_threshold_is_the_tenants_or_the_default() {
    let mut misfit = scene();
    misfit.agent().profile.skills = vec!["juggling".into()];
    misfit.agent().profile.domains = vec!["circus".into()];
    let rejection = misfit.spec([]).when(request()).then_refused("score_below_threshold");
    assert_eq!(rejection.details["threshold"], "0.4");
    let score: f64 = rejection.details["score"].parse().expect("a number");
    assert!(score < 0.4, "{score}");

    misfit.tenant().coupling_threshold = Some(score);
    misfit.established(request());
    misfit.tenant().coupling_threshold = Some(score + 1e-6);
    assert_eq!(codes(&misfit, request()), ["score_below_threshold"]);
}

#[test]
fn a_pinned_model_is_used_or_refused_and_has_no_fallbacks() {
    let scene = scene();
    let Event::CouplingEstablished(event) = scene.established(pinned(OWN, "large")) else { unreachable!() };
    assert_eq!(event.binding.model, reference(OWN, "large"));
    assert!(event.binding.pinned && event.binding.fallbacks.is_empty());
    assert_eq!(event.assessment.models_seen, 1);

    assert_eq!(codes(&scene, pinned(OWN, "unheard-of")), ["model_not_found"]);
    assert_eq!(codes(&scene, pinned(Uuid::from_u128(0x99), "large")), ["model_not_found"]);

    let mut cheap = scene;
    cheap.requirements().cost_per_1k_tokens_micro_usd_max = Some(300);
    let rejection = cheap.spec([]).when(pinned(OWN, "large")).then_refused("model_not_allowed");
    assert_eq!(rejection.details["rejected"], "over_budget");
    assert_eq!(rejection.details["model_id"], "large");
}

#[test]
fn the_lower_of_the_two_budgets_counts() {
    let ask = |agents: Option<i64>, asked: Option<i64>| {
        let mut scene = scene();
        scene.requirements().cost_per_1k_tokens_micro_usd_max = agents;
        let request = RequestCoupling { cost_per_1k_tokens_micro_usd_max: asked, ..request() };
        scene.assessed(request).requirements.cost_per_1k_tokens_micro_usd_max
    };
    assert_eq!(ask(Some(1_000), Some(300)), Some(300));
    assert_eq!(ask(Some(300), Some(1_000)), Some(300));
    assert_eq!(ask(None, Some(700)), Some(700));
    assert_eq!(ask(None, None), None);
}

#[test]
fn the_same_request_again_changes_nothing_and_another_is_refused() {
    let scene = scene();
    let asked = RequestCoupling { required_capabilities: vec![Capability::ToolCalling], ..request() };
    let established = scene.established(asked.clone());
    let twice = RequestCoupling { required_capabilities: vec![Capability::ToolCalling; 2], ..request() };
    scene.spec([established.clone()]).when(asked.clone()).then_nothing();
    scene.spec([established.clone()]).when(twice).then_nothing();
    scene.spec([established.clone(), suspended(Hold::Manual)]).when(asked).then_nothing();
    scene.spec([established.clone()]).when(by(Objective::Cost)).then_refused("already_exists");
    scene.spec([established, ended()]).when(request()).then_refused("illegal_transition");
}

#[test]
fn a_refused_request_may_try_again_and_leaves_no_trace_of_its_reasons() {
    let mut poor = scene();
    poor.providers.clear();
    let refused = poor.spec([]).when(request()).events()[0].clone();
    let state = after([refused.clone()]);
    assert_eq!((state.status, state.reasons.len(), state.binding), (Status::Refused, 1, None));

    let again = poor.spec([refused.clone()]).when(by(Objective::Cost)).after();
    assert_eq!((again.status, again.request.objective), (Status::Refused, Objective::Cost));

    let state = scene().spec([refused]).when(request()).after();
    assert_eq!((state.status, state.reasons.len()), (Status::Active, 0));
}

#[test]
fn values_out_of_range_are_invalid_and_leave_no_event() {
    let scene = scene();
    let negative = RequestCoupling { cost_per_1k_tokens_micro_usd_max: Some(-1), ..request() };
    scene.spec([]).when(negative).then_refused("invalid");
    scene.spec([]).when(pinned(OWN, " ")).then_refused("invalid");
}

#[test]
fn a_server_of_the_tenant_hides_one_of_the_catalogue_with_the_same_id() {
    let mut shared = scene();
    shared.servers = vec![(TenantId::SHARED, server())];
    let Event::CouplingEstablished(event) = shared.established(request()) else { unreachable!() };
    assert!(event.mcp_server_tenant_id.is_nil());

    let mut both = scene();
    both.servers.push((TenantId::SHARED, mcp_server::State { status: mcp_server::Status::Deregistered, ..server() }));
    both.established(request());
    both.servers[0].1.status = mcp_server::Status::Deregistered;
    both.servers[1].1.status = mcp_server::Status::Registered;
    assert_eq!(codes(&both, request()), ["server_deregistered"]);
}

#[test]
fn lookups_name_the_parties_in_the_own_tenant_and_the_catalogue() {
    let envelope = Envelope::new(Uuid::from_u128(1), stream::<Coupling>());
    let ask = |state: &State, command: Command| Coupling::lookups(state, &command, &envelope);
    let expected = [
        Lookup::Stream(StreamId::new(TENANT, Aggregate::Tenant, TENANT.0)),
        Lookup::Stream(StreamId::new(TENANT, Aggregate::Agent, AGENT)),
        Lookup::Stream(StreamId::new(TENANT, Aggregate::McpServer, SERVER)),
        Lookup::Stream(StreamId::new(TenantId::SHARED, Aggregate::McpServer, SERVER)),
        Lookup::Providers(TENANT),
    ];
    assert_eq!(ask(&State::default(), request().into()), expected);
    let active = after([scene().established(request())]);
    assert_eq!(ask(&active, RebindCoupling::default().into()), expected);
    assert!(ask(&active, request().into()).is_empty(), "what is established already is not looked up again");
    assert!(ask(&active, EndCoupling::default().into()).is_empty());
    let held = after([scene().established(request()), suspended(Hold::Manual), suspended(Hold::Provider)]);
    assert_eq!(ask(&held, ResumeCoupling { hold: Hold::Provider }.into()), expected);
    assert_eq!(ask(&held, ResumeCoupling { hold: Hold::Manual }.into()), expected[..1]);

    let shared = StreamId::new(TenantId::SHARED, Aggregate::Coupling, Uuid::from_u128(7));
    let envelope = Envelope::new(Uuid::from_u128(1), shared);
    let wanted = Coupling::lookups(&State::default(), &request().into(), &envelope);
    assert_eq!(wanted.len(), 3, "the catalogue has no tenant stream, and its server is looked up once");
}

#[test]
fn an_empty_world_refuses_with_everything_that_is_missing() {
    let refused = Spec::<Coupling>::given([]).when(request()).after();
    let codes: Vec<_> = refused.reasons.iter().map(|reason| reason.code.as_str()).collect();
    assert_eq!(codes, ["agent_not_found", "server_not_found", "no_model"]);
}
