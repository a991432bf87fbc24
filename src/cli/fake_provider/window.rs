//! The exact log of the last 60 seconds: what arrived, and how many tokens it counts for.
//!
//! A log and not a bucket, because it stands for the strictest provider there could be: between any two instants 60 s
//! apart no more than the limit passes. An arrival at `t` counts in every window that ends in `[t, t + 60 s)`.
//!
//! Time is a parameter, in nanoseconds since a start of the caller's choice. Going backwards counts as standing still.

use serde::Serialize;
use std::collections::VecDeque;

/// The length of the window, in nanoseconds.
pub const SPAN: u64 = 60_000_000_000;

/// Requests and tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    pub requests: u64,
    pub tokens: u64,
}

/// The most that may be counted in any window; `None` for no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub requests: Option<u64>,
    pub tokens: Option<u64>,
}

/// Which limit has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    Requests,
    Tokens,
}

/// Why a request does not pass, and after how many nanoseconds it would if nothing else came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub exceeded: Exceeded,
    /// `None` when it never passes: it alone is larger than the limit.
    pub wait: Option<u64>,
}

struct Arrival {
    at: u64,
    tokens: u64,
}

/// One window. Every call first drops what is older than [`SPAN`].
pub struct Window {
    log: VecDeque<Arrival>,
    /// The number of the oldest arrival in the log.
    first: u64,
    tokens: u64,
    peak: Totals,
}

impl Window {
    /// An empty window whose arrivals are numbered from `first` on.
    pub fn new(first: u64) -> Self {
        Self { log: VecDeque::new(), first, tokens: 0, peak: Totals::default() }
    }

    /// Why a request of so many tokens would break a limit at `now`; nothing is added.
    pub fn refusal(&mut self, now: u64, limits: Limits, tokens: u64) -> Option<Refusal> {
        self.expire(now);
        let by_requests = limits.requests.and_then(|limit| {
            let surplus = (self.log.len() as u64 + 1).checked_sub(limit)?;
            (surplus > 0).then(|| Refusal { exceeded: Exceeded::Requests, wait: self.wait_for(now, surplus) })
        });
        let by_tokens = limits.tokens.and_then(|limit| {
            let surplus = (self.tokens + tokens).saturating_sub(limit);
            let room = tokens <= limit;
            let wait = || if room { self.wait_for_tokens(now, surplus) } else { None };
            (surplus > 0).then(|| Refusal { exceeded: Exceeded::Tokens, wait: wait() })
        });
        match (by_requests, by_tokens) {
            // Both must have room: the longer wait counts, and none at all is the longest.
            (Some(requests), Some(tokens)) => {
                let longer = tokens.wait.is_none_or(|wait| requests.wait.is_some_and(|other| wait > other));
                Some(if longer { tokens } else { requests })
            }
            (one, other) => one.or(other),
        }
    }

    /// Writes an arrival down and gives its number.
    pub fn add(&mut self, now: u64, tokens: u64) -> u64 {
        self.expire(now);
        let at = now.max(self.log.back().map_or(0, |last| last.at));
        self.log.push_back(Arrival { at, tokens });
        self.tokens += tokens;
        self.peak.requests = self.peak.requests.max(self.log.len() as u64);
        self.peak.tokens = self.peak.tokens.max(self.tokens);
        self.first + self.log.len() as u64 - 1
    }

    /// Replaces the tokens of an arrival, at the time when it arrived. One that left the window is left alone.
    pub fn correct(&mut self, number: u64, tokens: u64) {
        let Some(index) = number.checked_sub(self.first) else { return };
        if let Some(arrival) = self.log.get_mut(index as usize) {
            self.tokens = self.tokens - arrival.tokens + tokens;
            arrival.tokens = tokens;
        }
    }

    /// What counts at `now`.
    pub fn totals(&mut self, now: u64) -> Totals {
        self.expire(now);
        Totals { requests: self.log.len() as u64, tokens: self.tokens }
    }

    /// The most that any window ever counted, for each at the time of an arrival, as it was known then.
    pub fn peak(&self) -> Totals {
        self.peak
    }

    /// Nanoseconds until the window is empty if nothing else comes.
    pub fn drained_in(&self, now: u64) -> u64 {
        self.log.back().map_or(0, |last| (last.at + SPAN).saturating_sub(now))
    }

    fn expire(&mut self, now: u64) {
        while self.log.front().is_some_and(|arrival| arrival.at + SPAN <= now) {
            if let Some(arrival) = self.log.pop_front() {
                self.tokens -= arrival.tokens;
                self.first += 1;
            }
        }
    }

    /// Until the oldest `count` arrivals have left; `None` when there are not so many.
    fn wait_for(&self, now: u64, count: u64) -> Option<u64> {
        let last = self.log.get(usize::try_from(count).ok()?.checked_sub(1)?)?;
        Some((last.at + SPAN).saturating_sub(now))
    }

    fn wait_for_tokens(&self, now: u64, surplus: u64) -> Option<u64> {
        let mut freed = 0;
        self.log.iter().find_map(|arrival| {
            freed += arrival.tokens;
            (freed >= surplus).then(|| (arrival.at + SPAN).saturating_sub(now))
        })
    }
}
