//! The domain: pure deciders.
//!
//! Architecture invariant: nothing in here is async, reads a clock, draws a random number, does I/O or logs. Time and
//! ids come with the arguments; what is decided depends on nothing else. That is what makes a replay decide as the live
//! system did.

#[macro_use]
mod names;

pub mod audit;
pub mod checks;
pub mod common;
pub mod decider;
pub mod decimal;
pub mod envelope;
#[cfg(test)]
pub mod golden;
pub mod id;
pub mod json;
pub mod limit;
pub mod open;
pub mod personal;
pub mod record;
pub mod schemas;
mod sieve;
#[cfg(test)]
pub mod spec;
pub mod usage;
pub mod wire;
pub mod words;

mod aggregates;

pub use decider::{Context, Decider, Decision, Lookup, Reaction, Rejection, Seen, Text, Weight, World};
pub use envelope::{Envelope, EventMeta, Micros};
pub use id::{CorrelationKey, LogId, Partitions, StreamId, TenantId};
pub use sieve::Sieve;

aggregates::aggregates! {
    // folder        type           name              plural in URLs
    tenant:         Tenant,        "tenant",         "tenants";
    agent_template: AgentTemplate, "agent_template", "agent-templates";
    agent:          Agent,         "agent",          "agents";
    mcp_server:     McpServer,     "mcp_server",     "mcp-servers";
    llm_provider:   LlmProvider,   "llm_provider",   "llm-providers";
    coupling:       Coupling,      "coupling",       "couplings";
    llm_request:    LlmRequest,    "llm_request",    "llm-requests";
    llm_batch:      LlmBatch,      "llm_batch",      "llm-batches";
    skill:          Skill,         "skill",          "skills";
}
