//! Limits: how much may be used of something, exact across any number of workers. A plain module, no aggregate.
//!
//! One [`Account`] keeps the books of one [`LimitKey`]: requests and tokens per minute, and a budget of money. Workers
//! take *leases* of it (some requests and tokens at once, usable for [`LEASE_LIFE`]), so that the books are opened once
//! per lease and not once per request. All arithmetic is in integers, and time is an argument.
//!
//! # Why no window of a minute exceeds its limit
//!
//! A provider counts *arrivals* within any 60 s; what is decided here is a *grant*. For one unit (a request or a token):
//!
//! ```text
//! granted  ≤  released  ≤  late           the worker lets it go within its lease
//! released ≤  arrived   ≤  released + J   delays differ by at most J (what they have in common shifts all alike)
//! late = granted + L until the lease is closed; from then on the lease's last release, which closing it tells
//!
//! A grant of `a` units at time g is made only if    Σ units with late + J > g − 60 s    + a  ≤  limit
//! ```
//!
//! Take any window [x, x + 60 s) and, of the units that arrive in it, the one that was granted last, at g. It arrives no
//! earlier than g, so g < x + 60 s. Every other one arrives at x or later, so late + J ≥ x > g − 60 s: it was counted when
//! that last one was granted. Hence the window holds no more than the limit. Nothing in this needs the grants to be even,
//! and each figure may only err to the safe side: `late` is rounded up to the end of its slot ([`SLOT`]), [`SLACK`] is J
//! with what the clocks of the database's nodes differ by, and what a dead worker held stays counted as used at its
//! lease's end. Unused units are taken out of the slot they stand in, and a refund out of slots that are no later than
//! the unit's own: both leave the sum of every later window at or above the truth.
//!
//! # Why a limit that binds is used to 98 %
//!
//! A unit's room is given again after 60 s + J + S + h, h being the time from the grant to the lease's last release and
//! from the room's return to its next grant. Under load a lease is used up as soon as it comes and closed with the next
//! one: h ≈ 0.1 s, and 60 / (60 + 0.5 + 0.1 + 0.1) = 98.8 %. Were leases not closed, L would stand in place of h: 96.6 %.
//! That alone allows the whole limit in one instant of each minute, and over "any five minutes" such lumps cost up to one
//! lump in five. So a token bucket (`pace`) smooths what the sum allows: it refills at limit / 60 s and holds 2 % of the
//! limit, at least one unit and what flows in half a second; a lump of 2 % costs 0.4 % at worst. The bucket is for
//! evenness, the sum for safety. A bucket alone, with burst b and refill r, needs b + r (60 s + L + J) ≤ limit, which no
//! whole request fits at 5 requests per minute; the sum is exact there. Where a limit is small, one unit is a large part
//! of it: over five minutes the promise is 98 % less one call.
//!
//! What an estimate is too high by is nobody's until the call tells, since until then the call may still come to all of it.
//! So where tokens bind and calls of d seconds are estimated at e times what they come to, about
//! 60 / (60.8 + (e - 1) (d + 0.2)) of the limit is used, less what one call is estimated at. Measured with eight workers at
//! 100,000 tokens a minute and e = 2: 98.4 % where calls are of 100 tokens and 0.1 s, 97.4 % of 400 tokens and 0.1 s, 95.8 %
//! of 400 tokens and 1 s, 92.3 % of 400 tokens and 3 s; where requests bind, 98.8 % whatever the estimates. This is the price
//! of never exceeding a limit, and the remedy is a closer estimate: what a call comes to beyond it is a debt, which later
//! ones wait for, but by so much a window may then exceed its limit.
//!
//! # A limit where none was
//!
//! Of what is not limited nothing is booked, and leases of it that are out run on for [`LEASE_LIFE`]. So a limit that is set
//! on a key that had none, or had it taken away, holds in every window that begins [`LEASE_LIFE`] and [`SLACK`] later; one
//! that reaches further back holds on top what went before, which nobody counted. A key that was never set gives nothing at
//! all: its first limit is exact at once. A limit that is lowered is exact too, as far as what is out already allows.
//!
//! # Time
//!
//! Time is the account's own and never runs backwards: `max(what it was, now)`, where `now` comes from the one place that
//! keeps the account (the database's node, or the process), never from a worker's wall clock. A worker measures with its
//! monotonic clock alone, how long ago it *began* to ask: its lease then ends no later than the account thinks.

mod account;
mod amounts;
mod budget;
mod key;
mod ledger;
mod meter;
mod pace;
mod standing;
#[cfg(test)]
mod tests;
mod words;

pub use account::Account;
pub use amounts::{Amounts, Dimension};
pub use budget::{Budget, Mark, Period};
pub use key::{LimitKey, Tiers};
pub use standing::{Spending, Standing, Usage};
pub use words::{Ask, Closed, Correction, Grant, Limit, News, Outcome, Reserved, Returned, Setting, Spent, Why};

use super::Micros;

/// What "per minute" means.
pub const WINDOW: Micros = 60_000_000;
/// How fine the sum over a window is kept.
pub const SLOT: Micros = 100_000;
/// J: most that two arrivals' delays differ by, and what the clocks of the database's nodes differ by, twice.
pub const SLACK: Micros = 500_000;
/// L: how long after it began to ask a worker may still use a lease.
pub const LEASE_LIFE: Micros = 2_000_000;
/// How long after its end a lease can still be closed. What it held is counted at its end meanwhile.
pub const LEASE_GRACE: Micros = 3_000_000;
/// A holder that took part this recently counts among those that share.
pub const ACTIVE: Micros = 3_000_000;
/// After this a holder without leases is forgotten; much longer than anybody repeats an operation.
pub const HOLDER_KEPT: Micros = 60_000_000;
/// Most allowance that all leases of one round hold together; each holder gets its share of it.
pub const LEASE_SPAN: Micros = 500_000;
/// While a limit binds, a lease of less than a holder's share of this is not worth its compare-and-set.
pub const CHUNK_SPAN: Micros = 200_000;
/// The least span of allowance that such a lease has, however many share: bounds the rounds to 20 a second.
pub const CHUNK_SPAN_MIN: Micros = 50_000;
/// How long a holder that waits for much keeps it free of others; it comes again within that.
pub const CLAIM_LIFE: Micros = 3_000_000;
/// Longest that news from a provider can pause a key: the next call brings them again.
pub const PAUSE_MAX: Micros = 3_600_000_000;
/// Most holders of one account. More must wait.
pub const HOLDERS_MAX: usize = 512;
/// Most open leases of one holder. It must close one or let one run out before it gets more.
pub const LEASES_MAX: usize = 32;
/// Highest limit that is told apart from a higher one: 100 billion a minute.
pub const PER_MINUTE_MAX: u64 = 100_000_000_000;
