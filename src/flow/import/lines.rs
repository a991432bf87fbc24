//! JSON lines as they come in: one entry a line, never more held than a line and a batch.

use super::Kind;
use super::entry::{Fault, Item, Read, Refused, unreadable};
use super::read::agents::Mapping;
use serde_json::Value;

/// A line that is whole.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// From 1.
    pub number: u64,
    /// `None` of a line that was too long; it was thrown away as it came.
    pub bytes: Option<Vec<u8>>,
}

/// Takes lines out of pieces.
#[derive(Debug)]
pub struct Splitter {
    line_bytes_max: usize,
    held: Vec<u8>,
    is_too_long: bool,
    number: u64,
}

impl Splitter {
    pub fn new(line_bytes_max: usize) -> Self {
        Self { line_bytes_max, held: Vec::new(), is_too_long: false, number: 0 }
    }

    /// The lines that end in a piece; blank ones are counted and left out.
    pub fn push(&mut self, piece: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut parts = piece.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = parts.next() {
            self.hold(part);
            if parts.peek().is_some() {
                lines.extend(self.end());
            }
        }
        lines
    }

    /// What was left without a line feed.
    pub fn finish(&mut self) -> Option<Line> {
        self.end()
    }

    fn hold(&mut self, part: &[u8]) {
        self.is_too_long |= self.held.len() + part.len() > self.line_bytes_max;
        if self.is_too_long {
            self.held = Vec::new();
        } else {
            self.held.extend_from_slice(part);
        }
    }

    fn end(&mut self) -> Option<Line> {
        self.number += 1;
        let bytes = std::mem::take(&mut self.held);
        if std::mem::take(&mut self.is_too_long) {
            return Some(Line { number: self.number, bytes: None });
        }
        let is_blank = bytes.iter().all(u8::is_ascii_whitespace);
        (!is_blank).then_some(Line { number: self.number, bytes: Some(bytes) })
    }
}

impl Line {
    /// The entry that the line is; `None` of one that its publisher took back.
    pub fn read(self, kind: Kind, mapping: &Mapping, line_bytes_max: usize) -> Option<Result<Item, Refused>> {
        let line = self.number;
        let refused = |key, fault| Some(Err(Refused { line, key, fault }));
        let Some(bytes) = self.bytes else {
            return refused(None, Fault::whole(format!("the line has more than {line_bytes_max} bytes")));
        };
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").filter(|_| line == 1).unwrap_or(&bytes);
        let value: Value = match serde_json::from_slice(text) {
            Ok(value) => value,
            Err(error) => {
                return refused(
                    None,
                    Fault::whole(format!("the line is no JSON that can be read: {}", unreadable(&error))),
                );
            }
        };
        match kind.read(&value, mapping) {
            Ok(Read::Withdrawn | Read::Skipped(_)) => None,
            Ok(Read::Wanted { key, rank, wanted, cuts }) => {
                Some(Ok(Item { line, bytes: bytes.len(), key, rank, wanted, cuts, parts: Vec::new() }))
            }
            Err(fault) => refused(mapping.told_key(&value), fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_same_however_they_come_and_a_long_one_is_lost_alone() {
        let text = b"{\"a\":1}\n\n  \nxxxxxxxxxxxxxxxxxxxxx\n{\"b\":2}\r\nlast";
        let read = |size: usize| {
            let mut splitter = Splitter::new(12);
            let mut lines: Vec<_> = text.chunks(size).flat_map(|piece| splitter.push(piece)).collect();
            lines.extend(splitter.finish());
            lines.into_iter().map(|line| (line.number, line.bytes.map(|it| it.len()))).collect::<Vec<_>>()
        };
        let expected = [(1, Some(7)), (4, None), (5, Some(8)), (6, Some(4))];
        for size in 1..=text.len() {
            assert_eq!(read(size), expected, "{size}");
        }
        assert_eq!(Splitter::new(9).finish(), None);
    }

    #[test]
    fn a_bad_line_is_refused_alone_with_its_number() {
        let line = |number, text: &str| Line { number, bytes: Some(text.as_bytes().to_vec()) };
        let read = |line: Line| line.read(Kind::Agents, &Mapping::default(), 9).unwrap();
        assert_eq!(read(line(7, "{\"id\":1,\"name\":\"x\"}")).unwrap().line, 7);
        assert_eq!(read(line(1, "\u{feff}{\"id\":1}")).unwrap().key, "1");
        for (bad, key) in [("{", None), ("{\"name\":\"x\"}", None), ("{\"id\":8,\"skills\":7}", Some("8"))] {
            let refused = read(line(3, bad)).unwrap_err();
            assert_eq!((refused.line, refused.key.as_deref()), (3, key), "{bad}");
        }
        let refused = read(Line { number: 2, bytes: None }).unwrap_err();
        assert!(refused.fault.reason.contains("more than 9 bytes"));
    }
}
