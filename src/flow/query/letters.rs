//! Dead letters: the commands that ended without being decided.

use super::{CHUNK, Error, LOOKED_AT_MAX, PAGE_BYTES_MAX, Query};
use crate::domain::{LogId, Rejection, StreamId, TenantId};
use crate::flow::outcome::{Outcome, OutcomeKind};
use crate::ports::topic::DeadLetter;
use uuid::Uuid;

/// Letters among which the outcome of an unknown command is looked for, oldest first: the answer for a mistyped id must
/// not read the whole topic.
const SEARCHED_MAX: usize = 1_000;

#[derive(Clone, Debug, Default)]
pub struct LettersPage {
    /// Letters with their numbers.
    pub letters: Vec<(u64, DeadLetter)>,
    /// The number that the next page starts at; `None` after the last.
    pub next: Option<u64>,
}

impl Query {
    /// One page of a tenant's dead letters, oldest first, from number `from` on. Letters that belong to no stream that
    /// could be read, and so to no tenant, are shown to the shared catalogue's keeper only.
    pub async fn dead_letters(&self, tenant: TenantId, from: u64, limit: usize) -> Result<LettersPage, Error> {
        let mut page = LettersPage::default();
        let (mut from, mut bytes) = (from, 0);
        for _ in 0..LOOKED_AT_MAX / CHUNK {
            let read = self.topics.dead_letters(from, CHUNK).await?;
            let end = read.len() < CHUNK;
            for (number, letter) in read {
                from = number + 1;
                if letter.stream.map_or(TenantId::SHARED, |stream| stream.tenant) != tenant {
                    continue;
                }
                if page.letters.len() == limit || bytes >= PAGE_BYTES_MAX {
                    page.next = Some(number);
                    return Ok(page);
                }
                bytes += letter.bytes.len();
                page.letters.push((number, letter));
            }
            if end {
                return Ok(page);
            }
        }
        page.next = Some(from);
        Ok(page)
    }

    /// The outcome of a command that was dead-lettered, where it is among the first letters.
    pub(super) async fn buried(
        &self,
        tenant: TenantId,
        command_id: Uuid,
    ) -> Result<Option<(StreamId, Outcome)>, Error> {
        let letters = self.topics.dead_letters(0, SEARCHED_MAX).await?;
        let found = letters.into_iter().find_map(|(_, letter)| {
            let stream = letter.stream.filter(|stream| stream.tenant == tenant)?;
            (letter.command_id == Some(command_id)).then_some((stream, letter))
        });
        Ok(found.map(|(stream, letter)| {
            let log = LogId { aggregate: stream.aggregate, partition: letter.partition };
            let reason = Some(Rejection::new(&letter.code, letter.cause));
            (stream, Outcome { kind: OutcomeKind::DeadLettered, version: None, reason, log, position: 0 })
        }))
    }
}
