//! Commands as JSON lines: each line one event, kept byte for byte.

use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::io::{self, BufRead, Read};
use uuid::Uuid;

/// The longest line that is read; a longer one is malformed.
pub const LINE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A line that may be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// From 1 on, empty lines counted.
    pub number: u64,
    /// The event as it stood there, with an `id` where it had none: what is sent twice must be one command.
    pub event: String,
}

/// A line that cannot be sent: it is told and left out, and harms none of the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    pub number: u64,
    pub why: String,
}

/// The lines of a reader; empty ones are skipped.
pub struct Lines<R> {
    reader: R,
    number: u64,
    buffer: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    pub fn new(reader: R) -> Self {
        Self { reader, number: 0, buffer: Vec::new() }
    }

    /// Reads a line into the buffer. False at the end; what exceeds the limit by more than a byte is dropped.
    fn read(&mut self) -> io::Result<bool> {
        self.buffer.clear();
        let limit = LINE_BYTES_MAX as u64 + 1;
        if self.reader.by_ref().take(limit).read_until(b'\n', &mut self.buffer)? == 0 {
            return Ok(false);
        }
        self.number += 1;
        let too_long = self.buffer.len() > LINE_BYTES_MAX && !self.buffer.ends_with(b"\n");
        if too_long {
            self.reader.skip_until(b'\n')?;
        }
        Ok(true)
    }

    #[expect(clippy::disallowed_methods, reason = "a line without an id gets one here, so that its retries meet it")]
    fn parse(&self) -> Result<String, String> {
        if self.buffer.len() > LINE_BYTES_MAX {
            return Err(format!("the line is longer than {LINE_BYTES_MAX} bytes"));
        }
        let text = std::str::from_utf8(&self.buffer).map_err(|cause| format!("the line is not UTF-8: {cause}"))?;
        with_id(text.trim(), Uuid::new_v4)
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = io::Result<Result<Line, Unreadable>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.read() {
                Ok(false) => return None,
                Ok(true) if self.buffer.trim_ascii().is_empty() => {}
                Ok(true) => {
                    let number = self.number;
                    let line = self.parse();
                    return Some(Ok(line
                        .map(|event| Line { number, event })
                        .map_err(|why| Unreadable { number, why })));
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// The event with an `id`. Its text is not rewritten: numbers and escapes arrive as they were written.
fn with_id(event: &str, make_id: impl FnOnce() -> Uuid) -> Result<String, String> {
    let fields: BTreeMap<String, &RawValue> =
        serde_json::from_str(event).map_err(|cause| format!("the line is not a JSON object: {cause}"))?;
    if fields.contains_key("id") {
        return Ok(event.to_owned());
    }
    let separator = if fields.is_empty() { "" } else { "," };
    // It parsed as an object, so the first character is the brace.
    Ok(format!("{{\"id\":\"{}\"{separator}{}", make_id(), &event[1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &[u8]) -> Vec<Result<Line, Unreadable>> {
        Lines::new(input).map(|line| line.unwrap()).collect()
    }

    #[test]
    fn a_line_keeps_its_text_and_its_number() {
        let event = r#"{"id":"a","type":"t", "data":{"n":12345678901234567890,"x":1.10}}"#;
        let lines = read(format!("\n  \n{event}\r\n").as_bytes());
        assert_eq!(lines, [Ok(Line { number: 3, event: event.into() })]);
    }

    #[test]
    fn a_missing_id_is_filled_in_and_the_rest_left_alone() {
        let id = || Uuid::nil();
        let with = |event| with_id(event, id).unwrap();
        assert_eq!(with("{}"), r#"{"id":"00000000-0000-0000-0000-000000000000"}"#);
        assert_eq!(with(r#"{ "type":"t"}"#), r#"{"id":"00000000-0000-0000-0000-000000000000", "type":"t"}"#);
        assert_eq!(with(r#"{"data":{"id":1},"id":"x"}"#), r#"{"data":{"id":1},"id":"x"}"#);
    }

    #[test]
    fn two_lines_without_id_are_two_commands() {
        let lines = read(b"{\"type\":\"t\"}\n{\"type\":\"t\"}");
        assert_ne!(lines[0].as_ref().unwrap().event, lines[1].as_ref().unwrap().event);
    }

    #[test]
    fn what_is_no_object_is_unreadable_and_harms_no_sibling() {
        let mut input = b"[1]\n{\"id\":\"a\"\n\xff\n".to_vec();
        input.extend(std::iter::repeat_n(b'x', LINE_BYTES_MAX + 10));
        input.extend(b"\n{\"id\":\"b\"}");
        let lines = read(&input);
        let bad: Vec<u64> = lines.iter().filter_map(|line| Some(line.as_ref().err()?.number)).collect();
        assert_eq!(bad, [1, 2, 3, 4]);
        assert_eq!(lines[4].as_ref().unwrap().number, 5);
        assert!(lines[3].as_ref().unwrap_err().why.contains("longer"), "{:?}", lines[3]);
    }

    #[test]
    fn deep_nesting_is_passed_on_for_the_server_to_judge() {
        let event = format!("{{\"id\":\"a\",\"data\":{}{}}}", "[".repeat(50_000), "]".repeat(50_000));
        assert_eq!(with_id(&event, Uuid::nil).unwrap(), event);
    }
}
