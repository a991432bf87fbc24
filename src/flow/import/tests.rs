//! Imports against a node that is held in memory: the same again changes nothing, and what changes is told exactly.

use super::diff::{Plan, plan, step};
use super::*;
use crate::domain::{AnyState, World};
use crate::flow::query::Resource;
use proptest::prelude::*;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

const TENANT: TenantId = TenantId(Uuid::from_u128(7));

/// Resources by id.
#[derive(Default)]
struct Node(BTreeMap<Uuid, Resource>);

#[derive(Debug, Default, PartialEq)]
struct Outcome {
    created: BTreeSet<String>,
    changed: BTreeMap<String, Vec<String>>,
    unchanged: usize,
    refused: Vec<(u64, Option<String>, Option<String>)>,
}

impl Node {
    fn import(&mut self, kind: Kind, text: &str) -> Outcome {
        let mut outcome = Outcome::default();
        for entry in Document::read(kind, text.as_bytes()).entries {
            let item = match entry {
                Ok(item) => item,
                Err(refused) => {
                    outcome.refused.push((refused.line, refused.key, refused.fault.field));
                    continue;
                }
            };
            let stream = kind.stream(TENANT, &item.key);
            let Plan { steps, fates } = plan(&item.wanted, stream, self.0.get(&stream.id), &World::default());
            let known = self.0.entry(stream.id).or_insert_with(|| Resource {
                stream,
                version: 0,
                created_at: 0,
                updated_at: 0,
                state: AnyState::initial(stream.aggregate),
            });
            for (command, version) in steps {
                assert_eq!(
                    version, known.version,
                    "each command is made for the version that the one before it leaves"
                );
                known.version += step(&mut known.state, &command, stream, version, &World::default()).unwrap();
            }
            let parts = item.parts.into_iter().map(|part| (part.line, part.key));
            for ((line, key), planned) in std::iter::once((item.line, item.key)).chain(parts).zip(fates) {
                match planned.fate {
                    Fate::Created => _ = outcome.created.insert(key),
                    Fate::Changed => _ = outcome.changed.insert(key, planned.fields),
                    Fate::Unchanged => outcome.unchanged += 1,
                    _ => outcome.refused.push((line, Some(key), planned.fault.and_then(|fault| fault.field))),
                }
            }
        }
        outcome
    }

    /// Brings a resource to an end with a command of its own.
    fn end(&mut self, kind: Kind, key: &str, reason: Option<&str>) {
        let stream = kind.stream(TENANT, key);
        let known = self.0.get_mut(&stream.id).unwrap();
        let mut command = wanted::retirement(&known.state).unwrap().to_json();
        if let Some(reason) = reason {
            command["reason"] = json!(reason);
        }
        let name = wanted::retirement(&known.state).unwrap().name();
        let command =
            crate::domain::AnyCommand::from_json(stream.aggregate, name, command.to_string().as_bytes()).unwrap();
        known.version += step(&mut known.state, &command, stream, known.version, &World::default()).unwrap();
    }
}

fn servers(entries: &[(u8, String, Vec<String>)]) -> String {
    let entries: Vec<_> = entries
        .iter()
        .map(|(number, description, tools)| {
            let tools: Vec<_> = tools.iter().map(|name| json!({"name": name, "description": description})).collect();
            json!({"packageName": format!("p{number}"), "runtime": "node", "category": "c", "description": description, "tools": tools})
        })
        .collect();
    json!(entries).to_string()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_same_again_changes_nothing_and_a_change_is_told_of_exactly_what_changed(
        entries in prop::collection::btree_map(0_u8..40, ("[a-z]{0,8}", prop::collection::btree_set("[a-c]", 0..3)), 1..20),
        mutated in prop::collection::btree_set(0_u8..40, 0..10),
    ) {
        let list: Vec<_> = entries
            .iter()
            .map(|(number, (description, tools))| (*number, description.clone(), tools.iter().cloned().collect::<Vec<_>>()))
            .collect();
        let mut node = Node::default();
        let first = node.import(Kind::McpServers, &servers(&list));
        prop_assert_eq!(first.created.len(), list.len());
        let again = node.import(Kind::McpServers, &servers(&list));
        prop_assert_eq!(again, Outcome { unchanged: list.len(), ..Outcome::default() });
        let mut changed = list.clone();
        changed.iter_mut().filter(|(number, ..)| mutated.contains(number)).for_each(|(_, text, _)| text.push('!'));
        changed.reverse();
        let third = node.import(Kind::McpServers, &servers(&changed));
        let expected: BTreeMap<_, _> = list.iter().filter(|(number, ..)| mutated.contains(number)).map(|(number, _, tools)| {
            let fields = if tools.is_empty() { vec!["description".to_owned()] } else { vec!["description".into(), "tools".into()] };
            (format!("p{number}"), fields)
        }).collect();
        prop_assert_eq!(third.changed, expected);
        prop_assert!(third.created.is_empty() && third.refused.is_empty());
    }
}

