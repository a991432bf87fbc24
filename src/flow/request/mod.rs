//! Requests to the outside: LLM and MCP calls, carried out within their limits.

pub mod limiter;
pub mod open;
pub mod owners;
pub mod resolve;
