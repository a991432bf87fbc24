//! Is what a log was to consume next still in its topic, and is that the topic that it consumed?
//!
//! Offsets alone do not say it: a topic that was deleted and made anew reaches the old offset again, and a log that went on
//! there would pass over all that lies below it. So the commands right before that offset are asked for as witnesses: one
//! that the log knows proves that it is the same topic.

use super::Error;
use crate::domain::{LogId, StreamId};
use crate::metrics::handles;
use crate::ports::journal::LogState;
use crate::ports::topic::{DeadLetter, Loss};
use crate::ports::{Index, Journal, Topics};
use hashbrown::HashSet;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// Commands that are asked for, first few and then more. The last one alone would not do: one that could not be decided
/// is in no log, and a fault that buries one command may bury many in a row. Where it buried all of them, their letters
/// are witnesses.
const WITNESSES: [usize; 3] = [8, 64, 1_024];
/// Records at the end of the log that are looked through for them, since their index rows may not be written yet.
const RECORDS: u64 = 100;
/// Dead letters that are read at a time.
const LETTERS: usize = 500;

/// A log that lost commands: between two looks whether that is accepted, and until the topic is looked at again.
const LOST_PAUSE: Duration = Duration::from_secs(2);
const LOST_AGAIN: Duration = Duration::from_secs(60);

/// What a log lost of its commands, if anything. To be asked while nobody appends to it.
///
/// # Errors
/// When the stores cannot be asked.
pub async fn missing(
    log: LogId,
    state: &LogState,
    topics: &dyn Topics,
    journal: &dyn Journal,
    index: &dyn Index,
) -> Result<Option<Loss>, Error> {
    let mut lost = None;
    let mut unknown = HashSet::new();
    for witnesses in WITNESSES {
        let held = topics.held(log, state.consumed, witnesses).await?;
        let loss = Loss { log, consumed: state.consumed, low: held.low, end: held.end };
        if state.consumed < held.low || state.consumed > held.end {
            return Ok(Some(loss));
        }
        if !held.before.is_empty() {
            if knows_one(log, state, &held.before, journal, index).await? {
                return Ok(None);
            }
            lost = Some(loss);
            unknown.extend(held.before.iter().map(|(_, command_id)| *command_id));
        }
        if state.consumed <= held.low + witnesses as u64 {
            break;
        }
    }
    if lost.is_some() && died_here(log, &unknown, topics).await? {
        return Ok(None);
    }
    Ok(lost)
}

/// Whether one of these commands is a dead letter of this log.
async fn died_here(log: LogId, commands: &HashSet<Uuid>, topics: &dyn Topics) -> Result<bool, Error> {
    let mut from = 0;
    loop {
        let letters = topics.dead_letters(from, LETTERS).await?;
        let Some((last, _)) = letters.last() else { return Ok(false) };
        from = last + 1;
        let is_one_of_them = |letter: &DeadLetter| {
            letter.log() == Some(log) && letter.command_id.is_some_and(|command_id| commands.contains(&command_id))
        };
        if letters.iter().any(|(_, buried)| is_one_of_them(&buried.letter)) {
            return Ok(true);
        }
    }
}

async fn knows_one(
    log: LogId,
    state: &LogState,
    commands: &[(StreamId, Uuid)],
    journal: &dyn Journal,
    index: &dyn Index,
) -> Result<bool, Error> {
    let first = state.head.saturating_sub(RECORDS) + 1;
    let records = journal.read(log, first, RECORDS as usize).await?;
    let recent: HashSet<Uuid> = records.iter().map(|recorded| recorded.record.envelope.command_id).collect();
    for (stream, command_id) in commands {
        if recent.contains(command_id) || knows(index, log, *stream, *command_id).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn knows(index: &dyn Index, log: LogId, stream: StreamId, command_id: Uuid) -> Result<bool, Error> {
    let heads = index.heads(log, &[stream]).await?;
    let Some(Some(head)) = heads.first() else { return Ok(false) };
    let is_in_head = head.known.iter().any(|known| known.command_id == command_id);
    Ok(is_in_head || (head.displaced && index.known(stream, command_id).await?.is_some()))
}

/// Waits until somebody accepted what is lost, or it is time to look whether it came back.
pub(super) async fn accepted(loss: &Loss, journal: &dyn Journal) {
    handles().receive_lost_logs.increment(1);
    let began = Instant::now();
    while began.elapsed() < LOST_AGAIN {
        tokio::time::sleep(LOST_PAUSE).await;
        if let Ok(state) = journal.state(loss.log).await
            && state.consumed != loss.consumed
        {
            let (log, consumed) = (loss.log, state.consumed);
            tracing::warn!(%log, consumed, before = loss.consumed, "the loss was accepted: the log goes on at another offset");
            break;
        }
    }
    handles().receive_lost_logs.decrement(1);
}
