//! Brings a batch of commands to the server, and tells what became of each.

use super::lines::Line;
use crate::cli::client::{ClientError, Connection, Problem, Request};
use crate::runtime::retry::Policy;
use bytes::Bytes;
use serde::Deserialize;
use std::ops::Range;
use uuid::Uuid;

const BATCH: &str = "application/cloudevents-batch+json";

/// What became of a command. `Rejected`: it could not be read and is not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Accepted,
    Applied,
    Refused,
    DeadLettered,
    Rejected,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub outcome: Outcome,
    pub id: Option<String>,
    /// Machine-readable; empty when all is well.
    pub code: String,
    pub message: String,
}

#[derive(Debug, Deserialize)]
struct Items {
    items: Vec<Item>,
}

/// An item of the answer: an outcome, or a problem in its place.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Item {
    id: Option<String>,
    outcome: Option<String>,
    reason: Option<Reason>,
    #[serde(rename = "type")]
    kind: Option<String>,
    title: Option<String>,
    detail: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Reason {
    code: String,
    message: String,
}

impl From<Item> for Verdict {
    fn from(item: Item) -> Self {
        let outcome = match item.outcome.as_deref() {
            Some("accepted") => Outcome::Accepted,
            Some("applied") => Outcome::Applied,
            Some("refused") => Outcome::Refused,
            Some("dead_lettered") => Outcome::DeadLettered,
            _ => Outcome::Rejected,
        };
        let (code, message) = match item.reason {
            Some(reason) => (reason.code, reason.message),
            None => (code(&item.kind.unwrap_or_default()), item.detail.or(item.title).unwrap_or_default()),
        };
        Self { outcome, id: item.id, code, message }
    }
}

/// Delivers batches in order over one connection.
pub struct Courier {
    pub connection: Connection,
    /// Path and query of the commands.
    pub target: String,
    pub tenant: Option<Uuid>,
    pub policy: Policy,
    /// Attempts beyond the first, so far.
    pub retries: u64,
}

impl Courier {
    /// One verdict per line, in their order. The same bytes go out at every attempt, so that no command takes effect
    /// twice. A batch that the server finds too large goes in halves.
    ///
    /// # Errors
    /// When the server cannot be reached or stays busy for as long as the policy waits, or when it refuses the request
    /// as a whole (wrong credentials, no such route): it is unknown which lines were taken.
    pub async fn deliver(&mut self, lines: &[Line]) -> Result<Vec<Verdict>, ClientError> {
        let mut verdicts = Vec::with_capacity(lines.len());
        let mut open: Vec<Range<usize>> = (!lines.is_empty()).then_some(0..lines.len()).into_iter().collect();
        while let Some(range) = open.pop() {
            match self.post(body(&lines[range.clone()])).await {
                Ok(items) if items.len() == range.len() => verdicts.extend(items.into_iter().map(Verdict::from)),
                Ok(items) => {
                    let cause = format!("{} commands were sent, {} answered", range.len(), items.len());
                    return Err(ClientError::Broken { cause });
                }
                Err(ClientError::Problem(problem)) if problem.status == 413 && range.len() > 1 => {
                    let middle = range.start + range.len() / 2;
                    open.push(middle..range.end);
                    open.push(range.start..middle);
                }
                Err(ClientError::Problem(problem)) if matches!(problem.status, 400 | 409 | 413 | 422) => {
                    verdicts.extend(range.map(|_| rejected(&problem)));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(verdicts)
    }

    async fn post(&mut self, body: Bytes) -> Result<Vec<Item>, ClientError> {
        let mut waits = self.policy.waits();
        loop {
            let request = Request::post(self.target.clone(), self.tenant, BATCH, body.clone());
            let error = match self.connection.request(request).await {
                Ok(answer) => return Ok(answer.json::<Items>()?.items),
                Err(error) => error,
            };
            let Some(asked) = error.retry_after() else { return Err(error) };
            let Some(wait) = waits.after(asked) else { return Err(error) };
            self.retries += 1;
            tokio::time::sleep(wait).await;
        }
    }
}

fn body(lines: &[Line]) -> Bytes {
    let mut body = String::with_capacity(2 + lines.iter().map(|line| line.event.len() + 1).sum::<usize>());
    body.push('[');
    for (index, line) in lines.iter().enumerate() {
        if index > 0 {
            body.push(',');
        }
        body.push_str(&line.event);
    }
    body.push(']');
    body.into()
}

fn rejected(problem: &Problem) -> Verdict {
    Verdict { outcome: Outcome::Rejected, id: None, code: code(&problem.kind), message: problem.to_string() }
}

/// The code of a problem, which ends its type.
fn code(kind: &str) -> String {
    kind.rsplit('/').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_one_json_array() {
        let line = |number, event: &str| Line { number, event: event.into() };
        assert_eq!(body(&[line(1, r#"{"id":"a"}"#), line(2, r#"{"id":"b"}"#)]), r#"[{"id":"a"},{"id":"b"}]"#);
    }

    #[test]
    fn an_item_without_a_known_outcome_is_a_rejection_with_its_problem() {
        let item: Item =
            serde_json::from_str(r#"{"type":"/problems/x","title":"Malformed","detail":"no type","status":400}"#)
                .unwrap();
        let verdict = Verdict::from(item);
        assert_eq!(
            (verdict.outcome, verdict.code.as_str(), verdict.message.as_str()),
            (Outcome::Rejected, "x", "no type")
        );
    }

    #[test]
    fn a_refusal_keeps_its_reason() {
        let json = r#"{"id":"a","subject":"s","outcome":"refused","version":3,"reason":{"code":"illegal_transition","message":"m","details":{}}}"#;
        let verdict = Verdict::from(serde_json::from_str::<Item>(json).unwrap());
        assert_eq!((verdict.outcome, verdict.code.as_str()), (Outcome::Refused, "illegal_transition"));
    }
}
