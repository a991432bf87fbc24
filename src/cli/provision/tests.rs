//! What manifests are taken and refused, how they expand, and what differs from what is there.

use super::blueprint::{AgentWanted, Blueprint, agent_id, tenant_id};
use super::compile::compile;
use super::differ::{self, AgentDiff};
use super::engine::chunks;
use super::node::{KnownAgent, KnownTenant};
use super::{EXAMPLE, Options};
use crate::domain::AnyCommand;
use crate::domain::agent::{Command as Agent, RiskTier};
use crate::domain::tenant::{Command as Tenant, Tier};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashSet};
use uuid::Uuid;

const HEAD: &str = "apiVersion: agentverse/v1\nkind: Provisioning\n";

fn manifest(rest: &str) -> Blueprint {
    compile("m.yaml", &format!("{HEAD}{rest}")).unwrap()
}

/// Ten thousand tenants of two thousand agents.
fn large() -> Blueprint {
    manifest(
        "defaults: {agents: [{group: a, count: 1500, category: c}, {group: b, count: 500, category: c}]}
tenants: [{name: 'branch-{n:05}', count: 10000, regions: [eu, us, ap]}]",
    )
}

#[test]
fn the_example_is_a_manifest() {
    let blueprint = compile("example", EXAMPLE).unwrap();
    assert_eq!((blueprint.tenants_total(), blueprint.agents_total()), (10_001, 300_031));
    let first = blueprint.tenants().next().unwrap();
    assert_eq!((first.name.as_str(), first.region), ("branch-00001", Some("eu-west")));
    let names: Vec<_> = first.agents().map(|agent| agent.name()).collect();
    assert_eq!((names[0].as_str(), names[29].as_str()), ("branch-00001-analyst-001", "clerks-10"));
    let acme = blueprint.tenants().last().unwrap();
    assert_eq!(acme.id, Uuid::parse_str("6f1c2a52-0d5e-4c3b-9a77-1f0f6f1f9b01").unwrap());
    assert_eq!(acme.set.monthly_budget_micro_usd, Some(10_000_500_000));
    let agent = acme.agents().next().unwrap().registration();
    assert_eq!(agent.template_parameters["company"], "Acme");
    assert_eq!(agent.owner.text(), Some("ops@eu-west.example"));
    assert_eq!(acme.agents().last().unwrap().registration().name, "Acme-director");
}

