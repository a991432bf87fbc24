//! The files of a batch: what was uploaded, the answers, and what has none. Nothing of the last two is stored: each line
//! is made from its request's own history when it is read, some lines in memory at a time.

use super::lines::Lines;
use super::stand::{Stand, stands};
use super::survey::{self, Survey, survey};
use crate::domain::llm_batch::{self, BatchFile, RequestError, Status, line, request_stream};
use crate::domain::{Partitions, StreamId, llm_request};
use crate::flow::request::answer;
use crate::ports::Index;
use crate::ports::index::Error;
use bytes::Bytes;
use futures::future::try_join_all;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;
use uuid::Uuid;

/// Lines that are made together, and answers that are read at a time.
const PAGE: usize = 32;
const READ_AT_ONCE: usize = 8;
/// Bytes of answers after which no more lines are made together.
const PAGE_BYTES: i64 = 8 * 1024 * 1024;

/// One file of a batch that has it, read from its beginning to its end.
pub struct Reader {
    index: Arc<dyn Index>,
    partitions: Partitions,
    batch: StreamId,
    file: BatchFile,
    status: Status,
    requests: i64,
    survey: Survey,
    /// Of the input: the part that is read next.
    part: usize,
    lines: Lines,
    next: i64,
    errors: VecDeque<RequestError>,
    /// The record of errors that is read next.
    errors_at: usize,
}

impl Reader {
    /// # Errors
    /// When the index does not answer.
    pub async fn new(
        index: Arc<dyn Index>,
        partitions: Partitions,
        batch: StreamId,
        state: &llm_batch::State,
        file: BatchFile,
    ) -> Result<Self, Error> {
        let survey = survey(&*index, batch).await?;
        if (survey.parts.len() as i64) < state.file.parts {
            return Err(Error::Unavailable("the index does not show the whole file yet".to_owned()));
        }
        let lines = Lines::new(index.clone(), batch, survey.parts.clone());
        Ok(Self {
            index,
            partitions,
            batch,
            file,
            status: state.status,
            requests: state.file.requests,
            survey,
            part: 0,
            lines,
            next: 1,
            errors: VecDeque::new(),
            errors_at: 0,
        })
    }

