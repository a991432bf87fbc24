//! Takes an upload apart as it comes: parts of whole lines, and what is wrong with them. Pure, but for no clock and no
//! store: bytes in, parts out.
//!
//! Memory: one part, one line, and 16 bytes for each request's `custom_id`.

use crate::domain::common::hex;
use crate::domain::llm_batch::{
    CloseBatchFile, FILE_BYTES_MAX, LINE_BYTES_MAX, LineProblem, PART_BYTES_MAX, PROBLEMS_MAX, REQUESTS_MAX, line,
};
use crate::domain::llm_request::Operation;
use hashbrown::HashSet;
use sha2::{Digest, Sha256};

/// Why an upload is no file of requests.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the file has more than {FILE_BYTES_MAX} bytes; make several files of it")]
    FileTooLarge,
    #[error("the file has more than {REQUESTS_MAX} requests; make several files of it")]
    TooManyRequests,
    #[error("line {line} has more than {bytes_max} bytes, which is more than a request may have")]
    LineTooLong { line: i64, bytes_max: usize },
    #[error("line {0} is not UTF-8; a file of requests is JSON lines in UTF-8")]
    NotText(i64),
    #[error("the file has no lines; upload one request a line, as JSON")]
    Empty,
}

/// What its record has around a command's payload, in bytes, and some room.
pub const AROUND: usize = 2_048;

/// Most bytes that end a line.
const LINE_END: usize = 2;

/// See the module.
pub struct Splitter {
    line_bytes_max: usize,
    part_bytes_max: usize,
    /// What came and is in no part yet: whole lines, and then the beginning of one.
    held: Vec<u8>,
    /// Where the beginning of a line is.
    whole: usize,
    hasher: Sha256,
    parts: i64,
    bytes: i64,
    lines: i64,
    requests: i64,
    operation: Option<Operation>,
    is_mixed: bool,
    custom_ids: HashSet<[u8; 16]>,
    problems: Vec<LineProblem>,
}

impl Splitter {
    /// For a fleet whose commands may make so many bytes of records.
    pub fn new(command_bytes_max: usize) -> Self {
        let room = command_bytes_max.saturating_sub(AROUND);
        Self {
            line_bytes_max: LINE_BYTES_MAX.min(room.saturating_sub(LINE_END)),
            part_bytes_max: PART_BYTES_MAX.min(room),
            held: Vec::new(),
            whole: 0,
            hasher: Sha256::new(),
            parts: 0,
            bytes: 0,
            lines: 0,
            requests: 0,
            operation: None,
            is_mixed: false,
            custom_ids: HashSet::new(),
            problems: Vec::new(),
        }
    }

