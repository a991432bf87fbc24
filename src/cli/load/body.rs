//! The commands as bytes, written directly: the generator shares the machine with what it measures.

use super::plan::{Planned, Use, id, mix};
use std::io::Write;

pub const SINGLE: &str = "application/cloudevents+json";
pub const BATCH: &str = "application/cloudevents-batch+json";
pub const SOURCE: &str = "agentverse-load";

/// `data` is never shorter: what a registration says beside its padded purpose.
pub const PAYLOAD_BYTES_MIN: usize = 220;
/// `data` is never longer: a purpose has at most 8 KiB.
pub const PAYLOAD_BYTES_MAX: usize = 8_000;

const WORDS: [&str; 12] =
    ["answers ", "tickets ", "for ", "the ", "orders ", "team ", "and ", "reports ", "what ", "it ", "did ", "daily "];

/// Writes the events of a run.
#[derive(Clone, Debug)]
pub struct Bodies {
    seed: u64,
    /// Length of `data`, in bytes.
    payload_bytes: usize,
    /// Text that the purposes are cut from: not random, as real text is not, and not all the same.
    filler: Vec<u8>,
}

impl Bodies {
    /// `payload_bytes` is the length of every command's `data`, kept within its bounds.
    pub fn new(seed: u64, payload_bytes: usize) -> Self {
        let payload_bytes = payload_bytes.clamp(PAYLOAD_BYTES_MIN, PAYLOAD_BYTES_MAX);
        let mut filler = Vec::with_capacity(2 * PAYLOAD_BYTES_MAX + 16);
        for index in 0.. {
            if filler.len() >= 2 * PAYLOAD_BYTES_MAX {
                break;
            }
            let word = mix(seed ^ index) % WORDS.len() as u64;
            filler.extend_from_slice(WORDS[word as usize].as_bytes());
        }
        Self { seed, payload_bytes, filler }
    }

    /// Appends one event. `number` is the command's place in the run, its id follows from it.
    pub fn push(&self, out: &mut Vec<u8>, number: u64, planned: Planned) {
        out.extend_from_slice(b"{\"specversion\":\"1.0\",\"id\":\"");
        push_uuid(out, id(self.seed, Use::Command, number));
        out.extend_from_slice(b"\",\"source\":\"agentverse-load\",\"type\":\"agent.");
        out.extend_from_slice(if planned.version == 1 { b"RegisterAgent" } else { b"ReviseAgent" });
        out.extend_from_slice(b"\",\"subject\":\"");
        push_uuid(out, id(self.seed, Use::Stream, planned.stream));
        out.extend_from_slice(b"\",\"data\":");
        let data = out.len();
        if planned.version == 1 {
            out.extend_from_slice(b"{\"name\":\"load agent ");
            push_number(out, planned.stream);
            out.extend_from_slice(
                b"\",\"category\":\"support\",\"role\":\"worker\",\"skills\":[\"search\",\"summarise\"],\
                  \"domains\":[\"operations\"],\"risk_tier\":\"low\",\"purpose\":\"version ",
            );
        } else {
            out.extend_from_slice(b"{\"purpose\":\"version ");
        }
        push_number(out, planned.version);
        out.extend_from_slice(b": ");
        let pad = (self.payload_bytes + data).saturating_sub(out.len() + 2);
        let start = mix(number) as usize % (self.filler.len() - PAYLOAD_BYTES_MAX);
        out.extend_from_slice(&self.filler[start..start + pad]);
        out.extend_from_slice(b"\"}}");
    }
}

fn push_uuid(out: &mut Vec<u8>, id: uuid::Uuid) {
    let mut text = [0u8; uuid::fmt::Hyphenated::LENGTH];
    out.extend_from_slice(id.hyphenated().encode_lower(&mut text).as_bytes());
}

/// Ten digits, so that every payload has the same room for its text.
fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; 10];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&digits);
}

/// Bytes kept free in front of a body for the request's head, which is known only after the body.
const HEAD_ROOM: usize = 1024;

