//! The ports: what the flow asks of the outside, each trait with its contract in prose.
//!
//! `conformance` holds one suite per port, which every adapter passes unchanged. Architecture invariant: nothing here,
//! and nothing in `flow`, names an adapter.

pub mod assignment;
pub mod beats;
mod blob;
pub mod clock;
#[cfg(test)]
pub mod conformance;
pub mod index;
pub mod journal;
pub mod letter;
pub mod limits;
pub mod llm;
pub mod outcome;
pub mod receive;
pub mod search;
pub mod topic;
pub mod usage;
pub mod views;

pub use assignment::Assignment;
pub use beats::Beats;
pub use clock::Clock;
pub use index::Index;
pub use journal::Journal;
pub use limits::Limits;
pub use llm::Llm;
pub use outcome::Outcomes;
pub use search::Search;
pub use topic::Topics;
pub use usage::Usage;
pub use views::Views;
