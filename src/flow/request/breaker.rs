//! The circuit breaker of one model: after failures in a row of time it lets nothing through for a while, then one call to
//! see. Pure: time is an argument.
//!
//! It counts failures of the provider (5xx, timeouts, connections), not answers that refuse a request: those come from a
//! provider that is well.

use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// So many failures …
    pub failures: usize,
    /// … within this time open it.
    pub window: Duration,
    /// For so long it lets nothing through; then one call.
    pub open_for: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { failures: 5, window: Duration::from_secs(60), open_for: Duration::from_secs(30) }
    }
}

/// How a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Closed,
    /// Nothing goes through before.
    Open {
        until: Instant,
    },
    /// One call goes through, or is under way.
    HalfOpen,
}

impl State {
    /// As in views.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// What a call says of its provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It answered, be it with a refusal.
    Alive,
    Failed,
    /// The call was given up, or never made.
    Unknown,
}

/// A call that may go through. Its verdict must be told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Pass {
    round: u64,
    is_probe: bool,
}

/// When a breaker heard what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Since when it is not closed; absent where it is.
    pub opened_at: Option<Instant>,
    /// When a call failed that was let through to see, since then.
    pub probe_failed_at: Option<Instant>,
    pub alive_at: Option<Instant>,
    pub failed_at: Option<Instant>,
}

/// See the module.
#[derive(Debug)]
pub struct Breaker {
    config: Config,
    /// The last ones, at most as many as open it.
    failures: VecDeque<Instant>,
    open_until: Option<Instant>,
    is_probed: bool,
    /// Counts its openings and closings: what a call says that began before the last of them is not heard.
    round: u64,
    heard: Heard,
}

impl Breaker {
    pub fn new(config: Config) -> Self {
        Self {
            config,
            failures: VecDeque::new(),
            open_until: None,
            is_probed: false,
            round: 0,
            heard: Heard::default(),
        }
    }

    pub fn state(&self, now: Instant) -> State {
        match self.open_until {
            None => State::Closed,
            Some(until) if now < until => State::Open { until },
            Some(_) => State::HalfOpen,
        }
    }

    /// Lets a call through, or says when to ask again.
    ///
    /// # Errors
    /// The moment before which nothing goes through; while a call is under way to see, a moment to ask again.
    pub fn pass(&mut self, now: Instant) -> Result<Pass, Instant> {
        match self.state(now) {
            State::Closed => Ok(Pass { round: self.round, is_probe: false }),
            State::Open { until } => Err(until),
            State::HalfOpen if self.is_probed => Err(now + self.config.open_for.min(PROBED_AGAIN)),
            State::HalfOpen => {
                self.is_probed = true;
                Ok(Pass { round: self.round, is_probe: true })
            }
        }
    }

    /// Hears what became of a call.
    pub fn tell(&mut self, pass: Pass, verdict: Verdict, now: Instant) {
        if pass.round != self.round {
            return;
        }
        match verdict {
            Verdict::Alive => self.heard.alive_at = Some(now),
            Verdict::Failed => self.heard.failed_at = Some(now),
            Verdict::Unknown => {}
        }
        match (pass.is_probe, verdict) {
            (true, Verdict::Unknown) => self.is_probed = false,
            (true, Verdict::Alive) => self.turn(None, now),
            (true, Verdict::Failed) => {
                self.turn(Some(now + self.config.open_for), now);
                self.heard.probe_failed_at = Some(now);
            }
            (false, Verdict::Alive | Verdict::Unknown) => {}
            (false, Verdict::Failed) => {
                self.failures.push_back(now);
                let over = self.failures.len().saturating_sub(self.config.failures.max(1));
                self.failures.drain(..over);
                let since = self.failures.front().map(|first| now.saturating_duration_since(*first));
                let is_full = self.failures.len() >= self.config.failures.max(1);
                if is_full && since.is_some_and(|since| since <= self.config.window) {
                    self.turn(Some(now + self.config.open_for), now);
                }
            }
        }
    }

    /// Whether forgetting it changes nothing.
    pub fn is_idle(&self, now: Instant) -> bool {
        let is_old = |at: &Instant| now.saturating_duration_since(*at) > self.config.window;
        self.open_until.is_none() && self.failures.back().is_none_or(is_old)
    }

    /// When it heard what; forgotten with the breaker.
    pub fn heard(&self) -> Heard {
        self.heard
    }

    fn turn(&mut self, open_until: Option<Instant>, now: Instant) {
        self.heard.opened_at = open_until.map(|_| self.heard.opened_at.unwrap_or(now));
        self.heard.probe_failed_at = None;
        self.open_until = open_until;
        self.is_probed = false;
        self.failures.clear();
        self.round += 1;
    }
}