#[test]
fn what_is_wrong_with_a_manifest_is_told_with_its_line() {
    let cases = [
        ("tenants: [{name: A, tir: opal}]", "tir"),
        ("tenants:\n- name: A\n  tier: gold", "diamond"),
        ("tenants:\n- name: A\n  tier: gold", "line 5"),
        ("tenants: [{name: A}]\nteanants: []", "teanants"),
        ("tenants: [{tier: opal}]", "name"),
        ("tenants: []", "there are none"),
        ("tenants: [{name: A, name: B}]", "duplicate"),
        ("tenants: [{name: A}\n", "m.yaml is no manifest"),
        ("tenants:\n- name: A\n- name: A", "m.yaml:5: name: \"A\" is there twice"),
        ("tenants:\n- {name: 'b{n}', count: 3}\n- name: b2", "m.yaml:5: name: \"b2\" is there twice"),
        ("tenants:\n- {name: b, count: 3}", "m.yaml:4: name: \"b\" would be the same 3 times"),
        ("tenants: [{name: 'b{m}'}]", "there are {n}, {region}"),
        ("tenants: [{name: 'b{n}', count: 0}]", "count: is 0"),
        ("tenants: [{name: 'b{n}', count: 1000001}]", "1 to 1000000"),
        ("tenants: [{name: 'b{n}', count: -1}]", "m.yaml is no manifest"),
        ("tenants: [{name: 'b{n}', count: 2, start: 18446744073709551615}]", "start:"),
        ("tenants: [{name: 'b{n}', count: 2, id: 6f1c2a52-0d5e-4c3b-9a77-1f0f6f1f9b01}]", "belongs to one tenant"),
        ("tenants: [{name: A, id: 00000000-0000-0000-0000-000000000000}]", "shared catalogue"),
        ("tenants: [{name: A, id: acme}]", "m.yaml is no manifest"),
        ("tenants: [{name: ' '}]", "tenant: name: must not be blank"),
        ("tenants: [{name: A, region: x, regions: [y]}]", "keep one"),
        ("tenants: [{name: A, regions: []}]", "is empty"),
        ("tenants: [{name: A, monthly_budget_usd: -1}]", "monthly_budget_usd: is -1"),
        ("tenants: [{name: A, monthly_budget_usd: 0.0000001}]", "finer than a micro-dollar"),
        ("tenants: [{name: A, coupling_threshold: 2}]", "must be between 0 and 1"),
        ("tenants: [{name: A, projects: [{name: x}, {name: x}]}]", "\"x\" is there twice"),
        ("tenants: [{name: A, agents: [{group: a, count: 1}]}]", "neither a template nor a category"),
        ("tenants: [{name: A, agents: [{group: a, count: 2, category: c, name: x}]}]", "the same 2 times"),
        ("tenants: [{name: A, agents: [{group: a, count: 1, category: c, name: '{x}'}]}]", "{tenant_n}"),
        (
            "tenants: [{name: A, agents: [{group: a, count: 1, category: c, project: p}]}]",
            "\"p\", which this tenant has not",
        ),
        ("tenants: [{name: A, agents: [{group: a, count: 1, category: c, parameters: {x: y}}]}]", "without a template"),
        ("tenants: [{name: A, agents: [{group: a, count: 1, category: c, parameters: {x: '{'}}]}]", "stands alone"),
        ("tenants: [{name: A, agents: [{group: a, count: 1, category: c, risk_tier: huge}]}]", "medium"),
        ("tenants: [{name: A, agents: [{group: a, count: 1, category: c, colour: red}]}]", "colour"),
        ("tenants: [{name: A, agents: [{group: ' ', count: 1, category: c}]}]", "must not be blank"),
        (
            "tenants: [{name: A, agents: [{group: a, count: 1, category: c}, {group: a, count: 1, category: d}]}]",
            "groups tell agents apart",
        ),
        ("tenants: [{name: A, agents: [{group: a, count: 1000001, category: c}]}]", "at most 1000000"),
    ];
    for (rest, word) in cases {
        let error = compile("m.yaml", &format!("{HEAD}{rest}")).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(word), "{rest}\n{word}\n{error}");
    }
    let long = format!("{HEAD}tenants: [{{name: {}}}]", "x".repeat(257));
    assert!(compile("m", &long).map(|_| ()).unwrap_err().to_string().contains("257 bytes"));
    let agents = "agents: [{group: a, count: 100, category: c, name: '{tenant}-{n}'}]";
    let long = format!("{HEAD}tenants: [{{name: {}, {agents}}}]", "x".repeat(253));
    let error = compile("m", &long).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("group \"a\": name: has 257 bytes"), "the last agent has the longest name: {error}");
    for head in ["apiVersion: agentverse/v2\nkind: Provisioning\n", "apiVersion: agentverse/v1\nkind: KafkaTopic\n"] {
        let error = compile("m", &format!("{head}tenants: [{{name: A}}]")).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("this program reads") && error.contains("provision example"), "{error}");
    }
}

#[test]
fn mistakes_are_told_together_and_shared_ones_once() {
    let text = "defaults: {agents: [{group: a, count: 1, category: ' '}]}
tenants: [{name: A}, {name: B, coupling_threshold: 2}, {name: C}]";
    let error = compile("m", &format!("{HEAD}{text}")).map(|_| ()).unwrap_err().to_string();
    assert_eq!(error.matches("group \"a\"").count(), 1, "{error}");
    assert!(error.contains("coupling_threshold") && error.contains("nothing was sent"), "{error}");
}

#[test]
fn twenty_million_agents_come_one_by_one_in_chunks_of_a_bounded_size() {
    let blueprint = large();
    assert_eq!((blueprint.tenants_total(), blueprint.agents_total()), (10_000, 20_000_000));
    let (mut agents, mut largest) = (0, 0);
    for tenant in blueprint.tenants() {
        for chunk in chunks(tenant.agents(), 250) {
            agents += chunk.len();
            largest = largest.max(chunk.capacity());
        }
    }
    assert_eq!(agents, 20_000_000);
    assert!(largest <= 256, "{largest}");
}

#[test]
fn an_expansion_is_the_same_each_time_and_no_two_agents_are_one() {
    let (blueprint, again) = (large(), large());
    let (mut ids, mut count) = (HashSet::new(), 0);
    for (tenant, other) in blueprint.tenants().zip(again.tenants()).step_by(97) {
        assert_eq!((tenant.id, &tenant.name, tenant.region), (other.id, &other.name, other.region));
        for (agent, other) in tenant.agents().zip(other.agents()).step_by(13) {
            assert_eq!((agent.stream(), agent.registration()), (other.stream(), other.registration()));
            ids.insert(agent.stream().id);
            count += 1;
        }
    }
    assert!(count > 15_000 && ids.len() == count, "{count}");
    // Others compute them too, and a later release must arrive at the same ones.
    let tenant = tenant_id("branch-00001");
    assert_eq!(tenant, Uuid::new_v5(&Uuid::NAMESPACE_URL, b"agentverse:tenant:branch-00001"));
    assert_eq!(agent_id(tenant, "a", 7), Uuid::new_v5(&tenant, b"agent/provision/a/7"));
    let regions: BTreeSet<_> = blueprint.tenants().take(4).map(|tenant| tenant.region).collect();
    assert_eq!(regions.len(), 3);
}