#[test]
fn what_a_file_does_not_say_stays_and_schemas_that_are_known_are_kept() {
    let mut node = Node::default();
    let tool = |schema: bool| match schema {
        true => json!({"name": "t", "description": "d", "inputSchema": {"type": "object"}}),
        false => json!({"name": "t", "description": "d"}),
    };
    let with = json!({"name": "p", "category": "c", "description": "x", "tools": [tool(true)]}).to_string();
    assert_eq!(node.import(Kind::McpTools, &with).created.len(), 1);
    let without = json!({"name": "p", "config": {"mcpServers": {"p": {"command": "npx", "args": ["p"]}}}, "tools": [tool(false)]});
    let changed = node.import(Kind::McpTools, &without.to_string()).changed;
    assert_eq!(changed["p"], ["package", "transport"], "neither description nor category nor tools");
    assert_eq!(node.import(Kind::McpTools, &with).unchanged, 1);
}

#[test]
fn servers_of_two_kinds_of_files_that_are_called_alike_are_two() {
    let mut node = Node::default();
    let package = json!({"packageName": "p", "runtime": "node"}).to_string();
    let called = json!({"name": "p", "category": "c", "tools": []}).to_string();
    assert_eq!(node.import(Kind::McpServers, &package).created.len(), 1);
    assert_eq!(node.import(Kind::McpTools, &called).created.len(), 1);
    assert_eq!(node.import(Kind::McpServers, &package).unchanged, 1);
}

#[test]
fn a_server_that_lists_no_tools_is_known_to_have_none_after_one_import() {
    let mut node = Node::default();
    let text = json!({"name": "p", "tools": []}).to_string();
    assert_eq!(node.import(Kind::McpTools, &text).created.len(), 1);
    assert_eq!(node.import(Kind::McpTools, &text).unchanged, 1);
    let unlisted = json!({"name": "q", "config": {"mcpServers": {}}}).to_string();
    assert_eq!(node.import(Kind::McpTools, &unlisted).created.len(), 1);
    let empty = json!({"name": "q", "tools": []}).to_string();
    assert_eq!(node.import(Kind::McpTools, &empty).changed["q"], ["tools"]);
}

#[test]
fn what_has_ended_is_refused_and_a_template_that_an_import_retired_comes_back() {
    let mut node = Node::default();
    let server = json!({"name": "s", "version": "1", "packages": []}).to_string();
    node.import(Kind::McpRegistry, &server);
    node.end(Kind::McpRegistry, "s", Some("we do not use it"));
    assert_eq!(node.import(Kind::McpRegistry, &server).refused, [(1, Some("s".into()), None)]);
    let card =
        json!({"name": "a", "url": "http://a.example", "skills": [], "provider": {"organization": "o"}}).to_string();
    node.import(Kind::A2aCards, &card);
    node.end(Kind::A2aCards, "o\na", Some("we do not use it"));
    assert_eq!(node.import(Kind::A2aCards, &card).refused.len(), 1);
    let template = json!({"name": "t", "repo": "r", "path": "c/t.md"}).to_string();
    node.import(Kind::AgentTemplates, &template);
    node.end(Kind::AgentTemplates, "r/c/t.md", None);
    assert_eq!(node.import(Kind::AgentTemplates, &template).changed["r/c/t.md"], ["status"]);
    node.end(Kind::AgentTemplates, "r/c/t.md", Some("we do not use it"));
    assert_eq!(node.import(Kind::AgentTemplates, &template).refused.len(), 1);
}

#[test]
fn a_rules_refusal_names_the_field_of_the_entry() {
    let mut node = Node::default();
    let text =
        json!([{"name": Uuid::nil(), "repo": "r", "path": "c/t.md"}, {"name": "fine", "repo": "r", "path": "c/u.md"}]);
    let outcome = node.import(Kind::AgentTemplates, &text.to_string());
    assert_eq!(outcome.refused, [(1, Some("r/c/t.md".into()), Some("definition.name".into()))]);
    assert_eq!(outcome.created.len(), 1, "its neighbour is not harmed");
}

#[test]
fn a_template_without_a_place_is_the_one_that_is_found_by_its_name() {
    let named = crate::domain::agent_template::stream_for(TENANT, "Researcher");
    assert_eq!(Kind::AgentTemplates.stream(TENANT, "researcher"), named);
}

