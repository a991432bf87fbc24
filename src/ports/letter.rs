//! Dead letters: the commands that ended without being decided, each with what it takes to try again.
//!
//! A letter holds a record of a command topic: its headers and its value. Of a record that could not be read that is
//! what came; of a command that was read it is the same command in Avro's single-object encoding, which says by which
//! schema it is to be read, under the headers that any producer could have sent. So every letter can be sent again as
//! it stands, and [`DeadLetter::command`] reads the second kind back.

use crate::domain::envelope::DEFAULT_SOURCE;
use crate::domain::{Aggregate, AnyCommand, Envelope, LogId, Micros, StreamId};
use crate::ports::topic::{Accepted, Error, Unreadable};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The header that counts how often a record was sent again after it had died.
pub const REDRIVEN: &str = "ce_redriven";
const CONTENT_TYPE: &str = "content-type";
const AVRO: &str = "application/avro";
/// First bytes of Avro's single-object encoding; the schema's 64-bit fingerprint follows, little-endian.
const SINGLE_OBJECT: [u8; 2] = [0xc3, 0x01];

/// Code of a command whose id was used before with other content.
pub const ID_REUSED: &str = "id_reused";
/// Code of a command that could not be decided, or that ended the process.
pub const POISONOUS: &str = "poisonous";

/// A command that ended without being decided, with what it takes to try again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The topic's name in every fleet, without the prefix that a fleet may put before it.
    pub topic: String,
    pub partition: u16,
    /// Of a command that came by no topic, but from within the process that owns its log: the next offset that the log
    /// was to consume.
    pub offset: u64,
    pub command_id: Option<Uuid>,
    pub stream: Option<StreamId>,
    /// A stable code: `unreadable`, `id_reused`, `poisonous`.
    pub code: String,
    pub cause: String,
    pub buried_at: Micros,
    /// How often it had been sent again when it died this time: 0 at first.
    #[serde(default)]
    pub attempts: u32,
    pub headers: Vec<(String, String)>,
    pub bytes: Vec<u8>,
}

/// Where a record of a command topic is.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub log: LogId,
    pub offset: u64,
    /// How often it was sent again.
    pub redriven: u32,
}

/// A letter as the topics keep it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Buried {
    pub letter: DeadLetter,
    /// How often this very letter was sent again since.
    pub redriven: u32,
}

/// A letter that was sent again.
#[derive(Clone, Debug, PartialEq)]
pub struct Redriven {
    pub number: u64,
    pub log: LogId,
    /// What the record's [`REDRIVEN`] header says now.
    pub attempts: u32,
}

