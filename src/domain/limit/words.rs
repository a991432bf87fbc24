//! What a worker and an account say to each other.

use super::{Amounts, Budget, Dimension, Mark};
use crate::domain::Micros;
use serde::{Deserialize, Serialize};

/// What a key is limited to. Absent means unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    pub requests_per_minute: Option<u64>,
    pub tokens_per_minute: Option<u64>,
    pub budget: Option<Budget>,
}

/// A limit as its owner sets it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    /// Of whatever the limit comes from: an older one never overwrites a newer.
    pub version: u64,
    pub limit: Limit,
    /// What the owner knows to be spent of the budget. Applies whatever the version; raises, never lowers.
    pub spent: Option<Spent>,
}

/// So much was spent in the period of `at`, up to then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    pub at: Micros,
    pub micro_usd: u64,
}

/// A request for a lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// One for each process and start of it.
    pub holder: u64,
    /// Numbers of a holder's operations on a key grow. An operation that is repeated with its number happens once.
    pub op: u64,
    /// The least that is of use: all of it or nothing.
    pub needed: Amounts,
    /// What is hoped for.
    pub wanted: Amounts,
    pub returned: Returned,
}

/// What became of earlier leases. It rides with the next request, or goes alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Returned {
    pub closed: Vec<Closed>,
    pub corrections: Vec<Correction>,
}

impl Returned {
    pub fn is_empty(&self) -> bool {
        self.closed.is_empty() && self.corrections.is_empty()
    }
}

/// A lease of which nothing is released any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The operation that it was granted to.
    pub lease: u64,
    pub unused: Amounts,
    /// Everything else was released by then, in the account's time: the grant's `at` and what the worker's monotonic
    /// clock ran from the moment it began to ask to the last release.
    pub released_by: Micros,
}

/// What a call came to, against what was reserved for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Correction {
    /// `released_by` of the lease that the call was made with, which is closed by now.
    pub released_by: Micros,
    /// Reserved, and not used.
    pub refund: Amounts,
    /// Used beyond what was reserved. Later reservations wait for it.
    pub debt: Amounts,
}

/// What a request came to, and where the account stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// The account's time. Only differences to it mean anything to a worker.
    pub at: Micros,
    pub outcome: Outcome,
    /// Where the key has a budget.
    pub mark: Option<Mark>,
    /// Holders that took part lately, this one among them.
    pub active: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Granted(Grant),
    /// Not before `until`, unless something is given back.
    Wait {
        until: Micros,
        why: Why,
    },
    /// More is needed at once than the limit ever allows.
    TooLarge {
        dimension: Dimension,
        limit: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its name among the holder's leases.
    pub lease: u64,
    pub amounts: Amounts,
    /// The part of it that is booked: nothing of what has no limit. Of nothing else is there a refund.
    pub booked: Amounts,
    pub expires_at: Micros,
}

/// What holds a request up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Limit(Dimension),
    /// The provider said to wait.
    Paused,
    /// Too many holders, or too many leases of this one.
    Crowded,
}

/// What a provider told about its limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Nothing for so long (`Retry-After`, or the reset of a limit of which nothing remains), microseconds from now.
    pub pause: Option<Micros>,
    /// The limit that the provider says it applies. Counts where it is lower than the one that is set.
    pub requests_per_minute: Option<u64>,
    pub tokens_per_minute: Option<u64>,
}
