//! Given, when, then; every command in every state; the golden bytes.

mod budget;

use super::decide::{ALLOWED_MAX, ALLOWED_TOTAL_MAX, PROJECTS_MAX};
use super::*;
use crate::domain::common::{NAME_BYTES_MAX, TEXT_BYTES_MAX};
use crate::domain::spec::{self, Spec, TENANT};
use crate::domain::{AnyCommand, AnyState, StreamId, TenantId, coupling, golden};
use proptest::prelude::*;

fn own() -> StreamId {
    standing::stream(TENANT)
}

fn given(events: impl IntoIterator<Item = Event>) -> Spec<Tenant> {
    Spec::given_stream(own(), events)
}

fn provision() -> ProvisionTenant {
    ProvisionTenant {
        name: "Acme".into(),
        region: "eu-central".into(),
        tier: Tier::Emerald,
        monthly_budget_micro_usd: Some(5_000_000),
        coupling_threshold: Some(0.5),
    }
}

fn provisioned() -> Event {
    Event::TenantProvisioned(TenantProvisioned {
        name: "Acme".into(),
        region: "eu-central".into(),
        tier: Tier::Emerald,
        monthly_budget_micro_usd: Some(5_000_000),
        coupling_threshold: Some(0.5),
    })
}

fn suspended() -> Event {
    Event::TenantSuspended(TenantSuspended { reason: "unpaid".into() })
}

fn closed() -> Event {
    Event::TenantClosed(TenantClosed { reason: "gone".into() })
}

fn ids(numbers: &[u128]) -> Option<Vec<Uuid>> {
    Some(numbers.iter().copied().map(Uuid::from_u128).collect())
}

fn add(project: &str, servers: Option<Vec<Uuid>>, providers: Option<Vec<Uuid>>) -> Command {
    let project = project.to_owned();
    Command::AddProject(AddProject { project, allowed_mcp_servers: servers, allowed_llm_providers: providers })
}

fn added(project: &str, servers: Option<Vec<Uuid>>, providers: Option<Vec<Uuid>>) -> Event {
    let project = project.to_owned();
    Event::ProjectAdded(ProjectAdded { project, allowed_mcp_servers: servers, allowed_llm_providers: providers })
}

fn revise_project(project: &str, servers: Option<Vec<Uuid>>, providers: Option<Vec<Uuid>>) -> Command {
    let project = project.to_owned();
    Command::ReviseProject(ReviseProject { project, allowed_mcp_servers: servers, allowed_llm_providers: providers })
}

fn report(level: BudgetLevel, spent_micro_usd: i64, period_ends_at: i64) -> Command {
    let monthly_budget_micro_usd = 5_000_000;
    Command::ReportBudgetUse(ReportBudgetUse { level, monthly_budget_micro_usd, spent_micro_usd, period_ends_at })
}

fn raised(level: BudgetLevel, spent_micro_usd: i64, period_ends_at: i64) -> Event {
    let monthly_budget_micro_usd = 5_000_000;
    Event::BudgetAlertRaised(BudgetAlertRaised { level, monthly_budget_micro_usd, spent_micro_usd, period_ends_at })
}

/// One of each command; each would change a tenant that is active and has the project `core`.
fn commands() -> Vec<Command> {
    vec![
        Command::ProvisionTenant(provision()),
        Command::ReviseTenant(ReviseTenant {
            name: Some("Acme 2".into()),
            region: Some("us".into()),
            tier: Some(Tier::Opal),
        }),
        Command::SetTenantBudget(SetTenantBudget { monthly_budget_micro_usd: Some(7) }),
        Command::SetCouplingThreshold(SetCouplingThreshold { coupling_threshold: Some(0.25) }),
        Command::SuspendTenant(SuspendTenant { reason: "unpaid".into() }),
        Command::ResumeTenant(ResumeTenant {}),
        Command::CloseTenant(CloseTenant { reason: "gone".into() }),
        add("lab", ids(&[1, 2]), ids(&[3])),
        revise_project("core", ids(&[4]), ids(&[5, 6])),
        Command::RemoveProject(RemoveProject { project: "core".into() }),
        Command::SetPromptStorage(SetPromptStorage { prompt_storage: PromptStorage::Hashed }),
        report(BudgetLevel::Exhausted, 4_999_000, 2),
    ]
}