/// Why a letter was not sent again.
#[derive(Debug, thiserror::Error)]
pub enum RedriveError {
    #[error("there is no dead letter {0}; list them to see which there are")]
    Unknown(u64),
    #[error("dead letter {number} cannot be sent again: {why}")]
    Refused { number: u64, why: &'static str },
    #[error("dead letter {number} was sent again {redriven} times already; force it to send it once more")]
    Again { number: u64, redriven: u32 },
    #[error(transparent)]
    Topic(#[from] Error),
}

impl DeadLetter {
    /// The letter of a command that was read.
    pub fn of(place: Place, accepted: &Accepted, code: &str, cause: &str, buried_at: Micros) -> Self {
        let name = accepted.command.name();
        let fingerprint = accepted.command.aggregate().codec(name).map_or(0, |codec| codec.fingerprint);
        Self {
            command_id: Some(accepted.envelope.command_id),
            stream: Some(accepted.envelope.stream),
            headers: headers(&accepted.envelope, name, place.redriven),
            bytes: framed(fingerprint, &accepted.payload),
            ..Self::at(place, code, cause, buried_at)
        }
    }

    /// The letter of a record that could not be read.
    pub fn of_unreadable(place: Place, unreadable: &Unreadable, buried_at: Micros) -> Self {
        Self {
            headers: unreadable.headers.clone(),
            bytes: unreadable.bytes.clone(),
            ..Self::at(place, "unreadable", &unreadable.cause, buried_at)
        }
    }

    fn at(place: Place, code: &str, cause: &str, buried_at: Micros) -> Self {
        Self {
            topic: format!("agentverse.{}.commands.v1", place.log.aggregate.name()),
            partition: place.log.partition,
            offset: place.offset,
            command_id: None,
            stream: None,
            code: code.to_owned(),
            cause: cause.to_owned(),
            buried_at,
            attempts: place.redriven,
            headers: Vec::new(),
            bytes: Vec::new(),
        }
    }

    /// The log whose topic the record came by; `None` where this program knows no such topic.
    pub fn log(&self) -> Option<LogId> {
        let name = self.topic.strip_prefix("agentverse.")?.strip_suffix(".commands.v1")?;
        Some(LogId { aggregate: Aggregate::from_name(name)?, partition: self.partition })
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|(own, value)| (own == name).then_some(value.as_str()))
    }

    /// The command, of a letter of one that was read; `None` for what was not, or cannot be read any more.
    pub fn command(&self) -> Option<Accepted> {
        let (stream, command_id) = (self.stream?, self.command_id?);
        let (fingerprint, payload) = unframed(&self.bytes)?;
        let name = self.header("ce_type")?.strip_prefix(stream.aggregate.name())?.strip_prefix('.')?;
        let owned = |name: &str| self.header(name).map(str::to_owned);
        let envelope = Envelope {
            command_id,
            stream,
            source: owned("ce_source").unwrap_or_else(|| DEFAULT_SOURCE.to_owned()),
            actor: owned("ce_actor"),
            correlation: owned("ce_correlationid"),
            causation: owned("ce_causationid"),
            expected_version: self.header("ce_expectedversion").and_then(|version| version.parse().ok()),
            hop: self.header("ce_hop").and_then(|hop| hop.parse().ok()).unwrap_or(0),
            traceparent: owned("traceparent"),
        };
        let command = AnyCommand::decode(stream.aggregate, name, fingerprint, payload).ok()?;
        Accepted::new(envelope, command).ok()
    }

    /// Why it can never be sent again as it stands; `None` where it can.
    pub fn not_redrivable(&self) -> Option<&'static str> {
        if self.code == ID_REUSED {
            return Some("its id is another command's; send it as a new command, under an id of its own");
        }
        if self.bytes.is_empty() {
            return Some("it has no bytes; send the command anew");
        }
        if self.log().is_none() {
            return Some("it came by a topic that is none of this program's; send the command anew");
        }
        // Earlier programs kept the bare record of a command that was read, which does not say what wrote it.
        if self.command_id.is_some() && unframed(&self.bytes).is_none() {
            return Some("an earlier program kept it, without its schema; send the command anew");
        }
        None
    }
}

impl Buried {
    /// Where the letter is to go, unless it must not be sent again.
    ///
    /// # Errors
    /// When it cannot be sent again at all, or was already and is not `forced`.
    pub fn redrive(&self, number: u64, forced: bool) -> Result<Redriven, RedriveError> {
        let letter = &self.letter;
        let (None, Some(log)) = (letter.not_redrivable(), letter.log()) else {
            let why = letter.not_redrivable().unwrap_or("it names no topic");
            return Err(RedriveError::Refused { number, why });
        };
        if self.redriven > 0 && !forced {
            return Err(RedriveError::Again { number, redriven: self.redriven });
        }
        Ok(Redriven { number, log, attempts: letter.attempts + 1 })
    }
}

/// In Avro's single-object encoding.
fn framed(fingerprint: u64, record: &[u8]) -> Vec<u8> {
    [&SINGLE_OBJECT[..], &fingerprint.to_le_bytes(), record].concat()
}

/// The schema's fingerprint and the record of a single-object encoding.
fn unframed(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (fingerprint, record) = bytes.strip_prefix(&SINGLE_OBJECT)?.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*fingerprint), record))
}

