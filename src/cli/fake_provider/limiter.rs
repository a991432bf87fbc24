//! The limits: one [`Window`] over all callers, or one for each key or model; and two more that only watch.
//!
//! All of it behind one short lock, which also reads the clock: so the order in the log is the order of time.

use super::series::Series;
use super::settings::{CountTokens, LimitBy, Settings};
use super::window::{Exceeded, Limits, Refusal, Totals, Window};
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;

/// Most keys or models with a window of their own.
const WINDOWS_MAX: usize = 10_000;

/// What a request counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    pub prompt: u64,
    /// The tokens of the answer that it gets.
    pub completion: u64,
    /// The most tokens that the answer could have had.
    pub completion_max: u64,
}

/// A request that passed: where to correct its tokens.
#[derive(Debug)]
pub struct Ticket {
    name: Arc<str>,
    number: u64,
}

/// Why a request does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    Limit(Refusal, u64),
    /// More arrivals in 60 s than this process may remember: it cannot count exactly any more.
    Full,
}

/// What the headers of an answer tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub limits: Limits,
    pub used: Totals,
    /// Nanoseconds until the window is empty.
    pub drained_in: u64,
}

/// What watches only, for `/fake/stats`.
pub struct Watch {
    /// Every request that was understood, passed or not.
    pub arrived: Window,
    /// Those that passed.
    pub passed: Window,
    /// How many each limit held back.
    pub limited: Limited,
    pub series: Series,
}

/// How many requests each of the two limits held back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Limited {
    pub requests: u64,
    pub tokens: u64,
}

pub struct Limiter {
    windows: HashMap<Arc<str>, Window>,
    watch: Watch,
    by: LimitBy,
    requests_max: usize,
    /// Arrivals in all of `windows`, those included that have left theirs unnoticed.
    held: usize,
    /// Ever passed: no window has a number beyond it.
    serial: u64,
}

impl Limiter {
    /// Remembers at most `requests_max` arrivals.
    pub fn new(by: LimitBy, requests_max: usize) -> Self {
        Self { windows: HashMap::new(), watch: Watch::new(), by, requests_max, held: 0, serial: 0 }
    }

    /// Counts an arrival, and lets it pass where the limits have room. What is refused is not counted against a limit.
    pub fn admit(
        &mut self,
        now: u64,
        settings: &Settings,
        name: &str,
        cost: Cost,
    ) -> (Result<Ticket, Denial>, Standing) {
        let actual = cost.prompt + cost.completion;
        if self.watch.arrived.totals(now).requests >= self.requests_max as u64 {
            return (Err(Denial::Full), Standing::default());
        }
        self.watch.arrived.add(now, actual);
        self.follow(settings.limit_by);
        if !self.has_room(now, name) {
            return (Err(Denial::Full), Standing::default());
        }
        let tokens = match settings.count_tokens {
            CountTokens::Actual => actual,
            CountTokens::Estimate => cost.prompt + cost.completion_max,
        };
        let name: Arc<str> = match self.windows.get_key_value(name) {
            Some((name, _)) => Arc::clone(name),
            None => name.into(),
        };
        let serial = self.serial;
        let window = self.windows.entry(Arc::clone(&name)).or_insert_with(|| Window::new(serial));
        let limits = settings.limits();
        let result = match window.refusal(now, limits, tokens) {
            Some(refusal) => Err(Denial::Limit(refusal, tokens)),
            None => Ok(Ticket { name, number: window.add(now, tokens) }),
        };
        let used = window.totals(now);
        let standing = Standing { limits, used, drained_in: window.drained_in(now) };
        match &result {
            Ok(_) => {
                self.held += 1;
                self.serial += 1;
                self.watch.pass(now, actual);
            }
            Err(Denial::Limit(refusal, _)) => self.watch.limit(now, refusal.exceeded),
            Err(Denial::Full) => {}
        }
        (result, standing)
    }

    /// Replaces what a request counts for.
    pub fn correct(&mut self, ticket: &Ticket, tokens: u64) {
        if let Some(window) = self.windows.get_mut(&ticket.name) {
            window.correct(ticket.number, tokens);
        }
    }

    pub fn watch(&mut self) -> &mut Watch {
        &mut self.watch
    }

    /// Forgets all arrivals and peaks.
    pub fn reset(&mut self) {
        self.windows.clear();
        self.held = 0;
        self.watch = Watch::new();
    }

    /// Arrivals were counted under other names: start anew.
    fn follow(&mut self, by: LimitBy) {
        if self.by != by {
            self.by = by;
            self.windows.clear();
            self.held = 0;
        }
    }

    /// Whether an arrival of this name can be remembered, after a sweep where that helps.
    fn has_room(&mut self, now: u64, name: &str) -> bool {
        let full = |limiter: &Self| {
            limiter.held >= limiter.requests_max
                || (limiter.windows.len() >= WINDOWS_MAX && !limiter.windows.contains_key(name))
        };
        if full(self) {
            self.windows.retain(|_, window| window.totals(now).requests > 0);
            self.held = self.windows.values_mut().map(|window| window.totals(now).requests as usize).sum();
        }
        !full(self)
    }
}