#[test]
fn only_the_tenants_that_were_named_are_taken() {
    let blueprint = large();
    let named = blueprint.tenants().nth(6).unwrap();
    let options = Options { only: vec!["branch-00003".into(), named.id.to_string()], ..Options::default() };
    let taken: Vec<_> = blueprint.tenants().filter(|it| options.takes(it)).map(|it| it.number).collect();
    assert_eq!(taken, [3, 7]);
    assert!(Options::default().takes(&named));
}

fn known_tenant(change: &Value) -> KnownTenant {
    let mut value = json!({
        "version": 4, "created_at": "t", "status": "active", "name": "A", "region": "eu", "tier": "opal",
        "monthly_budget_micro_usd": 5_000_000, "coupling_threshold": 0.4, "prompt_storage": "full",
        "projects": {"p": {"allowed_mcp_servers": null, "allowed_llm_providers": null}}, "reason": "", "budget_alert": null,
    });
    for (name, field) in change.as_object().unwrap() {
        value[name] = field.clone();
    }
    serde_json::from_value(value).unwrap()
}

const TENANT: &str = "tenants: [{name: A, region: eu, tier: opal, monthly_budget_usd: 5, coupling_threshold: 0.4,
  prompt_storage: full, projects: [{name: p}]}]";

#[test]
fn a_tenant_gets_only_what_differs_of_what_is_said() {
    let blueprint = manifest(TENANT);
    let tenant = blueprint.tenants().next().unwrap();
    let fields = |change: Value| -> Vec<_> {
        let changes = differ::tenant(&tenant, Some(&known_tenant(&change)));
        changes.into_iter().flat_map(|change| change.fields).collect()
    };
    assert_eq!(fields(json!({})), [""; 0]);
    assert_eq!(fields(json!({"name": "B"})), ["name"]);
    assert_eq!(fields(json!({"region": "us", "tier": "onyx"})), ["region", "tier"]);
    assert_eq!(fields(json!({"monthly_budget_micro_usd": null})), ["monthly_budget_usd"]);
    assert_eq!(fields(json!({"coupling_threshold": 0.5})), ["coupling_threshold"]);
    assert_eq!(fields(json!({"prompt_storage": "none"})), ["prompt_storage"]);
    assert_eq!(fields(json!({"projects": {}})), ["projects"]);
    let narrowed = json!({"projects": {"p": {"allowed_mcp_servers": [], "allowed_llm_providers": null}, "q": {}}});
    assert_eq!(fields(narrowed), [""; 0], "lists that the manifest leaves out stay");

    let changes = differ::tenant(&tenant, Some(&known_tenant(&json!({"tier": "onyx"}))));
    let AnyCommand::Tenant(command) = &changes[0].command else { panic!("{changes:?}") };
    let Tenant::ReviseTenant(revision) = &**command else { panic!("{command:?}") };
    assert_eq!((&revision.name, &revision.region, revision.tier), (&None, &None, Some(Tier::Opal)));

    let names: Vec<_> = differ::tenant(&tenant, None).iter().map(|change| change.command.name()).collect();
    assert_eq!(names, ["ProvisionTenant", "AddProject"], "prompts are stored in full where nothing is said");
    let silent = manifest("tenants: [{name: A}]");
    let silent = silent.tenants().next().unwrap();
    let other = json!({"region": "x", "tier": "diamond", "prompt_storage": "none", "coupling_threshold": 1.0});
    assert_eq!(differ::tenant(&silent, Some(&known_tenant(&other))), [], "what is not said stays as it is");
}

#[test]
fn lists_of_a_project_are_sets() {
    let [a, b] = [1, 2].map(Uuid::from_u128);
    let text = format!("tenants: [{{name: A, projects: [{{name: p, allowed_mcp_servers: [{a}, {b}]}}]}}]");
    let blueprint = manifest(&text);
    let tenant = blueprint.tenants().next().unwrap();
    let changes = |servers: Value| {
        let projects = json!({"p": {"allowed_mcp_servers": servers, "allowed_llm_providers": [a]}});
        differ::tenant(&tenant, Some(&known_tenant(&json!({"projects": projects}))))
    };
    assert_eq!(changes(json!([b, a])), []);
    let changed = changes(json!(null));
    let AnyCommand::Tenant(command) = &changed[0].command else { panic!("{changed:?}") };
    let Tenant::ReviseProject(revision) = &**command else { panic!("{command:?}") };
    assert_eq!(revision.allowed_llm_providers, Some(vec![a]), "the list that was not said is kept");
}

