//! A budget of money: so much per calendar period, which does not flow back.

use crate::domain::Micros;
use serde::{Deserialize, Serialize};

const DAY: Micros = 86_400_000_000;
/// Share of a budget at which its owner is told, in percent.
const ALERT_PERCENT: u128 = 80;

/// After what a budget begins anew, in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    Day,
    #[default]
    Month,
}

impl Period {
    pub fn start_of(self, now: Micros) -> Micros {
        let days = now.div_euclid(DAY);
        match self {
            Self::Day => days * DAY,
            Self::Month => {
                let (year, month) = civil(days);
                days_of(year, month) * DAY
            }
        }
    }

    /// When the period of `now` is over and the next begins.
    pub fn end_of(self, now: Micros) -> Micros {
        let days = now.div_euclid(DAY);
        match self {
            Self::Day => (days + 1) * DAY,
            Self::Month => match civil(days) {
                (year, 12) => days_of(year + 1, 1) * DAY,
                (year, month) => days_of(year, month + 1) * DAY,
            },
        }
    }
}

/// Year and month of a day since 1970 in the Gregorian calendar (Howard Hinnant's `civil_from_days`).
fn civil(days: i64) -> (i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month)
}

/// The first day of a month (`days_from_civil`).
fn days_of(year: i64, month: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let from_march = (month + 9) % 12;
    let year_of_era = year.rem_euclid(400);
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + (153 * from_march + 2) / 5;
    year.div_euclid(400) * 146_097 + of_era - 719_468
}

/// What may be spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    pub micro_usd: u64,
    pub period: Period,
}

/// How far a budget is used, reservations included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// Below 80 %.
    Within,
    /// At 80 % or above.
    Alert,
    /// Nothing is left.
    Exhausted,
}

impl Budget {
    pub fn mark(&self, used: u64) -> Mark {
        if used >= self.micro_usd {
            Mark::Exhausted
        } else if u128::from(used) * 100 >= u128::from(self.micro_usd) * ALERT_PERCENT {
            Mark::Alert
        } else {
            Mark::Within
        }
    }
}

/// What went out of a budget. What open leases hold comes on top.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purse {
    /// Where the period began that this is about.
    started: Micros,
    pub spent: u64,
    /// The part of `spent` that leases held which nobody closed: spent or not, nobody can say any more.
    pub unaccounted: u64,
}

impl Purse {
    /// Begins anew once the period is over.
    pub fn advance(&mut self, now: Micros, period: Period) {
        let start = period.start_of(now);
        if start > self.started {
            *self = Self { started: start, ..Self::default() };
        }
    }

    pub fn charge(&mut self, micro_usd: u64) {
        self.spent = self.spent.saturating_add(micro_usd);
    }

    /// For what was spent at `at`; what an earlier period was charged is over with it.
    pub fn refund(&mut self, at: Micros, micro_usd: u64) {
        if at >= self.started {
            self.spent = self.spent.saturating_sub(micro_usd);
        }
    }

    /// A lease ran out that nobody closed.
    pub fn lose(&mut self, micro_usd: u64) {
        self.charge(micro_usd);
        self.unaccounted = self.unaccounted.saturating_add(micro_usd);
    }

    /// So much was spent by `at`, as another source knows: raises, never lowers.
    pub fn raise(&mut self, at: Micros, micro_usd: u64, period: Period) {
        self.advance(at, period);
        if period.start_of(at) == self.started {
            self.spent = self.spent.max(micro_usd);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEBRUARY_2024: Micros = 19_754 * DAY;

    #[test]
    fn months_are_those_of_the_calendar() {
        // 1 February 2024, a leap year: 29 days.
        assert_eq!(Period::Month.start_of(FEBRUARY_2024), FEBRUARY_2024);
        assert_eq!(Period::Month.start_of(FEBRUARY_2024 - 1), FEBRUARY_2024 - 31 * DAY);
        assert_eq!(Period::Month.end_of(FEBRUARY_2024 + 5 * DAY), FEBRUARY_2024 + 29 * DAY);
        assert_eq!(Period::Month.end_of(19_722 * DAY), 19_723 * DAY, "31 December 2023 to 1 January");
        assert_eq!(Period::Month.start_of(0), 0);
        assert_eq!(Period::Day.start_of(DAY + 5), DAY);
        assert_eq!(Period::Day.end_of(DAY + 5), 2 * DAY);
    }

    #[test]
    fn each_month_ends_where_the_next_begins_for_four_centuries() {
        let mut start = 0;
        for _ in 0..400 * 12 {
            let end = Period::Month.end_of(start);
            assert!((28..=31).contains(&((end - start) / DAY)));
            assert_eq!((Period::Month.start_of(end - 1), Period::Month.start_of(end)), (start, end));
            start = end;
        }
        assert_eq!(start / DAY, 146_097, "four centuries");
    }

    #[test]
    fn a_budget_is_marked_at_80_and_at_100_percent() {
        let budget = Budget { micro_usd: 1_000_000, period: Period::Month };
        let marks = [799_999, 800_000, 999_999, 1_000_000, 1_000_001].map(|used| budget.mark(used));
        assert_eq!(marks, [Mark::Within, Mark::Alert, Mark::Alert, Mark::Exhausted, Mark::Exhausted]);
        assert_eq!(Budget { micro_usd: 0, period: Period::Day }.mark(0), Mark::Exhausted);
    }
}