/// The headers under which a producer could have sent this command, with Avro in single-object encoding.
fn headers(envelope: &Envelope, command: &str, redriven: u32) -> Vec<(String, String)> {
    let stream = envelope.stream;
    let mut headers = vec![
        ("ce_specversion", "1.0".to_owned()),
        ("ce_id", envelope.command_id.to_string()),
        ("ce_source", envelope.source.clone()),
        ("ce_type", format!("{}.{command}", stream.aggregate.name())),
        ("ce_subject", stream.id.to_string()),
        ("ce_tenantid", stream.tenant.to_string()),
        (CONTENT_TYPE, AVRO.to_owned()),
    ];
    let optional = [
        ("ce_actor", envelope.actor.clone()),
        ("ce_correlationid", envelope.correlation.clone()),
        ("ce_causationid", envelope.causation.clone()),
        ("ce_expectedversion", envelope.expected_version.map(|version| version.to_string())),
        ("ce_hop", Some(envelope.hop).filter(|hop| *hop > 0).map(|hop| hop.to_string())),
        ("traceparent", envelope.traceparent.clone()),
        (REDRIVEN, Some(redriven).filter(|times| *times > 0).map(|times| times.to_string())),
    ];
    headers.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::conformance::{command, stream};

    fn place(redriven: u32) -> Place {
        Place { log: stream(1).log(4), offset: 7, redriven }
    }

    #[test]
    fn a_command_comes_back_from_its_letter_as_it_was() {
        let sent = command(stream(1), 5);
        let envelope = Envelope {
            actor: Some("ada".into()),
            correlation: Some("c".into()),
            causation: Some("e".into()),
            expected_version: Some(3),
            hop: 2,
            traceparent: Some("00-a-b-01".into()),
            ..(*sent.envelope).clone()
        };
        let sent = Accepted::new(envelope, (*sent.command).clone()).unwrap();
        let letter = DeadLetter::of(place(2), &sent, POISONOUS, "it kills", 9);
        assert_eq!((letter.attempts, letter.header(REDRIVEN), letter.offset), (2, Some("2"), 7));
        let back = letter.command().unwrap();
        assert_eq!((&back.envelope, &back.command, back.digest), (&sent.envelope, &sent.command, sent.digest));
        assert_eq!((letter.log(), letter.not_redrivable()), (Some(place(0).log), None));
    }

    #[test]
    fn a_letter_that_was_written_before_attempts_were_counted_is_read() {
        let letter = DeadLetter::of(place(0), &command(stream(1), 5), POISONOUS, "it kills", 9);
        let mut json = serde_json::to_value(&letter).unwrap();
        assert!(json.as_object_mut().unwrap().remove("attempts").is_some());
        assert_eq!(serde_json::from_value::<DeadLetter>(json).unwrap(), letter);
    }

    #[test]
    fn what_cannot_be_sent_again_says_why() {
        let letter = DeadLetter::of(place(0), &command(stream(1), 5), POISONOUS, "it kills", 9);
        let bare = DeadLetter { bytes: letter.bytes[10..].to_vec(), ..letter.clone() };
        let cases = [
            (DeadLetter { code: ID_REUSED.into(), ..letter.clone() }, "under an id of its own"),
            (DeadLetter { bytes: Vec::new(), ..letter.clone() }, "no bytes"),
            (DeadLetter { topic: "elsewhere".into(), ..letter.clone() }, "none of this program's"),
            (bare, "earlier program"),
        ];
        for (letter, part) in cases {
            let buried = Buried { letter, redriven: 0 };
            let refused = buried.redrive(3, true).unwrap_err();
            assert!(matches!(refused, RedriveError::Refused { number: 3, why } if why.contains(part)), "{refused}");
        }
        let again = Buried { letter, redriven: 1 };
        assert!(matches!(again.redrive(3, false), Err(RedriveError::Again { redriven: 1, .. })));
        assert_eq!(again.redrive(3, true).unwrap().attempts, 1);
    }
}
