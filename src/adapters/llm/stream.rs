//! A streamed answer: bytes to frames, frames to chunks, one at a time and only when asked.

use super::bedrock::frames::EventStream;
use super::exchange::{Blame, Body};
use super::fault::Fault;
use super::sse::Sse;
use super::wire::{Frames, Framing, Reader, Step};
use crate::ports::llm::{self, Chunk, End, Error, Head, Progress};
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::VecDeque;

enum State {
    Reading,
    Ended(End),
    Failed(Box<Error>),
    Over,
}

/// The chunks of one answer.
pub struct Chunks {
    body: Body,
    frames: Box<dyn Frames>,
    reader: Box<dyn Reader>,
    blame: Blame,
    ready: VecDeque<Bytes>,
    state: State,
    /// Whether there has been a chunk.
    begun: bool,
}

impl Chunks {
    /// Reads up to the first chunk.
    ///
    /// # Errors
    /// When the answer fails before it, or is no stream.
    pub async fn open(
        mut body: Body,
        framing: Framing,
        reader: Box<dyn Reader>,
        blame: Blame,
        event_bytes_max: usize,
    ) -> Result<Self, Box<Error>> {
        let (media_type, frames): (_, Box<dyn Frames>) = match framing {
            Framing::ServerSentEvents => ("text/event-stream", Box::new(Sse::new(event_bytes_max))),
            Framing::AmazonEventStream => {
                ("application/vnd.amazon.eventstream", Box::new(EventStream::new(event_bytes_max)))
            }
        };
        if !body.is(media_type) {
            // Some report an error under a status that promised a stream.
            let fault = match body.is("application/json") {
                true => body.failure().await,
                false => Fault::garbage(format!("the answer is not of the type {media_type}")),
            };
            return Err(blame.error(fault, Progress::Sent));
        }
        let (ready, state) = (VecDeque::new(), State::Reading);
        let mut chunks = Self { body, frames, reader, blame, ready, state, begun: false };
        chunks.fill().await;
        match std::mem::replace(&mut chunks.state, State::Over) {
            State::Failed(error) if !chunks.begun => Err(error),
            state => {
                chunks.state = state;
                Ok(chunks)
            }
        }
    }

    pub fn head(&self) -> &Head {
        &self.blame.head
    }

    /// Reads until there is a chunk, or the end.
    async fn fill(&mut self) {
        while self.ready.is_empty() && matches!(self.state, State::Reading) {
            let step = self.step().await;
            self.begun |= !self.ready.is_empty();
            match step {
                Ok(None) => {}
                Ok(Some(end)) => self.state = State::Ended(end),
                Err(fault) => {
                    let progress = if self.begun { Progress::Receiving } else { Progress::Sent };
                    let error = self.blame.error_with(fault, progress, self.reader.usage());
                    self.state = State::Failed(error);
                }
            }
        }
    }

    /// Takes one frame, or more bytes where none is whole.
    async fn step(&mut self) -> Result<Option<End>, Fault> {
        let frame = match self.frames.next()? {
            Some(frame) => frame,
            None => match self.body.next().await? {
                Some(bytes) => {
                    self.frames.push(&bytes);
                    return Ok(None);
                }
                None => match self.frames.last()? {
                    Some(frame) => frame,
                    None => return self.reader.finish(&mut self.ready).map(Some),
                },
            },
        };
        match self.reader.frame(frame, &mut self.ready)? {
            Step::More => Ok(None),
            Step::Done => self.reader.finish(&mut self.ready).map(Some),
        }
    }
}

#[async_trait]
impl llm::Chunks for Chunks {
    async fn next(&mut self) -> Option<Result<Chunk, Box<Error>>> {
        self.fill().await;
        if let Some(chunk) = self.ready.pop_front() {
            return Some(Ok(Chunk::Data(chunk)));
        }
        if matches!(self.state, State::Ended(_)) {
            self.body.drain().await;
        }
        match std::mem::replace(&mut self.state, State::Over) {
            State::Ended(end) => Some(Ok(Chunk::End(end))),
            State::Failed(error) => Some(Err(error)),
            State::Reading | State::Over => None,
        }
    }
}
