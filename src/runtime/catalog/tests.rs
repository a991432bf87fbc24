use super::*;
use std::collections::{BTreeSet, HashMap};

fn built_in() -> &'static Catalog {
    Catalog::built_in().expect("the files parse")
}

/// The commands of `after` whose ids `before` does not have: what a fleet that was loaded with `before` would decide.
fn new_commands(before: &Catalog, after: &Catalog) -> Vec<AnyCommand> {
    let known: HashSet<Uuid> = before.commands().iter().map(|(envelope, _)| envelope.command_id).collect();
    after.commands().into_iter().filter(|(envelope, _)| !known.contains(&envelope.command_id)).map(|(_, c)| c).collect()
}

/// The names between single braces, where `{{` and `}}` stand for literal ones.
fn placeholders(instructions: &str) -> BTreeSet<String> {
    let text = instructions.replace("{{", "").replace("}}", "");
    text.split('{').skip(1).map(|rest| rest.split_once('}').expect("every brace is closed").0.to_owned()).collect()
}

#[test]
fn the_catalogue_has_at_least_what_the_demo_promises() {
    let catalog = built_in();
    assert!(catalog.providers.entries.len() >= 22);
    assert!(catalog.servers.entries.iter().filter(|server| !server.tools.is_empty()).count() >= 40);
    assert!(catalog.templates.entries.len() >= 14);
    assert!(catalog.providers.entries.iter().all(|provider| (3..=8).contains(&provider.models.len())));
}

#[test]
fn every_model_has_prices_a_context_it_fits_and_figures_in_range() {
    for provider in &built_in().providers.entries {
        let mut ids = HashSet::new();
        for model in &provider.models {
            let what = format!("{} {}", provider.name, model.model_id);
            assert!(ids.insert(&model.model_id), "{what} is there twice");
            let input = model.input_micro_usd_per_million.expect("an input price");
            let output = model.output_micro_usd_per_million.expect("an output price");
            assert!(input > 0 && output >= input, "{what}: {input} in, {output} out");
            let cached = model.cached_input_micro_usd_per_million;
            assert!(cached.is_none_or(|cached| cached > 0 && cached < input), "{what}: cached {cached:?}");
            assert!(model.latency_ms_p50.is_some_and(|latency| latency > 0), "{what}");
            assert!(model.quality.is_some_and(|quality| (0.0..=1.0).contains(&quality)), "{what}");
            assert!(model.context_tokens.is_none_or(|tokens| tokens > 1_000), "{what}");
            assert!(!model.input_modalities.is_empty(), "{what}");
        }
    }
}

#[test]
fn a_server_has_one_way_to_be_reached_and_tools_with_object_schemas() {
    for server in &built_in().servers.entries {
        assert_eq!(server.endpoint.is_some(), server.transport != mcp_server::Transport::Stdio, "{}", server.name);
        assert_eq!(server.package.is_some(), server.transport == mcp_server::Transport::Stdio, "{}", server.name);
        let mut names = HashSet::new();
        for tool in &server.tools {
            assert!(names.insert(&tool.name), "{} lists {} twice", server.name, tool.name);
            let schema: serde_json::Value = serde_json::from_str(&tool.input_schema).expect("a schema is JSON");
            let required = schema["required"].as_array().cloned().unwrap_or_default();
            assert_eq!(schema["type"], "object", "{} {}", server.name, tool.name);
            let declared = |name: &serde_json::Value| schema["properties"].get(name.as_str().unwrap_or("")).is_some();
            assert!(required.iter().all(declared), "{} {}", server.name, tool.name);
        }
    }
}

#[test]
fn every_parameter_of_a_template_is_declared_once_and_used() {
    for template in &built_in().templates.entries {
        let declared: BTreeSet<_> = template.parameters.iter().map(|parameter| parameter.name.clone()).collect();
        assert_eq!(declared.len(), template.parameters.len(), "{}", template.name);
        assert_eq!(placeholders(&template.instructions), declared, "{}", template.name);
        assert_eq!(template.requirements.check(), Ok(()), "{}", template.name);
    }
}

#[test]
fn the_domains_of_templates_are_categories_of_servers() {
    let categories: HashSet<_> = built_in().servers.entries.iter().map(|server| server.category.as_str()).collect();
    for template in &built_in().templates.entries {
        assert!(!template.skills.is_empty(), "{}", template.name);
        for domain in &template.domains {
            assert!(categories.contains(domain.as_str()), "{}: {domain}", template.name);
        }
    }
}