/// One HTTP request, built in one buffer and sent by one write.
#[derive(Debug, Default)]
pub struct Frame {
    bytes: Vec<u8>,
    start: usize,
}

impl Frame {
    /// Starts over and returns the buffer to append the body to.
    pub fn begin(&mut self) -> &mut Vec<u8> {
        self.bytes.clear();
        self.bytes.resize(HEAD_ROOM, 0);
        &mut self.bytes
    }

    /// Puts the head in front of the body. `head` is the request line and the header lines but the length.
    ///
    /// # Errors
    /// When the head is longer than about 1,000 bytes.
    pub fn seal(&mut self, head: &str) -> Result<(), String> {
        let mut tail = [0u8; 64];
        let room = tail.len();
        let mut rest = &mut tail[..];
        let length = self.bytes.len() - HEAD_ROOM;
        write!(rest, "content-length: {length}\r\n\r\n").map_err(|cause| cause.to_string())?;
        let tail_length = room - rest.len();
        let start = HEAD_ROOM.checked_sub(head.len() + tail_length).ok_or("the URL is too long")?;
        self.bytes[start..start + head.len()].copy_from_slice(head.as_bytes());
        self.bytes[start + head.len()..HEAD_ROOM].copy_from_slice(&tail[..tail_length]);
        self.start = start;
        Ok(())
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn event(payload_bytes: usize, version: u64) -> (Value, String) {
        let mut out = Vec::new();
        Bodies::new(9, payload_bytes).push(&mut out, 5, Planned { stream: 3, version });
        let text = String::from_utf8(out).unwrap();
        (serde_json::from_str(&text).unwrap(), text)
    }

    #[test]
    fn the_first_command_of_a_stream_registers_an_agent() {
        let (event, _) = event(300, 1);
        assert_eq!(event["type"], "agent.RegisterAgent");
        assert_eq!(event["specversion"], "1.0");
        assert_eq!(event["source"], SOURCE);
        assert_eq!(event["id"], id(9, Use::Command, 5).to_string());
        assert_eq!(event["subject"], id(9, Use::Stream, 3).to_string());
        assert_eq!(event["data"]["name"], "load agent 0000000003");
        assert_eq!(event["data"]["category"], "support");
    }

    #[test]
    fn later_commands_revise_its_purpose() {
        let (event, _) = event(300, 12);
        assert_eq!(event["type"], "agent.ReviseAgent");
        assert_eq!(event["data"].as_object().unwrap().len(), 1);
        assert!(event["data"]["purpose"].as_str().unwrap().starts_with("version 0000000012: "));
    }

    #[test]
    fn data_is_as_long_as_asked_for_within_the_bounds() {
        for (asked, got) in [(300, 300), (1_000, 1_000), (1, PAYLOAD_BYTES_MIN), (1_000_000, PAYLOAD_BYTES_MAX)] {
            for version in [1, 2] {
                let (_, text) = event(asked, version);
                let data = text.split_once("\"data\":").unwrap().1;
                assert_eq!(data.len() - 1, got, "{text}");
            }
        }
    }

    #[test]
    fn the_domain_takes_the_payloads_as_they_are() {
        use crate::domain::agent::{RegisterAgent, ReviseAgent};
        let (register, _) = event(300, 1);
        let agent: RegisterAgent = serde_json::from_value(register["data"].clone()).unwrap();
        assert_eq!(agent.skills, ["search", "summarise"]);
        let (revise, _) = event(300, 2);
        assert!(serde_json::from_value::<ReviseAgent>(revise["data"].clone()).unwrap().purpose.is_some());
    }

    #[test]
    fn a_frame_is_a_head_and_its_body() {
        let mut frame = Frame::default();
        for body in ["{}", "[1,2,3]"] {
            frame.begin().extend_from_slice(body.as_bytes());
            frame.seal("POST /x HTTP/1.1\r\n").unwrap();
            let expected = format!("POST /x HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            assert_eq!(std::str::from_utf8(frame.bytes()).unwrap(), expected);
        }
        assert!(frame.seal(&"x".repeat(HEAD_ROOM)).is_err());
    }
}
