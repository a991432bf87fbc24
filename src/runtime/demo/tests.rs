use super::couplings::Wish;
use super::tenants::COMPANIES;
use super::*;
use crate::domain::coupling::{ModelRef, RequestCoupling};
use crate::domain::{
    Aggregate, agent, agent_template, coupling, llm_batch, llm_provider, llm_request, mcp_server, skill, tenant,
};
use crate::runtime::catalog;
use std::collections::{BTreeMap, HashMap, HashSet};

fn fleet() -> Fleet<'static> {
    let catalog = Catalog::built_in().expect("the files parse");
    Fleet { catalog, agents: agents::plan(catalog) }
}

fn all() -> Vec<Stage> {
    stages(Catalog::built_in().expect("the files parse")).collect()
}

fn stage(name: &str) -> Commands {
    all().into_iter().find(|stage| stage.name == name).expect("a stage").commands
}

fn registrations() -> Vec<(Envelope, agent::RegisterAgent)> {
    let register = |(envelope, command): (Envelope, AnyCommand)| match command {
        AnyCommand::Agent(command) => match *command {
            agent::Command::RegisterAgent(register) => (envelope, register),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    stage("agents").into_iter().map(register).collect()
}

fn requests() -> Vec<(Envelope, RequestCoupling)> {
    let request = |(envelope, command): (Envelope, AnyCommand)| match command {
        AnyCommand::Coupling(command) => match *command {
            coupling::Command::RequestCoupling(request) => (envelope, request),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    stage("couplings").into_iter().map(request).collect()
}

#[test]
fn the_fleet_has_the_size_that_is_promised() {
    assert_eq!(COMPANIES.len(), 10);
    assert_eq!(COMPANIES.iter().map(|company| company.agents).sum::<usize>(), AGENTS);
    assert_eq!(COMPANIES.iter().map(|company| company.region).collect::<HashSet<_>>().len(), 3);
    assert_eq!(COMPANIES.iter().map(|company| company.tier).collect::<HashSet<_>>().len(), 5);
    assert!(COMPANIES.iter().all(|company| (2..=3).contains(&company.projects.len())));
    assert!(COMPANIES.windows(2).all(|pair| pair[0].agents >= pair[1].agents));
    assert_eq!(stage("tenants").len(), 10);
    assert_eq!(registrations().len(), AGENTS);
    assert_eq!(requests().len(), COUPLINGS);
    let activated = stage("activation").len();
    assert!((900..AGENTS).contains(&activated), "{activated} activated");
    assert_eq!(all().len(), STAGE_COUNT);
}

#[test]
fn a_second_run_sends_the_same_commands_with_the_same_ids() {
    for (first, second) in all().into_iter().zip(all()) {
        assert_eq!(first.commands, second.commands, "{}", first.name);
    }
}

#[test]
fn command_ids_are_unique_per_stream_and_outside_the_reaction_namespace() {
    let mut seen = HashSet::new();
    for stage in all() {
        for (envelope, command) in stage.commands {
            assert_eq!(envelope.stream.aggregate, command.aggregate());
            assert_eq!(envelope.command_id.get_version_num(), 5);
            let what = format!("{} {}", stage.name, command.name());
            assert!(seen.insert((envelope.stream, envelope.command_id)), "{what} twice");
        }
    }
}

/// As what a producer would send: the record as JSON, read back by the names of its fields.
#[test]
fn every_command_survives_its_json() {
    macro_rules! check {
        ($command:expr, $folder:ident: $($record:ident)+) => {
            match $command {
                $($folder::Command::$record(record) => {
                    let json = serde_json::to_string(record).expect("a record is JSON");
                    assert_eq!(&serde_json::from_str::<$folder::$record>(&json).expect(&json), record);
                })+
            }
        };
    }
    for (_, command) in all().into_iter().flat_map(|stage| stage.commands) {
        match &command {
            AnyCommand::Tenant(c) => check!(&**c, tenant: ProvisionTenant ReviseTenant SetTenantBudget
                SetCouplingThreshold SuspendTenant ResumeTenant CloseTenant AddProject ReviseProject RemoveProject
                SetPromptStorage ReportBudgetUse),
            AnyCommand::AgentTemplate(c) => check!(&**c, agent_template: DefineAgentTemplate RetireAgentTemplate),
            AnyCommand::Agent(c) => check!(&**c, agent: RegisterAgent ReviseAgent ActivateAgent IdleAgent MaintainAgent
                DecommissionAgent ReportAgentHealth),
            AnyCommand::McpServer(c) => check!(&**c, mcp_server: RegisterMcpServer ReviseMcpServer DiscoverTools
                ReportMcpServerHealth DeregisterMcpServer),
            AnyCommand::LlmProvider(c) => check!(&**c, llm_provider: RegisterLlmProvider ReviseLlmProvider PutModels
                RetireModels SetLlmProviderLimits ReportLlmProviderHealth DeregisterLlmProvider ReportModelStatistics ReportModelHealth),
            AnyCommand::Coupling(c) => check!(&**c, coupling: RequestCoupling RebindCoupling SuspendCoupling
                ResumeCoupling EndCoupling RequestCompletion),
            AnyCommand::LlmRequest(c) => {
                check!(&**c, llm_request: SubmitRequest StartAttempt EndAttempt CompleteRequest
                FailRequest ExpireRequest CancelRequest RateAnswer AddAnswerPart
                LoseAttempt)
            }
            AnyCommand::LlmBatch(c) => {
                check!(&**c, llm_batch: OpenBatchFile AddBatchPart CloseBatchFile StartBatch RecordBatchProgress
                EndBatch CancelBatch DeleteBatchFile)
            }
            AnyCommand::Skill(c) => check!(&**c, skill: DefineSkill RetireSkill),
        }
    }
}

#[test]
fn names_in_the_companies_lists_are_in_the_catalogue() {
    let catalog = Catalog::built_in().expect("the files parse");
    let servers: HashSet<_> = catalog.servers.entries.iter().map(|server| server.name.as_str()).collect();
    let providers: HashSet<_> = catalog.providers.entries.iter().map(|provider| provider.name.as_str()).collect();
    for project in COMPANIES.iter().flat_map(|company| company.projects) {
        assert!(project.servers.unwrap_or_default().iter().all(|name| servers.contains(name)), "{}", project.name);
        assert!(project.providers.unwrap_or_default().iter().all(|name| providers.contains(name)), "{}", project.name);
    }
    assert!(servers.contains("Puppeteer") && providers.contains("Scaleway"), "named by the stage \"operations\"");
}

#[test]
fn an_agent_gives_every_required_parameter_and_none_that_the_template_lacks() {
    let catalog = Catalog::built_in().expect("the files parse");
    let templates: HashMap<_, _> = catalog.templates.entries.iter().map(|t| (t.name.as_str(), t)).collect();
    let mut used = HashSet::new();
    for (_, registration) in registrations() {
        let name = registration.template.as_deref().expect("from a template");
        let template = templates[name];
        used.insert(name.to_owned());
        let given = &registration.template_parameters;
        assert!(given.keys().all(|key| template.parameters.iter().any(|parameter| parameter.name == *key)));
        let mut required = template.parameters.iter().filter(|parameter| parameter.default_value.is_none());
        assert!(required.all(|parameter| given.contains_key(&parameter.name)), "{name}: {given:?}");
    }
    assert_eq!(used.len(), templates.len(), "every template is used");
}

#[test]
fn people_of_the_demo_cannot_exist() {
    for (_, registration) in registrations() {
        let owner = registration.owner.text().expect("an owner");
        assert!(owner.contains('@') && owner.ends_with(".example"), "{owner}");
    }
}

#[test]
fn couplings_name_agents_of_their_own_tenant_and_servers_that_exist() {
    let catalog = Catalog::built_in().expect("the files parse");
    let agents: HashMap<_, _> = registrations().iter().map(|(e, _)| (e.stream.id, e.stream.tenant)).collect();
    let shared: HashSet<_> = catalog.servers.entries.iter().map(|server| catalog::server_id(&server.name)).collect();
    let private = |name: &&str| tenants::PRIVATE.own(Aggregate::McpServer, name).id;
    let private: HashSet<_> = tenants::PRIVATE_SERVERS.iter().map(private).collect();
    for (envelope, request) in requests() {
        assert_eq!(agents.get(&request.agent_id), Some(&envelope.stream.tenant));
        let private = private.contains(&request.mcp_server_id) && envelope.stream.tenant == tenants::PRIVATE.tenant();
        assert!(private || shared.contains(&request.mcp_server_id));
    }
}

#[test]
fn every_kind_of_wish_and_every_objective_occurs_and_most_wishes_can_be_granted() {
    let fleet = fleet();
    let mut wishes = BTreeMap::new();
    for coupling in couplings::plan(&fleet) {
        *wishes.entry(format!("{:?}", coupling.wish)).or_insert(0) += 1;
    }
    assert_eq!(wishes.len(), 9, "{wishes:?}");
    assert!(wishes.values().all(|count| *count >= 20), "{wishes:?}");
    let sensible = [Wish::Fitting, Wish::Pinned, Wish::Private].map(|wish| wishes[&format!("{wish:?}")]);
    assert!(sensible.iter().sum::<i32>() > 2_400, "{wishes:?}");
    let objectives: HashSet<_> = requests().into_iter().map(|(_, request)| request.objective).collect();
    assert_eq!(objectives.len(), 4);
}

#[test]
fn wishes_are_what_they_are_called() {
    let fleet = fleet();
    let requests: HashMap<_, _> = requests().into_iter().map(|(e, request)| (e.stream, request)).collect();
    let provider_names: HashMap<_, _> =
        fleet.catalog.providers.entries.iter().map(|p| (catalog::provider_id(&p.name), p)).collect();
    let pinned_provider = |model: &Option<ModelRef>| provider_names[&model.as_ref().expect("pinned").provider_id];
    let mut pins = 0;
    for coupling in couplings::plan(&fleet) {
        let request = &requests[&coupling.stream()];
        let project = coupling.agent.project;
        let servers = project.and_then(|project| project.servers);
        let on_list = || servers.unwrap_or_default().iter().any(|n| catalog::server_id(n) == request.mcp_server_id);
        match coupling.wish {
            Wish::ServerNotAllowed => assert!(servers.is_some() && !on_list()),
            Wish::ProviderNotAllowed if request.model.is_some() => {
                let allowed = project.and_then(|project| project.providers).expect("a list");
                assert!(!allowed.contains(&pinned_provider(&request.model).name.as_str()));
            }
            Wish::Pinned if request.model.is_some() => {
                let model = request.model.as_ref().expect("pinned");
                let provider = pinned_provider(&request.model);
                assert!(provider.models.iter().any(|known| known.model_id == model.model_id));
                pins += 1;
            }
            Wish::NoBudget => assert!(request.cost_per_1k_tokens_micro_usd_max.is_some_and(|max| max < 10)),
            _ => {}
        }
    }
    assert!(pins > 200, "{pins}");
}

#[test]
fn an_unfitting_wish_goes_to_a_server_outside_the_agents_domains() {
    let fleet = fleet();
    let requests: HashMap<_, _> = requests().into_iter().map(|(e, request)| (e.stream, request)).collect();
    let categories: HashMap<_, _> =
        fleet.catalog.servers.entries.iter().map(|s| (catalog::server_id(&s.name), &s.category)).collect();
    let unfitting: Vec<_> = couplings::plan(&fleet).filter(|coupling| coupling.wish == Wish::Unfitting).collect();
    let outside = unfitting.iter().filter(|coupling| {
        let category = categories[&requests[&coupling.stream()].mcp_server_id];
        !coupling.agent.template.domains.contains(category)
    });
    // The rest belongs to projects whose lists leave no such server.
    assert!(outside.count() * 10 > unfitting.len() * 8);
}

#[test]
fn no_agent_asks_twice_for_one_server_when_its_domains_offer_enough() {
    let fleet = fleet();
    let requests: HashMap<_, _> = requests().into_iter().map(|(e, request)| (e.stream, request)).collect();
    let mut servers: HashMap<_, Vec<_>> = HashMap::new();
    for coupling in couplings::plan(&fleet).filter(|c| c.wish == Wish::Fitting && c.agent.project.is_none()) {
        servers.entry(coupling.agent.index).or_default().push(requests[&coupling.stream()].mcp_server_id);
    }
    assert!(servers.len() > 50);
    for (agent, ids) in servers {
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "agent {agent}");
    }
}
