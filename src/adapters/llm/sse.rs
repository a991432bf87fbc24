//! Server-sent events, out of bytes that come in pieces of any size. Any cutting of the bytes gives the same events.

use super::fault::Fault;
use super::wire::{Frame, Frames};
use bytes::{Buf, Bytes, BytesMut};

/// The decoder. Comments, ids and retry times are passed over.
pub struct Sse {
    bytes: BytesMut,
    /// Where in `bytes` no line ends before.
    searched: usize,
    /// The last line ended in a carriage return: a line feed that follows belongs to it.
    after_return: bool,
    at_start: bool,
    name: Option<Bytes>,
    data: Data,
    event_bytes_max: usize,
}

/// The data of the event that is being read: nearly always one line, which is then not copied.
enum Data {
    None,
    Line(Bytes),
    Lines(BytesMut),
}

impl Sse {
    /// `event_bytes_max` bounds a line, and the data of an event.
    pub fn new(event_bytes_max: usize) -> Self {
        Self {
            bytes: BytesMut::new(),
            searched: 0,
            after_return: false,
            at_start: true,
            name: None,
            data: Data::None,
            event_bytes_max,
        }
    }

    /// The next whole line, without its end.
    fn line(&mut self) -> Result<Option<Bytes>, Fault> {
        if self.after_return && !self.bytes.is_empty() {
            if self.bytes[0] == b'\n' {
                self.bytes.advance(1);
            }
            self.after_return = false;
        }
        let found = self.bytes[self.searched..].iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let Some(at) = found.map(|at| self.searched + at) else {
            self.searched = self.bytes.len();
            return if self.searched > self.event_bytes_max { Err(self.too_long()) } else { Ok(None) };
        };
        self.searched = 0;
        self.after_return = self.bytes[at] == b'\r';
        let line = self.bytes.split_to(at).freeze();
        self.bytes.advance(1);
        if line.len() > self.event_bytes_max { Err(self.too_long()) } else { Ok(Some(line)) }
    }

    /// Takes one line; an event where the line ends one.
    fn take(&mut self, mut line: Bytes) -> Result<Option<Frame>, Fault> {
        if std::mem::take(&mut self.at_start) && line.starts_with(b"\xEF\xBB\xBF") {
            line.advance(3);
        }
        if line.is_empty() {
            return Ok(self.event());
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let mut value = line.slice((colon + 1).min(line.len())..);
        if value.starts_with(b" ") {
            value.advance(1);
        }
        match &line[..colon] {
            b"data" => self.add(value)?,
            b"event" => self.name = Some(value),
            _ => {}
        }
        Ok(None)
    }

    fn add(&mut self, value: Bytes) -> Result<(), Fault> {
        let mut lines = match std::mem::replace(&mut self.data, Data::None) {
            Data::None => {
                self.data = Data::Line(value);
                return Ok(());
            }
            Data::Line(line) => BytesMut::from(&line[..]),
            Data::Lines(lines) => lines,
        };
        if lines.len() + value.len() > self.event_bytes_max {
            return Err(self.too_long());
        }
        lines.extend_from_slice(b"\n");
        lines.extend_from_slice(&value);
        self.data = Data::Lines(lines);
        Ok(())
    }

    fn event(&mut self) -> Option<Frame> {
        let name = self.name.take();
        let data = match std::mem::replace(&mut self.data, Data::None) {
            Data::None => return None,
            Data::Line(line) => line,
            Data::Lines(lines) => lines.freeze(),
        };
        Some(Frame { name: name.unwrap_or_default(), data, failed: false })
    }

    fn too_long(&self) -> Fault {
        Fault::too_large("an event of the stream", self.event_bytes_max)
    }
}

impl Frames for Sse {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn next(&mut self) -> Result<Option<Frame>, Fault> {
        while let Some(line) = self.line()? {
            if let Some(event) = self.take(line)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// An event that lacks only the empty line after it counts: some providers leave that out at the end.
    fn last(&mut self) -> Result<Option<Frame>, Fault> {
        if !self.bytes.is_empty() {
            let line = self.bytes.split().freeze();
            self.searched = 0;
            if let Some(event) = self.take(line)? {
                return Ok(Some(event));
            }
        }
        Ok(self.event())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode<'a>(
        pieces: impl IntoIterator<Item = &'a [u8]>,
        bytes_max: usize,
    ) -> Result<Vec<(String, String)>, Fault> {
        let mut sse = Sse::new(bytes_max);
        let mut events = Vec::new();
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        for piece in pieces {
            sse.push(piece);
            while let Some(event) = sse.next()? {
                events.push((text(&event.name), text(&event.data)));
            }
        }
        events.extend(sse.last()?.map(|event| (text(&event.name), text(&event.data))));
        Ok(events)
    }

    const STREAM: &[u8] = "\u{feff}: alive\n\nevent: start\ndata: {\"a\":1}\n\r\n\
        data:no space\r\rid: 7\nretry: 10\ndata:  two\ndata\ndata: lines é\n\n\n\
        event: empty\n\nnonsense\ndata: [DONE]"
        .as_bytes();

    fn meant() -> Vec<(String, String)> {
        [("start", "{\"a\":1}"), ("", "no space"), ("", " two\n\nlines é"), ("", "[DONE]")]
            .map(|(name, data)| (name.to_owned(), data.to_owned()))
            .to_vec()
    }

    #[test]
    fn events_are_read_as_the_standard_says() {
        assert_eq!(decode([STREAM], 1_000).unwrap(), meant());
    }

    #[test]
    fn cutting_at_any_byte_or_at_all_of_them_changes_nothing() {
        for at in 0..=STREAM.len() {
            let (left, right) = STREAM.split_at(at);
            assert_eq!(decode([left, right], 1_000).unwrap(), meant(), "cut at {at}");
        }
        assert_eq!(decode(STREAM.chunks(1), 1_000).unwrap(), meant());
    }

    #[test]
    fn what_is_longer_than_the_bound_is_refused_before_it_is_whole() {
        for text in
            ["data: 0123456789012345".to_owned(), "data: 0123456789012345\n\n".to_owned(), "data: 12345\n".repeat(4)]
        {
            assert!(decode([text.as_bytes()], 16).is_err(), "{text}");
        }
        assert!(decode([&b"data: 0123456789\n\n"[..]], 16).is_ok());
    }

    proptest! {
        #[test]
        fn any_cutting_of_any_bytes_gives_the_same_events(
            parts in proptest::collection::vec(
                prop_oneof!["data: ?", "event:", "[a-z]{1,4}", ":", "\n", "\r", "\r\n", "\n\n", "é"], 0..40),
            cuts in proptest::collection::vec(0usize..200, 0..12),
        ) {
            let bytes = parts.concat().into_bytes();
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]);
            prop_assert_eq!(decode(pieces, 10_000).unwrap(), decode([&bytes[..]], 10_000).unwrap());
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode([&bytes[..]], 50);
        }
    }
}
