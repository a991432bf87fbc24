//! `agentverse import KIND FILE`: what others publish, as commands.

mod bring;

use super::exit::{Error, Exit};
use crate::flow::import::Kind as Imported;
use clap::Subcommand;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
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
    /// LLM providers and their models, with prices, limits and abilities: models.dev's api.json
    ModelsDev(bring::ModelsArgs),
    /// Prices of models: LiteLLM's model_prices_and_context_window.json
    Litellm(bring::ModelsArgs),
    /// Prices for the providers that are here, from either of the two
    LlmPrices(bring::PricesArgs),
    /// The skills of OASF's taxonomy, each with all that are above it
    OasfSkills(bring::Args),
}

pub fn run(args: Args) -> Result<Exit, Error> {
    match args.kind {
        Kind::McpRegistry(args) => bring::run(Imported::McpRegistry, args),
        Kind::McpServers(args) => bring::run(Imported::McpServers, args),
        Kind::McpTools(args) => bring::run(Imported::McpTools, args),
        Kind::AgentTemplates(args) => bring::run(Imported::AgentTemplates, args),
        Kind::A2aCards(args) => bring::run(Imported::A2aCards, args),
        Kind::Agents(args) => bring::run_agents(args),
        Kind::ModelsDev(args) => bring::run_models(Imported::ModelsDev, args),
        Kind::Litellm(args) => bring::run_models(Imported::LiteLlm, args),
        Kind::LlmPrices(args) => bring::run_prices(args),
        Kind::OasfSkills(args) => bring::run(Imported::OasfSkills, args),
    }
}
