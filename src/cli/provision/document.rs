//! The manifest as it is written: one YAML document, read strictly. What its values mean is [`blueprint`](mod@super::blueprint)'s.
//!
//! A field that is not known is an error with its line: a misspelt one would leave out what somebody meant.

use crate::cli::exit::Error;
use crate::domain::agent::RiskTier;
use crate::domain::common::{PromptStorage, Requirements};
use crate::domain::tenant::Tier;
use serde::Deserialize;
use serde_saphyr::Spanned;
use std::collections::BTreeMap;
use uuid::Uuid;

/// The `apiVersion` and `kind` of a manifest.
pub const API_VERSION: &str = "agentverse/v1";
pub const KIND: &str = "Provisioning";
/// Most events (values, keys, ends of lists) that the YAML of a manifest may have: tenants that are listed one by one
/// have about ten each.
const EVENTS_MAX: usize = 64 << 20;
/// Most uses of one anchor, as of a group that tenants share.
const ALIASES_MAX: usize = 1 << 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    #[serde(rename = "apiVersion")]
    pub api_version: Spanned<String>,
    pub kind: Spanned<String>,
    #[serde(default)]
    pub metadata: Metadata,
    #[serde(default)]
    pub defaults: Defaults,
    pub tenants: Vec<Spanned<TenantEntry>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metadata {
    pub name: String,
}

/// What holds for every tenant that does not say otherwise.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Defaults {
    pub tier: Option<Tier>,
    pub region: Option<String>,
    pub regions: Option<Vec<String>>,
    pub monthly_budget_usd: Option<f64>,
    pub coupling_threshold: Option<f64>,
    pub prompt_storage: Option<PromptStorage>,
    pub projects: Option<Vec<Spanned<ProjectEntry>>>,
    pub agents: Option<Vec<Spanned<GroupEntry>>>,
}

/// A tenant, or `count` of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantEntry {
    pub name: String,
    #[serde(default)]
    pub id: Option<Uuid>,
    #[serde(default)]
    pub count: Option<u64>,
    #[serde(default)]
    pub start: Option<u64>,
    #[serde(default)]
    pub tier: Option<Tier>,
    #[serde(default)]
    pub region: Option<String>,
    #[serde(default)]
    pub regions: Option<Vec<String>>,
    #[serde(default)]
    pub monthly_budget_usd: Option<f64>,
    #[serde(default)]
    pub coupling_threshold: Option<f64>,
    #[serde(default)]
    pub prompt_storage: Option<PromptStorage>,
    #[serde(default)]
    pub projects: Option<Vec<Spanned<ProjectEntry>>>,
    #[serde(default)]
    pub agents: Option<Vec<Spanned<GroupEntry>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectEntry {
    pub name: String,
    #[serde(default)]
    pub allowed_mcp_servers: Option<Vec<Uuid>>,
    #[serde(default)]
    pub allowed_llm_providers: Option<Vec<Uuid>>,
}

/// `count` agents that are alike.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupEntry {
    pub group: String,
    pub count: u64,
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub template: Option<String>,
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    #[serde(default)]
    pub project: Option<String>,
    #[serde(default)]
    pub owner: Option<String>,
    #[serde(default)]
    pub category: Option<String>,
    #[serde(default)]
    pub role: Option<String>,
    #[serde(default)]
    pub purpose: Option<String>,
    #[serde(default)]
    pub instructions: Option<String>,
    #[serde(default)]
    pub skills: Vec<String>,
    #[serde(default)]
    pub domains: Vec<String>,
    #[serde(default)]
    pub risk_tier: Option<RiskTier>,
    #[serde(default)]
    pub confidence_threshold: Option<f64>,
    #[serde(default)]
    pub requirements: Option<Requirements>,
    #[serde(default)]
    pub activate: Option<bool>,
}

/// Reads a manifest; `file` is what errors call it.
///
/// # Errors
/// [`Error::Usage`] with line and column when it is no YAML, or has a field or a value that is not known.
pub fn read(file: &str, text: &str) -> Result<Document, Error> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: EVENTS_MAX,
            max_nodes: EVENTS_MAX,
            max_aliases: ALIASES_MAX,
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: EVENTS_MAX,
            max_alias_expansions_per_anchor: ALIASES_MAX,
        },
        // The words that YAML 1.1 took for booleans are words here: a group may be called `on`.
        strict_booleans: true,
    };
    let document: Document = serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| Error::Usage(format!("{file} is no manifest: {error}\n{HELP}")))?;
    let expected = [(&document.api_version, "apiVersion", API_VERSION), (&document.kind, "kind", KIND)];
    for (found, field, expected) in expected {
        if found.value != expected {
            let line = found.referenced.line();
            return Err(Error::Usage(format!(
                "{file}:{line}: {field} is {:?}; this program reads {expected:?}. {HELP}",
                found.value
            )));
        }
    }
    Ok(document)
}

/// Ends what is said of a manifest that cannot be read.
const HELP: &str = "`agentverse provision example` prints a manifest with every field";
