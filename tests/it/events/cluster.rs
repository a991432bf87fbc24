//! The same on Kafka and a database: a reader goes from node to node, and what is published goes on meanwhile.

use super::reader::{End, Reader};
use super::{ALL, TENANT, register, registered};
use crate::cluster::fleet::Fleet;
use crate::e2e::server::eventually;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[test]
fn a_reader_goes_from_node_to_node_and_gets_every_event_once() {
    let Some(mut fleet) = Fleet::start("events", &[]) else { return };
    let second = fleet.start_role("serve");
    fleet.wait_until_ready(&second);
    let spare = fleet.start_role("process");
    fleet.wait_until_ready(&spare);
    let writing = fleet.client("work-1", TENANT).address;
    let nodes = ["serve-1", &second].map(|name| fleet.client(name, TENANT).address);
    let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut reader = Reader::default();
    let applied: Vec<String> = std::thread::scope(|scope| {
        let writers: Vec<_> = ["a", "b"]
            .map(|name| {
                let (writing, stop, done) = (&writing, &stop, &done);
                scope.spawn(move || register(&|| writing.clone(), name, stop, done))
            })
            .into();
        for round in 0..40usize {
            let before = done.load(Ordering::Relaxed);
            eventually("something happens", || (done.load(Ordering::Relaxed) > before).then_some(()));
            // Whichever node is there; the first is killed on the way, and one of two processors.
            reader.read(&nodes[round % 2], None, "from=beginning", 1 + round * 5 % 17);
            if round == 15 {
                fleet.kill("serve-1");
            }
            if round == 25 {
                fleet.kill("process-1");
            }
        }
        stop.store(true, Ordering::Relaxed);
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    });
    // Live, until it has heard of all that was acknowledged.
    let mut heard = registered(&reader);
    while applied.iter().any(|id| heard.binary_search(id).is_err()) {
        assert_ne!(reader.read(&nodes[1], None, "from=beginning", 1), End::Lost, "an acknowledged event did not come");
        heard = registered(&reader);
    }
    // 204 where it has heard of everything.
    assert!(matches!(reader.read(&nodes[1], None, ALL, usize::MAX), End::Whole | End::Status(204)));
    let mut whole = Reader::default();
    assert_eq!(whole.read(&nodes[1], None, ALL, usize::MAX), End::Whole);
    assert_eq!(reader.places(), whole.places(), "live from Kafka or from the log, a reader gets the same");
    println!("{} events, {} acknowledged commands", reader.events.len(), applied.len());
}
