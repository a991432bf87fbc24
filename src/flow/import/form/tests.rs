//! Every format against every reader.

use super::*;
use crate::flow::import::{Document, Line, Mapping};
use serde_json::json;

/// Entries as each format allows them, in its several versions, and as little of each as it demands.
fn samples() -> Vec<(Kind, Vec<Value>)> {
    [samples_of_servers_and_templates(), samples_of_others()].concat()
}

fn samples_of_servers_and_templates() -> Vec<(Kind, Vec<Value>)> {
    vec![
        (
            Kind::McpRegistry,
            vec![
                json!({"server": {"$schema": "https://static.modelcontextprotocol.io/schemas/2025-09-29/server.schema.json",
                "name": "io.github.acme/search", "description": "d", "version": "1.0.0", "repository": {}},
                "_meta": {"io.modelcontextprotocol.registry/official": {"status": "active", "isLatest": true}}}),
                json!({"id": "0f4e", "name": "io.github.acme/search", "description": "d", "repository": {"url": "u"},
                "version_detail": {"version": "0.1.0", "is_latest": true}}),
                json!({"name": "io.github.acme/search", "description": "d", "version": "1.0.0"}),
                json!({"name": "io.github.acme/search", "description": "d", "version": "1.0.0",
                "remotes": [{"type": "sse", "url": "https://a.example/sse"}]}),
            ],
        ),
        (
            Kind::McpServers,
            vec![
                json!({"type": "mcp-server", "packageName": "@acme/search", "name": "Search", "description": "d",
                "url": "https://a.example", "runtime": "node", "license": "mit", "id": "@acme/search",
                "category": "search", "validated": true, "tools": [{"name": "find", "description": "d"}]}),
                json!({"packageName": "@acme/search", "runtime": "node"}),
                json!({"id": "search", "remotes": [{"type": "sse", "url": "https://a.example/sse"}]}),
            ],
        ),
        (
            Kind::McpTools,
            vec![
                json!({"name": "Search", "description": "d", "web": "https://a.example", "category": "Discovery",
                "config": {"mcpServers": {"s": {"command": "npx", "args": ["s"]}}},
                "tools": {"s": {"server_name": "s", "tools": [{"name": "find", "inputSchema": {"type": "object"}}]}}}),
                json!({"name": "Search", "tools": [{"name": "find", "inputSchema": {"type": "object"}}]}),
                json!({"server_name": "Search", "tools": []}),
            ],
        ),
        (
            Kind::AgentTemplates,
            vec![
                json!({"name": "auditor", "description": "d", "model": "opus", "tools": "Read, Grep", "repo": "a/b",
                "path": "plugins/audit/agents/auditor.md"}),
                json!({"name": "auditor", "description": "d", "prompt": "You audit."}),
                json!({"definition": {"name": "auditor", "category": "audit", "skills": ["audit"]}}),
                json!({"name": "auditor", "category": "audit"}),
            ],
        ),
    ]
}

fn samples_of_others() -> Vec<(Kind, Vec<Value>)> {
    let skill = json!({"id": "convert", "name": "Convert", "description": "d", "tags": ["money"]});
    vec![
        (
            Kind::A2aCards,
            vec![
                json!({"name": "Currency", "description": "d", "url": "http://a.example", "version": "1.0.0",
                "capabilities": {}, "defaultInputModes": ["text"], "defaultOutputModes": ["text"], "skills": [skill]}),
                json!({"protocolVersion": "0.3.0", "name": "Currency", "description": "d", "url": "http://a.example",
                "version": "1.0.0", "capabilities": {"streaming": true}, "skills": []}),
                json!({"name": "Currency", "description": "d", "version": "1.0.0", "capabilities": {},
                "supportedInterfaces": [{"url": "http://a.example", "protocolBinding": "JSONRPC"}], "skills": [skill]}),
                json!({"name": "Currency", "description": "d", "version": "1.0.0", "capabilities": {"streaming": true},
                "supportedInterfaces": [{"url": "http://a.example", "protocolBinding": "GRPC"}]}),
            ],
        ),
        (
            Kind::OasfSkills,
            vec![
                json!({"uid": 1, "caption": "Planning", "description": "d", "extends": "base_skill", "name": "planning",
                "attributes": {}}),
                json!({"name": "planning", "caption": "Planning", "extends": "base_skill", "category": true}),
            ],
        ),
        (
            Kind::ModelsDev,
            vec![
                json!({"acme": {"id": "acme", "name": "Acme", "env": ["ACME_KEY"], "npm": "@ai-sdk/openai-compatible",
                "models": {"a": {"id": "a", "name": "A", "cost": {"input": 1, "output": 2}}}}}),
                json!({"providers": {"acme": {"name": "Acme"}}, "models": [{"provider_id": "acme", "model_id": "a"}]}),
            ],
        ),
        (
            Kind::LiteLlm,
            vec![json!({"sample_spec": {"mode": "one of chat, embedding"}, "acme/a": {"litellm_provider": "acme",
                "mode": "chat", "input_cost_per_token": 0.000001}})],
        ),
        (
            Kind::Agents,
            vec![
                json!({"id": 7, "name": "Ada", "category": "research", "skills": ["sql"], "url": "https://a.example"}),
            ],
        ),
    ]
}