/// A provider with these models, each with its price of input.
fn listed(models: &[(&str, &str)]) -> String {
    let models: Vec<_> = models
        .iter()
        .map(|(id, price)| format!(r#""{id}": {{"id":"{id}","name":"{id}","cost":{{"input":{price}}}}}"#))
        .collect();
    format!(
        r#"{{"acme": {{"name":"Acme","npm":"@ai-sdk/openai-compatible","api":"https://acme.example/v1","models":{{{}}}}}}}"#,
        models.join(",")
    )
}

#[test]
fn a_list_of_models_is_told_model_by_model() {
    let mut node = Node::default();
    let first = node.import(Kind::ModelsDev, &listed(&[("a", "1"), ("labs/b", "2"), ("c", "-2")]));
    assert_eq!(first.created, ["acme", "acme/a", "acme/labs/b"].map(str::to_owned).into());
    assert_eq!(first.refused, [(1, Some("acme/c".into()), Some("cost.input".into()))]);
    let again = node.import(Kind::ModelsDev, &listed(&[("a", "1"), ("labs/b", "2")]));
    assert_eq!(again, Outcome { unchanged: 3, ..Outcome::default() });
    let changed = node.import(Kind::ModelsDev, &listed(&[("a", "1"), ("labs/b", "2.5"), ("d", "1")]));
    assert_eq!(
        changed.changed["acme/labs/b"],
        ["input_micro_usd_per_million"],
        "the day of the prices is the same here"
    );
    assert_eq!((changed.created.len(), changed.unchanged), (1, 2));
}

#[test]
fn a_taxonomy_that_changes_above_a_skill_changes_the_skill() {
    let mut node = Node::default();
    let classes = |above: &str| {
        let class = |name: &str, extends: &str| json!({"uid": 1, "name": name, "extends": extends});
        json!({"skills": [class("reasoning", "base_skill"), class("research", "base_skill"), class("planning", above), class("route_planning", "planning")]}).to_string()
    };
    assert_eq!(node.import(Kind::OasfSkills, &classes("reasoning")).created.len(), 4);
    assert_eq!(node.import(Kind::OasfSkills, &classes("reasoning")).unchanged, 4);
    let moved = node.import(Kind::OasfSkills, &classes("research"));
    assert_eq!(moved.changed["route_planning"], ["ancestors", "category"]);
    assert_eq!((moved.changed.len(), moved.unchanged), (2, 2));
    node.end(Kind::OasfSkills, "planning", None);
    assert_eq!(node.import(Kind::OasfSkills, &classes("research")).changed["planning"], ["status"]);
    node.end(Kind::OasfSkills, "planning", Some("we do not use it"));
    assert_eq!(node.import(Kind::OasfSkills, &classes("research")).refused.len(), 1);
    let named = crate::domain::skill::stream_for(TENANT, "Planning");
    assert_eq!(Kind::OasfSkills.stream(TENANT, "planning"), named);
}

#[test]
fn an_agent_that_is_made_from_a_template_keeps_what_came_from_there() {
    use crate::domain::agent_template::{self, Definition};
    use crate::domain::{Seen, StreamId};
    use std::sync::Arc;
    let stream = agent_template::stream_for(TENANT, "Researcher");
    let requirements = crate::domain::common::Requirements { quality_min: Some(0.5), ..Default::default() };
    let definition = Definition {
        name: "Researcher".into(),
        category: "research".into(),
        instructions: "Look into {topic}.".into(),
        parameters: serde_json::from_value(json!([{"name": "topic"}])).unwrap(),
        skills: vec!["search".into()],
        requirements,
        ..Definition::default()
    };
    let state = agent_template::State { status: agent_template::Status::Active, definition, ..Default::default() };
    let mut world = World::default();
    world.insert(stream, Seen { version: 3, state: Arc::new(AnyState::AgentTemplate(Box::new(state))) });
    let mapping = Mapping::new(None, [], ["template=researcher", "template_parameters={\"topic\":\"tides\"}"]).unwrap();
    let mut known: Option<Resource> = None;
    let mut import = |line: serde_json::Value| {
        let Read::Wanted { key, wanted, .. } = Kind::Agents.read(&line, &mapping).unwrap() else { panic!("{line}") };
        let stream: StreamId = Kind::Agents.stream(TENANT, &key);
        let Plan { steps, mut fates } = plan(&wanted, stream, known.as_ref(), &world);
        let state = AnyState::initial(stream.aggregate);
        let known = known.get_or_insert(Resource { stream, version: 0, created_at: 0, updated_at: 0, state });
        for (command, version) in steps {
            known.version += step(&mut known.state, &command, stream, version, &world).unwrap();
        }
        (fates.remove(0), known.state.view())
    };
    let line =
        json!({"id": 1, "name": "Ada", "skills": ["sql"], "category": "", "requirements": {"latency_ms_max": 900}});
    let (planned, view) = import(line.clone());
    assert_eq!((planned.fate, &view["skills"]), (Fate::Created, &json!(["search", "sql"])));
    assert_eq!((&view["category"], &view["requirements"]["quality_min"]), (&json!("research"), &json!(0.5)));
    assert_eq!(import(line).0.fate, Fate::Unchanged, "although the line has fewer skills and requirements");
    let (planned, view) = import(json!({"id": 1, "name": "Ada", "skills": ["writing"]}));
    assert_eq!((planned.fields, &view["skills"]), (vec!["skills".to_owned()], &json!(["search", "sql", "writing"])));
    for (line, field) in [
        (json!({"id": 1, "template": "auditor"}), "template"),
        (json!({"id": 1, "template_parameters": {"topic": "x"}}), "template_parameters"),
    ] {
        assert_eq!(import(line).0.fault.unwrap().field.as_deref(), Some(field));
    }
}