#[test]
fn some_model_meets_the_requirements_of_every_template() {
    let models: Vec<_> = built_in().providers.entries.iter().flat_map(|provider| &provider.models).collect();
    for template in &built_in().templates.entries {
        let needs = &template.requirements;
        let meets = |model: &&&llm_provider::Model| {
            let input = model.input_micro_usd_per_million.unwrap_or(i64::MAX / 4);
            let blended = (3 * input + model.output_micro_usd_per_million.unwrap_or(0)) / 4_000;
            needs.cost_per_1k_tokens_micro_usd_max.is_none_or(|max| blended <= max)
                && needs.latency_ms_max.is_none_or(|max| model.latency_ms_p50.is_some_and(|latency| latency <= max))
                && needs.quality_min.is_none_or(|min| model.quality.is_some_and(|quality| quality >= min))
                && needs.context_tokens_min.is_none_or(|min| model.context_tokens.is_some_and(|tokens| tokens >= min))
                && needs.modalities.iter().all(|modality| model.input_modalities.contains(modality))
        };
        assert!(models.iter().filter(meets).count() >= 3, "{} leaves too little choice", template.name);
    }
}

#[test]
fn keys_are_named_and_never_held() {
    for provider in &built_in().providers.entries {
        let env = provider.api_key_env.as_deref().expect("an environment variable");
        let legal = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        assert!(env.chars().all(legal) && env.len() < 40, "{env} is not the name of an environment variable");
    }
    for (file, text) in [("providers", PROVIDERS), ("servers", SERVERS), ("templates", TEMPLATES)] {
        for start in ["sk-", "ghp_", "xoxb-", "AKIA", "-----BEGIN", "Bearer ", "://user:"] {
            assert!(!text.contains(&format!("\"{start}")), "{file}.json has something that looks like a secret");
        }
    }
}

#[test]
fn command_ids_are_unique_and_the_same_at_every_start() {
    let (first, second) = (built_in().commands(), built_in().commands());
    assert_eq!(first, second);
    let ids: HashSet<_> = first.iter().map(|(envelope, _)| (envelope.stream, envelope.command_id)).collect();
    assert_eq!(ids.len(), first.len());
    assert!(first.iter().all(|(envelope, command)| {
        envelope.stream.tenant.is_shared() && envelope.stream.aggregate == command.aggregate()
    }));
}

#[test]
fn a_registration_comes_first_in_its_stream_and_does_not_depend_on_the_rest_of_the_entry() {
    let mut changed = built_in().clone();
    for provider in &mut changed.providers.entries {
        provider.requests_per_minute = Some(1);
        provider.endpoint = Some("https://models.example/v1".into());
    }
    for server in &mut changed.servers.entries {
        server.description.push_str(" Changed.");
        server.tools.clear();
    }
    let registrations = |catalog: &Catalog| {
        let mut first = HashMap::new();
        for (envelope, command) in catalog.commands() {
            first.entry(envelope.stream).or_insert((envelope.command_id, command));
        }
        first.retain(|stream, _| stream.aggregate != Aggregate::AgentTemplate);
        first
    };
    assert_eq!(registrations(built_in()), registrations(&changed));
    assert!(registrations(&changed).values().all(|(_, command)| command.name().starts_with("Register")));
}

#[test]
fn a_changed_price_is_one_new_command() {
    let mut changed = built_in().clone();
    changed.providers.entries[0].models[0].input_micro_usd_per_million = Some(1);
    let new = new_commands(built_in(), &changed);
    assert_eq!(new.iter().map(AnyCommand::name).collect::<Vec<_>>(), ["PutModels"]);
}

#[test]
fn a_change_can_be_taken_back_under_a_new_date() {
    let mut back = built_in().clone();
    back.templates.as_of = "2026-07-03".into();
    let new = new_commands(built_in(), &back);
    assert_eq!(new.len(), back.templates.entries.len());
    assert!(new.iter().all(|command| command.name() == "DefineAgentTemplate"));
}

#[test]
fn a_name_twice_and_an_unknown_field_are_errors_that_name_the_file() {
    let twice =
        r#"{"as_of":"2026-07-02","entries":[{"name":"Scribe","category":"x"},{"name":"scribe","category":"x"}]}"#;
    let error = Catalog::parse(PROVIDERS, SERVERS, twice).expect_err("one name, two entries");
    assert_eq!(error.to_string(), "deploy/catalog/templates.json: entry 2 has the name of an earlier one");
    let unknown = r#"{"as_of":"2026-07-02","entries":[{"name":"x","api_key":"x"}]}"#;
    let error = Catalog::parse(unknown, SERVERS, TEMPLATES).expect_err("no such field");
    assert_eq!(error.file, "providers.json");
}
