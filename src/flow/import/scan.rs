//! Finds JSON values in bytes without reading them, so that one that is broken is refused alone.
//!
//! A value's extent comes from its brackets and strings. What lies within is the reader's business: it is parsed there,
//! and only there refused. A string ends at a line feed too, where JSON allows none: a quote that is missing then harms
//! its own line and not all that follows.

/// Separates texts of a sequence (RFC 7464). It cannot stand inside a JSON text, so that a text that is cut off ends here.
pub const RECORD_SEPARATOR: u8 = 0x1e;

/// Where a value lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// Offset of its first byte.
    pub at: usize,
    pub bytes: &'a [u8],
    /// Whether its brackets are closed.
    pub is_whole: bool,
}

/// Walks over the values of a list, or of a whole body.
#[derive(Clone, Debug)]
pub struct Values<'a> {
    bytes: &'a [u8],
    at: usize,
    /// What ends the list; `None` in a whole body.
    close: Option<u8>,
    is_closed: bool,
}

impl<'a> Values<'a> {
    /// The values of a body, one after the other, whatever blanks or separators are between them.
    pub fn of_body(bytes: &'a [u8]) -> Self {
        let at = if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        Self { bytes, at, close: None, is_closed: false }
    }

    /// The values of a list that begins at `at` with `[`.
    pub fn of_list(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at: at + 1, close: Some(b']'), is_closed: false }
    }

    /// After the last value: whether the list has its closing bracket.
    pub fn is_closed(&self) -> bool {
        self.close.is_none() || self.is_closed
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = Found<'a>;

    fn next(&mut self) -> Option<Found<'a>> {
        if self.is_closed {
            return None;
        }
        let in_body = self.close.is_none();
        let is_between =
            |byte: &u8| byte.is_ascii_whitespace() || *byte == b',' || (in_body && *byte == RECORD_SEPARATOR);
        self.at += self.bytes.get(self.at..)?.iter().take_while(|byte| is_between(byte)).count();
        let first = *self.bytes.get(self.at)?;
        if Some(first) == self.close {
            self.is_closed = true;
            self.at += 1;
            return None;
        }
        if first == RECORD_SEPARATOR {
            return None;
        }
        let found = extent(self.bytes, self.at);
        self.at += found.bytes.len();
        Some(found)
    }
}

/// The value that begins at `at`, where no blank is.
fn extent(bytes: &[u8], at: usize) -> Found<'_> {
    let rest = &bytes[at..];
    let (length, is_whole) = match rest.first() {
        Some(b'{' | b'[') => nested(rest),
        Some(b'"') => (string(rest), true),
        _ => {
            let is_end = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b',' | b']' | b'}' | b'{' | b'[');
            let length = rest.iter().position(|byte| is_end(byte) || *byte == RECORD_SEPARATOR);
            // A stray bracket is a value of its own: the walk goes on behind it.
            (length.unwrap_or(rest.len()).max(1), true)
        }
    };
    Found { at, bytes: &rest[..length], is_whole }
}

/// Bytes up to the bracket that closes the first one, and whether it is there.
fn nested(bytes: &[u8]) -> (usize, bool) {
    let mut open: Vec<u8> = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at += string(&bytes[at..]) - 1,
            b'{' => open.push(b'}'),
            b'[' => open.push(b']'),
            b'}' | b']' => match open.iter().rposition(|close| close == byte) {
                // A bracket that was left open inside ends with what it is in.
                Some(depth) => open.truncate(depth),
                // It closes what this value is in.
                None => return (at, false),
            },
            &RECORD_SEPARATOR => return (at, false),
            _ => {}
        }
        at += 1;
        if open.is_empty() {
            return (at, true);
        }
    }
    (at, false)
}

/// Bytes of the string that begins here, quotes included.
fn string(bytes: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 1,
            b'"' => return at + 1,
            b'\n' | &RECORD_SEPARATOR => return at,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

/// The members of the object that begins at `at` with `{`: their names as they are written, and their values. Ends early
/// at what is no member.
pub fn members(bytes: &[u8], at: usize) -> Vec<(&[u8], Found<'_>)> {
    let mut members = Vec::new();
    let mut at = at + 1;
    loop {
        at += blanks(&bytes[at..], b',');
        if bytes.get(at) != Some(&b'"') {
            return members;
        }
        let name = &bytes[at..at + string(&bytes[at..])];
        at += name.len();
        at += blanks(&bytes[at..], b':');
        if at >= bytes.len() {
            return members;
        }
        let value = extent(bytes, at);
        at += value.bytes.len();
        let is_whole = value.is_whole;
        members.push((name, value));
        if !is_whole {
            return members;
        }
    }
}

fn blanks(bytes: &[u8], separator: u8) -> usize {
    bytes.iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == separator).count()
}