/// What a command comes to: the event's name, "unchanged", or the code of the refusal.
fn outcome(given: Vec<Event>, command: Command) -> String {
    let spec = self::given(given);
    let envelope = Envelope::new(Uuid::from_u128(1), own());
    let context = Context { now: spec::NOW, envelope: &envelope, version: 1, world: &World::default() };
    match Tenant::decide(spec.state(), &command, &context) {
        Ok(decision) if decision.events.is_empty() => "unchanged".into(),
        Ok(decision) => decision.events.iter().map(crate::domain::wire::Wire::name).collect::<Vec<_>>().join("+"),
        Err(rejection) => rejection.code,
    }
}

#[test]
fn every_command_in_every_state() {
    let core = added("core", None, None);
    let states = [
        ("absent", vec![]),
        ("active", vec![provisioned(), core.clone()]),
        ("suspended", vec![provisioned(), core.clone(), suspended()]),
        ("closed", vec![provisioned(), core, closed()]),
    ];
    // One row per command, one column per state.
    let expected = [
        ["TenantProvisioned", "unchanged", "unchanged", "tenant_closed"],
        ["not_found", "TenantRevised", "TenantRevised", "tenant_closed"],
        ["not_found", "TenantBudgetSet", "TenantBudgetSet", "tenant_closed"],
        ["not_found", "CouplingThresholdSet", "CouplingThresholdSet", "tenant_closed"],
        ["not_found", "TenantSuspended", "unchanged", "illegal_transition"],
        ["not_found", "unchanged", "TenantResumed", "illegal_transition"],
        ["not_found", "TenantClosed", "TenantClosed", "unchanged"],
        ["not_found", "ProjectAdded", "ProjectAdded", "tenant_closed"],
        ["not_found", "ProjectRevised", "ProjectRevised", "tenant_closed"],
        ["not_found", "ProjectRemoved", "ProjectRemoved", "tenant_closed"],
        ["not_found", "PromptStorageSet", "PromptStorageSet", "tenant_closed"],
        ["not_found", "BudgetAlertRaised", "BudgetAlertRaised", "tenant_closed"],
    ];
    assert_eq!(commands().len(), expected.len());
    for (command, row) in commands().into_iter().zip(expected) {
        for ((name, events), expected) in states.iter().zip(row) {
            assert_eq!(outcome(events.clone(), command.clone()), expected, "{command:?} when {name}");
        }
    }
    for (name, events) in states {
        let spec = given(events);
        assert_eq!(Tenant::status(spec.state()), name);
        assert_eq!(Tenant::is_terminal(spec.state()), name == "closed");
    }
}

#[test]
fn the_subject_must_be_the_tenants_own_id() {
    let rejection = Spec::<Tenant>::given([]).when(Command::ProvisionTenant(provision())).then_refused("invalid");
    assert_eq!(rejection.details["field"], "subject");
    assert_eq!(rejection.details["expected"], TENANT.to_string());
}

#[test]
fn the_shared_catalogue_cannot_be_provisioned() {
    let stream = standing::stream(TenantId::SHARED);
    let outcome = Spec::<Tenant>::given_stream(stream, []).when(Command::ProvisionTenant(provision()));
    assert_eq!(outcome.then_refused("invalid").details["field"], "tenantid");
}

#[test]
fn provisioning_again_with_other_content_is_refused() {
    let command = ProvisionTenant { tier: Tier::Onyx, ..provision() };
    given([provisioned()]).when(Command::ProvisionTenant(command)).then_refused("already_exists");
}

