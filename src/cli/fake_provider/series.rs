//! What passed, second by second: so that an outside test can prove how much of a limit was used in any stretch of time, also
//! in one that it chooses afterwards.
//!
//! Time is a parameter, in nanoseconds since a start of the caller's choice. Going backwards counts as standing still.

use serde::Serialize;
use serde_json::{Value, json};
use std::collections::VecDeque;

/// Most seconds that are remembered: two hours.
pub const SECONDS_MAX: usize = 7_200;
/// The stretch over which the use of a limit is told, in seconds.
const STRETCH: usize = 300;
/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

/// What happened in one second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Second {
    /// Requests that passed the limits.
    pub requests: u64,
    /// Their tokens, those of the prompt and of the answer.
    pub tokens: u64,
    /// Requests that a limit held back.
    pub limited: u64,
}

/// What is remembered.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The number of the second that runs.
    now: u64,
    /// The number of the first of `seconds`.
    first: u64,
    seconds: Vec<Second>,
}

#[derive(Default)]
pub struct Series {
    /// The number of the oldest second that is remembered; meaningless while there is none.
    first: u64,
    /// Without gaps.
    seconds: VecDeque<Second>,
}

impl Series {
    pub fn passed(&mut self, now: u64, tokens: u64) {
        if let Some(second) = self.at(now) {
            second.requests += 1;
            second.tokens += tokens;
        }
    }

    pub fn limited(&mut self, now: u64) {
        if let Some(second) = self.at(now) {
            second.limited += 1;
        }
    }

    /// Every second that is remembered, the present one not included: it is not over.
    pub fn report(&mut self, now: u64) -> Report {
        let over = self.over(now);
        Report { now: now / SECOND, first: self.first, seconds: self.seconds.iter().take(over).copied().collect() }
    }

    /// The last, the least and the most that passed in 300 s; `null` before there were so many.
    ///
    /// Of whole seconds, from the one after the first arrival on: that one had begun before it.
    pub fn five_minutes(&mut self, now: u64) -> Value {
        let over = self.over(now);
        let mut stretches = Stretches::default();
        for (index, second) in self.seconds.iter().take(over).enumerate().skip(1) {
            let left = (index > STRETCH).then(|| self.seconds[index - STRETCH]);
            stretches.step(*second, left.unwrap_or_default(), index >= STRETCH);
        }
        stretches.report()
    }

    /// How many of the seconds are over, after those without arrivals were filled in.
    fn over(&mut self, now: u64) -> usize {
        if self.seconds.is_empty() {
            return 0;
        }
        self.at(now);
        ((now / SECOND).saturating_sub(self.first) as usize).min(self.seconds.len())
    }

    fn at(&mut self, now: u64) -> Option<&mut Second> {
        let second = now / SECOND;
        if self.seconds.is_empty() {
            self.first = second;
        }
        let index = second.saturating_sub(self.first);
        if index >= self.seconds.len() as u64 + SECONDS_MAX as u64 {
            // A silence longer than the memory.
            self.seconds.clear();
            self.first = second - (SECONDS_MAX as u64 - 1);
        }
        let index = second.saturating_sub(self.first) as usize;
        while self.seconds.len() <= index {
            self.seconds.push_back(Second::default());
        }
        while self.seconds.len() > SECONDS_MAX {
            self.seconds.pop_front();
            self.first += 1;
        }
        let index = second.saturating_sub(self.first) as usize;
        self.seconds.get_mut(index)
    }
}

/// Sums over a stretch that moves on by a second at a time.
#[derive(Default)]
struct Stretches {
    last: Second,
    least: Option<Second>,
    most: Second,
}

