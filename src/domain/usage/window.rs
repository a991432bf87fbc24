//! Windows: stretches of time of four sizes, which begin at multiples of their size since 1970 (days are UTC's).

use crate::domain::Micros;
use std::ops::{Range, RangeInclusive};

/// Windows of one period. Stores keep the windows of a series by period, so that no partition grows for ever: at most so
/// many rows of each source log.
pub const PERIOD_WINDOWS: i64 = 256;

const MINUTE: Micros = 60_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Window {
    Minute,
    FiveMinutes,
    Hour,
    Day,
}

impl Window {
    pub const ALL: [Self; 4] = [Self::Minute, Self::FiveMinutes, Self::Hour, Self::Day];

    pub fn name(self) -> &'static str {
        match self {
            Self::Minute => "1m",
            Self::FiveMinutes => "5m",
            Self::Hour => "1h",
            Self::Day => "1d",
        }
    }

    /// How long it is, in microseconds.
    pub fn size(self) -> Micros {
        match self {
            Self::Minute => MINUTE,
            Self::FiveMinutes => 5 * MINUTE,
            Self::Hour => 60 * MINUTE,
            Self::Day => 24 * 60 * MINUTE,
        }
    }

    /// The start of the window that a moment falls into.
    pub fn start_of(self, at: Micros) -> Micros {
        at.saturating_sub(at.rem_euclid(self.size()))
    }

    /// The period of a window, from the first of 1970 on.
    pub fn period_of(self, start: Micros) -> i32 {
        let period = start.div_euclid(self.size() * PERIOD_WINDOWS);
        period.clamp(i32::MIN.into(), i32::MAX.into()) as i32
    }

    /// The periods that windows with these starts lie in; none where there is no such window.
    pub fn periods(self, starts: &Range<Micros>) -> RangeInclusive<i32> {
        if starts.is_empty() {
            return RangeInclusive::new(1, 0);
        }
        self.period_of(starts.start)..=self.period_of(starts.end - 1)
    }

    /// Where the last window of a period ends.
    pub fn end_of_period(self, period: i32) -> Micros {
        (i64::from(period) + 1).saturating_mul(self.size() * PERIOD_WINDOWS)
    }
}
