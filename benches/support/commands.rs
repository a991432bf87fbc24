//! Commands as a producer sends them: agents are registered, then revised, each command with 300 bytes of data.

use super::{TENANT, ok};
use agentverse::domain::TenantId;
use agentverse::flow::gateway::Submission;
use agentverse::flow::receive::{Admission, Claim, Item, Problem, Received, Receiver, Shape};
use agentverse::ports::topic::Accepted;
use std::sync::Arc;
use uuid::Uuid;

/// Length of each command's data, in bytes.
const DATA_BYTES: usize = 300;

#[derive(Clone, Copy)]
pub enum Kind {
    Register = 1,
    Revise = 2,
}

/// An id scattered over the whole range.
fn id(what: u8, number: u64) -> Uuid {
    let mut name = [what; 9];
    name[1..].copy_from_slice(&number.to_be_bytes());
    Uuid::new_v5(&TENANT.0, &name)
}

fn data(kind: Kind, agent: u64) -> String {
    let start = match kind {
        Kind::Register => format!(
            r#"{{"name":"agent {agent:010}","category":"support","role":"worker","skills":["search","summarise"],"domains":["operations"],"risk_tier":"low","purpose":""#
        ),
        Kind::Revise => format!(r#"{{"purpose":"revision of {agent:010}: "#),
    };
    let room = DATA_BYTES - start.len() - 2;
    let text: String = "answers tickets for the orders team and reports daily ".chars().cycle().take(room).collect();
    format!("{start}{text}\"}}")
}

/// A batch in JSON: one command for each of `count` agents from number `first` on.
pub fn body(kind: Kind, first: u64, count: usize) -> String {
    let record = match kind {
        Kind::Register => "RegisterAgent",
        Kind::Revise => "ReviseAgent",
    };
    let events = (first..).take(count).map(|agent| {
        let (id, subject, data) = (id(kind as u8, agent), id(0, agent), data(kind, agent));
        assert_eq!(data.len(), DATA_BYTES);
        format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"bench","type":"agent.{record}","subject":"{subject}","data":{data}}}"#
        )
    });
    format!("[{}]", events.collect::<Vec<_>>().join(","))
}

/// Every command is [`TENANT`]'s.
struct Ours;

impl Admission for Ours {
    fn admit(&self, _claim: &Claim) -> Result<Option<TenantId>, Problem> {
        Ok(Some(TENANT))
    }
}

/// Reads a batch.
pub fn receive(body: &str) -> Vec<Item> {
    let receiver = Receiver {
        admission: &Ours,
        generate: &Uuid::nil,
        idempotency_key: None,
        traceparent: None,
        commands_max: usize::MAX,
    };
    match ok(receiver.structured(body.as_bytes(), Shape::Batch)) {
        Received::Batch(items) => items,
        Received::One(item) => vec![*item],
    }
}

pub fn submissions(kind: Kind, first: u64, count: usize) -> Vec<Submission> {
    receive(&body(kind, first, count)).into_iter().map(ok).collect()
}

pub fn accepted(kind: Kind, first: u64, count: usize) -> Vec<Arc<Accepted>> {
    let submissions = submissions(kind, first, count).into_iter();
    submissions.map(|taken| Arc::new(ok(Accepted::new(taken.envelope, taken.command)))).collect()
}