/// Tells lines of rising offsets, the first line being 1; reads each byte once.
pub struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u64,
}

impl<'a> Lines<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, line: 1 }
    }

    /// The line of an offset that is not before the last one that was asked for.
    pub fn of(&mut self, at: usize) -> u64 {
        let at = at.clamp(self.at, self.bytes.len());
        self.line += self.bytes[self.at..at].iter().filter(|byte| **byte == b'\n').count() as u64;
        self.at = at;
        self.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> (Vec<(&str, bool)>, bool) {
        let mut values = Values::of_list(text.as_bytes(), text.find('[').unwrap());
        let found = values.by_ref().map(|it| (std::str::from_utf8(it.bytes).unwrap(), it.is_whole)).collect();
        (found, values.is_closed())
    }

    #[test]
    fn values_are_found_by_their_brackets_and_strings() {
        let text = r#" [ {"a":"]}\"{"} , [1,[2]], "x,y", 7 ,null] rest"#;
        let found = [r#"{"a":"]}\"{"}"#, "[1,[2]]", r#""x,y""#, "7", "null"].map(|it| (it, true));
        assert_eq!(list(text), (found.to_vec(), true));
    }

    #[test]
    fn what_is_broken_harms_only_itself_where_its_end_can_be_seen() {
        let text = "[{\"a\": \"no end\n}, {\"b\": [1}, {\"c\": tru}, } {\"d\":1} {\"e\":2}]";
        let (found, is_closed) = list(text);
        assert!(is_closed);
        let expected = ["{\"a\": \"no end\n}", "{\"b\": [1}", "{\"c\": tru}", "}", "{\"d\":1}", "{\"e\":2}"];
        assert_eq!(found, expected.map(|it| (it, true)));
        assert_eq!(list("[{\"a\":1},{\"b\":"), (vec![("{\"a\":1}", true), ("{\"b\":", false)], false));
        assert_eq!(list("[{\"a\": {\"b\":1}, {\"c\":2}]").0.len(), 1, "what is not closed takes what follows");
    }

    #[test]
    fn a_body_may_have_many_texts_and_one_that_is_cut_off_ends_at_its_separator() {
        let text = "\u{feff}\u{1e}{\"a\":1\n\u{1e}{\"b\":2}\n{\"c\":3}[4]";
        let found: Vec<_> = Values::of_body(text.as_bytes()).map(|it| (it.bytes.len(), it.is_whole)).collect();
        assert_eq!(found, [(7, false), (7, true), (7, true), (3, true)]);
        assert_eq!(Values::of_body(b" \n").count(), 0);
    }

    #[test]
    fn members_are_told_with_their_values() {
        let text = br#"{ "servers" : [1] , "metadata":{"count":1}, oops }"#;
        let members = members(text, 0);
        let names: Vec<_> = members.iter().map(|(name, value)| (*name, value.bytes)).collect();
        assert_eq!(names, [(&b"\"servers\""[..], &b"[1]"[..]), (b"\"metadata\"", b"{\"count\":1}")]);
    }

    #[test]
    fn lines_count_from_one() {
        let mut lines = Lines::new(b"a\nbc\n\nd");
        assert_eq!([0, 1, 2, 5, 6, 99].map(|at| lines.of(at)), [1, 1, 2, 3, 4, 4]);
    }

    proptest::proptest! {
        #[test]
        fn the_walk_ends_whatever_the_bytes(bytes in proptest::collection::vec(proptest::sample::select(
            b"{}[]\",:\\a \n\x1e".to_vec()), 0..60)) {
            let total: usize = Values::of_body(&bytes).map(|it| it.bytes.len()).sum();
            assert!(total <= bytes.len());
            for found in Values::of_body(&bytes).filter(|it| it.bytes.starts_with(b"[")) {
                assert!(Values::of_list(&bytes, found.at).count() <= bytes.len());
            }
            if bytes.first() == Some(&b'{') {
                members(&bytes, 0);
            }
        }
    }
}