impl Stretches {
    fn step(&mut self, came: Second, left: Second, is_full: bool) {
        self.last.requests = self.last.requests + came.requests - left.requests;
        self.last.tokens = self.last.tokens + came.tokens - left.tokens;
        if is_full {
            let least = self.least.get_or_insert(self.last);
            least.requests = least.requests.min(self.last.requests);
            least.tokens = least.tokens.min(self.last.tokens);
            self.most.requests = self.most.requests.max(self.last.requests);
            self.most.tokens = self.most.tokens.max(self.last.tokens);
        }
    }

    fn report(&self) -> Value {
        self.least.map_or(Value::Null, |least| {
            json!({
                "requests": self.last.requests,
                "requests_min": least.requests,
                "requests_max": self.most.requests,
                "tokens": self.last.tokens,
                "tokens_min": least.tokens,
                "tokens_max": self.most.tokens,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_use_of_five_minutes_is_told_once_they_are_over() {
        let mut series = Series::default();
        assert_eq!(series.five_minutes(0), Value::Null);
        // The first second is not counted; one in a hundred is silent.
        for second in 10..=310 {
            if second % 100 != 0 {
                series.passed(second * SECOND + 7, 5);
            }
        }
        assert_eq!(series.five_minutes(311 * SECOND - 1), Value::Null, "the last second is not over");
        let told = series.five_minutes(311 * SECOND);
        assert_eq!((&told["requests"], &told["tokens_min"]), (&json!(297), &json!(1_485)));
        let told = series.five_minutes(312 * SECOND);
        assert_eq!(
            (&told["requests"], &told["requests_min"], &told["requests_max"]),
            (&json!(296), &json!(296), &json!(297))
        );
    }

    #[test]
    fn the_stretches_are_those_of_a_naive_sum() {
        let mut series = Series::default();
        let passed = |second: u64| second * second % 11;
        for second in 0..=1_000 {
            for _ in 0..passed(second) {
                series.passed(second * SECOND, second);
            }
        }
        let naive = |count: &dyn Fn(u64) -> u64| {
            let sums: Vec<u64> = (1..=700).map(|begin| (begin..begin + 300).map(count).sum()).collect();
            [sums[sums.len() - 1], *sums.iter().min().unwrap(), *sums.iter().max().unwrap()]
        };
        // Second 0 has no arrival, so second 1 is the first; it is left out.
        let (requests, tokens) = (|second| passed(second + 1), |second| passed(second + 1) * (second + 1));
        let told = series.five_minutes(1_001 * SECOND);
        let of = |what: &str| ["", "_min", "_max"].map(|end| told[format!("{what}{end}")].as_u64().unwrap());
        assert_eq!(of("requests"), naive(&requests));
        assert_eq!(of("tokens"), naive(&tokens));
    }

    #[test]
    fn every_second_that_is_over_can_be_read() {
        let mut series = Series::default();
        series.passed(3 * SECOND, 4);
        series.limited(5 * SECOND + 1);
        series.passed(5 * SECOND, 6);
        series.passed(6 * SECOND, 1);
        let told = json!(series.report(6 * SECOND + 5));
        let second = |requests, tokens, limited| json!({"requests": requests, "tokens": tokens, "limited": limited});
        assert_eq!(told, json!({"now": 6, "first": 3, "seconds": [second(1, 4, 0), second(0, 0, 0), second(1, 6, 1)]}));
    }

    #[test]
    fn the_memory_is_bounded_and_keeps_the_latest() {
        let mut series = Series::default();
        let bound = SECONDS_MAX as u64;
        for second in 0..bound + 5 {
            series.passed(second * SECOND, second);
        }
        assert_eq!((series.seconds.len(), series.first), (SECONDS_MAX, 5));
        series.passed(9 * bound * SECOND, 1);
        assert_eq!((series.seconds.len(), series.first), (SECONDS_MAX, 8 * bound + 1));
        assert_eq!(series.seconds.iter().map(|second| second.requests).sum::<u64>(), 1);
        series.passed(0, 1);
        assert_eq!(series.seconds.iter().map(|second| second.requests).sum::<u64>(), 2, "the clock went backwards");
    }
}
