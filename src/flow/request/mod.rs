//! Requests to the outside: LLM and MCP calls, carried out within their limits.

pub mod alerts;
pub mod answer;
pub mod backoff;
pub mod breaker;
pub mod bulkhead;
pub mod catalog;
pub mod engine;
pub mod join;
pub mod limiter;
pub mod open;
pub mod owners;
pub mod queue;
pub mod report;
pub mod resolve;
pub mod seam;
pub mod stats;
pub mod waits;