    /// Takes the next bytes; gives the parts that they complete.
    ///
    /// # Errors
    /// When they make it no file of requests. Nothing more is to be given to it then.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>, Refused> {
        self.bytes += bytes.len() as i64;
        if self.bytes > FILE_BYTES_MAX {
            return Err(Refused::FileTooLarge);
        }
        self.hasher.update(bytes);
        let mut parts = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.held.len() - self.whole + piece.len() > self.line_bytes_max + LINE_END {
                return Err(Refused::LineTooLong { line: self.lines + 1, bytes_max: self.line_bytes_max });
            }
            self.held.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.line(&mut parts)?;
            }
        }
        Ok(parts)
    }

    /// The upload's end: the last parts, and what the file came to.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn finish(mut self) -> Result<(Vec<String>, CloseBatchFile), Refused> {
        let mut parts = Vec::new();
        if self.held.len() > self.whole {
            self.line(&mut parts)?;
        }
        let rest = self.held.len();
        self.cut(rest, &mut parts)?;
        if self.lines == 0 {
            return Err(Refused::Empty);
        }
        let closing = CloseBatchFile {
            parts: self.parts,
            bytes: self.bytes,
            sha256: hex(&self.hasher.finalize()),
            requests: self.requests,
            operation: self.operation.filter(|_| !self.is_mixed),
            problems: self.problems,
        };
        Ok((parts, closing))
    }

    /// The line that begins at `whole` is complete.
    fn line(&mut self, parts: &mut Vec<String>) -> Result<(), Refused> {
        self.lines += 1;
        let number = self.lines;
        let text = self.held.get(self.whole..).unwrap_or_default();
        let text = std::str::from_utf8(text).map_err(|_| Refused::NotText(number))?.trim_end_matches(['\n', '\r']);
        if !text.trim().is_empty() {
            self.requests += 1;
            if self.requests > REQUESTS_MAX {
                return Err(Refused::TooManyRequests);
            }
            match line::read(text, number) {
                Ok(line) => {
                    self.is_mixed |= self.operation.is_some_and(|operation| operation != line.operation);
                    self.operation = Some(line.operation);
                    let id = blake3::hash(line.custom_id.as_bytes());
                    let mut short = [0; 16];
                    short.copy_from_slice(&id.as_bytes()[..16]);
                    if !self.custom_ids.insert(short) {
                        self.problem(repeated(number));
                    }
                }
                Err(problem) => self.problem(problem),
            }
        }
        // A part ends before the line that would make it too large, which may be a part by itself.
        if self.held.len() > self.part_bytes_max && self.whole > 0 {
            let whole = self.whole;
            self.cut(whole, parts)?;
        }
        self.whole = self.held.len();
        if self.whole > self.part_bytes_max {
            let whole = self.whole;
            self.cut(whole, parts)?;
        }
        Ok(())
    }

    /// Makes a part of the first `bytes` that are held.
    fn cut(&mut self, bytes: usize, parts: &mut Vec<String>) -> Result<(), Refused> {
        if bytes == 0 {
            return Ok(());
        }
        let rest = self.held.split_off(bytes);
        let part = std::mem::replace(&mut self.held, rest);
        parts.push(String::from_utf8(part).map_err(|_| Refused::NotText(self.lines))?);
        self.parts += 1;
        self.whole = 0;
        Ok(())
    }

    fn problem(&mut self, problem: LineProblem) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }
}