    /// The next bytes; `None` after the last. They may be empty.
    ///
    /// # Errors
    /// When the index does not answer.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        if self.file == BatchFile::Input {
            let Some(part) = self.survey.parts.get(self.part) else { return Ok(None) };
            self.part += 1;
            return Ok(Some(survey::part(&*self.index, self.batch, part.position).await?.into()));
        }
        let page = self.lines.page(self.next, PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(None) };
        if *last > self.requests {
            return Ok(None);
        }
        let last = *last;
        let stands = stands(&*self.index, self.partitions, &self.batch, page.iter().map(|(number, _)| *number)).await?;
        self.next = last + 1;
        let (mut wanted, mut bytes) = (Vec::with_capacity(page.len()), 0);
        for ((number, text), (_, stand)) in page.into_iter().zip(stands) {
            if bytes >= PAGE_BYTES {
                self.next = number;
                break;
            }
            bytes += if self.file == BatchFile::Output { answer_bytes(&stand) } else { 0 };
            let error = self.error(number).await?;
            wanted.push((number, text, stand, error));
        }
        let mut made = Vec::with_capacity(wanted.len());
        while !wanted.is_empty() {
            let now: Vec<_> = wanted.drain(..READ_AT_ONCE.min(wanted.len())).collect();
            let lines = now.into_iter().map(|(number, text, stand, error)| self.line(number, text, stand, error));
            made.extend(try_join_all(lines).await?);
        }
        let mut out = String::new();
        for line in made.into_iter().flatten() {
            out.push_str(&line);
            out.push('\n');
        }
        Ok(Some(out.into()))
    }

    /// The error that is on record of a request that was never made. Asked in the order of the numbers.
    async fn error(&mut self, number: i64) -> Result<Option<RequestError>, Error> {
        loop {
            match self.errors.front() {
                Some(error) if error.request < number => drop(self.errors.pop_front()),
                Some(error) if error.request == number => return Ok(self.errors.pop_front()),
                Some(_) => return Ok(None),
                None => {
                    let Some(position) = self.survey.errors.get(self.errors_at) else { return Ok(None) };
                    self.errors = survey::errors_at(&*self.index, self.batch, *position).await?.into();
                    self.errors_at += 1;
                }
            }
        }
    }

    /// A request's line in this file; `None` where it is in the other one.
    async fn line(
        &self,
        number: i64,
        text: String,
        stand: Stand,
        error: Option<RequestError>,
    ) -> Result<Option<String>, Error> {
        let request = request_stream(&self.batch, number);
        let custom_id = line::read(&text, number).map(|line| line.custom_id.into_owned()).unwrap_or_default();
        let answered = match &stand {
            Stand::Known(state) if state.status == llm_request::Status::Completed => error.is_none(),
            _ => false,
        };
        match (answered, self.file) {
            (true, BatchFile::Output) => {
                let answer = answer::stored(&*self.index, request).await?;
                Ok(Some(output_line(request.id, &custom_id, answer)))
            }
            (false, BatchFile::Errors) => {
                let (code, message) = error.map_or_else(|| self.reason(stand), |error| (error.code, error.message));
                Ok(Some(error_line(request.id, &custom_id, &code, &message)))
            }
            _ => Ok(None),
        }
    }

    /// Why a request has no answer, where no error of it is on record.
    fn reason(&self, stand: Stand) -> (String, String) {
        let own = |code: &str, message: &str| (code.to_owned(), message.to_owned());
        let expired =
            || own("batch_expired", "This request could not be executed before the completion window expired.");
        match stand {
            Stand::Known(state) => match state.status {
                llm_request::Status::Failed => (state.error, state.reason),
                llm_request::Status::Expired => expired(),
                _ if self.status == Status::Cancelled => cancelled(),
                _ => own("cancelled", "This request was cancelled."),
            },
            _ if self.status == Status::Cancelled => cancelled(),
            _ => expired(),
        }
    }
}

fn cancelled() -> (String, String) {
    ("batch_cancelled".to_owned(), "This request was not executed: the batch was cancelled.".to_owned())
}

/// How large the answer is that a request's history has.
fn answer_bytes(stand: &Stand) -> i64 {
    match stand {
        Stand::Known(state) => state.answer.as_ref().map_or(0, |answer| answer.bytes),
        _ => 0,
    }
}

/// As OpenAI's output files have it; the answer's own text goes through untouched, but for line ends between its fields.
fn output_line(request: Uuid, custom_id: &str, answer: Option<String>) -> String {
    let body = answer.map(|answer| answer.replace(['\n', '\r'], " ")).and_then(|it| RawValue::from_string(it).ok());
    let Some(body) = body else {
        let why = "the request was answered, and the answer is larger than is kept";
        let error = json!({ "code": "answer_not_stored", "message": why });
        return whole(request, custom_id, json!({ "status_code": 200, "request_id": request, "body": null }), error);
    };
    let (id, custom_id) = (json!(format!("batch_req_{request}")), json!(custom_id));
    format!(
        "{{\"id\":{id},\"custom_id\":{custom_id},\"response\":{{\"status_code\":200,\"request_id\":\"{request}\",\
         \"body\":{body}}},\"error\":null}}"
    )
}

fn error_line(request: Uuid, custom_id: &str, code: &str, message: &str) -> String {
    whole(request, custom_id, Value::Null, json!({ "code": code, "message": message }))
}

fn whole(request: Uuid, custom_id: &str, response: Value, error: Value) -> String {
    json!({ "id": format!("batch_req_{request}"), "custom_id": custom_id, "response": response, "error": error })
        .to_string()
}
