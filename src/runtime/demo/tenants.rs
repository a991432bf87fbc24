//! The ten companies, their projects, and what two of them run themselves. All are invented.

use super::{Commands, command};
use crate::domain::llm_provider::{self, Model, RegisterLlmProvider};
use crate::domain::mcp_server::{self, RegisterMcpServer, Tool, Transport};
use crate::domain::tenant::{AddProject, Command, ProvisionTenant, Tier};
use crate::domain::{Aggregate, StreamId, TenantId, common::Modality};
use crate::runtime::catalog::{provider_id, server_id};
use uuid::Uuid;

pub struct Company {
    pub name: &'static str,
    /// Domain of its people's addresses; under `.example`, so that none can exist.
    pub mail: &'static str,
    pub region: &'static str,
    pub tier: Tier,
    pub agents: usize,
    monthly_budget_usd: Option<i64>,
    coupling_threshold: Option<f64>,
    pub projects: &'static [PlannedProject],
}

pub struct PlannedProject {
    pub name: &'static str,
    /// Names of catalogue servers; absent allows all.
    pub servers: Option<&'static [&'static str]>,
    /// Names of catalogue providers; absent allows all.
    pub providers: Option<&'static [&'static str]>,
}

const fn open(name: &'static str) -> PlannedProject {
    PlannedProject { name, servers: None, providers: None }
}

const EUROPEAN: &[&str] = &["Mistral AI", "OVHcloud AI Endpoints", "Scaleway", "Nebius Token Factory"];
const HYPERSCALERS: &[&str] = &["Amazon Bedrock", "Azure OpenAI", "Google Gemini"];
const OFFICE: &[&str] =
    &["Slack", "Gmail", "Google Calendar", "Google Drive", "Notion", "Confluence and Jira", "Asana"];
const CODE: &[&str] = &["GitHub", "Git", "Context7", "DeepWiki", "CircleCI", "Sentry", "Semgrep", "Snyk"];
const LEDGER: &[&str] = &["Xero", "Stripe", "PayPal", "SEC EDGAR", "PostgreSQL", "Snowflake"];

const US: &str = "us-east";
const EU: &str = "eu-central";
const AP: &str = "ap-southeast";

/// The largest first. The agents of all together are [`super::AGENTS`].
#[rustfmt::skip]
pub const COMPANIES: &[Company] = &[
    Company { name: "Northwind Logistics", mail: "northwind.example", region: EU, tier: Tier::Diamond, agents: 160,
        monthly_budget_usd: Some(120_000), coupling_threshold: None,
        projects: &[open("Fleet Control"), PlannedProject { name: "Customs", servers: None, providers: Some(EUROPEAN) }, open("Depot Floor")] },
    Company { name: "Halcyon Bank", mail: "halcyonbank.example", region: US, tier: Tier::Diamond, agents: 140,
        monthly_budget_usd: Some(200_000), coupling_threshold: Some(0.6),
        projects: &[PlannedProject { name: "Treasury", servers: Some(LEDGER), providers: Some(HYPERSCALERS) }, open("Retail"), open("Fraud Desk")] },
    Company { name: "Meridian Health", mail: "meridianhealth.example", region: EU, tier: Tier::Emerald, agents: 120,
        monthly_budget_usd: Some(60_000), coupling_threshold: Some(0.5),
        projects: &[PlannedProject { name: "Patient Desk", servers: Some(OFFICE), providers: Some(EUROPEAN) }, open("Trials")] },
    Company { name: "Cobalt Robotics", mail: "cobalt.example", region: AP, tier: Tier::Emerald, agents: 110,
        monthly_budget_usd: Some(45_000), coupling_threshold: None,
        projects: &[PlannedProject { name: "Firmware", servers: Some(CODE), providers: None }, open("Field Service")] },
    Company { name: "Larkspur Retail", mail: "larkspur.example", region: US, tier: Tier::Sapphire, agents: 100,
        monthly_budget_usd: Some(30_000), coupling_threshold: None,
        projects: &[open("Storefront"), open("Returns"), PlannedProject { name: "Head Office", servers: Some(OFFICE), providers: None }] },
    Company { name: "Tidewater Energy", mail: "tidewater.example", region: AP, tier: Tier::Sapphire, agents: 90,
        monthly_budget_usd: Some(40_000), coupling_threshold: None,
        projects: &[open("Grid"), PlannedProject { name: "Trading", servers: None, providers: Some(HYPERSCALERS) }] },
    Company { name: "Juniper Studios", mail: "juniperstudios.example", region: US, tier: Tier::Opal, agents: 80,
        monthly_budget_usd: Some(8_000), coupling_threshold: Some(0.3),
        projects: &[open("Game Engine"), open("Community")] },
    Company { name: "Saffron Foods", mail: "saffron.example", region: AP, tier: Tier::Opal, agents: 80,
        monthly_budget_usd: Some(6_000), coupling_threshold: None,
        projects: &[open("Supply"), PlannedProject { name: "Quality", servers: Some(&[]), providers: None }] },
    Company { name: "Aldergate Law", mail: "aldergate.example", region: EU, tier: Tier::Onyx, agents: 70,
        monthly_budget_usd: Some(10_000), coupling_threshold: None,
        projects: &[open("Litigation"), PlannedProject { name: "Mandates", servers: None, providers: Some(EUROPEAN) }] },
    Company { name: "Pebble Travel", mail: "pebble.example", region: US, tier: Tier::Onyx, agents: 50,
        monthly_budget_usd: None, coupling_threshold: None,
        projects: &[open("Bookings"), open("Guides")] },
];

