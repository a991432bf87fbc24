//! Seeding: stages of commands go in through the gateway, like anybody's, each once the one before it is decided.

use crate::domain::{AnyCommand, Envelope};
use crate::flow::gateway::{Gateway, Submission, Wait};
use crate::flow::outcome::OutcomeKind;
use crate::ports::topic::Error;
use std::collections::BTreeMap;
use std::time::Duration;

/// Commands sent at once.
const CHUNK: usize = 500;
/// How long a chunk may take until all of it is decided.
const CHUNK_WAIT: Duration = Duration::from_secs(60);

/// What became of seeded commands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub applied: usize,
    pub refused: usize,
    pub dead_lettered: usize,
    /// Not decided while waiting.
    pub undecided: usize,
    /// Refusals and dead letters by their code.
    pub reasons: BTreeMap<String, usize>,
}

/// Sends commands and waits until the views show what became of them. `done` is told how many there were after each
/// chunk.
///
/// # Errors
/// When the topics cannot be written. Everything may be sent again: known commands change nothing.
pub async fn send(
    gateway: &Gateway,
    commands: Vec<(Envelope, AnyCommand)>,
    tally: &mut Tally,
    mut done: impl FnMut(usize),
) -> Result<(), Error> {
    let mut commands = commands.into_iter().peekable();
    while commands.peek().is_some() {
        let chunk: Vec<Submission> =
            commands.by_ref().take(CHUNK).map(|(envelope, command)| Submission { envelope, command }).collect();
        let count = chunk.len();
        let outcomes = loop {
            match gateway.submit(chunk.clone(), Wait::Projected, CHUNK_WAIT).await {
                Err(Error::Overloaded { retry_after }) => tokio::time::sleep(retry_after).await,
                other => break other?,
            }
        };
        for outcome in outcomes {
            match outcome.kind {
                OutcomeKind::Applied => tally.applied += 1,
                OutcomeKind::Refused => tally.refused += 1,
                OutcomeKind::DeadLettered => tally.dead_lettered += 1,
                OutcomeKind::Accepted => tally.undecided += 1,
            }
            if let Some(reason) = outcome.reason {
                *tally.reasons.entry(reason.code).or_default() += 1;
            }
        }
        done(count);
    }
    Ok(())
}
