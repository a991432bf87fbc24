//! The demo fleet: ten companies, a thousand agents, three thousand wishes for a coupling, and a bad day afterwards.
//!
//! Everything follows from a fixed seed and from the catalogue, and goes out as commands, like any producer's. Ids are
//! functions of what they name, not of the content: a second run meets the first outcomes and changes nothing, also
//! when a later program would draw another fleet.
//!
//! The fleet comes in [`Stage`]s. A stage may be sent in any order across streams, in its own order within one; the
//! next may start when all of its commands have their outcomes, because couplings look at agents, servers and models.
//!
//! Beside it stands what keeps the fleet busy ([`StandIn`]).
//!
//! Refusals belong to it: some wishes cannot be granted (too far from what the agent can do, a server or provider that
//! the project does not allow, a budget that buys nothing, a model that is not there), so that reasons can be seen.

mod aftermath;
mod agents;
mod couplings;
mod random;
mod stand_in;
mod tenants;
#[cfg(test)]
mod tests;

use super::catalog::Catalog;
use crate::domain::wire::Wire;
use crate::domain::{AnyCommand, Envelope, StreamId};
use agents::PlannedAgent;
use uuid::Uuid;

pub use stand_in::{Ask, StandIn, ask};

/// `source` and actor of the demo's commands.
pub const SOURCE: &str = "agentverse/demo";
/// Agents of the fleet.
pub const AGENTS: usize = 1_000;
/// Couplings that are asked for; a part of them is refused.
pub const COUPLINGS: usize = 3_000;

/// Commands that may be sent together.
pub struct Stage {
    /// For the progress bar.
    pub name: &'static str,
    pub commands: Vec<(Envelope, AnyCommand)>,
}

/// What the stages are made from.
struct Fleet<'a> {
    catalog: &'a Catalog,
    /// [`AGENTS`] of them, tenant by tenant.
    agents: Vec<PlannedAgent<'a>>,
}

type Commands = Vec<(Envelope, AnyCommand)>;

/// Makes one stage's commands.
type Make = fn(&Fleet) -> Commands;

const STAGES: &[(&str, Make)] = &[
    ("catalogue", |fleet| fleet.catalog.commands()),
    ("tenants", |_| tenants::provision()),
    ("projects and private servers", |_| tenants::furnish()),
    ("agents", agents::register),
    ("activation", agents::activate),
    ("couplings", couplings::request),
    ("operations", aftermath::commands),
];

/// How many stages there are.
pub const STAGE_COUNT: usize = STAGES.len();

/// The stages in the order in which they must be sent. Each is made when it is asked for.
pub fn stages(catalog: &Catalog) -> impl Iterator<Item = Stage> {
    let fleet = Fleet { catalog, agents: agents::plan(catalog) };
    STAGES.iter().map(move |(name, make)| Stage { name, commands: make(&fleet) })
}

/// The demo's command `C` to a stream. `occasion` tells apart commands of one kind to one stream.
fn command<C: Wire + Into<AnyCommand>>(stream: StreamId, occasion: &str, command: C) -> (Envelope, AnyCommand) {
    let id = Uuid::new_v5(&stream.id, format!("{SOURCE}/{}/{occasion}", command.name()).as_bytes());
    let envelope = Envelope { source: SOURCE.into(), actor: Some(SOURCE.into()), ..Envelope::new(id, stream) };
    (envelope, command.into())
}
