//! Usage: what requests to LLMs came to and cost, counted by whom and when.
//!
//! The facts are the events of the request logs: each that ended a request or reported a call counts once for its tenant
//! and, where it has them, its project, agent, coupling and model, in one window of each size; and for the model once more
//! under its provider's tenant, whoever asked. Ratings of answers count beside the calls. The window is that of the event's `recorded_at`, so a replay counts as the first time.
//!
//! What a request was for (project, agent, coupling) is what it was submitted with, and an attempt's model is the one
//! that it was started with: neither ever changes, so any state of the request from the event on tells it.

mod count;
mod latencies;
mod ratings;
mod retention;
#[cfg(test)]
mod tests;
mod totals;
mod window;

pub use count::{Counted, Key, count, is_counted, model_key};
pub use latencies::Latencies;
pub use ratings::Ratings;
pub use retention::Retention;
pub use totals::Totals;
pub use window::{PERIOD_WINDOWS, Window};

use super::{Micros, TenantId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// By what usage is added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Dimension {
    /// The key is the tenant's id.
    Tenant,
    /// Its name.
    Project,
    Agent,
    Coupling,
    /// `provider id/model id`. A tenant's own provider and a shared one of the same id count together.
    Model,
    /// The same key, kept under the *provider's* tenant (nil for the shared catalogue): how a model does for everybody.
    Offer,
}

impl Dimension {
    pub const ALL: [Self; 6] = [Self::Tenant, Self::Project, Self::Agent, Self::Coupling, Self::Model, Self::Offer];

    pub fn name(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Project => "project",
            Self::Agent => "agent",
            Self::Coupling => "coupling",
            Self::Model => "model",
            Self::Offer => "offer",
        }
    }
}

/// One line of windows: the usage of one key in windows of one size.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Series {
    pub tenant: TenantId,
    pub dimension: Dimension,
    /// Never empty.
    pub key: Arc<str>,
    pub window: Window,
}

/// One window of a series, as a place: every source log has a row of its own there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    pub series: Series,
    /// A multiple of the window's size.
    pub start: Micros,
}

/// What one source log counts in one slot: its absolute totals up to a position.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Of the last record that is in the totals.
    pub position: u64,
    pub totals: Totals,
}
