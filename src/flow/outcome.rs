//! The hub where callers wait for what became of their commands.

use crate::domain::{LogId, StreamId};
use crate::ports::outcome::{Outcomes, Word};
use crate::ports::topic;
use async_trait::async_trait;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use uuid::Uuid;

pub use crate::ports::outcome::{Outcome, OutcomeKind};

/// Where callers of this process wait. An entry lives as long as its caller waits.
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
    pub fn tell_one(&self, log: LogId, word: &Word<'_>) {
        let key = (word.stream, word.command_id);
        let mut shard = self.shard(word.command_id).lock();
        let Some(waiting) = shard.get_mut(&key) else { return };
        let (told, left): (Vec<_>, Vec<_>) = waiting.drain(..).partition(|(theirs, _)| *theirs == word.digest);
        if left.is_empty() {
            shard.remove(&key);
        } else {
            *waiting = left;
        }
        drop(shard);
        if told.is_empty() {
            return;
        }
        let outcome = word.says.outcome(log);
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

/// Where every role runs in one process, the hub is all there is to tell.
#[async_trait]
impl Outcomes for OutcomeHub {
    async fn tell(&self, log: LogId, words: Vec<Word<'_>>) -> Result<(), topic::Error> {
        words.iter().for_each(|word| self.tell_one(log, word));
        Ok(())
    }
}