fn repeated(line: i64) -> LineProblem {
    LineProblem {
        line: Some(line),
        code: "duplicate_custom_id".to_owned(),
        message: "The custom_id of this line was already used. Please ensure all custom_ids are unique.".to_owned(),
        param: Some("custom_id".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::llm_request::payload::sha256;
    use proptest::prelude::*;

    fn line(id: &str, url: &str) -> String {
        format!("{{\"custom_id\":\"{id}\",\"method\":\"POST\",\"url\":\"{url}\",\"body\":{{}}}}\n")
    }

    fn chat(id: &str) -> String {
        line(id, "/v1/chat/completions")
    }

    const COMMAND_BYTES_MAX: usize = 16 << 20;

    fn split(text: &[u8], chunk: usize) -> Result<(Vec<String>, CloseBatchFile), Refused> {
        let mut splitter = Splitter::new(COMMAND_BYTES_MAX);
        let mut parts = Vec::new();
        for bytes in text.chunks(chunk) {
            parts.extend(splitter.push(bytes)?);
        }
        let (rest, closing) = splitter.finish()?;
        parts.extend(rest);
        Ok((parts, closing))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// However it comes in, a file is the same parts, and they are the file.
        #[test]
        fn parts_are_the_file_in_whole_lines(
            pads in prop::collection::vec(prop_oneof![20 => 0..3_000_usize, 1 => 200_000..600_000_usize], 0..40),
            chunk in 1_000..300_000_usize,
            ends in any::<bool>(),
        ) {
            let lines = pads.iter().enumerate().map(|(at, pad)| {
                if at % 7 == 3 { "\n".to_owned() } else { chat(&at.to_string()).replace("{}", &format!("{{\"a\":\"{}\"}}", "x".repeat(*pad))) }
            });
            let mut text: String = lines.collect();
            text.push_str(chat("last").trim_end());
            if ends {
                text.push('\n');
            }
            let (parts, closing) = split(text.as_bytes(), chunk).unwrap();
            prop_assert_eq!(parts.concat(), text.clone());
            prop_assert_eq!((closing.parts as usize, closing.bytes as usize), (parts.len(), text.len()));
            prop_assert_eq!(closing.sha256, sha256(&text));
            prop_assert_eq!(closing.requests as usize, line::requests(&text).count());
            prop_assert!(closing.problems.is_empty(), "{:?}", closing.problems);
            let last = parts.len() - 1;
            for (at, part) in parts.iter().enumerate() {
                prop_assert!(part.len() <= PART_BYTES_MAX || part.lines().count() == 1, "{}", part.len());
                prop_assert!(at == last || part.ends_with('\n'));
            }
        }
    }

    #[test]
    fn a_fleet_of_small_commands_has_smaller_parts_and_shorter_lines() {
        let (room, text) = (64 * 1024 - AROUND, chat("a").repeat(5_000));
        let mut splitter = Splitter::new(64 * 1024);
        let mut parts = splitter.push(text.as_bytes()).unwrap();
        parts.extend(splitter.finish().unwrap().0);
        assert!(parts.len() > 1 && parts.iter().all(|part| part.len() <= room), "{}", parts.len());
        assert_eq!(parts.concat(), text);
        let mut splitter = Splitter::new(64 * 1024);
        assert!(splitter.push(&vec![b'x'; room]).is_ok());
        assert_eq!(splitter.push(b"x").unwrap_err(), Refused::LineTooLong { line: 1, bytes_max: room - LINE_END });
    }

    #[test]
    fn the_longest_line_may_end_as_any_other() {
        let mut splitter = Splitter::new(COMMAND_BYTES_MAX);
        let line = [vec![b'x'; LINE_BYTES_MAX], b"\r\n".to_vec()].concat();
        assert!(splitter.push(&line).is_ok());
    }

    #[test]
    fn what_is_wrong_with_lines_is_told_with_their_numbers() {
        let text = [chat("a"), "\n".to_owned(), "{\n".to_owned(), chat("a"), chat("b")].concat();
        let (_, closing) = split(text.as_bytes(), 7).unwrap();
        let problems: Vec<_> = closing.problems.iter().map(|it| (it.line.unwrap(), it.code.as_str())).collect();
        assert_eq!(problems, [(3, "invalid_json_line"), (4, "duplicate_custom_id")]);
        assert_eq!((closing.requests, closing.operation), (4, Some(Operation::ChatCompletion)));
        let many = "{\n".repeat(PROBLEMS_MAX + 5);
        assert_eq!(split(many.as_bytes(), 100).unwrap().1.problems.len(), PROBLEMS_MAX);
    }

    #[test]
    fn lines_that_ask_different_things_ask_no_one_thing() {
        let text = [chat("a"), line("b", "/v1/embeddings"), chat("c")].concat();
        assert_eq!(split(text.as_bytes(), 100).unwrap().1.operation, None);
    }

    #[test]
    fn what_is_no_file_of_requests_is_refused_as_soon_as_it_is_seen() {
        assert_eq!(split(b"", 1).unwrap_err(), Refused::Empty);
        assert_eq!(split(b"{}\n\xff\xff\n", 1).unwrap_err(), Refused::NotText(2));
        let mut splitter = Splitter::new(COMMAND_BYTES_MAX);
        let refused = (0..20).find_map(|_| splitter.push(&[b'x'; 100_000]).err());
        assert_eq!(
            refused,
            Some(Refused::LineTooLong { line: 1, bytes_max: LINE_BYTES_MAX }),
            "an endless line is not gathered"
        );
        let many = "x\n".repeat(REQUESTS_MAX as usize + 1);
        assert_eq!(split(many.as_bytes(), 100_000).unwrap_err(), Refused::TooManyRequests);
        let mut splitter = Splitter::new(COMMAND_BYTES_MAX);
        let lines = [&[b' '; 1023][..], b"\n"].concat().repeat(1024);
        let refused = (0..=100).find_map(|_| splitter.push(&lines).err());
        assert_eq!(refused, Some(Refused::FileTooLarge));
    }
}
