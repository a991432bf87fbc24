//! `agentverse import KIND FILE`: what others publish, as commands.

mod bring;
mod litellm;
mod llm_prices;
mod models_dev;
mod offer;
mod plan;
mod report;
mod wanted;

use super::exit::{Error, Exit};
use crate::flow::import::Kind as Imported;
use clap::Subcommand;
use std::io::Read;
use std::path::Path;

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 256 << 20;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// Prices and limits of models: models.dev's api.json, or LiteLLM's model_prices_and_context_window.json
    LlmPrices(llm_prices::Args),
    /// MCP servers of the official registry: server.json, alone or in the lists of its API
    McpRegistry(bring::Args),
    /// MCP servers by their packages: the list of ToolSDK's registry
    McpServers(bring::Args),
    /// MCP servers with the tools that they list, input schemas and all
    McpTools(bring::Args),
    /// Agent templates: published ones with repository and path, or our own definitions
    AgentTemplates(bring::Args),
    /// A2A agent cards, one document each or a list
    A2aCards(bring::Args),
    /// Agents of any source, one JSON object a line, with a mapping of fields
    Agents(bring::AgentsArgs),
}

pub fn run(args: Args) -> Result<Exit, Error> {
    match args.kind {
        Kind::LlmPrices(args) => llm_prices::run(args),
        Kind::McpRegistry(args) => bring::run(Imported::McpRegistry, args),
        Kind::McpServers(args) => bring::run(Imported::McpServers, args),
        Kind::McpTools(args) => bring::run(Imported::McpTools, args),
        Kind::AgentTemplates(args) => bring::run(Imported::AgentTemplates, args),
        Kind::A2aCards(args) => bring::run(Imported::A2aCards, args),
        Kind::Agents(args) => bring::run_agents(args),
    }
}

/// The text of a file, or of standard input for `-`.
///
/// # Errors
/// When it cannot be read, is too large, or is no text.
fn read(path: &Path) -> Result<String, Error> {
    let failed = |cause: std::io::Error| Error::Usage(format!("cannot read {}: {cause}", path.display()));
    let reader: Box<dyn Read> = match path.as_os_str() == "-" {
        true => Box::new(std::io::stdin().lock()),
        false => Box::new(std::fs::File::open(path).map_err(failed)?),
    };
    let mut text = String::new();
    reader.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(Error::Usage(format!("{} has more than {FILE_BYTES_MAX} bytes", path.display())));
    }
    Ok(text)
}
