//! Dead letters as the segments hold them, and the ones that are sent again.
//!
//! ```text
//! DeadLetter   u64 number    the letter as JSON: what an earlier program did not write is then at its default
//! Redriven     u64 number    u32 how often that letter was sent again    u32 attempts of the command
//!              u8 aggregate  u16 partition  u64 offset    the bytes of an accepted command
//! ```
//!
//! One frame holds both the mark and the command: no crash comes between the two.

use super::command;
use super::logs::Pending;
use super::segment::Location;
use crate::domain::LogId;
use crate::domain::record::{Cursor, RecordError};
use crate::ports::topic::{Buried, DeadLetter, Redriven};
use std::sync::Arc;

/// A letter that is being sent again.
pub struct Redriving {
    pub number: u64,
    pub log: LogId,
    /// The letter as it is kept from then on.
    pub buried: Buried,
    /// The command, as [`command`] writes it; what was unreadable, as it came.
    pub bytes: Vec<u8>,
    attempts: u32,
}

impl Redriving {
    pub fn new(redriven: &Redriven, buried: Buried) -> Self {
        let bytes = match buried.letter.command() {
            Some(accepted) => {
                let mut bytes = Vec::with_capacity(192 + accepted.payload.len());
                command::encode(&accepted, &mut bytes);
                bytes
            }
            None => buried.letter.bytes.clone(),
        };
        let buried = Buried { redriven: buried.redriven + 1, ..buried };
        Self { number: redriven.number, log: redriven.log, buried, bytes, attempts: redriven.attempts }
    }

    /// Writes the body of a frame.
    pub fn encode(&self, offset: u64, body: &mut Vec<u8>) {
        body.extend_from_slice(&self.number.to_le_bytes());
        body.extend_from_slice(&self.buried.redriven.to_le_bytes());
        body.extend_from_slice(&self.attempts.to_le_bytes());
        body.push(self.log.aggregate as u8);
        body.extend_from_slice(&self.log.partition.to_le_bytes());
        body.extend_from_slice(&offset.to_le_bytes());
        body.extend_from_slice(&self.bytes);
    }

    pub fn pending(&self, offset: u64, location: Location) -> Pending {
        pending(&self.bytes, offset, self.attempts, location)
    }
}

/// What waits to be decided once more.
pub fn pending(bytes: &[u8], offset: u64, redriven: u32, location: Location) -> Pending {
    Pending { offset, command: command::decode(bytes).map(Arc::new), redriven, location, bytes: bytes.len() }
}

/// What a `Redriven` frame begins with.
pub struct Mark {
    pub number: u64,
    pub redriven: u32,
    pub attempts: u32,
}

pub fn read_mark(body: &mut Cursor<'_>) -> Result<Mark, RecordError> {
    Ok(Mark {
        number: body.u64("number")?,
        redriven: u32::from_le_bytes(body.array("redriven")?),
        attempts: u32::from_le_bytes(body.array("attempts")?),
    })
}

/// The body of a letter's frame.
pub fn encode(number: u64, letter: &DeadLetter) -> Result<Vec<u8>, serde_json::Error> {
    let mut body = number.to_le_bytes().to_vec();
    serde_json::to_writer(&mut body, letter)?;
    Ok(body)
}

/// The other half of [`encode`].
pub fn decode(body: &[u8]) -> Result<(u64, DeadLetter), RecordError> {
    let mut body = Cursor(body);
    let number = body.u64("number")?;
    let letter = serde_json::from_slice(body.0).map_err(|_| RecordError::Unknown("dead letter"))?;
    Ok((number, letter))
}
