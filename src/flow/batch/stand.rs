//! How the requests of a batch stand, as the index shows them.

use crate::domain::llm_batch::request_stream;
use crate::domain::llm_request::{State, Status};
use crate::domain::record::RecordKind;
use crate::domain::{Aggregate, AnyState, LogId, Partitions, Rejection, StreamId};
use crate::ports::Index;
use crate::ports::index::{Error, Head};
use futures::future::try_join_all;
use hashbrown::HashMap;
use std::sync::Arc;

/// How one request stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Stand {
    /// Its log knows nothing of it: it was not submitted, or the command is on its way.
    Unknown,
    /// Its log took nothing of it; the stream's history says why.
    Refused,
    Known(Box<State>),
}

impl Stand {
    fn of(head: Option<&Head>) -> Result<Self, Error> {
        let Some(head) = head else { return Ok(Self::Unknown) };
        match head.state_of(Aggregate::LlmRequest)? {
            AnyState::LlmRequest(state) if state.status == Status::Absent => Ok(Self::Refused),
            AnyState::LlmRequest(state) => Ok(Self::Known(state)),
            _ => Err(Error::Damaged("the head of a request holds something else".to_owned())),
        }
    }
}

/// How these requests of a batch stand, in the order asked.
///
/// # Errors
/// When the index does not answer.
pub async fn stands(
    index: &dyn Index,
    partitions: Partitions,
    batch: &StreamId,
    numbers: impl IntoIterator<Item = i64>,
) -> Result<Vec<(i64, Stand)>, Error> {
    let mut of_log: HashMap<LogId, (Vec<i64>, Vec<StreamId>)> = HashMap::new();
    for number in numbers {
        let stream = request_stream(batch, number);
        let (numbers, streams) = of_log.entry(stream.log(partitions)).or_default();
        numbers.push(number);
        streams.push(stream);
    }
    let reads = of_log.into_iter().map(async |(log, (numbers, streams))| {
        let heads: Vec<Option<Arc<Head>>> = index.heads(log, &streams).await?;
        let stands = numbers.into_iter().zip(heads).map(|(number, head)| Ok((number, Stand::of(head.as_deref())?)));
        stands.collect::<Result<Vec<_>, Error>>()
    });
    let mut all: Vec<_> = try_join_all(reads).await?.into_iter().flatten().collect();
    all.sort_unstable_by_key(|(number, _)| *number);
    Ok(all)
}

/// Why a log took nothing of a request.
///
/// # Errors
/// When the index does not answer.
pub async fn refusal(index: &dyn Index, stream: StreamId) -> Result<Rejection, Error> {
    let records = index.history(stream, u64::MAX, 1).await?;
    let refusal = records.first().filter(|recorded| recorded.record.kind == RecordKind::Refusal);
    let read = refusal.and_then(|recorded| serde_json::from_slice(&recorded.record.payload).ok());
    Ok(read.unwrap_or_else(|| Rejection::new("refused", "the request was refused; its history says why")))
}
