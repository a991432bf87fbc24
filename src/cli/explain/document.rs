//! The part of the server's explanation that is shown. Every field may be missing, so that an older or a newer server
//! is shown as far as it goes.

use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Explanation {
    pub summary: String,
    pub status: String,
    pub agent_id: String,
    pub mcp_server_id: String,
    pub model: Option<Model>,
    pub pinned: bool,
    pub holds: Vec<String>,
    pub reasons: Vec<Reason>,
    pub score: Option<Score>,
    pub choice: Option<Choice>,
    /// The search that left the coupling without a usable model.
    pub failed_search: Option<Choice>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Model {
    pub provider: String,
    pub model_id: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Reason {
    pub code: String,
    pub message: String,
    pub details: Map<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Score {
    pub value: Option<f64>,
    pub threshold: f64,
    pub formula: String,
    pub calculation: String,
    pub parts: Vec<Part>,
    pub skill_matches: Vec<SkillMatch>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Part {
    pub part: String,
    pub question: String,
    pub value: Option<f64>,
    pub weight: f64,
    pub weight_used: f64,
    pub contribution: Option<f64>,
    pub unknown: Option<Unknown>,
    pub left_out: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Unknown {
    pub meaning: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct SkillMatch {
    pub skill: String,
    pub tool: String,
    pub share: f64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Choice {
    pub objective: String,
    pub ranking: String,
    pub requirements: Map<String, Value>,
    pub required_capabilities: Vec<String>,
    pub models_seen: i64,
    pub candidate_count: i64,
    pub candidates: Vec<Candidate>,
    pub rejected: Vec<Rejected>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Candidate {
    pub rank: u64,
    pub role: Option<String>,
    pub provider: String,
    pub model_id: String,
    pub micro_usd_per_1k_tokens: Option<f64>,
    pub latency_ms_p50: Option<i64>,
    pub latency_is_measured: bool,
    pub quality: Option<f64>,
    pub quality_is_measured: bool,
    pub error_rate: Option<f64>,
    pub score: f64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Rejected {
    pub reason: String,
    pub meaning: String,
    pub count: i64,
    pub examples: Vec<Example>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Example {
    pub provider_id: String,
    pub model_id: String,
    pub detail: String,
}