#[test]
fn values_outside_their_fields_are_refused_by_field() {
    let long = "x".repeat(NAME_BYTES_MAX + 1);
    let reason = "x".repeat(TEXT_BYTES_MAX + 1);
    let cases = [
        ("name", Command::ProvisionTenant(ProvisionTenant { name: " ".into(), ..provision() })),
        ("region", Command::ProvisionTenant(ProvisionTenant { region: long.clone(), ..provision() })),
        (
            "monthly_budget_micro_usd",
            Command::ProvisionTenant(ProvisionTenant { monthly_budget_micro_usd: Some(-1), ..provision() }),
        ),
        (
            "coupling_threshold",
            Command::ProvisionTenant(ProvisionTenant { coupling_threshold: Some(1.1), ..provision() }),
        ),
        ("name", Command::ReviseTenant(ReviseTenant { name: Some(String::new()), ..ReviseTenant::default() })),
        ("region", Command::ReviseTenant(ReviseTenant { region: Some(long.clone()), ..ReviseTenant::default() })),
        ("monthly_budget_micro_usd", Command::SetTenantBudget(SetTenantBudget { monthly_budget_micro_usd: Some(-1) })),
        (
            "coupling_threshold",
            Command::SetCouplingThreshold(SetCouplingThreshold { coupling_threshold: Some(f64::NAN) }),
        ),
        ("reason", Command::SuspendTenant(SuspendTenant { reason: reason.clone() })),
        ("reason", Command::CloseTenant(CloseTenant { reason })),
        ("project", add(" ", None, None)),
        ("project", add(&long, None, None)),
        ("allowed_mcp_servers", add("p", Some(vec![Uuid::nil(); ALLOWED_MAX + 1]), None)),
        ("allowed_llm_providers", revise_project("p", None, Some(vec![Uuid::nil(); ALLOWED_MAX + 1]))),
    ];
    for (field, command) in cases {
        let events = if matches!(command, Command::ProvisionTenant(_)) { vec![] } else { vec![provisioned()] };
        let rejection = given(events).when(command.clone()).then_refused("invalid");
        assert_eq!(rejection.details["field"], field, "{command:?}");
    }
}

#[test]
fn a_revision_keeps_what_it_does_not_name_and_the_same_again_changes_nothing() {
    let revise = |tier| Command::ReviseTenant(ReviseTenant { tier: Some(tier), ..ReviseTenant::default() });
    let revised = TenantRevised { name: "Acme".into(), region: "eu-central".into(), tier: Tier::Diamond };
    given([provisioned()]).when(revise(Tier::Diamond)).then([Event::TenantRevised(revised)]);
    given([provisioned()]).when(revise(Tier::Emerald)).then_nothing();
    let same = SetTenantBudget { monthly_budget_micro_usd: Some(5_000_000) };
    given([provisioned()]).when(Command::SetTenantBudget(same)).then_nothing();
    let same = SetCouplingThreshold { coupling_threshold: Some(0.5) };
    given([provisioned()]).when(Command::SetCouplingThreshold(same)).then_nothing();
}

#[test]
fn budget_and_threshold_can_be_removed() {
    let state = given([provisioned()])
        .when(Command::SetTenantBudget(SetTenantBudget::default()))
        .then([Event::TenantBudgetSet(TenantBudgetSet { monthly_budget_micro_usd: None })]);
    assert_eq!(state.monthly_budget_micro_usd, None);
    let state = given([provisioned()])
        .when(Command::SetCouplingThreshold(SetCouplingThreshold::default()))
        .then([Event::CouplingThresholdSet(CouplingThresholdSet { coupling_threshold: None })]);
    assert_eq!(Tenant::view(&state)["coupling_threshold"], COUPLING_THRESHOLD_DEFAULT);
}

