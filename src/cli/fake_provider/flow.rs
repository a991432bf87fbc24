//! The body of an answer that comes bit by bit: its events at their times, whole or spoiled.

use super::ask::tokens;
use super::draw::{Distribution, Draw};
use super::state::Call;
use super::wire::Script;
use axum::body::Body;
use bytes::Bytes;
use std::time::Duration;
use tokio::time::Instant;

/// What is ready goes out when it is this long.
const PART_BYTES: usize = 16 * 1024;
/// A piece of text: a token.
const PIECE_BYTES: usize = 4;

/// What becomes of it in the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoil {
    Nothing,
    Cut,
    Garbage,
}

/// The connection ends without an answer, or without its end.
#[derive(Debug, thiserror::Error)]
#[error("cut on purpose")]
pub struct Cut;

/// How long each token after the first takes.
pub struct Pace {
    pub latency: Distribution,
    pub draw: Draw,
    pub begin: Instant,
}

/// A script on its way.
pub struct Flow {
    script: Script,
    /// The tokens of the whole answer.
    completion: u64,
    call: Call,
    spoil: Spoil,
    pace: Option<Pace>,
    /// Where the next piece begins, and when it is due once that is drawn.
    at: usize,
    due: Option<Instant>,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Opening,
    Pieces,
    Closing,
    End,
}

impl Flow {
    pub fn body(script: Script, completion: u64, call: Call, spoil: Spoil, pace: Option<Pace>) -> Body {
        let flow = Self { script, completion, call, spoil, pace, at: 0, due: None, stage: Stage::Opening };
        Body::from_stream(futures::stream::unfold(flow, Self::next))
    }

    /// A whole answer that is cut in the middle.
    pub fn cut(text: &str, completion: u64, call: Call) -> Body {
        let half = text.floor_char_boundary(text.len() / 2);
        let script = Script { opening: text[..half].to_owned(), ..Script::default() };
        Self::body(script, completion, call, Spoil::Cut, None)
    }

    async fn next(mut self) -> Option<(Result<Bytes, Cut>, Self)> {
        let mut out = Vec::new();
        loop {
            match self.stage {
                Stage::Opening => {
                    out.extend_from_slice(self.script.opening.as_bytes());
                    self.stage = Stage::Pieces;
                }
                Stage::Pieces if self.at >= self.script.text.len() / 2 && self.spoil == Spoil::Cut => {
                    if out.is_empty() {
                        // Lets the connection write what it has before it is cut.
                        tokio::task::yield_now().await;
                        self.stage = Stage::End;
                        return Some((Err(Cut), self));
                    }
                    break;
                }
                Stage::Pieces if self.at >= self.script.text.len() / 2 && self.spoil == Spoil::Garbage => {
                    out.extend_from_slice(b"data: {\"choices\":[{\"delta\":{\"content\": <html>oops\n\n");
                    self.stage = Stage::End;
                }
                Stage::Pieces if self.at >= self.script.text.len() => self.stage = Stage::Closing,
                Stage::Pieces => {
                    if let Some(due) = self.due().filter(|due| *due > Instant::now()) {
                        if !out.is_empty() {
                            break;
                        }
                        tokio::time::sleep_until(due).await;
                    }
                    self.piece(&mut out);
                    if out.len() >= PART_BYTES {
                        break;
                    }
                }
                Stage::Closing => {
                    out.extend_from_slice(self.script.closing.as_bytes());
                    self.call.sent(self.completion);
                    self.call.answered();
                    self.stage = Stage::End;
                }
                Stage::End if out.is_empty() => return None,
                Stage::End => break,
            }
        }
        Some((Ok(out.into()), self))
    }

    /// When the next piece is due; the first one is at once.
    fn due(&mut self) -> Option<Instant> {
        let pace = self.pace.as_mut().filter(|_| self.at > 0)?;
        if self.due.is_none() {
            pace.begin += millis(pace.latency.draw(&mut pace.draw));
            self.due = Some(pace.begin);
        }
        self.due
    }

    fn piece(&mut self, out: &mut Vec<u8>) {
        let end = self.script.text.ceil_char_boundary((self.at + PIECE_BYTES).min(self.script.text.len()));
        out.extend_from_slice(self.script.before.as_bytes());
        // Text becomes JSON without fail, and memory takes all.
        let _ = serde_json::to_writer(&mut *out, &self.script.text[self.at..end]);
        out.extend_from_slice(self.script.after.as_bytes());
        self.at = end;
        self.due = None;
        self.call.sent(tokens(end as u64));
    }
}

/// So many milliseconds.
pub fn millis(millis: f64) -> Duration {
    Duration::from_secs_f64(millis.max(0.0) / 1_000.0)
}

/// A whole answer made malformed.
pub fn garbled(text: &str) -> String {
    let half = text.floor_char_boundary(text.len() / 2);
    format!("{}\u{1}}}<html>oops", &text[..half])
}
