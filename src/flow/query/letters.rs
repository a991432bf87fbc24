//! Dead letters: the commands that ended without being decided.

use super::{CHUNK, Error, LOOKED_AT_MAX, PAGE_BYTES_MAX, Query};
use crate::domain::{LogId, Rejection, StreamId, TenantId};
use crate::flow::outcome::{Outcome, OutcomeKind};
use crate::ports::topic::{Buried, RedriveError, Redriven};
use uuid::Uuid;

/// Letters among which the outcome of an unknown command is looked for, oldest first: the answer for a mistyped id must
/// not read the whole topic.
const SEARCHED_MAX: usize = 1_000;

#[derive(Clone, Debug, Default)]
pub struct LettersPage {
    /// Letters with their numbers.
    pub letters: Vec<(u64, Buried)>,
    /// The number that the next page starts at; `None` after the last.
    pub next: Option<u64>,
}

impl Query {
    /// One page of a tenant's dead letters, in the order of their numbers, from `from` on. Letters that belong to no
    /// stream that could be read, and so to no tenant, are shown to the shared catalogue's keeper only.
    pub async fn dead_letters(&self, tenant: TenantId, from: u64, limit: usize) -> Result<LettersPage, Error> {
        let mut page = LettersPage::default();
        let (mut from, mut bytes) = (from, 0);
        for _ in 0..LOOKED_AT_MAX / CHUNK {
            let read = self.topics.dead_letters(from, CHUNK).await?;
            let end = read.len() < CHUNK;
            for (number, buried) in read {
                from = number + 1;
                if !belongs(&buried, tenant) {
                    continue;
                }
                if page.letters.len() == limit || bytes >= PAGE_BYTES_MAX {
                    page.next = Some(number);
                    return Ok(page);
                }
                bytes += buried.letter.bytes.len();
                page.letters.push((number, buried));
            }
            if end {
                return Ok(page);
            }
        }
        page.next = Some(from);
        Ok(page)
    }

    /// One dead letter; `None` also for another tenant's.
    pub async fn dead_letter(&self, tenant: TenantId, number: u64) -> Result<Option<Buried>, Error> {
        Ok(self.topics.dead_letter(number).await?.filter(|buried| belongs(buried, tenant)))
    }

    /// Sends a dead letter of this tenant again.
    ///
    /// # Errors
    /// When it is unknown or another tenant's, when it cannot be sent again, and when it was already and is not `forced`.
    pub async fn redrive(&self, tenant: TenantId, number: u64, forced: bool) -> Result<Redriven, RedriveError> {
        let buried = self.topics.dead_letter(number).await?;
        if !buried.is_some_and(|buried| belongs(&buried, tenant)) {
            return Err(RedriveError::Unknown(number));
        }
        self.topics.redrive(number, forced).await
    }

    /// The outcome of a command that was dead-lettered, where it is among the first letters. One that was sent again
    /// since has none until it is decided, or dies again.
    pub(super) async fn buried(
        &self,
        tenant: TenantId,
        command_id: Uuid,
    ) -> Result<Option<(StreamId, Outcome)>, Error> {
        let letters = self.topics.dead_letters(0, SEARCHED_MAX).await?;
        let found = letters.into_iter().rev().find_map(|(_, buried)| {
            let stream = buried.letter.stream.filter(|stream| stream.tenant == tenant)?;
            (buried.letter.command_id == Some(command_id)).then_some((stream, buried))
        });
        Ok(found.filter(|(_, buried)| buried.redriven == 0).map(|(stream, Buried { letter, .. })| {
            let log = LogId { aggregate: stream.aggregate, partition: letter.partition };
            let reason = Some(Rejection::new(&letter.code, letter.cause));
            (stream, Outcome { kind: OutcomeKind::DeadLettered, version: None, reason, log, position: 0 })
        }))
    }
}

fn belongs(buried: &Buried, tenant: TenantId) -> bool {
    buried.letter.stream.map_or(TenantId::SHARED, |stream| stream.tenant) == tenant
}
