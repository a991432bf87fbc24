//! What became of a command: the answer that a caller waits for, and the hub where callers wait.

use crate::domain::{LogId, Rejection, StreamId};
use hashbrown::HashMap;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::oneshot;
use uuid::Uuid;

/// How a command ended, or how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeKind {
    /// Durable, not decided yet.
    Accepted,
    Applied,
    Refused,
    DeadLettered,
}

/// The answer for one command.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub kind: OutcomeKind,
    /// The stream's version after it; absent while only accepted, and for a dead letter.
    pub version: Option<u64>,
    pub reason: Option<Rejection>,
    /// The log and position that the answer rests on; 0 where it rests on none.
    pub log: LogId,
    pub position: u64,
}

/// Where callers wait for outcomes. An entry lives as long as its caller waits.
#[derive(Default)]
pub struct OutcomeHub {
    shards: [Mutex<Waiting>; SHARDS],
}

/// By the command's identity, which is its stream and its id; with the digest of the content that each caller sent.
type Waiting = HashMap<(StreamId, Uuid), Vec<(u64, oneshot::Sender<Outcome>)>>;

const SHARDS: usize = 16;

impl OutcomeHub {
    /// Waits for the outcome of a command with this content; call it before the command is produced.
    pub fn wait(&self, stream: StreamId, command_id: Uuid, digest: u64) -> oneshot::Receiver<Outcome> {
        let (sender, receiver) = oneshot::channel();
        self.shard(command_id).lock().entry((stream, command_id)).or_default().push((digest, sender));
        receiver
    }

    /// Tells everyone who waits for this command. Those whose command had other content under the same id stay.
    pub fn tell(&self, stream: StreamId, command_id: Uuid, digest: u64, outcome: impl FnOnce() -> Outcome) {
        let key = (stream, command_id);
        let mut shard = self.shard(command_id).lock();
        let Some(waiting) = shard.get_mut(&key) else { return };
        let (told, left): (Vec<_>, Vec<_>) = waiting.drain(..).partition(|(theirs, _)| *theirs == digest);
        if left.is_empty() {
            shard.remove(&key);
        } else {
            *waiting = left;
        }
        drop(shard);
        if told.is_empty() {
            return;
        }
        let outcome = outcome();
        for (_, sender) in told {
            // A caller that gave up has dropped its end.
            let _ = sender.send(outcome.clone());
        }
    }

    /// Forgets the callers of a command that gave up.
    pub fn forget(&self, stream: StreamId, command_id: Uuid) {
        let key = (stream, command_id);
        let mut shard = self.shard(command_id).lock();
        if let Some(waiting) = shard.get_mut(&key) {
            waiting.retain(|(_, sender)| !sender.is_closed());
            if waiting.is_empty() {
                shard.remove(&key);
            }
        }
    }

    fn shard(&self, command_id: Uuid) -> &Mutex<Waiting> {
        &self.shards[usize::from(command_id.as_bytes()[15]) % SHARDS]
    }
}
