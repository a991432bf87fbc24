//! When a command becomes *queryable*: asked on fresh connections, as somebody else would ask.
//!
//! A few plain threads with blocking sockets, apart from the senders: a thread's sleep is exact to a fraction of the
//! poll interval, where the asynchronous timer is not, and a busy sender delays no check. A sample that waits for a
//! thread is measured too long, never too short.

#![expect(clippy::disallowed_methods, reason = "a load generator measures time itself")]

use super::stats::Samples;
use super::wire::{Head, parse_head};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use uuid::Uuid;

const THREADS: usize = 6;
/// The first wait between two polls of a sample; later ones are a quarter of its age.
const INTERVAL_MIN: Duration = Duration::from_micros(500);
const INTERVAL_MAX: Duration = Duration::from_millis(50);
/// A sample that is not seen within this is given up and counted as not queryable.
const SEEN_WITHIN: Duration = Duration::from_secs(60);
/// For connecting and for each read of a poll.
const POLL_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Where the system is.
#[derive(Clone, Debug)]
pub struct Target {
    pub address: SocketAddr,
    /// For the `Host` header.
    pub authority: String,
    pub prefix: String,
}

/// An agent that must be seen at `version` or later.
#[derive(Clone, Debug)]
pub struct Sample {
    pub tenant: Uuid,
    pub agent: Uuid,
    pub version: u64,
    pub accepted: Instant,
    /// Counts for `queryable_ms`; the checks at the end of a run do not, they come in a crowd.
    pub timed: bool,
}

/// What the sampler saw.
#[derive(Debug, Default)]
pub struct Seen {
    pub queryable: Samples,
    /// Samples that both views showed.
    pub seen: u64,
    pub not_seen: u64,
    pub errors: BTreeMap<String, u64>,
    /// When the last of them became visible.
    pub last: Option<Instant>,
}

pub struct Sampler {
    channels: Vec<Sender<Sample>>,
    threads: Vec<JoinHandle<Seen>>,
}

/// Hands samples to the threads, each in its turn.
#[derive(Clone, Debug)]
pub struct Watcher {
    channels: Vec<Sender<Sample>>,
    turn: usize,
}

impl Sampler {
    /// # Errors
    /// When the system gives no threads.
    pub fn start(target: &Target) -> io::Result<Self> {
        let mut sampler = Self { channels: Vec::new(), threads: Vec::new() };
        for _ in 0..THREADS {
            let (sender, receiver) = channel();
            let target = target.clone();
            let thread = std::thread::Builder::new().name("sampler".into());
            sampler.threads.push(thread.spawn(move || watch(&target, &receiver))?);
            sampler.channels.push(sender);
        }
        Ok(sampler)
    }

    pub fn watcher(&self, turn: usize) -> Watcher {
        Watcher { channels: self.channels.clone(), turn }
    }

    /// Waits until every sample was seen or given up. All watchers must be gone by then.
    pub fn finish(self) -> Seen {
        drop(self.channels);
        let mut all = Seen::default();
        for thread in self.threads {
            // A thread that panicked has told so on standard error; what it watched is missing, and must show.
            let seen = thread.join().unwrap_or_else(|_| Seen { not_seen: 1, ..Seen::default() });
            all.queryable.merge(seen.queryable);
            all.seen += seen.seen;
            all.not_seen += seen.not_seen;
            all.last = all.last.max(seen.last);
            for (kind, count) in seen.errors {
                *all.errors.entry(kind).or_default() += count;
            }
        }
        all
    }
}

impl Watcher {
    pub fn watch(&mut self, sample: Sample) {
        self.turn = (self.turn + 1) % self.channels.len().max(1);
        if let Some(channel) = self.channels.get(self.turn) {
            // The thread lives as long as there are watchers.
            _ = channel.send(sample);
        }
    }
}

struct Pending {
    sample: Sample,
    next: Instant,
    by_id: bool,
}

