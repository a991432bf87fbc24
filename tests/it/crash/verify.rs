//! What must hold after any number of crashes, asked of a running system over HTTP.

use super::http::Http;
use super::load::{Answer, Fleet, Sent, Writer, by_stream, send};
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How long what was accepted before a crash may take to be decided after it.
const CATCH_UP_MAX: Duration = Duration::from_secs(90);
/// Threads that look at streams.
const READERS: usize = 4;
/// Commands sent again in one batch.
const BATCH: usize = 500;

/// One record of a stream as its history shows it.
#[derive(Debug)]
struct Entry {
    version: u64,
    kind: String,
    command_id: Uuid,
}

/// Acknowledged commands are there before anything is sent again; then all of them are sent again, under the same ids,
/// and change nothing; those that never were answered are answered now; and each has one effect.
pub fn everything(address: &SocketAddr, fleet: &Fleet, writers: &mut [Writer]) {
    each_stream(address, fleet, writers, |http, plural, subject, commands| {
        let acknowledged = commands.iter().copied().filter(|sent| sent.answer != Answer::None);
        all_there(http, plural, subject, &acknowledged.collect::<Vec<_>>());
    });
    let mut http = Http::new(*address, fleet.tenant);
    for writer in &mut *writers {
        let places: Vec<usize> = (0..writer.ledger.len()).collect();
        for group in places.chunks(BATCH) {
            let began = Instant::now();
            loop {
                // No answer to the whole leaves what was answered before as it was: it counts as none.
                let is_answered = send(&mut http, &mut writer.ledger, group, "applied");
                let is_decided = |place: &usize| matches!(writer.ledger[*place].answer, Answer::Decided { .. });
                let left = group.iter().find(|place| !is_answered || !is_decided(place));
                let Some(left) = left.map(|place| &writer.ledger[*place].event) else { break };
                assert!(began.elapsed() < CATCH_UP_MAX, "sent again and not decided: {left}");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
    each_stream(address, fleet, writers, |http, plural, subject, commands| {
        let history = history(http, plural, subject);
        one_effect_each(plural, subject, &history, commands);
    });
}

/// Looks at every stream that anything was sent to, at several at a time.
fn each_stream(
    address: &SocketAddr,
    fleet: &Fleet,
    writers: &[Writer],
    look: impl Fn(&mut Http, &'static str, Uuid, &[&Sent]) + Sync,
) {
    let streams: Vec<_> = by_stream(writers).into_iter().collect();
    std::thread::scope(|scope| {
        for part in streams.chunks(streams.len().div_ceil(READERS).max(1)) {
            let look = &look;
            scope.spawn(move || {
                let mut http = Http::new(*address, fleet.tenant);
                for ((plural, subject), commands) in part {
                    look(&mut http, plural, *subject, commands);
                }
            });
        }
    });
}

/// Waits until every one of these commands is in its stream's history.
fn all_there(http: &mut Http, plural: &str, subject: Uuid, commands: &[&Sent]) {
    let began = Instant::now();
    loop {
        let known: HashSet<Uuid> = history(http, plural, subject).iter().map(|entry| entry.command_id).collect();
        let lost = commands.iter().find(|sent| !known.contains(&sent.id));
        let Some(lost) = lost else { return };
        assert!(began.elapsed() < CATCH_UP_MAX, "lost, though it was acknowledged: {lost:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn one_effect_each(plural: &str, subject: Uuid, history: &[Entry], commands: &[&Sent]) {
    let place = format!("{plural} {subject}");
    let mut version = 0;
    // The last record of each command: those of one stand together, so that one that comes again took effect twice.
    let mut last: HashMap<Uuid, &Entry> = HashMap::new();
    let mut before = None;
    for entry in history {
        if entry.kind == "event" {
            version += 1;
        }
        assert_eq!(entry.version, version, "{place}: versions have a gap or a fork at {entry:?}");
        let again = last.insert(entry.command_id, entry).is_some() && before != Some(entry.command_id);
        assert!(!again, "{place}: took effect twice: {entry:?}");
        before = Some(entry.command_id);
    }
    for sent in commands {
        let entry = last.get(&sent.id);
        assert!(entry.is_some(), "{place}: nothing is recorded of {sent:?}");
        let Some(entry) = entry else { continue };
        let outcome = if entry.kind == "refused" { "refused" } else { "applied" };
        let recorded = Answer::Decided { outcome: outcome.to_owned(), version: entry.version.into() };
        assert_eq!(sent.answer, recorded, "{place}: the answer to {} is not what is recorded", sent.id);
    }
}

/// A stream's whole history, oldest first.
fn history(http: &mut Http, plural: &str, subject: Uuid) -> Vec<Entry> {
    let mut entries = Vec::new();
    for item in pages(http, &format!("/v1/{plural}/{subject}/history?order=desc")) {
        entries.push(Entry {
            version: item["version"].as_u64().unwrap(),
            kind: item["kind"].as_str().unwrap().to_owned(),
            command_id: item["command_id"].as_str().unwrap().parse().unwrap(),
        });
    }
    entries.reverse();
    entries
}

/// Every item of a list; none where there is no such resource.
fn pages(http: &mut Http, target: &str) -> Vec<Value> {
    let mut items = Vec::new();
    let mut next = format!("{target}&limit=1000");
    loop {
        let (status, mut page) = http.get(&next).unwrap();
        if status == 404 {
            return items;
        }
        assert_eq!(status, 200, "{next}: {page}");
        items.append(page["items"].as_array_mut().unwrap());
        match page["next_cursor"].as_str() {
            Some(cursor) => next = format!("{target}&limit=1000&cursor={cursor}"),
            None => return items,
        }
    }
}

/// No reaction was lost: nothing stays coupled to what has ended.
pub fn reactions(address: &SocketAddr, fleet: &Fleet) {
    let mut http = Http::new(*address, fleet.tenant);
    let began = Instant::now();
    loop {
        let mut gone = HashSet::new();
        for (list, ended) in [("agents", "decommissioned"), ("mcp-servers", "deregistered")] {
            let items = pages(&mut http, &format!("/v1/{list}?status={ended}"));
            gone.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        }
        assert!(!gone.is_empty(), "nothing has ended: the load is not what it should be");
        let mut live = pages(&mut http, "/v1/couplings?status=active");
        live.extend(pages(&mut http, "/v1/couplings?status=suspended"));
        assert!(!live.is_empty(), "nothing is coupled: the load is not what it should be");
        let is_gone = |coupling: &Value, field: &str| gone.contains(coupling[field].as_str().unwrap());
        let left = live.iter().find(|coupling| is_gone(coupling, "agent_id") || is_gone(coupling, "mcp_server_id"));
        let Some(left) = left else { return };
        assert!(began.elapsed() < CATCH_UP_MAX, "still coupled to what has ended: {left:#}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
