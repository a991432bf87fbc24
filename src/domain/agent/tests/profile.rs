//! Registrations with and without a template, revisions, and what they refuse.

use super::*;
use crate::domain::agent_template::{self, Definition, Parameter, stream_for};
use crate::domain::common::{INSTRUCTIONS_BYTES_MAX, LABELS_MAX, NAME_BYTES_MAX};

fn bare(name: &str, category: &str) -> RegisterAgent {
    let json = serde_json::json!({"name": name, "category": category});
    serde_json::from_value(json).expect("the two fields that a registration needs")
}

fn from_template(template: &str) -> RegisterAgent {
    RegisterAgent { template: Some(template.into()), ..bare("Ada", "") }
}

fn parameters(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn definition() -> Definition {
    let parameter = |name: &str, default_value: Option<&str>| Parameter {
        name: name.into(),
        description: "Where to look.".into(),
        default_value: default_value.map(str::to_owned),
    };
    Definition {
        name: "Researcher".into(),
        category: "research".into(),
        role: "researcher".into(),
        purpose: "Reads.".into(),
        instructions: "Read {field} in {language}.".into(),
        parameters: vec![parameter("field", Some("everything")), parameter("language", Some("English"))],
        skills: vec!["search".into(), "read".into()],
        domains: vec!["science".into()],
        requirements: Requirements { modalities: vec![Modality::File], ..requirements() },
    }
}

fn template(definition: Definition, status: agent_template::Status) -> AnyState {
    let reason = "replaced".into();
    AnyState::AgentTemplate(Box::new(agent_template::State { status, definition, reason }))
}

fn active(definition: Definition) -> AnyState {
    template(definition, agent_template::Status::Active)
}

fn own() -> StreamId {
    stream_for(TENANT, "researcher")
}

fn shared() -> StreamId {
    stream_for(TenantId::SHARED, "researcher")
}

/// The profile and template use that a registration is recorded with.
fn recorded(spec: Spec<Agent>, command: RegisterAgent) -> (Profile, Option<TemplateUse>) {
    let state = spec.when(Command::RegisterAgent(command)).after();
    assert_eq!((state.revision, state.lifecycle), (1, Lifecycle::Provisioning));
    (state.profile, state.template)
}

#[test]
fn a_name_and_a_category_are_enough() {
    let profile = Profile { name: "Ada".into(), category: "research".into(), ..Profile::default() };
    assert_eq!(recorded(given([]), bare("Ada", "research")), (profile, None));
}

#[test]
fn a_registration_is_recorded_as_it_is_given() {
    given([]).when(Command::RegisterAgent(register())).then([registered()]);
}

#[test]
fn labels_are_recorded_once_in_their_order_and_empty_texts_as_absent() {
    let command = RegisterAgent {
        skills: ["b", "a", "b"].map(String::from).into(),
        domains: ["y", "y"].map(String::from).into(),
        instructions: "".into(),
        owner: "".into(),
        project: Some(String::new()),
        ..bare("Ada", "research")
    };
    let (profile, _) = recorded(given([]), command);
    assert_eq!((profile.skills, profile.domains), (vec!["b".to_owned(), "a".into()], vec!["y".to_owned()]));
    assert_eq!((profile.instructions, profile.owner, profile.project), (Personal::Absent, Personal::Absent, None));
}

#[test]
fn registering_again_is_nothing_when_the_same_and_refused_when_other() {
    given([registered()]).when(Command::RegisterAgent(register())).then_nothing();
    let other = RegisterAgent { role: "other".into(), ..register() };
    given([registered()]).when(Command::RegisterAgent(other)).then_refused("already_exists");
    given([registered(), revised()]).when(Command::RegisterAgent(register())).then_refused("already_exists");
}

#[test]
fn a_template_is_looked_for_in_the_tenant_and_in_the_shared_catalogue() {
    let lookups = |tenant, template: &str| {
        let envelope = Envelope::new(Uuid::from_u128(1), StreamId::new(tenant, Aggregate::Agent, Uuid::from_u128(2)));
        Agent::lookups(&State::default(), &Command::RegisterAgent(from_template(template)), &envelope)
    };
    let tenant = Lookup::Stream(standing::stream(TENANT));
    assert_eq!(lookups(TENANT, "Researcher"), [tenant, Lookup::Stream(own()), Lookup::Stream(shared())]);
    assert_eq!(lookups(TenantId::SHARED, "researcher"), [Lookup::Stream(shared())]);
    let id = Uuid::from_u128(77);
    let by_id = |tenant| Lookup::Stream(StreamId::new(tenant, Aggregate::AgentTemplate, id));
    assert_eq!(lookups(TENANT, &id.to_string()), [tenant, by_id(TENANT), by_id(TenantId::SHARED)]);
}

#[test]
fn what_is_left_out_comes_from_the_template() {
    let command = RegisterAgent { template_parameters: parameters(&[("field", "law")]), ..from_template("Researcher") };
    let (profile, used) = recorded(given([]).seeing(shared(), 4, active(definition())), command);
    let expected = Profile {
        name: "Ada".into(),
        category: "research".into(),
        purpose: "Reads.".into(),
        role: "researcher".into(),
        instructions: "Read law in English.".into(),
        skills: definition().skills,
        domains: definition().domains,
        requirements: definition().requirements,
        ..Profile::default()
    };
    assert_eq!(profile, expected);
    let expected = TemplateUse {
        template_id: shared().id,
        shared: true,
        name: "Researcher".into(),
        version: 4,
        parameters: parameters(&[("field", "law")]),
    };
    assert_eq!(used, Some(expected));
}

#[test]
fn what_is_given_comes_before_the_template_and_lists_are_united() {
    let command = RegisterAgent {
        template: Some("researcher".into()),
        skills: vec!["write".into(), "read".into()],
        ..register()
    };
    let (profile, _) = recorded(given([]).seeing(own(), 1, active(definition())), command);
    let expected = Profile { skills: ["search", "read", "write"].map(String::from).into(), ..super::profile() };
    assert_eq!(profile, expected);
}

#[test]
fn requirements_are_merged_field_by_field() {
    let given_requirements = Requirements { latency_ms_max: Some(1), ..Requirements::default() };
    let command = RegisterAgent { requirements: Some(given_requirements), ..from_template("researcher") };
    let (profile, _) = recorded(given([]).seeing(own(), 1, active(definition())), command);
    assert_eq!(profile.requirements, Requirements { latency_ms_max: Some(1), ..definition().requirements });
}

#[test]
fn the_tenants_own_template_hides_the_shared_one() {
    let mine = Definition { role: "mine".into(), ..definition() };
    let spec = given([]).seeing(shared(), 4, active(definition())).seeing(own(), 2, active(mine.clone()));
    let (profile, used) = recorded(spec, from_template("researcher"));
    assert_eq!(profile.role, "mine");
    assert_eq!(used.map(|used| (used.shared, used.version)), Some((false, 2)));

    let retired = template(mine, agent_template::Status::Retired);
    let spec = given([]).seeing(shared(), 4, active(definition())).seeing(own(), 3, retired);
    spec.when(Command::RegisterAgent(from_template("researcher"))).then_refused("template_retired");
}

#[test]
fn a_template_is_found_by_its_uuid_too() {
    let stream = StreamId::new(TenantId::SHARED, Aggregate::AgentTemplate, Uuid::from_u128(77));
    let command = from_template(&stream.id.to_string());
    let (profile, used) = recorded(given([]).seeing(stream, 1, active(definition())), command);
    assert_eq!(profile.role, "researcher");
    assert_eq!(used.map(|used| used.template_id), Some(stream.id));
}

#[test]
fn a_template_that_is_unknown_or_retired_is_refused_with_what_to_do() {
    let rejection = given([]).when(Command::RegisterAgent(from_template("nobody"))).then_refused("template_not_found");
    assert_eq!(rejection.details["template"], "nobody");
    assert!(rejection.message.contains("DefineAgentTemplate"), "{}", rejection.message);
    let retired = template(definition(), agent_template::Status::Retired);
    let spec = given([]).seeing(shared(), 2, retired);
    let rejection = spec.when(Command::RegisterAgent(from_template("researcher"))).then_refused("template_retired");
    assert_eq!(rejection.details["reason"], "replaced");
}

#[test]
fn parameters_are_held_against_the_template() {
    let mut strict = definition();
    strict.parameters[0].default_value = None;
    let refused = |command: RegisterAgent, code: &str| {
        let spec = given([]).seeing(own(), 1, active(strict.clone()));
        spec.when(Command::RegisterAgent(command)).then_refused(code)
    };
    refused(from_template("researcher"), "template_parameter_missing");
    let unknown = parameters(&[("field", "law"), ("colour", "red")]);
    let command = RegisterAgent { template_parameters: unknown.clone(), ..from_template("researcher") };
    assert_eq!(refused(command.clone(), "template_parameter_unknown").details["parameter"], "colour");
    // Instructions that are given need no parameter, but an unknown one is still a mistake.
    refused(RegisterAgent { instructions: "Rest.".into(), ..command }, "template_parameter_unknown");
    let own_words = RegisterAgent { instructions: "Rest.".into(), ..from_template("researcher") };
    let (profile, _) = recorded(given([]).seeing(own(), 1, active(strict.clone())), own_words);
    assert_eq!(profile.instructions, "Rest.".into());
    let orphan = RegisterAgent { template_parameters: unknown, ..bare("Ada", "research") };
    assert_eq!(refused(orphan, "invalid").details["field"], "template_parameters");
}

#[test]
fn a_project_must_be_the_tenants_where_the_tenant_is_known() {
    let tenant = |projects: &[&str]| {
        let projects = projects.iter().map(|name| ((*name).to_owned(), tenant::Project::default())).collect();
        AnyState::Tenant(Box::new(tenant::State {
            status: tenant::Status::Active,
            projects,
            ..tenant::State::default()
        }))
    };
    let tenants = standing::stream(TENANT);
    let register = || Command::RegisterAgent(register());
    assert_eq!(given([]).seeing(tenants, 1, tenant(&["core"])).when(register()).events().len(), 1);
    let rejection = given([]).seeing(tenants, 1, tenant(&["lab"])).when(register()).then_refused("project_unknown");
    assert_eq!(rejection.details["project"], "core");

    let revise = |project: Option<&str>, role: &str| {
        let project = project.map(str::to_owned);
        Command::ReviseAgent(ReviseAgent { project, role: Some(role.into()), ..ReviseAgent::default() })
    };
    let there = || given([registered()]).seeing(tenants, 1, tenant(&["lab"]));
    there().when(revise(Some("nowhere"), "x")).then_refused("project_unknown");
    assert_eq!(there().when(revise(Some("lab"), "x")).after().profile.project.as_deref(), Some("lab"));
    assert_eq!(there().when(revise(Some(""), "x")).after().profile.project, None);
    // The agent's project was removed from the tenant meanwhile.
    assert_eq!(there().when(revise(None, "x")).after().profile.project.as_deref(), Some("core"));
}

#[test]
fn a_revision_changes_what_it_names_and_counts() {
    let command = ReviseAgent { role: Some("librarian".into()), ..ReviseAgent::default() };
    given([registered()]).when(Command::ReviseAgent(command.clone())).then([revised()]);
    given([registered(), revised()]).when(Command::ReviseAgent(command)).then_nothing();
    given([registered()]).when(Command::ReviseAgent(ReviseAgent::default())).then_nothing();
    let command = ReviseAgent { name: Some("Bea".into()), ..ReviseAgent::default() };
    let state = given([registered(), revised()]).when(Command::ReviseAgent(command)).after();
    assert_eq!((state.revision, state.profile.name.as_str(), state.profile.role.as_str()), (3, "Bea", "librarian"));
}

#[test]
fn an_empty_text_clears_a_personal_field_and_lists_are_replaced() {
    let command = ReviseAgent {
        instructions: "".into(),
        owner: "new@example.org".into(),
        skills: Some(["b", "a", "b"].map(String::from).into()),
        domains: Some(vec![]),
        requirements: Some(Requirements::default()),
        ..ReviseAgent::default()
    };
    let profile = given([registered()]).when(Command::ReviseAgent(command)).after().profile;
    let expected = Profile {
        instructions: Personal::Absent,
        owner: "new@example.org".into(),
        skills: ["b", "a"].map(String::from).into(),
        domains: vec![],
        requirements: Requirements::default(),
        ..super::profile()
    };
    assert_eq!(profile, expected);
}

#[test]
fn values_outside_their_fields_are_refused_by_field() {
    let long = || "x".repeat(NAME_BYTES_MAX + 1);
    let sealed = Sealed { key_id: "k".into(), nonce: vec![], ciphertext: vec![0; INSTRUCTIONS_BYTES_MAX + 512] };
    let requirements = Requirements { latency_ms_max: Some(-1), ..Requirements::default() };
    let base = || bare("Ada", "research");
    let cases = [
        ("name", RegisterAgent { name: " ".into(), ..base() }),
        ("category", RegisterAgent { category: String::new(), ..base() }),
        ("purpose", RegisterAgent { purpose: "x".repeat(TEXT_BYTES_MAX + 1), ..base() }),
        ("role", RegisterAgent { role: long(), ..base() }),
        ("instructions", RegisterAgent { instructions: Personal::Sealed(sealed), ..base() }),
        ("skills", RegisterAgent { skills: vec!["x".into(); LABELS_MAX + 1], ..base() }),
        ("domains", RegisterAgent { domains: vec![String::new()], ..base() }),
        ("owner", RegisterAgent { owner: Personal::Plain(long()), ..base() }),
        ("project", RegisterAgent { project: Some(" ".into()), ..base() }),
        ("confidence_threshold", RegisterAgent { confidence_threshold: Some(1.5), ..base() }),
        ("requirements.latency_ms_max", RegisterAgent { requirements: Some(requirements), ..base() }),
    ];
    for (field, command) in cases {
        let rejection = given([]).when(Command::RegisterAgent(command)).then_refused("invalid");
        assert_eq!(rejection.details["field"], field, "{}", rejection.message);
    }
    let too_many = (0..=LABELS_MAX).map(|n| (format!("p{n}"), String::new())).collect();
    for parameters in [too_many, parameters(&[("", "x")]), parameters(&[("field", &"x".repeat(TEXT_BYTES_MAX + 1))])] {
        let command = RegisterAgent { template_parameters: parameters, ..from_template("researcher") };
        let spec = given([]).seeing(own(), 1, active(definition()));
        assert_eq!(
            spec.when(Command::RegisterAgent(command)).then_refused("invalid").details["field"],
            "template_parameters"
        );
    }
    let revision = ReviseAgent { skills: Some(vec!["x".into(); LABELS_MAX + 1]), ..ReviseAgent::default() };
    assert_eq!(
        given([registered()]).when(Command::ReviseAgent(revision)).then_refused("invalid").details["field"],
        "skills"
    );
    let revision = ReviseAgent { name: Some(String::new()), ..ReviseAgent::default() };
    assert_eq!(
        given([registered()]).when(Command::ReviseAgent(revision)).then_refused("invalid").details["field"],
        "name"
    );
}

#[test]
fn the_union_of_two_lists_is_bounded_like_one() {
    let labels = |prefix: &str| (0..LABELS_MAX).map(|n| format!("{prefix}{n}")).collect::<Vec<_>>();
    let spec = || given([]).seeing(own(), 1, active(Definition { skills: labels("a"), ..definition() }));
    let with = |skills| Command::RegisterAgent(RegisterAgent { skills, ..from_template("researcher") });
    spec().when(with(labels("b"))).then_refused("invalid");
    assert_eq!(spec().when(with(labels("a"))).after().profile.skills.len(), LABELS_MAX);
}
