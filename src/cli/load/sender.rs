//! One connection's share of the run: builds its requests, sends each when it is due, and never loses one.

use super::body::{Bodies, Frame};
use super::pace::Pace;
use super::plan::{Group, Plan, Planned, Use, id, mix};
use super::sampler::{Sample, Watcher, io_kind};
use super::stats::Samples;
use super::wire::Poster;
use crate::runtime::retry::Policy;
use parking_lot::Mutex;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// How a request is tried again; it is given up, and the run with it, only after two minutes of waiting.
const RETRY: Policy =
    Policy { first: Duration::from_millis(10), longest: Duration::from_secs(1), budget: Duration::from_secs(120) };

/// What all connections have in common.
pub struct Run {
    pub plan: Plan,
    pub bodies: Bodies,
    pub pace: Pace,
    /// By tenant number: its id, and the head of its requests.
    pub tenants: Vec<(Uuid, String)>,
    /// For one exchange.
    pub timeout: Duration,
    /// Nothing new is sent after it.
    pub deadline: Option<Instant>,
    /// One command in so many is checked by the sampler.
    pub sample_every: u64,
    /// Commands accepted so far.
    pub accepted: AtomicU64,
    /// Set when going on makes no sense.
    pub stop: AtomicBool,
    pub tally: Mutex<Tally>,
}

/// What happened so far.
#[derive(Debug, Default)]
pub struct Tally {
    /// Per request, from when it was meant to go until it was accepted.
    pub accepted: Samples,
    pub registered: u64,
    pub revised: u64,
    /// Commands (or, where none was read, requests) that failed for good.
    pub errors: BTreeMap<String, u64>,
    /// The first text of each kind of error.
    pub examples: BTreeMap<String, String>,
    /// Requests sent again, by cause.
    pub retries: BTreeMap<String, u64>,
    pub first_sent: Option<Instant>,
    pub last_accepted: Option<Instant>,
}

/// Why a command or a request failed: a stable kind, and what was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub kind: String,
    pub text: String,
}

impl Tally {
    pub fn fault(&mut self, fault: Fault) {
        *self.errors.entry(fault.kind.clone()).or_default() += 1;
        self.examples.entry(fault.kind).or_insert(fault.text);
    }
}

#[derive(Deserialize)]
struct Items<'a> {
    #[serde(borrow)]
    items: Vec<Item<'a>>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(default)]
    outcome: &'a str,
    reason: Option<Reason>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Reason {
    code: String,
    message: String,
}

/// The commands of an answer that failed, by their place in the request.
///
/// # Errors
/// When the answer cannot be read or is about another number of commands.
fn faults(body: &[u8], single: bool, size: usize) -> Result<Vec<(usize, Fault)>, Fault> {
    let malformed = |text: String| Fault { kind: "malformed_answer".into(), text };
    let items = if single {
        vec![serde_json::from_slice(body).map_err(|cause| malformed(cause.to_string()))?]
    } else {
        serde_json::from_slice::<Items<'_>>(body).map_err(|cause| malformed(cause.to_string()))?.items
    };
    if items.len() != size {
        return Err(malformed(format!("{size} commands were sent, {} answered", items.len())));
    }
    let failed = items.into_iter().enumerate().filter(|(_, item)| !matches!(item.outcome, "accepted" | "applied"));
    Ok(failed
        .map(|(index, item)| {
            let Reason { code, message } = item.reason.unwrap_or_default();
            let outcome = if item.outcome.is_empty() { "rejected" } else { item.outcome };
            (index, Fault { kind: format!("{outcome}:{code}"), text: message })
        })
        .collect())
}

/// The state of one connection.
struct Lane {
    poster: Poster,
    frame: Frame,
    groups: Vec<Group>,
    turn: usize,
    planned: Vec<Planned>,
    watcher: Watcher,
    /// The last request that was accepted: its tenant and commands.
    last: (u64, Vec<Planned>),
}

