//! The same answers embedded and in the cluster: one script of requests, asked of both, and every answer compared.
//!
//! The script gives every id itself, so that both fleets make the same streams, in the same logs, at the same positions.
//! What is compared is the status, the headers that a program reads, and the whole body; [`mask`] lists, with the reason,
//! what of a body cannot be the same. [`pair::ALLOWED`] lists the routes that answer differently by design. Every route of
//! the interface's own description has to be asked, so a new one cannot be left out.

mod as_of;
mod couplings;
mod lists;
mod mask;
mod pair;
mod refusals;
mod resources;
mod search;
mod sweep;
mod trace;

use crate::cluster::fleet::Fleet;
use crate::e2e::server::{Folder, Server};
use pair::Pair;

/// The tenant that the script acts for, and another one.
const TENANT: &str = "6f1c2a52-0d5e-4c3b-9a77-1f0f6f1f9b01";
const OTHER: &str = "7a2d3b63-1e6f-4d4c-8b88-2a1a7a2a8c02";
/// The tenant that is the shared catalogue.
const SHARED: &str = "00000000-0000-0000-0000-000000000000";
/// An id that nothing has.
const NOBODY: &str = "00000000-0000-4000-8000-00000000dead";

/// What both have. Leases must not run out while the script runs.
const BOTH: &[(&str, &str)] =
    &[("http_wait_ms_default", "30000"), ("heartbeat_lease_ms", "86000000"), ("heartbeat_offline_ms", "86400000")];
/// What the embedded node has as the cluster has it: the count of logs, the bound of a command's records, and nobody who
/// carries requests out.
const EMBEDDED: &[(&str, &str)] = &[("partitions", "4"), ("command_bytes_max", "524288"), ("request_calls", "off")];

/// The `number`th id of a kind.
fn id(kind: u16, number: u64) -> String {
    uuid::Uuid::from_u64_pair(u64::from(kind) << 48 | 0x4000, 0x8000_0000_0000_0000 | number).to_string()
}

#[test]
fn embedded_and_cluster_answer_alike() {
    let Some(fleet) = Fleet::start("both", BOTH) else { return };
    let folder = Folder::new();
    let settings: Vec<_> = BOTH.iter().chain(EMBEDDED).map(|(name, value)| format!("{name}={value}")).collect();
    let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    let server = Server::start_with(&folder, &settings);
    let mut pair = Pair::new(&server.client(), &fleet.client("serve-1", TENANT));
    resources::load_the_shared_templates(&pair.cluster);

    resources::tenants(&mut pair);
    resources::templates(&mut pair);
    resources::agents(&mut pair);
    resources::servers(&mut pair);
    resources::providers(&mut pair);
    couplings::established_and_refused(&mut pair);
    couplings::moved_by_what_they_depend_on(&mut pair);
    couplings::ended_by_what_they_depend_on(&mut pair);
    refusals::batches(&mut pair);
    refusals::conditions_and_repeats(&mut pair);
    refusals::bad_input(&mut pair);
    refusals::sizes(&mut pair);
    refusals::repeats_after_many(&mut pair);
    refusals::many_in_a_row(&mut pair);
    lists::pages(&mut pair);
    lists::filters(&mut pair);
    lists::histories(&mut pair);
    as_of::versions(&mut pair);
    as_of::lists(&mut pair);
    search::all(&mut pair);
    lists::outcomes_and_dead_letters(&mut pair);
    trace::all(&mut pair);
    sweep::every_route(&mut pair);
    sweep::all_that_was_made(&mut pair);
    refusals::larger_than_a_topic_takes(&mut pair);
    sweep::heartbeats(&mut pair);
    sweep::events(&mut pair);
    sweep::operators_routes(&mut pair);
    pair.finish();
    server.stop();
}