#[test]
fn what_is_kept_of_prompts_is_all_unless_it_is_set() {
    let set = |prompt_storage| Command::SetPromptStorage(SetPromptStorage { prompt_storage });
    given([provisioned()]).when(set(PromptStorage::Full)).then_nothing();
    let none = Event::PromptStorageSet(PromptStorageSet { prompt_storage: PromptStorage::None });
    let state = given([provisioned()]).when(set(PromptStorage::None)).then([none.clone()]);
    assert_eq!(Tenant::view(&state)["prompt_storage"], "none");
    given([provisioned(), none.clone()]).when(set(PromptStorage::None)).then_nothing();
    let back = Command::SetPromptStorage(SetPromptStorage::default());
    let full = Event::PromptStorageSet(PromptStorageSet { prompt_storage: PromptStorage::Full });
    given([provisioned(), none]).when(back).then([full]);
    for storage in [PromptStorage::Full, PromptStorage::Hashed, PromptStorage::None] {
        assert_eq!(serde_json::to_value(storage).unwrap(), storage.name());
    }
}

#[test]
fn a_projects_lists_are_sets() {
    let sorted = added("core", ids(&[1, 2, 3]), None);
    given([provisioned()]).when(add("core", ids(&[3, 1, 3, 2]), None)).then([sorted.clone()]);
    given([provisioned(), sorted.clone()]).when(add("core", ids(&[2, 3, 1]), None)).then_nothing();
    given([provisioned(), sorted.clone()]).when(revise_project("core", ids(&[2, 3, 1]), None)).then_nothing();
    let rejection = given([provisioned(), sorted]).when(add("core", None, None)).then_refused("already_exists");
    assert_eq!(rejection.details["project"], "core");
}

#[test]
fn an_empty_list_is_not_an_absent_one() {
    given([provisioned(), added("core", None, None)]).when(revise_project("core", ids(&[]), None)).then([
        Event::ProjectRevised(ProjectRevised {
            project: "core".into(),
            allowed_mcp_servers: ids(&[]),
            allowed_llm_providers: None,
        }),
    ]);
}

#[test]
fn a_project_that_is_not_there_is_neither_revised_nor_removed() {
    let remove = Command::RemoveProject(RemoveProject { project: "lab".into() });
    for command in [revise_project("lab", None, None), remove] {
        let rejection = given([provisioned(), added("core", None, None)]).when(command).then_refused("project_unknown");
        assert_eq!(rejection.details["project"], "lab");
    }
}

#[test]
fn projects_and_their_entries_are_bounded() {
    let projects = (0..PROJECTS_MAX).map(|n| added(&format!("p{n}"), None, None));
    given(std::iter::once(provisioned()).chain(projects)).when(add("more", None, None)).then_refused("invalid");

    let full: Vec<Uuid> = (0..ALLOWED_MAX as u128).map(Uuid::from_u128).collect();
    let projects = (0..ALLOWED_TOTAL_MAX / ALLOWED_MAX).map(|n| added(&format!("p{n}"), Some(full.clone()), None));
    let events: Vec<_> = std::iter::once(provisioned()).chain(projects).collect();
    given(events.clone()).when(add("more", ids(&[1]), None)).then_refused("invalid");
    given(events.clone()).when(revise_project("p0", Some(full.clone()), ids(&[1]))).then_refused("invalid");
    // A swap within one project stays within the limit.
    let swapped = given(events).when(revise_project("p0", None, Some(full)));
    assert_eq!(swapped.events().len(), 1);
}

#[test]
fn the_view_shows_the_projects_by_name() {
    let state = given([provisioned(), added("core", ids(&[1]), None), suspended()]);
    let expected = serde_json::json!({
        "name": "Acme", "region": "eu-central", "tier": "emerald", "monthly_budget_micro_usd": 5_000_000,
        "coupling_threshold": 0.5, "reason": "unpaid",
        "projects": {"core": {"allowed_mcp_servers": [Uuid::from_u128(1)], "allowed_llm_providers": null}},
        "prompt_storage": "full", "budget_alert": null,
    });
    assert_eq!(serde_json::Value::Object(Tenant::view(state.state())), expected);
    let resumed = state.when(Command::ResumeTenant(ResumeTenant {})).after();
    assert_eq!(Tenant::view(&resumed)["reason"], "");
}

#[test]
fn every_filter_has_a_value() {
    let spec = given([provisioned()]);
    let values: Vec<_> = Tenant::FILTERS.iter().map(|filter| Tenant::facet(spec.state(), filter)).collect();
    assert_eq!(values, [["eu-central"], ["emerald"], ["Acme"]]);
    assert!(Tenant::facet(spec.state(), "nothing").is_empty());
}

