//! What is told of an import, while it goes on and at its end.

use super::entry::Cut;
use serde::Serialize;
use uuid::Uuid;

/// What became of an entry, or of a resource that the file has no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    Created,
    Changed,
    Unchanged,
    /// Not taken, for the reason that is told; nothing of it was changed.
    Refused,
    /// Not in the file any more.
    Retired,
    /// Sent, and not decided while it was waited for.
    Undecided,
    /// Not taken, since another entry of the same key counts.
    Superseded,
    /// Not taken, since its publisher took it back.
    Withdrawn,
    /// Nothing of what is imported, or not asked for.
    Skipped,
}

impl Fate {
    /// Whether the entry was passed over: nothing was to become of it.
    pub fn is_passed_over(self) -> bool {
        matches!(self, Self::Superseded | Self::Withdrawn | Self::Skipped)
    }
}

/// One entry; of unchanged ones nothing is told unless something of them was cut.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Told {
    pub outcome: Fate,
    /// Where the entry begins, from 1; null of what the file has no more.
    pub line: Option<u64>,
    /// Its natural key, as far as it could be read.
    pub key: Option<String>,
    pub name: Option<String>,
    /// The resource's id.
    pub id: Option<Uuid>,
    /// Of a changed one: the fields that differ.
    pub fields: Vec<String>,
    /// Of a refused one: the field that is wrong, where it is one.
    pub field: Option<String>,
    pub reason: Option<String>,
    /// Of a superseded one: the line of the entry that counts.
    pub instead_line: Option<u64>,
    /// Fields that were cut to what they may have here.
    pub shortened: Vec<&'static str>,
    /// The same fields, each with the reason.
    pub cuts: Vec<Cut>,
}

/// Kinds of what is told, in the order in which a list that has no room for all has them.
pub const CLASSES: usize = 4;

impl Told {
    /// With nothing but its outcome.
    pub fn of(outcome: Fate) -> Self {
        Self {
            outcome,
            line: None,
            key: None,
            name: None,
            id: None,
            fields: Vec::new(),
            field: None,
            reason: None,
            instead_line: None,
            shortened: Vec::new(),
            cuts: Vec::new(),
        }
    }

    /// Its place among [`CLASSES`]: troubles, then what differs or was cut, then what was passed over, then the rest.
    pub fn class(&self) -> usize {
        match self.outcome {
            Fate::Refused | Fate::Undecided => 0,
            Fate::Changed | Fate::Retired => 1,
            _ if !self.cuts.is_empty() => 1,
            Fate::Superseded | Fate::Withdrawn | Fate::Skipped => 2,
            Fate::Created | Fate::Unchanged => 3,
        }
    }
}

/// How far an import is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Progress {
    pub entries: u64,
    /// Null of JSON lines, which end when they end.
    pub entries_total: Option<u64>,
    /// Of the body, so far.
    pub bytes: u64,
    pub entries_per_second: f64,
    pub seconds_left: Option<f64>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Progress(Progress),
    Entry(Box<Told>),
}

/// What an import came to, or, of a dry run, would come to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    pub kind: &'static str,
    pub dry_run: bool,
    /// Whether it came to its end. If not, the same again finishes it.
    pub complete: bool,
    pub ended_because: Option<String>,
    /// Of the file: those below that are created, changed, unchanged, refused or undecided.
    pub entries: u64,
    pub created: u64,
    pub changed: u64,
    pub unchanged: u64,
    pub refused: u64,
    pub undecided: u64,
    /// Entries of a key of which another counts, as versions of one server.
    pub superseded: u64,
    /// Entries that their publisher took back.
    pub withdrawn: u64,
    /// Entries that are nothing of what is imported, or were not asked for.
    pub skipped: u64,
    /// Entries of which a field was cut or left out.
    pub shortened: u64,
    /// Resources that the file has no more.
    pub retired: u64,
    /// Why nothing was retired, although it was asked for.
    pub retire_skipped: Option<String>,
    pub seconds: f64,
}

impl Report {
    /// Counts what became of an entry of the file, or of what it has no more.
    pub fn count(&mut self, told: &Told) {
        let is_entry = told.outcome != Fate::Retired && !told.outcome.is_passed_over() && told.line.is_some();
        self.entries += u64::from(is_entry);
        self.shortened += u64::from(!told.shortened.is_empty());
        *match told.outcome {
            Fate::Created => &mut self.created,
            Fate::Changed => &mut self.changed,
            Fate::Unchanged => &mut self.unchanged,
            Fate::Refused => &mut self.refused,
            Fate::Retired => &mut self.retired,
            Fate::Undecided => &mut self.undecided,
            Fate::Superseded => &mut self.superseded,
            Fate::Withdrawn => &mut self.withdrawn,
            Fate::Skipped => &mut self.skipped,
        } += 1;
    }
}