/// Sends everything that falls to `connection`, and returns samples of the last that it sent.
pub async fn connection(run: Arc<Run>, connection: u64, poster: Poster, watcher: Watcher) -> Vec<Sample> {
    let mut lane = Lane {
        poster,
        frame: Frame::default(),
        groups: run.plan.groups(connection),
        turn: 0,
        planned: Vec::new(),
        watcher,
        last: (0, Vec::new()),
    };
    let mut request = connection;
    while let Some(size) = run.plan.size(request) {
        let counted_from = run.pace.due(request).await;
        let late = run.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if late || run.stop.load(Ordering::Relaxed) {
            break;
        }
        lane.send(&run, request, size, counted_from).await;
        request += run.plan.connections;
    }
    lane.last_samples(&run)
}

impl Lane {
    async fn send(&mut self, run: &Run, request: u64, size: u64, counted_from: Instant) {
        let tenant = match self.build(run, request, size) {
            Ok(tenant) => tenant,
            Err(fault) => return run.give_up(fault),
        };
        let started = Instant::now();
        {
            let mut tally = run.tally.lock();
            tally.first_sent = Some(tally.first_sent.map_or(started, |first| first.min(started)));
        }
        let failed = match self.deliver(run).await {
            Ok(failed) => failed,
            Err(fault) => return run.give_up(fault),
        };
        let accepted = Instant::now();
        let before = run.accepted.fetch_add(size - failed.len() as u64, Ordering::Relaxed);
        self.sample(run, tenant, accepted, before, &failed);
        let registered = self.planned.iter().filter(|planned| planned.version == 1).count() as u64;
        let mut tally = run.tally.lock();
        tally.accepted.add(accepted.saturating_duration_since(counted_from));
        tally.registered += registered;
        tally.revised += size - registered;
        tally.last_accepted = tally.last_accepted.max(Some(accepted));
        if failed.is_empty() {
            self.last.0 = tenant;
            std::mem::swap(&mut self.last.1, &mut self.planned);
        }
        for (_, fault) in failed {
            tally.fault(fault);
        }
    }

    /// Builds the request into the frame and returns its tenant's number. Each group has its turn.
    fn build(&mut self, run: &Run, request: u64, size: u64) -> Result<u64, Fault> {
        let groups = self.groups.len().max(1);
        self.turn = (self.turn + 1) % groups;
        let broken = |text: &str| Fault { kind: "generator".into(), text: text.into() };
        let group = self.groups.get_mut(self.turn).ok_or_else(|| broken("a connection has no streams"))?;
        self.planned.clear();
        let single = run.plan.batch == 1;
        let body = self.frame.begin();
        if !single {
            body.push(b'[');
        }
        for index in 0..size {
            if index > 0 {
                body.push(b',');
            }
            let planned = group.next();
            run.bodies.push(body, request * run.plan.batch + index, planned);
            self.planned.push(planned);
        }
        if !single {
            body.push(b']');
        }
        let (_, head) = run.tenants.get(group.tenant as usize).ok_or_else(|| broken("a group has no tenant"))?;
        self.frame.seal(head).map_err(|why| broken(&why))?;
        Ok(group.tenant)
    }

    /// Sends the frame until it is answered; the same bytes each time, so that nothing takes effect twice.
    async fn deliver(&mut self, run: &Run) -> Result<Vec<(usize, Fault)>, Fault> {
        let mut waits = RETRY.waits();
        loop {
            let exchange = self.poster.exchange(self.frame.bytes());
            let (fault, asked) = match tokio::time::timeout(run.timeout, exchange).await {
                Ok(Ok((head, body))) => match head.status {
                    200 | 202 => return faults(body, run.plan.batch == 1, self.planned.len()),
                    429 | 502 | 503 | 504 => {
                        let fault = Fault { kind: format!("http_{}", head.status), text: said(body) };
                        (fault, head.retry_after_seconds.map(Duration::from_secs))
                    }
                    status => return Err(Fault { kind: format!("http_{status}"), text: said(body) }),
                },
                Ok(Err(error)) => (Fault { kind: io_kind(&error).into(), text: error.to_string() }, None),
                Err(_) => (Fault { kind: "timed_out".into(), text: format!("no answer in {:?}", run.timeout) }, None),
            };
            let Some(wait) = waits.after(asked).filter(|_| !run.stop.load(Ordering::Relaxed)) else {
                return Err(fault);
            };
            *run.tally.lock().retries.entry(fault.kind).or_default() += 1;
            tokio::time::sleep(wait).await;
        }
    }

