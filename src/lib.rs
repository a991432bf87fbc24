//! AgentVerse: the system of record and the engine room for very large fleets of AI agents.
pub mod adapters;
pub mod api;
pub mod cli;
pub mod domain;
pub mod flow;
pub mod metrics;
pub mod ports;
pub mod runtime;
