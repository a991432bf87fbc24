//! The switch: the folder's process ends, nobody else may start on it, and what waited there goes to the fleet.

use super::{Error, Told};
use crate::adapters::embedded::{FolderError, Layout, Lock, Waiting};
use crate::domain::Micros;
use crate::ports::Topics;
use crate::ports::topic::{self, Accepted, DeadLetter, Lane, Unreadable};
use crate::runtime::retry::Policy;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// Between two looks at the lock.
const LOOK: Duration = Duration::from_millis(20);
/// Commands that are sent in one go.
const COMMANDS: usize = 500;
/// Dead letters that are looked for before one is buried twice.
const LETTERS_MAX: usize = 100_000;

/// Ends the process that has the folder, or asks for it, and takes the lock.
///
/// # Errors
/// When the folder is still open after `patience`.
pub async fn take(layout: &Layout, patience: Duration, tell: &(dyn Fn(Told) + Sync)) -> Result<Lock, Error> {
    let deadline = Instant::now() + patience;
    let mut asked = None;
    loop {
        match layout.lock() {
            Ok(lock) => return Ok(lock),
            Err(FolderError::Locked(_)) => {}
            Err(error) => return Err(error.into()),
        }
        // A service that was started again has another id, and is asked again.
        let holder = layout.holder().filter(|pid| *pid != std::process::id());
        if asked != Some(holder) {
            let ended = holder.is_some_and(terminate);
            tell(Told::Stopping { pid: holder.filter(|_| ended) });
            asked = Some(holder);
        }
        if Instant::now() > deadline {
            return Err(Error::StillOpen { path: layout.root().to_owned(), seconds: patience.as_secs() });
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn terminate(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok())
}

/// Sends the commands that were accepted and not decided, in their order and under their ids: a second time changes
/// nothing. Gives how many commands and how many unreadable ones there were.
///
/// # Errors
/// When the topics do not take them.
pub async fn hand_over<'a>(
    waiting: impl Iterator<Item = &'a Waiting>,
    topics: &dyn Topics,
    buried: &mut Buried,
    now: Micros,
) -> Result<u64, Error> {
    let mut sent = 0;
    let mut group = Vec::with_capacity(COMMANDS);
    for command in waiting {
        // Made anew, so that its bytes are of the schema that its record will name.
        let read = command.read().and_then(|old| {
            let Accepted { envelope, command, .. } = old;
            Accepted::new(Arc::unwrap_or_clone(envelope), Arc::unwrap_or_clone(command)).map_err(|error| {
                Box::new(Unreadable { bytes: Vec::new(), headers: Vec::new(), cause: error.to_string() })
            })
        });
        match read {
            Ok(accepted) => group.push(Arc::new(accepted)),
            Err(unreadable) => buried.bury(letter(command, unreadable.cause, now), topics).await?,
        }
        if group.len() == COMMANDS {
            sent += group.len() as u64;
            topics.produce(std::mem::take(&mut group), Lane::System).await?;
        }
    }
    sent += group.len() as u64;
    topics.produce(group, Lane::System).await?;
    Ok(sent)
}

fn letter(waiting: &Waiting, cause: String, buried_at: Micros) -> DeadLetter {
    DeadLetter {
        topic: format!("agentverse.{}.commands.v1", waiting.log.aggregate.name()),
        partition: waiting.log.partition,
        offset: waiting.offset,
        command_id: None,
        stream: None,
        code: "unreadable".into(),
        cause,
        buried_at,
        attempts: 0,
        headers: Vec::new(),
        bytes: waiting.bytes.clone(),
    }
}

/// A command id that is used again and again makes a letter each time, all at offset 0: content and time tell them apart.
type LetterKey = (String, u16, u64, String, Option<(Uuid, Micros)>, [u8; 32]);

/// The dead letters that the fleet has, so that none is buried there twice.
pub struct Buried {
    known: HashSet<LetterKey>,
    /// How many this run buried.
    pub count: u64,
}

/// How long topics that were just made may take to have leaders.
const LEADERS_MAX: Policy =
    Policy { first: Duration::from_millis(250), longest: Duration::from_secs(2), budget: Duration::from_secs(30) };

impl Buried {
    /// As [`Buried::read`], with patience.
    pub async fn read_patiently(topics: &dyn Topics) -> Result<Self, Error> {
        let mut waits = LEADERS_MAX.waits();
        loop {
            let error = match Self::read(topics).await {
                Err(error @ Error::Topic(topic::Error::Unavailable(_))) => error,
                other => return other,
            };
            tokio::time::sleep(waits.after(None).ok_or(error)?).await;
        }
    }

    /// # Errors
    /// When the topic cannot be read.
    pub async fn read(topics: &dyn Topics) -> Result<Self, Error> {
        let letters = topics.dead_letters(0, LETTERS_MAX).await?;
        Ok(Self { known: letters.iter().map(|(_, buried)| key(&buried.letter)).collect(), count: 0 })
    }

    /// # Errors
    /// When the topic does not take it.
    pub async fn bury(&mut self, letter: DeadLetter, topics: &dyn Topics) -> Result<(), Error> {
        if self.known.insert(key(&letter)) {
            topics.bury(letter).await?;
            self.count += 1;
        }
        Ok(())
    }
}

fn key(letter: &DeadLetter) -> LetterKey {
    let decided = letter.command_id.map(|id| (id, letter.buried_at));
    let content = *blake3::hash(&letter.bytes).as_bytes();
    (letter.topic.clone(), letter.partition, letter.offset, letter.code.clone(), decided, content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::embedded::Embedded;
    use crate::runtime::node::folder_config;
    use crate::runtime::settings::Settings;

    fn letter(content: u8, buried_at: Micros) -> DeadLetter {
        DeadLetter {
            topic: "agentverse.agent.commands.v1".into(),
            partition: 0,
            offset: 0,
            command_id: Some(Uuid::from_u128(1)),
            stream: None,
            code: "id_reused".into(),
            cause: "used before".into(),
            buried_at,
            attempts: 0,
            headers: Vec::new(),
            bytes: vec![content],
        }
    }

    #[tokio::test]
    async fn letters_of_one_id_are_all_handed_over_and_none_of_them_twice() {
        let folder = tempfile::tempdir().unwrap();
        let open = Embedded::open(folder.path(), &folder_config(&Settings::default())).unwrap();
        let letters = [letter(1, 1), letter(2, 1), letter(1, 2)];
        for fresh in [3, 0] {
            let mut buried = Buried::read(&*open.topics).await.unwrap();
            for letter in letters.clone() {
                buried.bury(letter, &*open.topics).await.unwrap();
            }
            assert_eq!(buried.count, fresh);
        }
        let there = open.topics.dead_letters(0, 10).await.unwrap();
        assert_eq!(there.into_iter().map(|(_, buried)| buried.letter).collect::<Vec<_>>(), letters);
    }
}