impl Watch {
    fn new() -> Self {
        Self { arrived: Window::new(0), passed: Window::new(0), limited: Limited::default(), series: Series::default() }
    }

    fn pass(&mut self, now: u64, tokens: u64) {
        self.passed.add(now, tokens);
        self.series.passed(now, tokens);
    }

    fn limit(&mut self, now: u64, exceeded: Exceeded) {
        match exceeded {
            Exceeded::Requests => self.limited.requests += 1,
            Exceeded::Tokens => self.limited.tokens += 1,
        }
        self.series.limited(now);
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::tests::settings;
    use super::super::window::SPAN;
    use super::*;

    const COST: Cost = Cost { prompt: 10, completion: 5, completion_max: 90 };

    fn admit(limiter: &mut Limiter, now: u64, settings: &Settings, name: &str) -> Result<Ticket, Denial> {
        limiter.admit(now, settings, name, COST).0
    }

    #[test]
    fn each_name_has_a_limit_of_its_own() {
        let settings = settings(&["--requests-per-minute", "1", "--limit-by", "key"]);
        let mut limiter = Limiter::new(LimitBy::Key, 100);
        assert!(admit(&mut limiter, 0, &settings, "a").is_ok());
        assert!(admit(&mut limiter, 0, &settings, "b").is_ok());
        assert!(admit(&mut limiter, 0, &settings, "a").is_err());
        assert_eq!(limiter.watch().arrived.totals(0).requests, 3);
        assert_eq!(limiter.watch().limited, Limited { requests: 1, tokens: 0 });
        assert_eq!(limiter.watch().passed.totals(0), Totals { requests: 2, tokens: 30 });
    }

    #[test]
    fn an_estimate_blocks_until_it_is_corrected() {
        let settings = settings(&["--tokens-per-minute", "150", "--count-tokens", "estimate"]);
        let mut limiter = Limiter::new(LimitBy::Global, 100);
        let ticket = admit(&mut limiter, 0, &settings, "").unwrap();
        let denial = admit(&mut limiter, 1, &settings, "").unwrap_err();
        assert!(matches!(denial, Denial::Limit(Refusal { exceeded: Exceeded::Tokens, .. }, 100)), "{denial:?}");
        limiter.correct(&ticket, 15);
        assert!(admit(&mut limiter, 2, &settings, "").is_ok());
    }

    #[test]
    fn a_late_correction_does_not_touch_a_window_that_began_anew() {
        let settings = settings(&["--tokens-per-minute", "100"]);
        let mut limiter = Limiter::new(LimitBy::Global, 100);
        let ticket = admit(&mut limiter, 0, &settings, "").unwrap();
        limiter.reset();
        admit(&mut limiter, 1, &settings, "").unwrap();
        limiter.correct(&ticket, 0);
        assert_eq!(limiter.admit(1, &settings, "", COST).1.used.tokens, 30);
    }

    #[test]
    fn a_full_memory_is_an_error_and_ends_with_the_minute() {
        let settings = settings(&[]);
        let mut limiter = Limiter::new(LimitBy::Global, 2);
        assert!(admit(&mut limiter, 0, &settings, "").is_ok());
        assert!(admit(&mut limiter, 0, &settings, "").is_ok());
        assert_eq!(admit(&mut limiter, 1, &settings, "").unwrap_err(), Denial::Full);
        assert!(admit(&mut limiter, SPAN, &settings, "").is_ok());
    }

    #[test]
    fn windows_of_names_that_left_make_room() {
        let settings = settings(&["--limit-by", "key"]);
        let mut limiter = Limiter::new(LimitBy::Key, 1_000_000);
        for name in 0..WINDOWS_MAX {
            assert!(admit(&mut limiter, 0, &settings, &name.to_string()).is_ok());
        }
        assert_eq!(admit(&mut limiter, 1, &settings, "one more").unwrap_err(), Denial::Full);
        assert!(admit(&mut limiter, 1, &settings, "7").is_ok());
        assert!(admit(&mut limiter, SPAN, &settings, "one more").is_ok());
        assert_eq!(limiter.windows.len(), 2);
    }

    #[test]
    fn another_way_of_counting_starts_anew() {
        let mut limiter = Limiter::new(LimitBy::Global, 100);
        admit(&mut limiter, 0, &settings(&["--requests-per-minute", "1"]), "").unwrap();
        let by_model = settings(&["--requests-per-minute", "1", "--limit-by", "model"]);
        assert!(admit(&mut limiter, 0, &by_model, "m").is_ok());
        assert!(admit(&mut limiter, 0, &by_model, "m").is_err());
    }
}
