//! A fleet: keyspace and topics of its own, and as many processes of each role as a test wants.

use super::role::Role;
use super::servers::Ground;
use crate::e2e::http::Client;
use crate::e2e::server::{eventually, run};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::path::PathBuf;
use tempfile::TempDir;

/// One each, the first of their kinds: `process-1`, `project-1`, `work-1`, `serve-1`.
const ROLES: [&str; 4] = ["process", "project", "work", "serve"];

/// A running fleet; ended and cleared away when it is dropped. A test that fails keeps the logs of its processes.
pub struct Fleet {
    ground: Ground,
    folder: TempDir,
    roles: BTreeMap<String, Role>,
    starts: BTreeMap<String, usize>,
}

impl Fleet {
    /// Makes tables and topics, starts one process of each role, and waits until all are ready. `settings` go over the
    /// harness's own, which are four partitions and one copy of everything.
    ///
    /// `None`, and a line that names the suite, where the servers are not named: a test that did not run is no success.
    pub fn start(suite: &str, settings: &[(&str, &str)]) -> Option<Self> {
        let Some(ground) = Ground::claim() else {
            eprintln!("{suite} did not run: set AGENTVERSE_TEST_KAFKA and AGENTVERSE_TEST_CQL to a broker and a node");
            return None;
        };
        let folder = tempfile::Builder::new().prefix("agentverse-fleet-").tempdir().unwrap();
        let mut fleet = Self { ground, folder, roles: BTreeMap::new(), starts: BTreeMap::new() };
        fleet.configure(settings);
        fleet.command(&["schemas", "apply"]);
        fleet.command(&["topics", "apply", "--replicas", "1"]);
        let names = ROLES.map(|kind| fleet.start_role(kind));
        names.iter().for_each(|name| fleet.wait_until_ready(name));
        Some(fleet)
    }

    fn configure(&self, settings: &[(&str, &str)]) {
        let mut all: BTreeMap<&str, String> = self.ground.settings().into_iter().collect();
        all.insert("partitions", "4".into());
        // Where a test is about requests that are carried out, it says so.
        all.insert("request_calls", "off".into());
        all.extend(settings.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let text: String = all.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
        std::fs::write(self.config(), text).unwrap();
    }

    /// The settings file of its processes.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("agentverse.conf")
    }

    /// `agentverse <args> --config …` to its end, which must be a success; gives what it printed.
    pub fn command(&self, args: &[&str]) -> String {
        let config = self.config();
        let output = run(&[args, &["--config", config.to_str().unwrap()]].concat(), None);
        let [said, told] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(output.status.success(), "{args:?}: {} {said} {told}", output.status);
        said
    }

    /// `agentverse <args> --config …`, which must end with this code; gives what it printed.
    pub fn refused(&self, args: &[&str], code: i32) -> String {
        let config = self.config();
        let output = run(&[args, &["--config", config.to_str().unwrap()]].concat(), None);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Has the broker forget the commands of an aggregate's first log.
    pub fn forget_commands(&self, aggregate: &str) {
        self.ground.forget_commands(aggregate);
    }

    /// Deletes the command topic of an aggregate, and makes it anew.
    pub fn remake_commands(&self, aggregate: &str) {
        self.ground.delete_commands(aggregate);
        self.command(&["topics", "apply", "--replicas", "1"]);
    }

    /// Starts another process of a role; gives its name, `<kind>-<number>`. It may take a while to be ready.
    pub fn start_role(&mut self, kind: &str) -> String {
        let number = self.starts.entry(kind.to_owned()).or_default();
        *number += 1;
        let name = format!("{kind}-{number}");
        let role = Role::start(kind, &self.config(), self.folder.path().join(format!("{name}.log")));
        self.roles.insert(name.clone(), role);
        name
    }

    pub fn wait_until_ready(&mut self, name: &str) {
        let role = self.roles.get_mut(name).unwrap();
        eventually(&format!("{name} is ready; see {}", role.log.display()), || role.is_ready().then_some(()));
    }

    /// `kill -9`.
    pub fn kill(&mut self, name: &str) {
        drop(self.roles.remove(name).unwrap());
    }

    /// SIGTERM: it ends what is under way and leaves its group.
    pub fn terminate(&mut self, name: &str) {
        self.roles.remove(name).unwrap().terminate();
    }

    /// Stops it in its tracks, as a long pause of its machine does.
    pub fn pause(&self, name: &str) {
        self.roles[name].signal(Signal::STOP);
    }

    pub fn resume(&self, name: &str) {
        self.roles[name].signal(Signal::CONT);
    }

    /// All that a process wrote so far.
    pub fn said(&self, name: &str) -> String {
        self.roles[name].said()
    }

    /// A client of a process, for a tenant.
    pub fn client(&self, name: &str, tenant: &str) -> Client {
        Client { address: self.roles[name].address.clone(), tenant: Some(tenant.to_owned()) }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.roles.clear();
        self.ground.clear();
        if std::thread::panicking() {
            self.folder.disable_cleanup(true);
            eprintln!("the logs of the fleet are kept in {}", self.folder.path().display());
        }
    }
}