fn reactions(event: &Event) -> Vec<Reaction> {
    Tenant::react(event, &State::default(), &spec::meta(own(), 2), &World::default())
}

#[test]
fn couplings_follow_their_tenant() {
    let fan_out = |name, command| {
        vec![Reaction::FanOut { name, from: own(), to: Aggregate::Coupling, command: AnyCommand::from(command) }]
    };
    let hold = coupling::Hold::Tenant;
    let suspend = coupling::SuspendCoupling { hold, reason: "tenant suspended: unpaid".into() };
    assert_eq!(reactions(&suspended()), fan_out("suspend_with_tenant", coupling::Command::SuspendCoupling(suspend)));
    let resume = coupling::Command::ResumeCoupling(coupling::ResumeCoupling { hold });
    assert_eq!(reactions(&Event::TenantResumed(TenantResumed {})), fan_out("resume_with_tenant", resume));
    let end = coupling::EndCoupling { reason: "tenant closed".into() };
    let silent = Event::TenantClosed(TenantClosed { reason: String::new() });
    assert_eq!(reactions(&silent), fan_out("end_with_tenant", coupling::Command::EndCoupling(end)));
    assert_eq!(reactions(&provisioned()), []);
}

#[test]
fn a_long_reason_is_cut_so_that_the_couplings_take_the_command() {
    let reason = "é".repeat(TEXT_BYTES_MAX / 2);
    let reactions = reactions(&Event::TenantClosed(TenantClosed { reason }));
    let [Reaction::FanOut { command: AnyCommand::Coupling(command), .. }] = &reactions[..] else {
        panic!("{reactions:?}")
    };
    let coupling::Command::EndCoupling(end) = &**command else { panic!("{command:?}") };
    assert!((TEXT_BYTES_MAX - 3..=TEXT_BYTES_MAX).contains(&end.reason.len()), "{}", end.reason.len());
}

#[test]
fn golden_commands() {
    let samples = commands();
    golden::assert_full(&samples);
    golden::check("tenant", samples);
}

fn events() -> Vec<Event> {
    vec![
        provisioned(),
        Event::TenantRevised(TenantRevised { name: "Acme 2".into(), region: "us".into(), tier: Tier::Opal }),
        Event::TenantBudgetSet(TenantBudgetSet { monthly_budget_micro_usd: Some(i64::MAX) }),
        Event::CouplingThresholdSet(CouplingThresholdSet { coupling_threshold: Some(0.25) }),
        suspended(),
        Event::TenantResumed(TenantResumed {}),
        closed(),
        added("lab", ids(&[1, 2]), ids(&[3])),
        Event::ProjectRevised(ProjectRevised {
            project: "lab".into(),
            allowed_mcp_servers: ids(&[4]),
            allowed_llm_providers: ids(&[5, 6]),
        }),
        Event::ProjectRemoved(ProjectRemoved { project: "lab".into() }),
        Event::PromptStorageSet(PromptStorageSet { prompt_storage: PromptStorage::None }),
        raised(BudgetLevel::Exhausted, 4_999_000, 2),
    ]
}

#[test]
fn golden_events() {
    golden::assert_full(&events());
    golden::check("tenant", events());
}

proptest! {
    /// Any order of events leads to a state that has a view, survives its blob, and decides every command.
    #[test]
    fn no_order_of_events_panics(order in prop::collection::vec(prop::sample::select(events()), 0..12)) {
        let state = given(order.clone()).state().clone();
        let blob = AnyState::Tenant(Box::new(state.clone())).to_blob().unwrap();
        prop_assert_eq!(AnyState::from_blob(Aggregate::Tenant, &blob).unwrap(), AnyState::Tenant(Box::new(state.clone())));
        prop_assert_eq!(Tenant::view(&state).len(), 9);
        for command in commands() {
            outcome(order.clone(), command);
        }
    }
}
