//! Frames: what a segment is made of.
//!
//! ```text
//! u32 length of the body    u32 crc32 of all that follows    u32 segment    u32 synced    u8 kind    body
//! ```
//!
//! `segment` is the number of the file that the frame was written to, `synced` how far that file was synced at that
//! moment: a bad frame at or past every mark is a torn write, one before a mark is damage.

use crate::domain::record::{Cursor, RecordError};

/// Bytes before the body.
pub const HEADER_BYTES: usize = 17;
/// Largest body, far beyond what any setting allows: a larger length is damage.
pub const BODY_BYTES_MAX: usize = 1 << 30;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// Accepted commands.
    Commands = 1,
    /// One batch of one log.
    Records = 2,
    /// A claim of one log.
    Claim = 3,
    /// A dead letter.
    DeadLetter = 4,
    /// A dead letter that is sent again, and what it carries as an accepted command.
    Redriven = 5,
}

impl FrameKind {
    fn from_code(code: u8) -> Option<Self> {
        [Self::Commands, Self::Records, Self::Claim, Self::DeadLetter, Self::Redriven]
            .into_iter()
            .find(|kind| *kind as u8 == code)
    }
}

/// A frame as it was read.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    pub kind: FrameKind,
    pub synced: u32,
    pub body: &'a [u8],
}

/// Why bytes are no frame.
#[derive(Debug, PartialEq, Eq)]
pub enum FrameError {
    /// They end before the frame does.
    Short,
    /// They are something else.
    Bad(&'static str),
}

/// Appends a frame whose body is written by `body`.
pub fn write(out: &mut Vec<u8>, kind: FrameKind, segment: u32, synced: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&segment.to_le_bytes());
    out.extend_from_slice(&synced.to_le_bytes());
    out.push(kind as u8);
    body(out);
    let length = (out.len() - start - HEADER_BYTES) as u32;
    let crc = crc32fast::hash(&out[start + 8..]);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

/// Reads the frame at the beginning of `bytes`. Gives it with its whole length.
pub fn read(bytes: &[u8], segment: u32) -> Result<(Frame<'_>, usize), FrameError> {
    let mut cursor = Cursor(bytes);
    let short = |_: RecordError| FrameError::Short;
    let length = u32::from_le_bytes(cursor.array("length").map_err(short)?) as usize;
    let crc = u32::from_le_bytes(cursor.array("crc").map_err(short)?);
    let theirs = u32::from_le_bytes(cursor.array("segment").map_err(short)?);
    let synced = u32::from_le_bytes(cursor.array("synced").map_err(short)?);
    let [kind] = cursor.array("kind").map_err(short)?;
    if theirs != segment {
        return Err(FrameError::Bad("the frame names another segment"));
    }
    if length > BODY_BYTES_MAX {
        return Err(FrameError::Bad("the length is absurd"));
    }
    let kind = FrameKind::from_code(kind).ok_or(FrameError::Bad("the kind is unknown"))?;
    let body = cursor.take(length, "body").map_err(short)?;
    let whole = HEADER_BYTES + length;
    if crc32fast::hash(&bytes[8..whole]) != crc {
        return Err(FrameError::Bad("the checksum does not match"));
    }
    Ok((Frame { kind, synced, body }, whole))
}

/// Whether a whole frame that stands anywhere after byte `from` says that the file was synced beyond `from`: then what
/// is unreadable at `from` was durable once, and is damage. `start` is where in the file these bytes begin.
pub fn synced_beyond(bytes: &[u8], start: u64, from: usize, segment: u32) -> bool {
    let mark = segment.to_le_bytes();
    (from + 1..bytes.len().saturating_sub(HEADER_BYTES - 1)).any(|at| {
        bytes[at + 8..at + 12] == mark
            && read(&bytes[at..], segment).is_ok_and(|(frame, _)| u64::from(frame.synced) > start + from as u64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes, FrameKind::Claim, 3, 0, |body| body.extend_from_slice(b"first"));
        let synced = bytes.len() as u32;
        write(&mut bytes, FrameKind::Records, 3, synced, |body| body.extend_from_slice(b"second"));
        bytes
    }

    #[test]
    fn frames_come_back() {
        let bytes = two();
        let (first, length) = read(&bytes, 3).expect("whole");
        assert_eq!((first.kind, first.body), (FrameKind::Claim, &b"first"[..]));
        let (second, _) = read(&bytes[length..], 3).expect("whole");
        assert_eq!((second.kind, second.body, second.synced), (FrameKind::Records, &b"second"[..], length as u32));
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let bytes = two();
        let (_, length) = read(&bytes, 3).expect("whole");
        for bit in 0..length * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&bad, 3).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_later_mark_tells_damage_from_a_torn_write() {
        let bytes = two();
        assert!(synced_beyond(&bytes, 0, 0, 3), "the second frame says that the first was synced");
        let (_, length) = read(&bytes, 3).expect("whole");
        assert!(!synced_beyond(&bytes, 0, length, 3), "nothing says that the second was");
    }
}
