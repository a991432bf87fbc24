//! Amazon's event stream: binary frames with lengths, headers and two checksums.
//!
//! A frame is its total length, the length of its headers, a CRC-32 of these two, the headers, the payload, and a CRC-32
//! of all before it; numbers are big-endian.

use crate::adapters::llm::fault::Fault;
use crate::adapters::llm::wire::{Frame, Frames};
use bytes::{Buf, Bytes, BytesMut};

const PRELUDE_BYTES: usize = 12;
const CHECKSUM_BYTES: usize = 4;

/// The decoder.
pub struct EventStream {
    bytes: BytesMut,
    frame_bytes_max: usize,
}

impl EventStream {
    pub fn new(frame_bytes_max: usize) -> Self {
        Self { bytes: BytesMut::new(), frame_bytes_max }
    }

    fn number(&self, at: usize) -> usize {
        let bytes = self.bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u32::from_be_bytes) as usize
    }
}

impl Frames for EventStream {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn next(&mut self) -> Result<Option<Frame>, Fault> {
        if self.bytes.len() < PRELUDE_BYTES {
            return Ok(None);
        }
        if crc32fast::hash(&self.bytes[..8]) as usize != self.number(8) {
            return Err(Fault::garbage("a frame of the stream has a wrong checksum"));
        }
        let (total, headers) = (self.number(0), self.number(4));
        if total > self.frame_bytes_max {
            return Err(Fault::garbage(format!("a frame of the stream has more than {} bytes", self.frame_bytes_max)));
        }
        if total < PRELUDE_BYTES + CHECKSUM_BYTES || headers > total - PRELUDE_BYTES - CHECKSUM_BYTES {
            return Err(Fault::garbage("a frame of the stream has impossible lengths"));
        }
        if self.bytes.len() < total {
            return Ok(None);
        }
        let end = total - CHECKSUM_BYTES;
        if crc32fast::hash(&self.bytes[..end]) as usize != self.number(end) {
            return Err(Fault::garbage("a frame of the stream has a wrong checksum"));
        }
        let mut frame = self.bytes.split_to(total).freeze();
        frame.truncate(end);
        frame.advance(PRELUDE_BYTES);
        let headers = frame.split_to(headers);
        read(headers, frame).map(Some)
    }

    fn last(&mut self) -> Result<Option<Frame>, Fault> {
        if self.bytes.is_empty() { Ok(None) } else { Err(Fault::cut()) }
    }
}

fn read(mut headers: Bytes, payload: Bytes) -> Result<Frame, Fault> {
    let mut frame = Frame { name: Bytes::new(), data: payload, failed: false };
    while !headers.is_empty() {
        let (name, value) = header(&mut headers)
            .ok_or_else(|| Fault::garbage("a frame of the stream has headers that cannot be read"))?;
        match &name[..] {
            b":event-type" | b":exception-type" | b":error-code" => frame.name = value,
            b":message-type" => frame.failed = value != "event",
            _ => {}
        }
    }
    Ok(frame)
}

/// A header's name and value; the value is empty where it is no text.
fn header(bytes: &mut Bytes) -> Option<(Bytes, Bytes)> {
    let name_bytes = usize::from(bytes.try_get_u8().ok()?);
    let name = take(bytes, name_bytes)?;
    let value_bytes = match bytes.try_get_u8().ok()? {
        0 | 1 => 0,
        2 => 1,
        3 => 2,
        4 => 4,
        5 | 8 => 8,
        9 => 16,
        kind @ (6 | 7) => {
            let value_bytes = usize::from(bytes.try_get_u16().ok()?);
            let value = take(bytes, value_bytes)?;
            return Some((name, if kind == 7 { value } else { Bytes::new() }));
        }
        _ => return None,
    };
    take(bytes, value_bytes)?;
    Some((name, Bytes::new()))
}

