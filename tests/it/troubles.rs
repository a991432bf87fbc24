//! Troubles with the servers of a cluster, through the real binary and real servers: absent, stopped, slow, full, wrongly
//! configured, secured with another password. Each is met with words that say what to do; it is retried where it can
//! heal, and ends the process where it cannot; and nothing that was acknowledged is lost.
//!
//! What only looks at messages works on the servers of `AGENTVERSE_TEST_KAFKA` and `AGENTVERSE_TEST_CQL`. What stops and
//! secures servers starts its own, one test after the other, from the programs that `deploy/local/servers` downloaded.
//! Where these cannot be had, each test says so and passes. The latter two take minutes and are run by name:
//! `cargo test --test it -- --ignored --nocapture troubles::`

mod disk;
mod fleet;
mod outage;
mod secured;
mod servers;
mod start;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Servers of tests' own exist one set at a time: memory, and their ports.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until there is something, for at most so many seconds.
fn eventually<T>(what: &str, seconds: u64, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(seconds), "waited {seconds} s in vain: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The servers that the environment names, or a word that the test did not run.
fn named(test: &str) -> Option<(String, String)> {
    let variable = |name: &str| std::env::var(name).ok();
    let found = variable("AGENTVERSE_TEST_KAFKA").zip(variable("AGENTVERSE_TEST_CQL"));
    if found.is_none() {
        eprintln!("not run: {test} wants servers, named by AGENTVERSE_TEST_KAFKA and AGENTVERSE_TEST_CQL");
    }
    found
}
