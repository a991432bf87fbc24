//! The runtime: settings, wiring, supervision, telemetry. The only place that sees flow and adapters together.

pub mod catalog;
pub mod cluster;
pub mod demo;
pub mod inspect;
#[cfg(test)]
mod lane_tests;
pub mod links;
pub mod migrate;
pub mod node;
mod parts;
#[cfg(test)]
mod rebuild_tests;
pub mod replica;
pub mod requests;
pub mod retry;
pub mod seed;
pub mod settings;
pub mod telemetry;
pub mod topics;
