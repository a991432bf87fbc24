//! The id of a message of the feed: where its reader stands, in every log that it reads.
//!
//! An id is all that is needed to go on exactly there, on any node and after any restart: nothing is kept of a reader. It
//! holds one position for each log. Less would not be exact: a time cannot be, for a record may be published after a
//! younger one of another log, by any delay, and no log says how old its next record will be. What makes it short is that
//! the logs of an aggregate share its load, so that their positions are close together: they are written as the lowest
//! one, and what each is above it, in as many bits as the largest needs.
//!
//! ```text
//! u8      format (1)
//! u8      1 where the reader reads every aggregate that there is, else 0
//! varint  sections, each:
//!   u8      aggregate
//!   varint  how many logs the aggregate has in this fleet
//!   varint  0: all of them; else one, its partition + 1
//!   varint  lowest position
//!   u8      bits, and for each log as many: how far its position is above the lowest, from the lowest bit up
//! u8      1 where a record was given, else 0; then of the last one
//!   varint  section, varint  log within it, varint  position, 4 bytes: the beginning of its hash
//! ```
//!
//! All of it is under [`cursor`]'s checksum, in base64. The hash ties an id to its fleet: another one's log has another
//! record there, or none.

use crate::api::cursor;
use crate::api::problem::{INVALID_CURSOR, Problem};
use crate::domain::record::Hash;
use crate::domain::{Aggregate, LogId, Partitions};

const FORMAT: u8 = 1;
const PARTS: [&str; 1] = ["events"];
/// Bytes of the hash that are kept.
const MARK_BYTES: usize = 4;

/// Which logs a reader reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Whether it asked for all aggregates: one that a newer program adds belongs to it too, from its beginning.
    pub is_all: bool,
    /// Each aggregate once; one partition of it, or all.
    pub sections: Vec<(Aggregate, Option<u16>)>,
}

/// The record that was given last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Last {
    pub log: LogId,
    pub position: u64,
    pub mark: [u8; MARK_BYTES],
}

impl Last {
    pub fn new(log: LogId, position: u64, hash: &Hash) -> Self {
        let mut mark = [0; MARK_BYTES];
        mark.copy_from_slice(&hash[..MARK_BYTES]);
        Self { log, position, mark }
    }

    pub fn is_of(&self, hash: &Hash) -> bool {
        hash.starts_with(&self.mark)
    }
}

/// What an id says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stand {
    pub scope: Scope,
    /// In the order of [`Scope::logs`].
    pub positions: Vec<u64>,
    pub last: Option<Last>,
}

impl Scope {
    /// The logs, in the order of the sections.
    pub fn logs(&self, partitions: Partitions) -> Vec<LogId> {
        let logs = self.sections.iter().flat_map(|(aggregate, one)| {
            let all = one.map_or(0..partitions.of(*aggregate), |one| one..one + 1);
            all.map(|partition| LogId { aggregate: *aggregate, partition })
        });
        logs.collect()
    }
}

impl Stand {
    pub fn encode(&self, partitions: Partitions) -> String {
        let mut out = vec![FORMAT, u8::from(self.scope.is_all)];
        varint(self.scope.sections.len() as u64, &mut out);
        let mut positions = self.positions.as_slice();
        for (aggregate, one) in &self.scope.sections {
            let count = partitions.of(*aggregate);
            out.push(*aggregate as u8);
            varint(u64::from(count), &mut out);
            varint(one.map_or(0, |one| u64::from(one) + 1), &mut out);
            let logs = if one.is_some() { 1 } else { usize::from(count) };
            let (mine, rest) = positions.split_at(logs.min(positions.len()));
            positions = rest;
            pack(mine, &mut out);
        }
        let last = self.last.and_then(|last| {
            let of = |(aggregate, _): &(Aggregate, Option<u16>)| *aggregate == last.log.aggregate;
            Some((self.scope.sections.iter().position(of)?, last))
        });
        out.push(u8::from(last.is_some()));
        if let Some((section, last)) = last {
            varint(section as u64, &mut out);
            varint(u64::from(last.log.partition), &mut out);
            varint(last.position, &mut out);
            out.extend_from_slice(&last.mark);
        }
        cursor::encode(&PARTS, &out)
    }

    /// Reads an id.
    ///
    /// # Errors
    /// When it is none, or one of a fleet with other counts of logs.
    pub fn decode(text: &str, partitions: Partitions) -> Result<Self, Problem> {
        let malformed = "use the id of a message of this feed as it was given, or begin anew with from=now, \
                         from=beginning or from=<time>";
        let bytes = cursor::decode_bytes(&PARTS, text).map_err(|_| Problem::new(&INVALID_CURSOR, malformed))?;
        let mut from = Bytes(&bytes);
        // Its checksum was right, so only another program can have made what cannot be read.
        let stand = from.stand(partitions).filter(|_| from.0.is_empty());
        stand.ok_or_else(|| {
            let other = "this id was given by a fleet with other logs, or by a newer program: begin anew with from=now, \
                         from=beginning or from=<time>";
            Problem::new(&INVALID_CURSOR, other)
        })
    }
}

fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// The lowest number, and what each is above it.
fn pack(numbers: &[u64], out: &mut Vec<u8>) {
    let lowest = numbers.iter().min().copied().unwrap_or(0);
    let bits = numbers.iter().map(|number| u64::BITS - (number - lowest).leading_zeros()).max().unwrap_or(0);
    varint(lowest, out);
    out.push(bits as u8);
    let (mut held, mut filled) = (0u128, 0);
    for number in numbers {
        held |= u128::from(number - lowest) << filled;
        filled += bits;
        while filled >= 8 {
            out.push(held as u8);
            held >>= 8;
            filled -= 8;
        }
    }
    if filled > 0 {
        out.push(held as u8);
    }
}

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn stand(&mut self, partitions: Partitions) -> Option<Stand> {
        if self.byte()? != FORMAT {
            return None;
        }
        let is_all = self.flag()?;
        let (mut sections, mut positions) = (Vec::new(), Vec::new());
        for _ in 0..self.varint()? {
            let aggregate = Aggregate::from_code(self.byte()?)?;
            let count = partitions.of(aggregate);
            if self.varint()? != u64::from(count) || sections.iter().any(|(known, _)| *known == aggregate) {
                return None;
            }
            let one = self.varint()?.checked_sub(1);
            let one = one.map(|one| u16::try_from(one).ok().filter(|one| *one < count));
            let one = match one {
                Some(one) => Some(one?),
                None => None,
            };
            self.unpack(if one.is_some() { 1 } else { usize::from(count) }, &mut positions)?;
            sections.push((aggregate, one));
        }
        let last = if self.flag()? { Some(self.last(&sections, partitions)?) } else { None };
        Some(Stand { scope: Scope { is_all, sections }, positions, last })
    }

    fn last(&mut self, sections: &[(Aggregate, Option<u16>)], partitions: Partitions) -> Option<Last> {
        let (aggregate, _) = sections.get(usize::try_from(self.varint()?).ok()?)?;
        let partition = u16::try_from(self.varint()?).ok().filter(|one| *one < partitions.of(*aggregate))?;
        let position = self.varint()?;
        let (mark, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(Last { log: LogId { aggregate: *aggregate, partition }, position, mark: *mark })
    }

    fn unpack(&mut self, count: usize, out: &mut Vec<u64>) -> Option<()> {
        let lowest = self.varint()?;
        let bits = u32::from(self.byte()?);
        if bits > u64::BITS {
            return None;
        }
        let (mut held, mut filled) = (0u128, 0);
        for _ in 0..count {
            while filled < bits {
                held |= u128::from(self.byte()?) << filled;
                filled += 8;
            }
            out.push(lowest.checked_add((held & ((1u128 << bits) - 1)) as u64)?);
            held >>= bits;
            filled -= bits;
        }
        Some(())
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(positions: Vec<u64>) -> Stand {
        let sections = Aggregate::ALL.iter().map(|aggregate| (*aggregate, None)).collect();
        Stand { scope: Scope { is_all: true, sections }, positions, last: None }
    }

    #[test]
    fn an_id_belongs_to_a_fleet_with_these_logs() {
        let partitions = Partitions::from(4);
        let stand = all(vec![7; 4 * Aggregate::ALL.len()]);
        let text = stand.encode(partitions);
        assert_eq!(Stand::decode(&text, partitions), Ok(stand));
        let wider = Stand::decode(&text, partitions.with(Aggregate::Agent, 5)).unwrap_err();
        assert!(wider.detail.contains("other logs"), "{}", wider.detail);
        for wrong in ["", "now", "AAAA", &text[1..], &text[..text.len() - 1]] {
            let problem = Stand::decode(wrong, partitions).unwrap_err();
            assert_eq!(problem.kind, &INVALID_CURSOR);
            assert!(problem.detail.contains("from=beginning"), "{}", problem.detail);
        }
    }

    #[test]
    fn an_id_grows_with_how_far_the_logs_of_an_aggregate_are_apart_and_not_with_their_length() {
        let partitions = Partitions::from(32);
        let length = |position: fn(u64) -> u64| {
            let logs = 32 * Aggregate::ALL.len() as u64;
            all((0..logs).map(position).collect()).encode(partitions).len()
        };
        let (fresh, level) = (length(|_| 0), length(|_| 1_000_000_000));
        assert!(level <= fresh + 6 * Aggregate::ALL.len(), "{level} {fresh}");
        let spread = length(|log| 1_000_000 + log * 37 % 256);
        assert!(spread <= level + 44 * Aggregate::ALL.len(), "a byte for each log, in base64: {spread} {level}");
    }

    proptest! {
        #[test]
        fn every_stand_comes_back_from_its_id(
            positions in prop::collection::vec(prop_oneof![0..3u64, 0..1_000_000u64, any::<u64>()], 12),
            one in 0..4u16, with_last in any::<bool>(), is_all in any::<bool>(), hash in any::<[u8; 32]>(),
        ) {
            let partitions = Partitions::from(4).with(Aggregate::Agent, 7);
            let sections = vec![(Aggregate::Agent, None), (Aggregate::Coupling, Some(one)), (Aggregate::Tenant, None)];
            let log = LogId { aggregate: Aggregate::Coupling, partition: one };
            let last = with_last.then(|| Last::new(log, positions[7], &hash));
            let stand = Stand { scope: Scope { is_all, sections }, positions, last };
            prop_assert_eq!(stand.positions.len(), stand.scope.logs(partitions).len());
            prop_assert_eq!(Stand::decode(&stand.encode(partitions), partitions), Ok(stand));
        }
    }
}