fn take(bytes: &mut Bytes, count: usize) -> Option<Bytes> {
    (bytes.len() >= count).then(|| bytes.split_to(count))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A frame with these headers, all of them texts.
    pub fn encode(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
        let mut encoded = Vec::new();
        for (name, value) in headers {
            encoded.push(name.len() as u8);
            encoded.extend_from_slice(name.as_bytes());
            encoded.push(7);
            encoded.extend_from_slice(&(value.len() as u16).to_be_bytes());
            encoded.extend_from_slice(value.as_bytes());
        }
        let total = PRELUDE_BYTES + encoded.len() + payload.len() + CHECKSUM_BYTES;
        let mut frame = (total as u32).to_be_bytes().to_vec();
        frame.extend_from_slice(&(encoded.len() as u32).to_be_bytes());
        frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
        frame.extend_from_slice(&encoded);
        frame.extend_from_slice(payload);
        frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
        frame
    }

    fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Frame>, Fault> {
        let mut stream = EventStream::new(1_000);
        let mut frames = Vec::new();
        for piece in pieces {
            stream.push(piece);
            while let Some(frame) = stream.next()? {
                frames.push(frame);
            }
        }
        stream.last()?;
        Ok(frames)
    }

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    /// From the test vectors of Amazon's own implementation.
    const ONE_HEADER: &str = "0000003d0000002007fd83960c636f6e74656e742d747970650700106170706c69636174696f6e2f6a736f6e7b27666f6f273a27626172277d8d9c08b1";
    const EMPTY: &str = "000000100000000005c248eb7d98c8ff";

    #[test]
    fn published_frames_are_read() {
        let bytes = [unhex(EMPTY), unhex(ONE_HEADER)].concat();
        let frames = decode([&bytes[..]]).unwrap();
        assert_eq!(frames.len(), 2);
        assert_eq!(&frames[0].data[..], b"");
        assert_eq!(&frames[1].data[..], b"{'foo':'bar'}");
        assert_eq!(encode(&[("content-type", "application/json")], b"{'foo':'bar'}"), unhex(ONE_HEADER));
    }

    #[test]
    fn an_exception_is_told_from_an_event() {
        let event = encode(&[(":message-type", "event"), (":event-type", "messageStop")], b"{}");
        let exception = encode(&[(":message-type", "exception"), (":exception-type", "throttlingException")], b"{}");
        let frames = decode([&event[..], &exception[..]]).unwrap();
        assert_eq!((&frames[0].name[..], frames[0].failed), (&b"messageStop"[..], false));
        assert_eq!((&frames[1].name[..], frames[1].failed), (&b"throttlingException"[..], true));
    }

    #[test]
    fn any_flipped_bit_is_found() {
        let frame = unhex(ONE_HEADER);
        for bit in 0..frame.len() * 8 {
            let mut wrong = frame.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(decode([&wrong[..]]).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_frame_above_the_bound_is_refused_by_its_length_alone() {
        let frame = encode(&[], &[b'x'; 1_000]);
        assert!(decode([&frame[..PRELUDE_BYTES]]).is_err());
    }

    proptest! {
        #[test]
        fn any_cutting_gives_the_same_frames(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..6),
            size in 1usize..40,
        ) {
            let bytes: Vec<u8> = payloads.iter().flat_map(|payload| encode(&[(":event-type", "e")], payload)).collect();
            let frames = decode(bytes.chunks(size)).unwrap();
            prop_assert_eq!(frames.iter().map(|frame| frame.data.to_vec()).collect::<Vec<_>>(), payloads);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), headers in 0u32..100) {
            let _ = decode([&bytes[..]]);
            // With a sound prelude, so that what is behind it is looked at too.
            let mut frame = (bytes.len() as u32 + 16).to_be_bytes().to_vec();
            frame.extend_from_slice(&headers.to_be_bytes());
            frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
            frame.extend_from_slice(&bytes);
            frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
            let _ = decode([&frame[..]]);
        }
    }
}