/// The company that runs a server and a provider of its own.
pub const PRIVATE: &Company = &COMPANIES[0];
pub const PRIVATE_SERVERS: [&str; 2] = ["Northwind Freight Desk", "Northwind Yard Cameras"];
pub const PRIVATE_PROVIDER: &str = "Northwind Inference";
/// Models of the private provider; the first is retired on the bad day.
pub const PRIVATE_MODELS: [&str; 2] = ["northwind-dispatch-70b", "northwind-dispatch-8b"];

impl Company {
    pub fn tenant(&self) -> TenantId {
        TenantId(Uuid::new_v5(&Uuid::nil(), format!("demo/tenant/{}", self.name).as_bytes()))
    }

    /// The tenant's own stream.
    pub fn stream(&self) -> StreamId {
        StreamId::new(self.tenant(), Aggregate::Tenant, self.tenant().0)
    }

    /// A stream of the tenant, from its name or number.
    pub fn own(&self, aggregate: Aggregate, name: &str) -> StreamId {
        let name = format!("demo/{}/{name}", aggregate.name());
        StreamId::new(self.tenant(), aggregate, Uuid::new_v5(&self.tenant().0, name.as_bytes()))
    }
}

pub fn provision() -> Commands {
    let provision = |company: &Company| {
        let provision = ProvisionTenant {
            name: company.name.into(),
            region: company.region.into(),
            tier: company.tier,
            monthly_budget_micro_usd: company.monthly_budget_usd.map(|usd| usd * 1_000_000),
            coupling_threshold: company.coupling_threshold,
        };
        command(company.stream(), "", Command::ProvisionTenant(provision))
    };
    COMPANIES.iter().map(provision).collect()
}

/// Projects, private servers and the private provider.
pub fn furnish() -> Commands {
    let mut commands = Vec::new();
    for company in COMPANIES {
        for project in company.projects {
            let ids =
                |names: Option<&[&str]>, id: fn(&str) -> Uuid| names.map(|names| names.iter().map(|n| id(n)).collect());
            let add = AddProject {
                project: project.name.into(),
                allowed_mcp_servers: ids(project.servers, server_id),
                allowed_llm_providers: ids(project.providers, provider_id),
            };
            commands.push(command(company.stream(), project.name, Command::AddProject(add)));
        }
    }
    for name in PRIVATE_SERVERS {
        let register = RegisterMcpServer {
            name: name.into(),
            category: "logistics".into(),
            description: "Runs inside the company's network.".into(),
            transport: Transport::StreamableHttp,
            endpoint: Some(format!("https://{}.northwind.example/mcp", name.to_lowercase().replace(' ', "-"))),
            package: None,
            capabilities: vec!["tools".into()],
            tools: private_tools("Read the state of a shipment."),
        };
        let stream = PRIVATE.own(Aggregate::McpServer, name);
        commands.push(command(stream, "", mcp_server::Command::RegisterMcpServer(register)));
    }
    let register = RegisterLlmProvider {
        name: PRIVATE_PROVIDER.into(),
        endpoint: Some("https://inference.northwind.example/v1".into()),
        api_key_env: Some("NORTHWIND_INFERENCE_KEY".into()),
        models: vec![private_model(PRIVATE_MODELS[0], 400_000, 0.78), private_model(PRIVATE_MODELS[1], 60_000, 0.55)],
        requests_per_minute: Some(600),
        ..Default::default()
    };
    let stream = PRIVATE.own(Aggregate::LlmProvider, PRIVATE_PROVIDER);
    commands.push(command(stream, "", llm_provider::Command::RegisterLlmProvider(register)));
    commands
}

/// The tools of the private servers; the description of the first is given, because it is what changes later.
pub fn private_tools(track_description: &str) -> Vec<Tool> {
    let tool = |name: &str, description: &str| Tool {
        name: name.into(),
        description: description.into(),
        input_schema: r#"{"properties":{"id":{"type":"string"}},"required":["id"],"type":"object"}"#.into(),
    };
    vec![
        tool("track_shipment", track_description),
        tool("plan_route", "Plan the route of a delivery."),
        tool("create_task", "Create a task for the depot."),
        tool("search_documents", "Search freight documents."),
    ]
}

/// `price`: micro-dollars per million tokens, in and out alike: the machines are the company's own.
fn private_model(model_id: &str, price: i64, quality: f64) -> Model {
    Model {
        model_id: model_id.into(),
        name: model_id.into(),
        context_tokens: Some(131_072),
        output_tokens_max: Some(8_192),
        input_micro_usd_per_million: Some(price),
        output_micro_usd_per_million: Some(price),
        input_modalities: vec![Modality::Text],
        output_modalities: vec![Modality::Text],
        tool_calling: Some(true),
        structured_output: Some(true),
        latency_ms_p50: Some(2_000),
        quality: Some(quality),
        ..Model::default()
    }
}