/// Whether the sample is taken, and what is said if it is not.
fn taken(kind: Kind, text: &str) -> Result<(), String> {
    let entries: Vec<_> = if kind.is_lines() {
        let line = Line { number: 1, bytes: Some(text.as_bytes().to_vec()) };
        line.read(kind, &Mapping::default(), 1 << 20).into_iter().collect()
    } else {
        Document::read(kind, text.as_bytes()).entries
    };
    assert!(!entries.is_empty(), "{kind:?} says nothing of {text}");
    let refused: Vec<_> = entries.iter().filter_map(|entry| entry.as_ref().err()).collect();
    match refused.first() {
        None => Ok(()),
        Some(first) => {
            assert_eq!(refused.len(), entries.len(), "{kind:?} takes a part of {text}");
            Err(first.fault.reason.clone())
        }
    }
}

/// What a reader takes although another kind's reader does too.
fn is_both(sample: Kind, reader: Kind, entry: &Value) -> bool {
    match (sample, reader) {
        // Agents have instructions and tools as templates and servers have, and these could well be agents; they
        // are refused for want of an id.
        (Kind::Agents, Kind::AgentTemplates) => entry.get("category").is_some(),
        // Of a server that is listed by its id nothing but its remotes is told, and agents may have such.
        (Kind::McpServers, Kind::Agents) => entry.get("id").is_some() && entry.get("packageName").is_none(),
        _ => false,
    }
}

#[test]
fn every_reader_takes_its_own_format_and_refuses_the_others_with_what_they_look_like() {
    for (sample, entries) in samples() {
        for entry in &entries {
            for reader in Kind::ALL {
                let taken = taken(reader, &entry.to_string());
                if reader == sample || is_both(sample, reader, entry) {
                    assert_eq!(taken, Ok(()), "{reader:?} refuses {entry}");
                } else {
                    let why = taken.expect_err(&format!("{reader:?} takes {entry}"));
                    let is_told = why.contains(&format!("looks like {}", sample.name()));
                    let is_plain = form(sample, entry.as_object().unwrap()) == Form::Plain;
                    let is_mute = sample == Kind::Agents || reader == Kind::Agents || !is_plain;
                    assert!(is_told || is_mute, "{reader:?} of {entry}: {why}");
                }
            }
        }
    }
}

#[test]
fn a_list_of_another_kind_is_refused_as_its_entries_are() {
    for (sample, entries) in samples().into_iter().filter(|(kind, _)| !kind.lists().is_empty()) {
        let first = &entries[0];
        let lists = sample.lists().iter().map(|name| json!({*name: [first]})).chain([json!([first])]);
        for (list, reader) in lists.flat_map(|list| Kind::ALL.map(|reader| (list.clone(), reader))) {
            let taken = taken(reader, &list.to_string());
            if reader == sample {
                assert_eq!(taken, Ok(()), "{list}");
            } else {
                let why = taken.expect_err(&format!("{reader:?} takes {list}"));
                let is_told = why.contains(&format!("looks like {}", sample.name()));
                assert!(is_told || reader == Kind::Agents, "{reader:?} of {list}: {why}");
            }
        }
    }
}

#[test]
fn lines_of_servers_are_agents_only_where_it_is_said_what_tells_them_apart() {
    let line = json!({"id": "@acme/search", "packageName": "@acme/search", "name": "Search"});
    let fault = Kind::Agents.read(&line, &Mapping::default()).unwrap_err();
    assert!(fault.reason.contains("looks like mcp-servers") && fault.reason.contains("as the key"), "{fault:?}");
    assert!(Kind::Agents.read(&line, &Mapping::new(Some("id"), [], []).unwrap()).is_ok());
    assert!(Kind::Agents.read(&json!({"id": 1, "name": "n", "prompt": "p"}), &Mapping::default()).is_ok());
}

#[test]
fn what_is_missing_is_named() {
    for (kind, entry, field) in [
        (Kind::A2aCards, json!({"name": "a", "url": "http://a.example"}), "skills"),
        (Kind::A2aCards, json!({"name": "a", "skills": []}), "url"),
        (Kind::OasfSkills, json!({"name": "base_domain", "caption": "Domain", "attributes": {}}), "extends"),
        (Kind::OasfSkills, json!({"name": "a", "extends": "b"}), "uid"),
        (Kind::McpRegistry, json!({"name": "a/b"}), "version"),
        (Kind::McpRegistry, json!({"name": "@a/b", "version": "1.0.0"}), "name"),
        (Kind::McpServers, json!({"name": "a", "id": "a"}), "packageName"),
        (Kind::McpTools, json!({"name": "a"}), "tools"),
        (Kind::AgentTemplates, json!({"name": "a", "description": "d"}), "instructions"),
    ] {
        assert_eq!(check(kind, &entry, false).unwrap_err().field.as_deref(), Some(field), "{kind:?} {entry}");
    }
}
