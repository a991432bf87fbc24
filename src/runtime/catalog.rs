//! The built-in catalogue: LLM providers, MCP servers and agent templates of the shared tenant, as commands.
//!
//! The entries are the files under `deploy/catalog/`, compiled in and parsed at first use. Everybody who names an entry
//! arrives at the same stream, because its id is a function of its natural key: [`provider_id`], [`server_id`],
//! [`template_id`].
//!
//! Loading is idempotent, and an update of the files reaches a fleet that was loaded before, without a look at that
//! fleet. Both follow from how the commands get their ids:
//!
//! - `RegisterLlmProvider` and `RegisterMcpServer` carry the name alone and have one id per stream, the same for ever.
//!   The first load registers; every later one meets its first outcome again, whatever the files say by then (a
//!   registration with the whole entry would be refused as soon as one price changes).
//! - What the entry says follows in commands that mean "let it be so": `ReviseLlmProvider`, `PutModels`,
//!   `SetLlmProviderLimits`; `ReviseMcpServer`, `DiscoverTools`; `DefineAgentTemplate`. Their ids cover the content and
//!   the file's `as_of` date. Same file: same ids, nothing happens. Changed entry: new id, applied. Unchanged entry
//!   under a new date: new id, decided as "unchanged", nothing is recorded. The date is in the id so that a change can
//!   be taken back: the old content under its old id would be a command that was carried out long ago.
//!
//! What an operator changed by hand in the shared tenant stays until the entry itself changes. An entry or a model that
//! leaves a file is not ended in the fleet: couplings may depend on it, so that takes a command by a person.

use crate::domain::wire::Wire;
use crate::domain::{Aggregate, AnyCommand, Envelope, StreamId, TenantId};
use crate::domain::{agent_template, llm_provider, mcp_server};
use agent_template::{DefineAgentTemplate, Definition};
use llm_provider::{PutModels, RegisterLlmProvider, ReviseLlmProvider, SetLlmProviderLimits};
use mcp_server::{DiscoverTools, RegisterMcpServer, ReviseMcpServer};
use serde::Deserialize;
use std::collections::HashSet;
use std::sync::LazyLock;
use uuid::Uuid;

/// `source` and actor of the catalogue's commands.
pub const SOURCE: &str = "agentverse/catalog";

const PROVIDERS: &str = include_str!("../../deploy/catalog/providers.json");
const SERVERS: &str = include_str!("../../deploy/catalog/servers.json");
const TEMPLATES: &str = include_str!("../../deploy/catalog/templates.json");

/// A catalogue file that is not what it should be. The files are compiled in, so this is a fault of the build.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("deploy/catalog/{file}: {cause}")]
pub struct CatalogError {
    pub file: &'static str,
    pub cause: String,
}

/// One file of the catalogue.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed<T> {
    /// The date of the facts, `YYYY-MM-DD`. A part of the ids of the commands made from the entries.
    pub as_of: String,
    /// With unique names, in the order of the file.
    pub entries: Vec<T>,
}

/// The whole catalogue.
#[derive(Clone, Debug, PartialEq)]
pub struct Catalog {
    pub providers: Listed<RegisterLlmProvider>,
    pub servers: Listed<RegisterMcpServer>,
    pub templates: Listed<Definition>,
}

impl Catalog {
    /// The catalogue that is compiled in, parsed once.
    ///
    /// # Errors
    /// When a file does not parse, has an unknown field, or names an entry twice.
    pub fn built_in() -> Result<&'static Catalog, CatalogError> {
        static BUILT_IN: LazyLock<Result<Catalog, CatalogError>> =
            LazyLock::new(|| Catalog::parse(PROVIDERS, SERVERS, TEMPLATES));
        BUILT_IN.as_ref().map_err(Clone::clone)
    }

    /// Reads the three files' texts.
    ///
    /// # Errors
    /// As [`Catalog::built_in`].
    pub fn parse(providers: &str, servers: &str, templates: &str) -> Result<Catalog, CatalogError> {
        Ok(Catalog {
            providers: parse("providers.json", providers, |provider: &RegisterLlmProvider| {
                provider_id(&provider.name)
            })?,
            servers: parse("servers.json", servers, |server: &RegisterMcpServer| server_id(&server.name))?,
            templates: parse("templates.json", templates, |template: &Definition| template_id(&template.name))?,
        })
    }

    /// The commands that bring the shared tenant to what the catalogue says. Those of one stream must be sent in this
    /// order; streams do not depend on each other.
    pub fn commands(&self) -> Vec<(Envelope, AnyCommand)> {
        let mut commands = Vec::new();
        for provider in &self.providers.entries {
            provider_commands(provider, &self.providers.as_of, &mut commands);
        }
        for server in &self.servers.entries {
            server_commands(server, &self.servers.as_of, &mut commands);
        }
        for template in &self.templates.entries {
            let stream = shared(Aggregate::AgentTemplate, template_id(&template.name));
            let define = DefineAgentTemplate { definition: template.clone() };
            let define = agent_template::Command::DefineAgentTemplate(define);
            commands.push(converging(stream, define, &self.templates.as_of));
        }
        commands
    }
}

