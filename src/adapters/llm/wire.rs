//! What the adapters of the protocols have in common: a call becomes a [`Prepared`] request, and what comes back goes
//! through its [`Reader`].

use super::fault::Fault;
use crate::domain::Micros;
use crate::ports::llm::{Call, End, Usage};
use bytes::Bytes;
use reqwest::Url;
use serde::Deserialize;
use std::collections::VecDeque;

/// How the key goes along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// `Authorization: Bearer …`.
    Bearer,
    /// The key alone, in a header of this name.
    Header(&'static str),
    /// A signature for Amazon's service, or a bearer key.
    Aws,
}

/// How the pieces of a streamed answer are framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    ServerSentEvents,
    AmazonEventStream,
}

/// A request that is ready but for its key.
pub struct Prepared {
    pub url: Url,
    pub headers: Vec<(&'static str, &'static str)>,
    pub body: Bytes,
    pub auth: Auth,
    pub framing: Framing,
    pub reader: Box<dyn Reader>,
}

/// Everything that a request is made of.
pub struct Plan<'a> {
    pub call: &'a Call,
    /// The endpoint.
    pub base: Url,
    /// For the answers that must say when they were made.
    pub now: Micros,
}

impl Plan<'_> {
    /// The endpoint with more path behind it. `path` is percent-encoded.
    pub fn url(&self, path: &str) -> Result<Url, Fault> {
        let mut url = self.base.clone();
        let path = format!("{}{path}", url.path().trim_end_matches('/'));
        url.set_path(&path);
        if url.path() == path { Ok(url) } else { Err(Fault::bad_target("endpoint and model do not make a URL")) }
    }

    /// Seconds since the epoch.
    pub fn created(&self) -> i64 {
        self.now / 1_000_000
    }
}

/// One frame of a streamed answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    /// The event's name; empty where it has none.
    pub name: Bytes,
    pub data: Bytes,
    /// Whether the framing itself marks it as an error.
    pub failed: bool,
}

/// Cuts bytes into frames.
pub trait Frames: Send {
    fn push(&mut self, bytes: &[u8]);

    /// The next whole frame; `None` until more bytes are there.
    fn next(&mut self) -> Result<Option<Frame>, Fault>;

    /// What is left when the bytes have ended.
    fn last(&mut self) -> Result<Option<Frame>, Fault>;
}

/// Whether a streamed answer goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    More,
    /// The provider has said its last word.
    Done,
}

/// Reads one answer, whole or in frames.
pub trait Reader: Send {
    /// What the provider calls this answer in its headers, for protocols whose bodies do not name it.
    fn begin(&mut self, _request_id: &str) {}

    /// The body as OpenAI's API gives it, and what it says beside its content.
    fn whole(&mut self, body: Bytes) -> Result<(Bytes, End), Fault>;

    /// Takes a frame and puts the chunks that it makes into `out`.
    fn frame(&mut self, frame: Frame, out: &mut VecDeque<Bytes>) -> Result<Step, Fault>;

    /// The stream has ended: what is still to be said, and how it ended.
    ///
    /// # Errors
    /// When the model had not said that it was done.
    fn finish(&mut self, out: &mut VecDeque<Bytes>) -> Result<End, Fault>;

    /// What is counted so far.
    fn usage(&self) -> Option<Usage>;
}

/// Reads an object that came from a provider, `what` in errors. Without the look at its beginning an array would do as
/// well, with its items as the fields in their order.
pub fn object<'a, T: Deserialize<'a>>(json: &'a [u8], what: &str) -> Result<T, Fault> {
    if json.trim_ascii_start().first() != Some(&b'{') {
        return Err(Fault::garbage(format!("{what} is no JSON object")));
    }
    serde_json::from_slice(json).map_err(|error| Fault::unreadable(what, &error))
}

/// Percent-encodes everything but RFC 3986's unreserved characters, as one segment of a path.
pub fn segment(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte as char),
            _ => {
                let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
                out.extend(['%', high as char, low as char]);
            }
        }
    }
    out
}
