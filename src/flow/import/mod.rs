//! Import: what others publish becomes commands, as the difference from what is there.
//!
//! ```text
//! bytes ──► scan, read ──► wanted ──► diff against the views ──► commands ──► outcomes ──► report
//! ```
//!
//! Every entry has a natural key, and `uuid5(tenant, "<aggregate>/<key>")` names its stream ([`Kind::stream`]): the same
//! entry arrives at the same resource for ever. Nothing else makes an import idempotent: what is there is read, and only what differs is sent,
//! under an id of its own (a change may be taken back and forth). A command says which version it was made for; where the
//! stream changed meanwhile the entry is held against it anew. So an import that broke off is finished by a second run.
//!
//! A list of LLM providers is of resources that a tenant may have had before: those are found by their names,
//! and each of their models is told of as an entry of its own, though it lives in its provider's stream.
//!
//! Invariants: an entry that cannot be taken harms no other; what was not told by an entry stays as it is; nothing is
//! retired on the word of a file of which anything could not be read.

mod diff;
mod document;
mod entry;
mod form;
mod lines;
mod models;
mod offer;
mod passed;
mod places;
mod read;
mod report;
mod retire;
mod retire_models;
mod run;
mod scan;
mod settle;
mod succession;
#[cfg(test)]
mod tests;
mod wanted;

pub use document::Document;
pub use entry::{Item, Refused};
pub use lines::{Line, Splitter};
pub use places::{Asked, Selected};
pub use read::agents::{Mapping, TARGETS};
pub use report::{CLASSES, Event, Fate, Progress, Report, Told};
pub use run::{BATCH_BYTES_MAX, Batch, Engine, Outset, batches};
pub use scan::RECORD_SEPARATOR;

use crate::domain::{Aggregate, StreamId, TenantId};
use entry::{Fault, Read};
use offer::Source;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The official MCP registry: `server.json`, alone or in the lists of its API.
    McpRegistry,
    /// A list of MCP servers by their packages, as ToolSDK's registry has it.
    McpServers,
    /// MCP servers with the tools that they list, schemas and all.
    McpTools,
    AgentTemplates,
    A2aCards,
    /// JSON lines of agents, with a mapping of fields.
    Agents,
    /// models.dev: LLM providers and their models, with prices.
    ModelsDev,
    /// LiteLLM's list of prices by model.
    LiteLlm,
    /// The Open Agentic Schema Framework's taxonomy: its skills.
    OasfSkills,
}

impl Kind {
    pub const ALL: [Kind; 9] = [
        Self::McpRegistry,
        Self::McpServers,
        Self::McpTools,
        Self::AgentTemplates,
        Self::A2aCards,
        Self::Agents,
        Self::ModelsDev,
        Self::LiteLlm,
        Self::OasfSkills,
    ];

    /// As in the command line and in queries.
    pub fn name(self) -> &'static str {
        match self {
            Self::McpRegistry => "mcp-registry",
            Self::McpServers => "mcp-servers",
            Self::McpTools => "mcp-tools",
            Self::AgentTemplates => "agent-templates",
            Self::A2aCards => "a2a-cards",
            Self::Agents => "agents",
            Self::ModelsDev => "models-dev",
            Self::LiteLlm => "litellm",
            Self::OasfSkills => "oasf-skills",
        }
    }

    /// What its entries become.
    pub fn aggregate(self) -> Aggregate {
        match self {
            Self::McpRegistry | Self::McpServers | Self::McpTools => Aggregate::McpServer,
            Self::AgentTemplates => Aggregate::AgentTemplate,
            Self::A2aCards | Self::Agents => Aggregate::Agent,
            Self::ModelsDev | Self::LiteLlm => Aggregate::LlmProvider,
            Self::OasfSkills => Aggregate::Skill,
        }
    }

    /// `source` of the commands that it makes, by which an import knows its own.
    pub fn source(self) -> String {
        format!("agentverse/import/{}", self.name())
    }

    /// Whether it comes line by line and is never held whole.
    pub fn is_lines(self) -> bool {
        self == Self::Agents
    }

    /// Of lists of models and prices: who published them.
    pub fn source_of_offers(self) -> Option<Source> {
        match self {
            Self::ModelsDev => Some(Source::ModelsDev),
            Self::LiteLlm => Some(Source::LiteLlm),
            _ => None,
        }
    }

    /// The stream of a natural key. What a server is called for people is no package and no name of a registry, though it
    /// may be spelt alike: two files would change one server back and forth.
    pub fn stream(self, tenant: TenantId, key: &str) -> StreamId {
        let aggregate = self.aggregate();
        let space = if self == Self::McpTools { "called/" } else { "" };
        let id = Uuid::new_v5(&tenant.0, format!("{}/{space}{key}", aggregate.name()).as_bytes());
        StreamId::new(tenant, aggregate, id)
    }

    /// Members of an object under which its entries are listed.
    fn lists(self) -> &'static [&'static str] {
        match self {
            Self::McpRegistry => read::registry::LISTS,
            Self::McpServers => read::servers::LISTS,
            Self::McpTools => read::tools::LISTS,
            Self::AgentTemplates => read::templates::LISTS,
            Self::A2aCards => read::cards::LISTS,
            Self::OasfSkills => read::oasf::LISTS,
            Self::Agents | Self::ModelsDev | Self::LiteLlm => &[],
        }
    }

    fn read(self, value: &Value, mapping: &Mapping) -> Result<Read, Fault> {
        form::check(self, value, mapping.is_said())?;
        match self {
            Self::McpRegistry => read::registry::read(value),
            Self::McpServers => read::servers::read(value),
            Self::McpTools => read::tools::read(value),
            Self::AgentTemplates => read::templates::read(value),
            Self::A2aCards => read::cards::read(value),
            Self::Agents => read::agents::read(value, mapping),
            Self::OasfSkills => read::oasf::read(value),
            // They are read whole: an entry there is a member of an object, and says less than that.
            Self::ModelsDev | Self::LiteLlm => {
                Err(Fault::whole("the document is no JSON object of providers or models"))
            }
        }
    }
}

/// Whether what is not in the file any more is retired: what this kind of import has brought, and nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retire {
    #[default]
    Never,
    /// If all of the file could be read and taken.
    IfWhole,
    /// Also if entries of it were refused: those that could not be read count as missing.
    Forced,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Order {
    pub kind: Kind,
    pub tenant: TenantId,
    /// Who is answerable for the commands.
    pub actor: Option<String>,
    /// Groups the commands of this import.
    pub correlation: Option<String>,
    /// Tell what would change, and change nothing.
    pub dry_run: bool,
    pub retire: Retire,
    /// Of a list of models and prices.
    pub asked: Asked,
    /// Ends the import between two batches.
    pub stop: CancellationToken,
}

/// The limits of imports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportSettings {
    /// Largest document; JSON lines may be of any length.
    pub bytes_max: usize,
    /// Longest line of JSON lines.
    pub line_bytes_max: usize,
    /// Most entries, of which the ids are kept, some 40 bytes each.
    pub entries_max: usize,
    /// Most entries of a batch.
    pub batch_max: usize,
    /// Most batches under way.
    pub batches_max: usize,
    /// Most entries that a report lists one by one.
    pub listed_max: usize,
    /// Most imports of a node at a time.
    pub imports_max: usize,
}

impl Default for ImportSettings {
    fn default() -> Self {
        Self {
            bytes_max: 64 << 20,
            line_bytes_max: 1 << 20,
            entries_max: 5_000_000,
            batch_max: 200,
            batches_max: 4,
            listed_max: 1_000,
            imports_max: 8,
        }
    }
}