/// The stream id of a shared LLM provider, from its name as the file spells it.
pub fn provider_id(name: &str) -> Uuid {
    Uuid::new_v5(&Uuid::nil(), format!("llm_provider/{name}").as_bytes())
}

/// The stream id of a shared MCP server, from its name as the file spells it.
pub fn server_id(name: &str) -> Uuid {
    Uuid::new_v5(&Uuid::nil(), format!("mcp_server/{name}").as_bytes())
}

/// The stream id of a shared agent template; upper and lower case are the same name.
pub fn template_id(name: &str) -> Uuid {
    Uuid::new_v5(&Uuid::nil(), format!("agent_template/{}", name.to_lowercase()).as_bytes())
}

fn parse<T>(file: &'static str, text: &str, id: impl Fn(&T) -> Uuid) -> Result<Listed<T>, CatalogError>
where
    T: for<'de> Deserialize<'de>,
{
    let fault = |cause: String| CatalogError { file, cause };
    let listed: Listed<T> = serde_json::from_str(text).map_err(|error| fault(error.to_string()))?;
    let mut seen = HashSet::new();
    match listed.entries.iter().position(|entry| !seen.insert(id(entry))) {
        Some(index) => Err(fault(format!("entry {} has the name of an earlier one", index + 1))),
        None => Ok(listed),
    }
}

fn provider_commands(provider: &RegisterLlmProvider, as_of: &str, out: &mut Vec<(Envelope, AnyCommand)>) {
    use llm_provider::Command;
    let stream = shared(Aggregate::LlmProvider, provider_id(&provider.name));
    let name_alone = RegisterLlmProvider { name: provider.name.clone(), ..Default::default() };
    out.push(once(stream, Command::RegisterLlmProvider(name_alone)));
    let access = ReviseLlmProvider {
        name: None,
        wire_protocol: Some(provider.wire_protocol),
        endpoint: provider.endpoint.clone(),
        api_key_env: provider.api_key_env.clone(),
    };
    out.push(converging(stream, Command::ReviseLlmProvider(access), as_of));
    let models = PutModels { models: provider.models.clone() };
    out.push(converging(stream, Command::PutModels(models), as_of));
    let limits = SetLlmProviderLimits {
        requests_per_minute: provider.requests_per_minute,
        tokens_per_minute: provider.tokens_per_minute,
    };
    out.push(converging(stream, Command::SetLlmProviderLimits(limits), as_of));
}

fn server_commands(server: &RegisterMcpServer, as_of: &str, out: &mut Vec<(Envelope, AnyCommand)>) {
    use mcp_server::Command;
    let stream = shared(Aggregate::McpServer, server_id(&server.name));
    let name_alone = RegisterMcpServer { name: server.name.clone(), ..Default::default() };
    out.push(once(stream, Command::RegisterMcpServer(name_alone)));
    let listing = ReviseMcpServer {
        name: None,
        category: Some(server.category.clone()),
        description: Some(server.description.clone()),
        transport: Some(server.transport),
        endpoint: server.endpoint.clone(),
        package: server.package.clone(),
        capabilities: Some(server.capabilities.clone()),
    };
    out.push(converging(stream, Command::ReviseMcpServer(listing), as_of));
    // A server whose tools depend on the account lists none here; to say "it has none" would be knowledge.
    if !server.tools.is_empty() {
        let tools = DiscoverTools { tools: server.tools.clone() };
        out.push(converging(stream, Command::DiscoverTools(tools), as_of));
    }
}

fn shared(aggregate: Aggregate, id: Uuid) -> StreamId {
    StreamId::new(TenantId::SHARED, aggregate, id)
}

/// A command that is carried out once per stream, for ever. Its content must never change.
fn once<C: Wire + Into<AnyCommand>>(stream: StreamId, command: C) -> (Envelope, AnyCommand) {
    let id = Uuid::new_v5(&stream.id, format!("{SOURCE}/{}", command.name()).as_bytes());
    (envelope(id, stream), command.into())
}

/// A command that is carried out once per content and date.
fn converging<C: Wire + Into<AnyCommand>>(stream: StreamId, command: C, as_of: &str) -> (Envelope, AnyCommand) {
    let name = format!("{SOURCE}/{}/{as_of}/{}", command.name(), command.to_json());
    (envelope(Uuid::new_v5(&stream.id, name.as_bytes()), stream), command.into())
}

fn envelope(command_id: Uuid, stream: StreamId) -> Envelope {
    Envelope { source: SOURCE.into(), actor: Some(SOURCE.into()), ..Envelope::new(command_id, stream) }
}

#[cfg(test)]
mod tests;