fn watch(target: &Target, inbox: &Receiver<Sample>) -> Seen {
    let mut seen = Seen::default();
    let mut pending: Vec<Pending> = Vec::new();
    let mut open = true;
    while open || !pending.is_empty() {
        let due = pending.iter().enumerate().min_by_key(|(_, pending)| pending.next).map(|(index, p)| (index, p.next));
        let wait = due.map_or(Duration::MAX, |(_, next)| next.saturating_duration_since(Instant::now()));
        if open && !wait.is_zero() {
            match inbox.recv_timeout(wait.min(Duration::from_secs(3_600))) {
                Ok(sample) => pending.push(Pending { next: Instant::now(), sample, by_id: false }),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => open = false,
            }
            continue;
        }
        let Some((index, _)) = due else { continue };
        std::thread::sleep(wait);
        if settle(target, &mut pending[index], &mut seen) {
            pending.swap_remove(index);
        }
        pending.extend(inbox.try_iter().map(|sample| Pending { next: Instant::now(), sample, by_id: false }));
    }
    seen
}

/// Polls once. True when the sample is done with.
fn settle(target: &Target, pending: &mut Pending, seen: &mut Seen) -> bool {
    let sample = &pending.sample;
    let result = poll(target, sample, &mut pending.by_id);
    let now = Instant::now();
    let age = now.saturating_duration_since(sample.accepted);
    match result {
        Ok(true) => {
            seen.seen += 1;
            seen.last = seen.last.max(Some(now));
            if sample.timed {
                seen.queryable.add(age);
            }
            return true;
        }
        Ok(false) => {}
        Err(kind) => *seen.errors.entry(kind).or_default() += 1,
    }
    if age > SEEN_WITHIN {
        seen.not_seen += 1;
        return true;
    }
    pending.next = now + (age / 4).clamp(INTERVAL_MIN, INTERVAL_MAX);
    false
}

#[derive(Deserialize)]
struct Shown {
    id: Uuid,
    version: u64,
}

#[derive(Deserialize)]
struct Listed {
    items: Vec<Shown>,
}

/// Whether both views show the version: the resource itself, then its tenant's list.
fn poll(target: &Target, sample: &Sample, by_id: &mut bool) -> Result<bool, String> {
    let enough = |shown: &Shown| shown.id == sample.agent && shown.version >= sample.version;
    if !*by_id {
        let shown: Option<Shown> = get(target, sample.tenant, &format!("/v1/agents/{}", sample.agent))?;
        *by_id = shown.is_some_and(|shown| enough(&shown));
    }
    if !*by_id {
        return Ok(false);
    }
    let listed: Option<Listed> = get(target, sample.tenant, &format!("/v1/agents?id={}", sample.agent))?;
    Ok(listed.is_some_and(|listed| listed.items.iter().any(enough)))
}

/// One GET on a connection of its own; `None` for 404.
fn get<T: for<'a> Deserialize<'a>>(target: &Target, tenant: Uuid, path: &str) -> Result<Option<T>, String> {
    let (head, body) = exchange(target, tenant, path).map_err(|cause| format!("read_{}", io_kind(&cause)))?;
    match head.status {
        200 => serde_json::from_slice(&body).map(Some).map_err(|_| "read_malformed_answer".to_owned()),
        404 => Ok(None),
        status => Err(format!("read_http_{status}")),
    }
}

fn exchange(target: &Target, tenant: Uuid, path: &str) -> io::Result<(Head, Vec<u8>)> {
    let mut stream = TcpStream::connect_timeout(&target.address, POLL_TIMEOUT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(POLL_TIMEOUT))?;
    stream.set_write_timeout(Some(POLL_TIMEOUT))?;
    let Target { authority, prefix, .. } = target;
    let request = format!(
        "GET {prefix}{path} HTTP/1.1\r\nhost: {authority}\r\nagentverse-tenant: {tenant}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::with_capacity(4096);
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    let (head, start) = parse_head(&answer)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let body = answer.split_off(start);
    match head.length {
        Some(length) if body.len() != length => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok((head, body)),
    }
}

/// The name under which an I/O error is counted.
pub fn io_kind(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection_refused",
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => "connection_lost",
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "timed_out",
        io::ErrorKind::InvalidData => "malformed_answer",
        _ => "io",
    }
}
