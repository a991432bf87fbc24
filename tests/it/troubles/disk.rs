//! Disks that fill up under the servers: each server's data lies on a small file system of its own, which this test
//! fills and clears.

use super::fleet::{Fleet, Role};
use super::outage::{Ledger, assert_problem};
use super::servers::Servers;
use super::{alone, eventually, named};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A file system in memory.
struct Disk(PathBuf);

impl Disk {
    /// `None` where this user may mount nothing.
    fn mount(place: &Path, mebibytes: usize) -> Option<Self> {
        std::fs::create_dir_all(place).unwrap();
        // An earlier run may have been killed.
        let _ = Command::new("umount").arg(place).stderr(Stdio::null()).status();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "tmpfs"]).arg(place);
        mount.stderr(Stdio::null()).status().ok()?.success().then(|| Self(place.to_owned()))
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Leaves not a page.
    fn fill(&self) {
        let mut file = File::create(self.ballast()).unwrap();
        for size in [1 << 20, 1 << 12] {
            while file.write_all(&vec![7; size]).is_ok() {}
        }
    }

    fn clear(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn kafka_full(disk: &Disk, servers: &Servers, serve: &Role, ledger: &mut Ledger) {
    disk.fill();
    // A broker that cannot write ends itself; what it acknowledged before is in its files.
    let refused = eventually("Kafka takes no more", 60, || {
        Some(ledger.register(serve, "accepted")).filter(|answer| answer.status != 202)
    });
    assert_problem(&refused, 503, "unavailable", "send them again under the same ids");
    disk.clear();
    servers.tell("stop", "kafka");
    servers.tell("start", "kafka");
    ledger.await_applied(serve);
}

fn cassandra_full(disk: &Disk, servers: &Servers, serve: &Role, ledger: &mut Ledger) {
    disk.fill();
    eventually("nothing is decided any more", 120, || {
        let answer = ledger.register(serve, "applied");
        assert!(answer.status < 300, "Kafka takes it: {answer:?}");
        (answer.status == 202 && answer.body["outcome"] == "accepted").then_some(())
    });
    disk.clear();
    servers.tell("stop", "cassandra");
    servers.tell("start", "cassandra");
    ledger.await_applied(serve);
}

#[test]
#[ignore = "starts servers of its own on small disks: run it by name after a change to how a link fails"]
fn a_disk_that_is_full_loses_nothing() {
    if named("the fleet whose disks fill up").is_none() {
        return;
    }
    let _alone = alone();
    let data = Servers::data();
    // Unmounted last.
    let disks = [("kafka", 256), ("cassandra", 512)].map(|(name, size)| Disk::mount(&data.join(name), size));
    let [Some(kafka), Some(cassandra)] = disks else {
        eprintln!("not run: to mount small disks takes root");
        return;
    };
    let Some(servers) = Servers::start() else { return };
    let fleet = Fleet::new(&servers.kafka(), &servers.cql(), "disks");
    fleet.prepare();
    let mut roles = ["process", "project", "work", "serve"].map(|role| fleet.start(role, &[]));
    roles.iter_mut().for_each(Role::await_ready);
    let mut ledger = Ledger::default();
    ledger.await_applied(&roles[3]);
    kafka_full(&kafka, &servers, &roles[3], &mut ledger);
    ledger.await_all(&roles[3]);
    cassandra_full(&cassandra, &servers, &roles[3], &mut ledger);
    ledger.await_all(&roles[3]);
    assert!(roles.iter_mut().all(Role::is_running), "no role had to be started again");
    println!("{} commands were acknowledged, and all are there", ledger.len());
}