/// How soon those come again that wait for the end of the call that probes.
const PROBED_AGAIN: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn breaker() -> Breaker {
        Breaker::new(Config::default())
    }

    fn fail(breaker: &mut Breaker, now: Instant) {
        let pass = breaker.pass(now).expect("it lets calls through");
        breaker.tell(pass, Verdict::Failed, now);
    }

    fn after(begun: Instant, seconds: u64) -> Instant {
        begun + Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn five_failures_within_a_minute_open_it_and_four_do_not() {
        let begun = Instant::now();
        let mut breaker = breaker();
        (0..4).for_each(|second| fail(&mut breaker, after(begun, second)));
        assert_eq!(breaker.state(after(begun, 4)), State::Closed);
        fail(&mut breaker, after(begun, 60));
        assert_eq!(breaker.state(after(begun, 60)), State::Open { until: after(begun, 90) });
        assert_eq!(breaker.pass(after(begun, 89)), Err(after(begun, 90)));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_that_are_far_apart_never_open_it() {
        let begun = Instant::now();
        let mut breaker = breaker();
        (0..100).for_each(|count| fail(&mut breaker, after(begun, count * 16)));
        assert_eq!(breaker.state(after(begun, 1600)), State::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn half_open_lets_one_call_through_and_its_end_decides() {
        let begun = Instant::now();
        let mut breaker = breaker();
        (0..5).for_each(|_| fail(&mut breaker, begun));
        let half = after(begun, 30);
        assert_eq!(breaker.state(half), State::HalfOpen);
        let probe = breaker.pass(half).expect("the probe");
        assert!(breaker.pass(half).is_err(), "a second one waits for the first");
        breaker.tell(probe, Verdict::Failed, after(half, 1));
        assert_eq!(breaker.state(after(half, 1)), State::Open { until: after(half, 31) });
        let probe = breaker.pass(after(half, 31)).expect("the next probe");
        breaker.tell(probe, Verdict::Alive, after(half, 32));
        assert_eq!(breaker.state(after(half, 32)), State::Closed);
        fail(&mut breaker, after(half, 33));
        assert_eq!(breaker.state(after(half, 33)), State::Closed, "what was before is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn it_knows_since_when_it_is_not_closed_whatever_its_probes_do() {
        let begun = Instant::now();
        let mut breaker = breaker();
        (0..5).for_each(|_| fail(&mut breaker, begun));
        assert_eq!(breaker.heard().probe_failed_at, None, "nothing was tried since");
        for probe in 1..=4 {
            fail(&mut breaker, after(begun, 30 * probe));
            let heard = breaker.heard();
            assert_eq!((heard.opened_at, heard.probe_failed_at), (Some(begun), Some(after(begun, 30 * probe))));
        }
        let probe = breaker.pass(after(begun, 150)).expect("the probe");
        breaker.tell(probe, Verdict::Alive, after(begun, 151));
        let (alive_at, failed_at) = (Some(after(begun, 151)), Some(after(begun, 120)));
        assert_eq!(breaker.heard(), Heard { alive_at, failed_at, ..Heard::default() });
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_given_up_makes_room_for_another() {
        let begun = Instant::now();
        let mut breaker = breaker();
        (0..5).for_each(|_| fail(&mut breaker, begun));
        let half = after(begun, 30);
        let probe = breaker.pass(half).expect("the probe");
        breaker.tell(probe, Verdict::Unknown, half);
        assert!(breaker.pass(half).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn calls_from_before_it_opened_say_nothing_any_more() {
        let begun = Instant::now();
        let mut breaker = breaker();
        let passes: Vec<_> = (0..20).map(|_| breaker.pass(begun).expect("closed")).collect();
        let (first, rest) = passes.split_at(5);
        first.iter().for_each(|pass| breaker.tell(*pass, Verdict::Failed, begun));
        let half = after(begun, 30);
        rest.iter().for_each(|pass| breaker.tell(*pass, Verdict::Alive, half));
        assert_eq!(breaker.state(half), State::HalfOpen, "an old success is no probe");
        rest.iter().for_each(|pass| breaker.tell(*pass, Verdict::Failed, half));
        assert_eq!(breaker.state(half), State::HalfOpen);
    }

    proptest! {
        /// Whatever calls report: nothing goes through while it is open, one call at a time while it is half open, and it
        /// opens only on so many failures within its window.
        #[test]
        fn it_never_lets_through_what_it_must_not(
            steps in prop::collection::vec((0u64..20_000, 0u8..4, any::<prop::sample::Index>()), 1..300)
        ) {
            let begun = Instant::now();
            let config = Config::default();
            let mut breaker = Breaker::new(config);
            let mut now = begun;
            let mut passes: Vec<Pass> = Vec::new();
            let mut failures: Vec<Instant> = Vec::new();
            let mut probes = 0usize;
            for (wait, what, which) in steps {
                now += Duration::from_millis(wait);
                let before = breaker.state(now);
                if what == 0 {
                    match breaker.pass(now) {
                        Ok(pass) => {
                            let is_open = matches!(before, State::Open { .. });
                            prop_assert!(!is_open);
                            if before == State::HalfOpen {
                                prop_assert_eq!(probes, 0);
                                probes += 1;
                            }
                            passes.push(pass);
                        }
                        Err(at) => {
                            prop_assert!(before != State::Closed && at > now);
                            prop_assert!(before != State::HalfOpen || probes == 1);
                        }
                    }
                } else if !passes.is_empty() {
                    let pass = passes.swap_remove(which.index(passes.len()));
                    let verdict = [Verdict::Alive, Verdict::Failed, Verdict::Unknown][usize::from(what) - 1];
                    let is_heard = pass.round == breaker.round;
                    if is_heard && pass.is_probe {
                        probes = 0;
                    }
                    if verdict == Verdict::Failed && is_heard && !pass.is_probe {
                        failures.push(now);
                    }
                    breaker.tell(pass, verdict, now);
                    if before == State::Closed && breaker.state(now) != State::Closed {
                        let recent = failures.iter().filter(|at| now.duration_since(**at) <= config.window).count();
                        prop_assert!(recent >= config.failures, "opened on {} failures", recent);
                        failures.clear();
                    }
                }
            }
        }
    }
}
