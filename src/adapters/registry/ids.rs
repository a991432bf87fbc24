//! Which schema an id stands for: asked once, then remembered.
//!
//! An id never changes its meaning, so what was found is kept until the room is needed. What was not found is remembered
//! for a short time, so that a flood of values with a bad id is no flood of requests. Those who ask for the same id at
//! the same time share one request.

use super::client::{Client, Stored};
use super::framing::Error;
use super::resolve::{Fault, Writer};
use crate::domain::wire::Codec;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Schemas that are kept; a fleet has a few versions of a hundred records.
pub const FOUND_MAX: usize = 1_024;
/// Bad ids that are remembered.
pub const FAILED_MAX: usize = 1_024;
/// Registries count in signed numbers, and some answer a greater one with what reads as a wrong address.
const ID_MAX: u32 = i32::MAX as u32;
/// Requests at once, whatever comes in.
const REQUESTS_MAX: usize = 8;

/// How long a failure is remembered.
#[derive(Clone, Copy)]
pub struct Patience {
    /// Of an id that the registry does not have or whose schema cannot be used.
    pub bad_id: Duration,
    /// Of a registry that does not answer.
    pub no_answer: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { bad_id: Duration::from_secs(30), no_answer: Duration::from_secs(1) }
    }
}

type Answer = Result<Arc<Writer>, Error>;

pub struct Ids {
    client: Client,
    /// By full name.
    ours: HashMap<String, &'static Codec>,
    memory: Mutex<Memory>,
    requests: Semaphore,
    patience: Patience,
}

#[derive(Default)]
struct Memory {
    /// With the time of the last use, counted in uses.
    found: HashMap<u32, (Arc<Writer>, u64)>,
    uses: u64,
    /// With the time until which it is believed.
    failed: HashMap<u32, (Error, Instant)>,
    asked: HashMap<u32, Shared<BoxFuture<'static, Answer>>>,
}

impl Ids {
    pub fn new(client: Client, ours: HashMap<String, &'static Codec>, patience: Patience) -> Arc<Self> {
        let requests = Semaphore::new(REQUESTS_MAX);
        Arc::new(Self { client, ours, memory: Mutex::default(), requests, patience })
    }

    /// How to read what the schema of this id wrote.
    pub async fn writer(self: &Arc<Self>, id: u32) -> Answer {
        if id > ID_MAX {
            return Err(Error::UnknownId(id));
        }
        let asked = {
            let mut memory = self.memory.lock();
            if let Some(answer) = memory.known(id, Instant::now()) {
                return answer;
            }
            match memory.asked.get(&id) {
                Some(asked) => asked.clone(),
                None => {
                    let ids = Arc::clone(self);
                    let asked = async move { ids.ask(id).await }.boxed().shared();
                    // A task of its own: whoever asked first may give up while others wait.
                    tokio::spawn(asked.clone());
                    memory.asked.insert(id, asked.clone());
                    asked
                }
            }
        };
        asked.await
    }

    async fn ask(&self, id: u32) -> Answer {
        let answer = match self.requests.acquire().await {
            Ok(_permit) => self.client.schema(id).await.map_err(Error::from),
            Err(_) => Ok(None),
        };
        let answer = answer.and_then(|stored| self.take(id, stored)).map(Arc::new);
        self.memory.lock().keep(id, &answer, self.patience);
        answer
    }

    fn take(&self, id: u32, stored: Option<Stored>) -> Result<Writer, Error> {
        let stored = stored.ok_or(Error::UnknownId(id))?;
        if let Some(kind) = stored.schema_type.filter(|kind| kind != "AVRO") {
            return Err(Error::Schema { id, cause: format!("it is {kind}, not Avro") });
        }
        Writer::new(&stored.schema, &self.ours).map_err(|fault| match fault {
            Fault::Foreign(name) => Error::Foreign { id, name },
            Fault::Unusable(cause) => Error::Schema { id, cause },
        })
    }
}

impl Memory {
    fn known(&mut self, id: u32, now: Instant) -> Option<Answer> {
        self.uses += 1;
        if let Some((writer, used)) = self.found.get_mut(&id) {
            *used = self.uses;
            return Some(Ok(Arc::clone(writer)));
        }
        let (error, until) = self.failed.get(&id)?;
        (*until > now).then(|| Err(error.clone()))
    }

    fn keep(&mut self, id: u32, answer: &Answer, patience: Patience) {
        let now = Instant::now();
        self.asked.remove(&id);
        self.failed.remove(&id);
        match answer {
            Ok(writer) => {
                if self.found.len() >= FOUND_MAX {
                    leave_out(&mut self.found);
                }
                self.found.insert(id, (Arc::clone(writer), self.uses));
            }
            Err(error) => {
                if self.failed.len() >= FAILED_MAX {
                    self.failed.retain(|_, (_, until)| *until > now);
                }
                if self.failed.len() >= FAILED_MAX {
                    leave_out(&mut self.failed);
                }
                let remembered = if error.retryable() { patience.no_answer } else { patience.bad_id };
                self.failed.insert(id, (error.clone(), now + remembered));
            }
        }
    }
}

/// Makes room: the entry with the smallest second part leaves.
fn leave_out<T, O: Ord + Copy>(entries: &mut HashMap<u32, (T, O)>) {
    if let Some(id) = entries.iter().min_by_key(|(_, (_, order))| *order).map(|(id, _)| *id) {
        entries.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Aggregate;

    #[test]
    fn what_is_remembered_has_a_bound_and_the_least_used_leaves_first() {
        let codec = Aggregate::codecs().next().unwrap();
        let mut memory = Memory::default();
        for id in 0..FOUND_MAX as u32 {
            memory.keep(id, &Ok(Arc::new(Writer::ours(codec))), Patience::default());
            memory.known(id, Instant::now()).unwrap().unwrap();
        }
        memory.known(0, Instant::now()).unwrap().unwrap();
        memory.keep(9_999, &Ok(Arc::new(Writer::ours(codec))), Patience::default());
        assert_eq!(memory.found.len(), FOUND_MAX);
        assert!(memory.found.contains_key(&0) && memory.found.contains_key(&9_999) && !memory.found.contains_key(&1));
    }

    #[test]
    fn bad_ids_have_a_bound_of_their_own_and_push_out_no_good_one() {
        let codec = Aggregate::codecs().next().unwrap();
        let mut memory = Memory::default();
        memory.keep(7, &Ok(Arc::new(Writer::ours(codec))), Patience::default());
        for id in 100..100 + 3 * FAILED_MAX as u32 {
            memory.keep(id, &Err(Error::UnknownId(id)), Patience::default());
        }
        assert_eq!(memory.failed.len(), FAILED_MAX);
        assert!(memory.known(7, Instant::now()).unwrap().is_ok());
    }
}
