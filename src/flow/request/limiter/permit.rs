//! A permit: one call may go out, under all of its limits.

use super::Shared;
use super::desk::Fate;
use crate::domain::limit::{Amounts, Dimension, LimitKey};
use std::fmt;
use std::sync::Arc;
use tokio::time::Instant;

/// What a permit took of one key.
#[derive(Clone, Debug)]
pub struct Part {
    pub key: LimitKey,
    pub lease: u64,
    pub amounts: Amounts,
}

/// One call may go out. Dropped unsettled, it counts as sent, and as what it was estimated at.
#[must_use]
pub struct Permit {
    shared: Arc<Shared>,
    parts: Vec<Part>,
    send_by: Instant,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nobody has it yet.
    Undelivered,
    Held,
    Sent,
    Done,
}

impl Permit {
    pub(super) fn new(shared: Arc<Shared>, parts: Vec<Part>, send_by: Instant) -> Self {
        Self { shared, parts, send_by, stage: Stage::Undelivered }
    }

    pub(super) fn delivered(mut self) -> Self {
        self.stage = Stage::Held;
        self
    }

    /// The call's first byte must leave before.
    pub fn send_by(&self) -> Instant {
        self.send_by
    }

    /// Says, right before the first byte, that the call goes out now. `false` where it is too late: the permit is void
    /// and nothing may be sent.
    #[must_use]
    pub fn send(&mut self) -> bool {
        let now = Instant::now();
        match self.stage {
            Stage::Sent => return true,
            Stage::Done => return false,
            Stage::Undelivered | Stage::Held => {}
        }
        if now >= self.send_by {
            self.end(|_| Fate::Cancelled, now);
            return false;
        }
        self.tell(|_| Fate::Sent, now);
        self.stage = Stage::Sent;
        true
    }

    /// What the call came to, in all dimensions: less is refunded, more is a debt. A call that was not sent
    /// ([`Self::send`]) counts as sent now.
    pub fn settle(mut self, actual: Amounts) {
        let sent = self.stage == Stage::Sent;
        let fate = |part: &Part| {
            let (mut refund, mut debt) = (Amounts::ZERO, Amounts::ZERO);
            for dimension in Dimension::ALL.into_iter().filter(|dimension| part.key.counts(*dimension)) {
                let (estimate, actual) = (part.amounts.of(dimension), actual.of(dimension));
                *refund.of_mut(dimension) = estimate.saturating_sub(actual);
                *debt.of_mut(dimension) = actual.saturating_sub(estimate);
            }
            Fate::Settled { sent, refund, debt }
        };
        self.end(fate, Instant::now());
    }

    /// Nothing was sent and nothing will be. Of a call that was sent this has no effect: it counts as it was estimated.
    pub fn cancel(mut self) {
        if self.stage != Stage::Sent {
            self.end(|_| Fate::Cancelled, Instant::now());
        }
    }

    fn end(&mut self, fate: impl Fn(&Part) -> Fate, now: Instant) {
        if self.stage != Stage::Done {
            self.tell(fate, now);
            self.stage = Stage::Done;
        }
    }

    fn tell(&self, fate: impl Fn(&Part) -> Fate, now: Instant) {
        let mut state = self.shared.state.lock();
        for part in &self.parts {
            state.desk(&part.key, now).settle(part.lease, part.amounts, fate(part), now);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let sent = self.stage == Stage::Sent;
        let fate = match self.stage {
            Stage::Undelivered => Fate::Cancelled,
            _ => Fate::Settled { sent, refund: Amounts::ZERO, debt: Amounts::ZERO },
        };
        self.end(|_| fate, Instant::now());
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("parts", &self.parts).field("stage", &self.stage).finish_non_exhaustive()
    }
}
