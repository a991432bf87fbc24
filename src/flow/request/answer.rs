//! The answer that a request's history has: in the record of its completion, or in parts before it.

use crate::domain::llm_request::{AnswerPartAdded, Event};
use crate::domain::record::RecordKind;
use crate::domain::{AnyEvent, StreamId};
use crate::ports::Index;
use crate::ports::index::Error;
use crate::ports::journal::Recorded;

/// Records that are read at once: at first, since most often the last record has the answer, and then.
const RECORDS: usize = 2;
const RECORDS_MORE: usize = 8;

/// What is looked for, from the newest record to the oldest.
enum Sought {
    Completion,
    /// The parts of an attempt's answer: the next one's number, and those behind it, the last one first.
    Parts {
        attempt: i64,
        part: i64,
        behind: Vec<String>,
    },
}

enum Found {
    /// Nothing more is to be read. `None` where no answer is kept, or it is sealed.
    Answer(Option<String>),
    Not(Sought),
}

/// The answer of a request that was completed; `None` where its history has none.
///
/// # Errors
/// When the index does not answer, or parts are missing.
pub async fn stored(index: &dyn Index, request: StreamId) -> Result<Option<String>, Error> {
    let (mut sought, mut before, mut records_max) = (Sought::Completion, u64::MAX, RECORDS);
    loop {
        let records = index.history(request, before, records_max).await?;
        for recorded in &records {
            before = recorded.record.position;
            sought = match look(sought, recorded)? {
                Found::Answer(answer) => return Ok(answer),
                Found::Not(sought) => sought,
            };
        }
        if records.len() < records_max {
            return match sought {
                Sought::Completion => Ok(None),
                Sought::Parts { part, .. } => Err(Error::Damaged(format!("part {part} of the answer of {request}"))),
            };
        }
        records_max = RECORDS_MORE;
    }
}

fn look(sought: Sought, recorded: &Recorded) -> Result<Found, Error> {
    let record = &recorded.record;
    if record.kind != RecordKind::Event || !["RequestCompleted", "AnswerPartAdded"].contains(&record.schema.as_str()) {
        return Ok(Found::Not(sought));
    }
    let aggregate = record.stream().aggregate;
    let event = AnyEvent::decode(aggregate, &record.schema, record.fingerprint, &record.payload);
    let AnyEvent::LlmRequest(event) = event.map_err(|error| Error::Damaged(error.to_string()))? else {
        return Ok(Found::Not(sought));
    };
    Ok(match (sought, *event) {
        (Sought::Completion, Event::RequestCompleted(done)) if done.answer_parts > 0 => {
            Found::Not(Sought::Parts { attempt: done.attempt, part: done.answer_parts, behind: Vec::new() })
        }
        (Sought::Completion, Event::RequestCompleted(done)) => Found::Answer(done.answer.text().map(str::to_owned)),
        (Sought::Parts { attempt, part, behind }, Event::AnswerPartAdded(own))
            if (own.attempt, own.part) == (attempt, part) =>
        {
            take(attempt, behind, &own)
        }
        (sought, _) => Found::Not(sought),
    })
}

fn take(attempt: i64, mut behind: Vec<String>, own: &AnswerPartAdded) -> Found {
    let Some(text) = own.text.text() else { return Found::Answer(None) };
    behind.push(text.to_owned());
    if own.part > 1 {
        return Found::Not(Sought::Parts { attempt, part: own.part - 1, behind });
    }
    behind.reverse();
    Found::Answer(Some(behind.concat()))
}
