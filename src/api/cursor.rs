//! Cursors: where a page ended, in a text that means nothing to the caller.
//!
//! A cursor carries a checksum over itself and the query that it belongs to, so that one that was altered, or taken to
//! another query, is an error and not a wrong page. It gives no rights: what it points at is checked like any other.

use super::problem::{INVALID_CURSOR, Problem};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const CHECKSUM_BYTES: usize = 8;

/// Writes a place as a cursor of the query that `parts` spell out.
pub fn encode(parts: &[&str], place: &[u8]) -> String {
    let checksum = checksum(parts, place);
    URL_SAFE_NO_PAD.encode([&checksum, place].concat())
}

/// Reads the place back.
///
/// # Errors
/// When the cursor is not one of this query's.
pub fn decode<const N: usize>(parts: &[&str], cursor: &str) -> Result<[u8; N], Problem> {
    <[u8; N]>::try_from(decode_bytes(parts, cursor)?).map_err(|_| foreign())
}

/// Reads back a place of any length.
///
/// # Errors
/// As [`decode`].
pub fn decode_bytes(parts: &[&str], cursor: &str) -> Result<Vec<u8>, Problem> {
    let place = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| {
        let (check, place) = bytes.split_first_chunk::<CHECKSUM_BYTES>()?;
        (*check == checksum(parts, place)).then(|| place.to_vec())
    });
    place.ok_or_else(foreign)
}

fn foreign() -> Problem {
    let detail = "use next_cursor as it was given, with the same path, tenant and filters; or start without a cursor";
    Problem::new(&INVALID_CURSOR, detail)
}

fn checksum(parts: &[&str], place: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        // With its length, so that no two queries spell out alike.
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.update(place);
    let mut checksum = [0; CHECKSUM_BYTES];
    checksum.copy_from_slice(&hasher.finalize().as_bytes()[..CHECKSUM_BYTES]);
    checksum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_cursor_belongs_to_its_query() {
        let cursor = encode(&["agents", "status=active"], &[7; 32]);
        assert_eq!(decode(&["agents", "status=active"], &cursor), Ok([7; 32]));
        for parts in [&["agents", "status=idle"][..], &["agentss", "tatus=active"], &["agents"], &[]] {
            assert!(decode::<32>(parts, &cursor).is_err(), "{parts:?}");
        }
        assert!(decode::<8>(&["agents", "status=active"], &cursor).is_err());
    }

    proptest! {
        #[test]
        fn an_altered_cursor_is_refused(place in any::<[u8; 32]>(), at in 0usize..54, letter in "[A-Za-z0-9_-]", junk in ".*") {
            let cursor = encode(&["q"], &place);
            let mut altered = cursor.clone();
            altered.replace_range(at..at + 1, &letter);
            prop_assert!(altered == cursor || decode::<32>(&["q"], &altered).is_err());
            prop_assert!(junk == cursor || decode::<32>(&["q"], &junk).is_err());
        }
    }
}
