//! AgentVerse: the system of record and the engine room for very large fleets of AI agents.
//!
//! A *coupling* binds one agent to one MCP server and one LLM model, at run time. Every change is a command:
//!
//! ```text
//! producer ──► commands topic ──► receive ──► decide ──► append ──► THE LOG ──► derive, in position order:
//! (HTTP, CLI)                     (parse,      (pure)     (one fenced               ├─ index     heads, known ids, edges
//!                                  identify)               batch)                   ├─ publish ──► project ──► views ──► query
//!                                                                                   ├─ outcomes  what became of each command
//!                                                                                   └─ react     follow-up commands
//! ```
//!
//! The journal is a set of **logs**: append-only, numbered, hash-chained, each with one owner at a time, fenced by a
//! claim. *Only the log is the truth*; everything right of it can be written any number of times with the same result,
//! and thrown away and built again.
//!
//! # Invariants
//!
//! 1. **Order.** A log's positions, and within it each stream's versions, run 1, 2, 3 … without gaps or forks.
//!    `recorded_at` never runs backwards in a log. (`ports::conformance::journal`, `adapters::embedded::check`)
//! 2. **Once.** A command takes effect at most once, for ever, and an acknowledged one is never lost. Its identity is its
//!    stream and its id; the same identity with other content is refused. (`tests/it/crash.rs`, `tests/it/e2e.rs`)
//! 3. **Everything has an outcome.** Applied, refused with a machine-readable reason, or dead-lettered with the original
//!    bytes. None disappears, none blocks the ones behind it. (`tests/it/e2e.rs`)
//! 4. **Deciding is deterministic.** `decide` and `evolve` see only their arguments; ids and times come from the record.
//!    Chains of reactions end. (`domain::*::tests`, `tests/it/tidy.rs`)
//! 5. **What is derived converges.** Rows are absolute: applied twice or late, or folded from the log instead of taken
//!    from memory, they are the same bytes. (`ports::conformance::{index, views, usage}`, `tests/it/flow.rs`,
//!    `check --deep`)
//! 6. **History is tamper-evident.** `hash = blake3(hash before ‖ canonical bytes)`. (`domain::record`,
//!    `adapters::embedded::check`)
//! 7. **Limits hold globally.** Belongs to the workers of LLM and MCP requests, which are not here yet.
//! 8. **No tenant sees another's data**, and nothing secret is logged. (`api::access`, `tests/it/e2e.rs`)
//! 9. **Everything is bounded**, each bound a named setting. (`runtime::settings`)
//!
//! # Modules
//!
//! Dependencies point one way: `main → cli → runtime → {api, flow, adapters} → ports → domain`. What is *absent*: I/O,
//! time and randomness in `domain`; adapters in `flow`, `ports` and `api`; a second way to change state.

pub mod adapters;
pub mod api;
pub mod cli;
pub mod domain;
pub mod flow;
pub mod metrics;
pub mod ports;
pub mod runtime;
