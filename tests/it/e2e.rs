//! The whole through its real binary: what a new user, a producer and an operator meet.
//!
//! Every test starts its own `agentverse dev` on a free port with a folder of its own, and ends it by its process id.

mod as_of;
mod bad_input;
mod demo;
mod durability;
pub mod health;
pub(crate) mod http;
mod idempotence;
mod import_models;
mod imports;
mod letters;
mod lists;
mod provision;
mod readme;
mod search;
pub(crate) mod server;
mod surfaces;
mod trace;
pub(crate) mod usage;
mod walk;

/// The tenant that tests act for.
const TENANT: &str = "6f1c2a52-0d5e-4c3b-9a77-1f0f6f1f9b01";
/// Another tenant.
const OTHER: &str = "7a2d3b63-1e6f-4d4c-8b88-2a1a7a2a8c02";
/// An id that nothing has.
const NOBODY: &str = "00000000-0000-4000-8000-00000000dead";
