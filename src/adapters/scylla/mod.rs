//! ScyllaDB, or Cassandra, which speaks the same protocol: the log and everything derived from it that is kept.
//!
//! The tables are under `schemas/cql/`. The log is written by conditional batches alone, one owner at a time; what is
//! derived is written plainly, with the position or version as its timestamp, so that an older writer loses.

mod flush;
mod index;
mod journal;
mod limits;
mod merge;
pub mod migrate;
mod places;
mod policy;
pub mod session;
#[cfg(test)]
pub(super) mod tests;
mod usage;
mod views;

pub use index::{IndexConfig, ScyllaIndex};
pub use journal::ScyllaJournal;
pub use limits::ScyllaLimits;
pub use session::{Config, Error, Store};
pub use usage::{ScyllaUsage, UsageConfig};
pub use views::{ScyllaViews, ViewsConfig};