fn known_agent(change: &Value) -> KnownAgent {
    let mut value = json!({
        "id": Uuid::from_u128(1), "version": 2, "status": "active", "lifecycle": "active", "health": "unknown",
        "revision": 1, "reason": "", "name": "g-1", "category": "c", "purpose": "", "role": "r", "instructions": "Do.",
        "skills": ["a", "b"], "domains": [], "owner": null, "project": "p", "risk_tier": "high",
        "confidence_threshold": null, "requirements": {"latency_ms_max": 5},
        "template": {"template_id": Uuid::from_u128(7), "shared": true, "name": "Clerk", "version": 1,
            "parameters": {"company": "A"}},
    });
    for (name, field) in change.as_object().unwrap() {
        value[name] = field.clone();
    }
    serde_json::from_value(value).unwrap()
}

fn agent_diff(group: &str, change: &Value) -> AgentDiff {
    let blueprint = manifest(&format!(
        "tenants: [{{name: A, projects: [{{name: p}}, {{name: q}}], agents: [{{group: g, count: 1, {group}}}]}}]"
    ));
    let tenant = blueprint.tenants().next().unwrap();
    let agent = AgentWanted { tenant: &tenant, group: &tenant.set.groups[0], number: 1 };
    differ::agent(&agent, Some(&known_agent(change)))
}

#[test]
fn an_agent_gets_only_what_differs_of_what_is_said() {
    const GROUP: &str = "template: clerk, parameters: {company: '{tenant}'}";
    let fields = |group: &str, change: Value| match agent_diff(&format!("{GROUP}{group}"), &change) {
        AgentDiff::Change(changes) => {
            changes.into_iter().flat_map(|change| change.fields).collect::<Vec<_>>().join(" ")
        }
        other => format!("{other:?}"),
    };
    assert_eq!(fields("", json!({})), "Unchanged");
    assert_eq!(fields("", json!({"status": "idle"})), "Unchanged", "who idled it meant that");
    assert_eq!(fields("", json!({"status": "provisioning"})), "status");
    assert_eq!(fields(", activate: false", json!({"status": "provisioning"})), "Unchanged");
    assert_eq!(fields("", json!({"status": "decommissioned"})), "Decommissioned");
    assert_eq!(fields(", name: 'x{n}', project: q, owner: me", json!({})), "name project owner");
    assert_eq!(fields(", skills: [b]", json!({})), "Unchanged", "it has that skill, and the template's");
    assert_eq!(fields(", skills: [c], domains: [d]", json!({})), "skills domains");
    assert_eq!(fields(", risk_tier: low, confidence_threshold: 0.5", json!({})), "risk_tier confidence_threshold");
    assert_eq!(fields(", requirements: {latency_ms_max: 5}", json!({})), "Unchanged");
    assert_eq!(fields(", requirements: {quality_min: 0.5}", json!({})), "requirements");
    let sealed = json!({"owner": {"key_id": "k", "nonce": "", "ciphertext": ""}});
    assert_eq!(fields(", owner: me", sealed), "Unchanged", "a sealed text cannot be compared");
    let AgentDiff::Change(changes) = agent_diff(&format!("{GROUP}, skills: [c], risk_tier: low"), &json!({})) else {
        panic!("it changes");
    };
    let AnyCommand::Agent(command) = &changes[0].command else { panic!("{changes:?}") };
    let Agent::ReviseAgent(revision) = &**command else { panic!("{command:?}") };
    assert_eq!(revision.skills.as_ref().unwrap(), &["a", "b", "c"]);
    assert_eq!((&revision.name, revision.risk_tier), (&None, Some(RiskTier::Low)));
}

#[test]
fn an_agent_keeps_what_it_was_made_from() {
    let impossible = |group: &str, change: Value| match agent_diff(group, &change) {
        AgentDiff::Impossible(why) => why,
        other => panic!("{other:?}"),
    };
    assert!(impossible("template: Teller", json!({})).contains("from the template \"Clerk\", not from \"Teller\""));
    assert!(impossible("template: Clerk", json!({})).contains("other parameters"));
    assert!(impossible("category: c", json!({})).contains("names none"));
    assert!(impossible("template: Clerk", json!({"template": null})).contains("without a template"));
    let by_id = format!("template: {}, parameters: {{company: A}}", Uuid::from_u128(7));
    assert_eq!(agent_diff(&by_id, &json!({})), AgentDiff::Unchanged);
}
