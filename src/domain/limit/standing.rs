//! Where an account stands, for display.

use super::{Account, Amounts, Dimension, Limit, Mark};
use crate::domain::Micros;

/// A limit per minute and its use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The lower of what is set and what the provider says.
    pub limit: u64,
    /// What counts against it now: the last minute's, and what leases hold.
    pub used: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spending {
    pub micro_usd: u64,
    pub spent: u64,
    /// What open leases hold.
    pub reserved: u64,
    /// The part of `spent` that was held by workers that disappeared: it may not have been spent.
    pub unaccounted: u64,
    pub mark: Mark,
    pub period_ends: Micros,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The account's time.
    pub at: Micros,
    /// Version of the limit that is set.
    pub version: u64,
    pub limit: Limit,
    pub paused_until: Option<Micros>,
    pub requests: Option<Usage>,
    pub tokens: Option<Usage>,
    pub budget: Option<Spending>,
    pub leased: Amounts,
    pub active: usize,
}

impl Account {
    pub fn standing(&self, now: Micros) -> Standing {
        let mut there = self.clone();
        there.advance(now);
        let leased = there.leased();
        let usage = |dimension| {
            let limit = there.limit_of(dimension)?;
            Some(Usage { limit, used: there.meter(dimension)?.used() })
        };
        let budget = there.limit.budget.map(|budget| Spending {
            micro_usd: budget.micro_usd,
            spent: there.purse.spent,
            reserved: leased.micro_usd,
            unaccounted: there.purse.unaccounted,
            mark: budget.mark(there.purse.spent.saturating_add(leased.micro_usd)),
            period_ends: budget.period.end_of(there.time),
        });
        Standing {
            at: there.time,
            version: there.version,
            limit: there.limit,
            paused_until: (there.paused_until > there.time).then_some(there.paused_until),
            requests: usage(Dimension::Requests),
            tokens: usage(Dimension::Tokens),
            budget,
            leased,
            active: there.active(None),
        }
    }
}
