//! HTTP in: commands, resources, outcomes, and what an operator asks.
//!
//! [`routes::table`] is the one list of routes: the router and the OpenAPI document are both made from it. [`access`] is
//! the one place that decides who may do what. Everything that a caller can make large is bounded in [`ApiSettings`].
//!
//! Architecture invariant: nothing here names an adapter or reads a store; it asks [`Gateway`] and [`Query`].

mod access;
mod answer;
mod as_of;
mod astray;
mod body;
mod commands;
mod convenience;
mod cursor;
mod discover;
mod entry;
mod events;
mod follow;
mod health;
mod heartbeat;
mod history;
mod imports;
mod letters;
pub mod openai;
mod openapi;
mod outcomes;
mod params;
mod problem;
mod registry;
mod resources;
mod routes;
mod search;
mod server;
mod stalled;
mod status;
#[cfg(test)]
mod tests;
mod trace;
mod usage;

pub use problem::Problem;
pub use server::{serve, serve_operator};

use crate::flow::feed::Feed;
use crate::flow::gateway::Gateway;
use crate::flow::heartbeat::Heartbeats;
use crate::flow::import::ImportSettings;
use crate::flow::query::Query;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// The limits of the HTTP surface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiSettings {
    /// Largest body of a request.
    pub body_bytes_max: usize,
    /// Longest time for a body to come in.
    pub body_timeout: Duration,
    /// Longest time for the head of a request to come in, also between two requests of a connection.
    pub header_timeout: Duration,
    /// Most commands of a batch.
    pub commands_max: usize,
    /// How long a request that waits for its outcome waits, unless it says so with `timeout_ms`.
    pub wait_timeout: Duration,
    /// Longest that `timeout_ms` can ask for.
    pub wait_timeout_max: Duration,
    /// Most connections at once; further ones wait to be accepted.
    pub connections_max: usize,
    /// Most histories that are followed at once.
    pub followers_max: usize,
    /// Most readers of the feed of events at once.
    pub event_readers_max: usize,
    /// Most bytes of events that are held for one of them.
    pub event_reader_bytes_max: usize,
    /// Longest that a client may take nothing of what is sent to it.
    pub stalled_max: Duration,
    /// How long requests under way may take to end at shutdown.
    pub drain_timeout: Duration,
    pub imports: ImportSettings,
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            body_bytes_max: 8 * 1024 * 1024,
            body_timeout: Duration::from_secs(30),
            header_timeout: Duration::from_secs(60),
            commands_max: 1_000,
            wait_timeout: Duration::from_secs(5),
            wait_timeout_max: Duration::from_secs(30),
            connections_max: 4_096,
            followers_max: 1_000,
            event_readers_max: 1_000,
            event_reader_bytes_max: 2 * 1024 * 1024,
            stalled_max: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(30),
            imports: ImportSettings::default(),
        }
    }
}

/// What every process shows its operator, whatever its role.
#[derive(Clone)]
pub struct Operator {
    /// Whether it can do its work; the error is a sentence that says what is missing.
    pub readiness: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// The metrics in Prometheus' text format.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

/// What the routes work with.
pub struct Services {
    pub gateway: Arc<Gateway>,
    pub query: Arc<Query>,
    pub feed: Arc<Feed>,
    pub heartbeats: Arc<dyn Heartbeats>,
    /// On a node that carries requests out.
    pub completions: Option<openai::Completions>,
    pub operator: Operator,
    /// Makes the id of a command that comes without one: version 7 UUIDs.
    pub ids: Arc<dyn Fn() -> Uuid + Send + Sync>,
    pub settings: ApiSettings,
}