    /// Hands one command in `sample_every` of the whole run to the sampler, the very first among them. Counted over all
    /// connections, so that samples come evenly and not in crowds. `before` is how many commands were accepted earlier.
    fn sample(&mut self, run: &Run, tenant: u64, accepted: Instant, before: u64, failed: &[(usize, Fault)]) {
        let size = self.planned.len();
        let after = before + (size - failed.len()) as u64;
        for number in (before.next_multiple_of(run.sample_every)..after).step_by(run.sample_every as usize) {
            let random = (mix(run.plan.seed ^ number) % size as u64) as usize;
            let place = (random..size).chain(0..random).find(|place| !failed.iter().any(|(failed, _)| failed == place));
            let planned = place.and_then(|place| self.planned.get(place).copied());
            if let Some(sample) = planned.and_then(|planned| run.sample(tenant, planned, accepted, true)) {
                self.watcher.watch(sample);
            }
        }
    }

    /// The last command of the last request, and some of those before it.
    fn last_samples(self, run: &Run) -> Vec<Sample> {
        const SAMPLES: usize = 16;
        let (tenant, planned) = self.last;
        let step = planned.len().div_ceil(SAMPLES).max(1);
        let now = Instant::now();
        planned.iter().rev().step_by(step).filter_map(|planned| run.sample(tenant, *planned, now, false)).collect()
    }
}

impl Run {
    fn sample(&self, tenant: u64, planned: Planned, accepted: Instant, timed: bool) -> Option<Sample> {
        let (tenant, _) = self.tenants.get(tenant as usize)?;
        let agent = id(self.plan.seed, Use::Stream, planned.stream);
        Some(Sample { tenant: *tenant, agent, version: planned.version, accepted: accepted.into_std(), timed })
    }

    /// The request is lost and later versions would not be what was planned: the whole run ends.
    fn give_up(&self, fault: Fault) {
        self.stop.store(true, Ordering::Relaxed);
        self.tally.lock().fault(fault);
    }
}

/// The beginning of an error answer.
fn said(body: &[u8]) -> String {
    String::from_utf8_lossy(body).chars().filter(|c| !c.is_control()).take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_failures_has_no_faults() {
        let body =
            br#"{"items":[{"id":"a","outcome":"accepted"},{"id":"b","outcome":"applied","version":2,"reason":null}]}"#;
        assert_eq!(faults(body, false, 2), Ok(vec![]));
        assert_eq!(faults(br#"{"id":"a","outcome":"accepted"}"#, true, 1), Ok(vec![]));
    }

    #[test]
    fn failures_are_counted_by_outcome_and_code() {
        let body = br#"{"items":[{"outcome":"applied"},{"outcome":"refused","reason":{"code":"tenant_closed","message":"m","details":{}}},{"title":"x"}]}"#;
        let found = faults(body, false, 3).unwrap();
        let kinds: Vec<_> = found.iter().map(|(index, fault)| (*index, fault.kind.as_str())).collect();
        assert_eq!(kinds, [(1, "refused:tenant_closed"), (2, "rejected:")]);
    }

    #[test]
    fn an_answer_about_fewer_commands_is_no_answer() {
        assert_eq!(faults(br#"{"items":[]}"#, false, 1).unwrap_err().kind, "malformed_answer");
        assert_eq!(faults(b"{", false, 1).unwrap_err().kind, "malformed_answer");
    }
}
