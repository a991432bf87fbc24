//! The window against a recount that keeps everything and adds up anew each time.

use super::window::{Exceeded, Limits, Refusal, SPAN, Totals, Window};
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;

/// Every arrival ever, with its time and tokens.
#[derive(Default)]
struct Naive {
    all: Vec<(u64, u64)>,
    peak: Totals,
}

impl Naive {
    fn totals(&self, now: u64) -> Totals {
        let inside = || self.all.iter().filter(|(at, _)| *at + SPAN > now);
        Totals { requests: inside().count() as u64, tokens: inside().map(|(_, tokens)| tokens).sum() }
    }

    fn passes(&self, now: u64, limits: Limits, tokens: u64) -> bool {
        let totals = self.totals(now);
        limits.requests.is_none_or(|limit| totals.requests < limit)
            && limits.tokens.is_none_or(|limit| totals.tokens + tokens <= limit)
    }

    fn add(&mut self, now: u64, tokens: u64) {
        self.all.push((now, tokens));
        let totals = self.totals(now);
        self.peak.requests = self.peak.requests.max(totals.requests);
        self.peak.tokens = self.peak.tokens.max(totals.tokens);
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Wait so long, then ask for so many tokens.
    Arrive { after: u64, tokens: u64 },
    /// Correct one of the arrivals so far.
    Correct { which: prop::sample::Index, tokens: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Waits that fall on the edge of the window are the ones that go wrong.
    let after = prop_oneof![Just(0), Just(1), Just(SPAN - 1), Just(SPAN), Just(SPAN + 1), 0..20 * SECOND];
    let arrive = (after, 0..60u64).prop_map(|(after, tokens)| Step::Arrive { after, tokens });
    let correct = (any::<prop::sample::Index>(), 0..60u64).prop_map(|(which, tokens)| Step::Correct { which, tokens });
    prop::collection::vec(prop_oneof![4 => arrive, 1 => correct], 1..80)
}

fn limits() -> impl Strategy<Value = Limits> {
    (prop::option::of(1..8u64), prop::option::of(1..150u64)).prop_map(|(requests, tokens)| Limits { requests, tokens })
}

proptest! {
    #[test]
    fn the_window_counts_refuses_and_promises_as_a_naive_recount_does(steps in steps(), limits in limits()) {
        let mut window = Window::new(5);
        let mut naive = Naive::default();
        let mut numbers = Vec::new();
        let mut now = 0;
        for step in steps {
            match step {
                Step::Arrive { after, tokens } => {
                    now += after;
                    let refusal = window.refusal(now, limits, tokens);
                    prop_assert_eq!(refusal.is_none(), naive.passes(now, limits, tokens));
                    match refusal {
                        None => {
                            numbers.push(window.add(now, tokens));
                            naive.add(now, tokens);
                        }
                        Some(Refusal { wait: None, .. }) => prop_assert!(tokens > limits.tokens.unwrap()),
                        Some(Refusal { wait: Some(wait), .. }) => {
                            prop_assert!(naive.passes(now + wait, limits, tokens), "too early by {}", wait);
                            prop_assert!(!naive.passes(now + wait - 1, limits, tokens), "later than needed: {}", wait);
                        }
                    }
                }
                Step::Correct { which, tokens } if !numbers.is_empty() => {
                    let which = which.index(numbers.len());
                    window.correct(numbers[which], tokens);
                    naive.all[which].1 = tokens;
                }
                Step::Correct { .. } => {}
            }
            prop_assert_eq!(window.totals(now), naive.totals(now));
            prop_assert_eq!(window.peak(), naive.peak);
        }
    }
}

#[test]
fn an_arrival_leaves_after_exactly_sixty_seconds() {
    let mut window = Window::new(0);
    window.add(10, 7);
    assert_eq!(window.totals(10 + SPAN - 1), Totals { requests: 1, tokens: 7 });
    assert_eq!(window.totals(10 + SPAN), Totals::default());
    assert_eq!(window.peak(), Totals { requests: 1, tokens: 7 });
}

#[test]
fn no_bucket_refills_in_the_middle_of_a_minute() {
    let limits = Limits { requests: Some(2), tokens: None };
    let mut window = Window::new(0);
    for at in [0, 59 * SECOND] {
        assert_eq!(window.refusal(at, limits, 1), None);
        window.add(at, 1);
    }
    let refused = |exceeded, wait| Some(Refusal { exceeded, wait: Some(wait) });
    assert_eq!(window.refusal(59 * SECOND, limits, 1), refused(Exceeded::Requests, SECOND));
    window.add(60 * SECOND, 1);
    // A fixed minute or a bucket would let a second one pass here.
    assert_eq!(window.refusal(60 * SECOND, limits, 1), refused(Exceeded::Requests, 59 * SECOND));
}

#[test]
fn what_is_larger_than_the_limit_never_passes_and_is_told_so() {
    let limits = Limits { requests: Some(1), tokens: Some(10) };
    let mut window = Window::new(0);
    window.add(0, 10);
    assert_eq!(window.refusal(1, limits, 11), Some(Refusal { exceeded: Exceeded::Tokens, wait: None }));
}

#[test]
fn a_correction_counts_at_the_time_of_arrival() {
    let limits = Limits { requests: None, tokens: Some(100) };
    let mut window = Window::new(0);
    let number = window.add(0, 100);
    assert!(window.refusal(SECOND, limits, 50).is_some());
    window.correct(number, 50);
    assert_eq!(window.refusal(SECOND, limits, 50), None);
    window.add(SECOND, 50);
    assert_eq!(window.totals(SPAN), Totals { requests: 1, tokens: 50 });
    window.correct(number, 1_000);
    assert_eq!(window.totals(SPAN), Totals { requests: 1, tokens: 50 }, "what has left stays out");
}

#[test]
fn a_clock_that_goes_backwards_stands_still() {
    let mut window = Window::new(0);
    window.add(SPAN, 1);
    window.add(SPAN - 5, 1);
    assert_eq!(window.totals(2 * SPAN - 1).requests, 2);
    assert_eq!(window.totals(2 * SPAN).requests, 0);
}
