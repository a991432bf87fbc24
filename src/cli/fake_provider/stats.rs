//! What happened so far, for `/fake/stats`: enough for a test to prove what its client did.

use super::limiter::Watch;
use super::window::Totals;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Most ids and most bodies that are told apart; further ones are only counted.
pub const TRACKED_MAX: usize = 1_000_000;
/// Most ids that came repeatedly and are shown.
const SHOWN_MAX: usize = 100;
/// Longer ids are cut.
pub const ID_BYTES_MAX: usize = 128;

/// How often a request id came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// Requests with this id, whatever became of them.
    pub arrived: u32,
    /// Those that neither a limit nor an outage nor a wrong key held back: those that a provider would bill.
    pub passed: u32,
    /// Those whose answer was written to its end.
    pub answered: u32,
}

/// Numbers of ids.
#[derive(Default)]
struct Repeated {
    arrived: u64,
    answered: u64,
}

#[derive(Default)]
pub struct Stats {
    arrived: u64,
    /// By kind and status.
    answers: BTreeMap<(&'static str, u16), u64>,
    faults: BTreeMap<&'static str, u64>,
    tokens: BTreeMap<&'static str, u64>,
    bodies: HashSet<u64>,
    bodies_repeated: u64,
    ids: HashMap<Box<str>, Seen>,
    /// How many ids did each of these more than once: counted on the way, because a look at a million ids would hold up
    /// what is being measured.
    repeated: Repeated,
    /// The ids that passed more than once.
    passed_repeatedly: HashSet<Box<str>>,
    untracked: u64,
    in_flight: u64,
    in_flight_max: u64,
}

impl Stats {
    /// A request came in.
    pub fn begin(&mut self, id: Option<&str>) {
        self.arrived += 1;
        self.in_flight += 1;
        self.in_flight_max = self.in_flight_max.max(self.in_flight);
        let arrived = id.and_then(|id| self.seen(id)).map_or(0, |seen| {
            seen.arrived += 1;
            seen.arrived
        });
        self.repeated.arrived += u64::from(arrived == 2);
    }

    /// Its body is whole.
    pub fn body(&mut self, hash: u64) {
        if self.bodies.contains(&hash) {
            self.bodies_repeated += 1;
        } else if self.bodies.len() < TRACKED_MAX {
            self.bodies.insert(hash);
        }
    }

    /// Nothing held it back.
    pub fn pass(&mut self, id: Option<&str>, prompt: u64) {
        *self.tokens.entry("prompt").or_default() += prompt;
        if let Some((id, seen)) = id.and_then(|id| Some((id, self.ids.get_mut(id)?))) {
            seen.passed += 1;
            if seen.passed == 2 {
                self.passed_repeatedly.insert(id.into());
            }
        }
    }

    pub fn fault(&mut self, name: &'static str) {
        *self.faults.entry(name).or_default() += 1;
    }

    /// The head of an answer is written.
    pub fn answer(&mut self, kind: &'static str, status: u16) {
        *self.answers.entry((kind, status)).or_default() += 1;
    }

    /// It is over, well or not; so many tokens were sent.
    pub fn end(&mut self, id: Option<&str>, is_answered: bool, completion: u64) {
        self.in_flight = self.in_flight.saturating_sub(1);
        *self.tokens.entry("completion").or_default() += completion;
        if let Some(seen) = id.filter(|_| is_answered).and_then(|id| self.ids.get_mut(id)) {
            seen.answered += 1;
            self.repeated.answered += u64::from(seen.answered == 2);
        }
    }

    /// How often an id came.
    pub fn of(&self, id: &str) -> Seen {
        self.ids.get(id).copied().unwrap_or_default()
    }

    /// Forgets everything but what is under way.
    pub fn reset(&mut self) {
        *self = Self { in_flight: self.in_flight, in_flight_max: self.in_flight, ..Self::default() };
    }

    pub fn report(&self, watch: &mut Watch, now: u64) -> Value {
        let mut by_status = BTreeMap::<u16, u64>::new();
        let mut by_kind = BTreeMap::<&str, BTreeMap<u16, u64>>::new();
        for ((kind, status), count) in &self.answers {
            *by_status.entry(*status).or_default() += count;
            by_kind.entry(kind).or_default().insert(*status, *count);
        }
        json!({
            "now": now / 1_000_000_000,
            "requests": self.arrived,
            "in_flight": self.in_flight,
            "in_flight_max": self.in_flight_max,
            "answers": {"by_status": by_status, "by_kind": by_kind},
            "faults": self.faults,
            "tokens": {
                "prompt": self.tokens.get("prompt").unwrap_or(&0),
                "completion": self.tokens.get("completion").unwrap_or(&0),
            },
            "window": {
                "arrived": windows(watch.arrived.totals(now), watch.arrived.peak()),
                "passed": windows(watch.passed.totals(now), watch.passed.peak()),
            },
            "five_minutes": watch.series.five_minutes(now),
            "limited": watch.limited,
            "bodies": {"distinct": self.bodies.len(), "repeated": self.bodies_repeated},
            "ids": self.ids(),
        })
    }

    fn ids(&self) -> Value {
        let mut shown: Vec<_> = self.passed_repeatedly.iter().map(|id| (id, self.of(id))).collect();
        shown.sort_by(|(a, one), (b, other)| other.passed.cmp(&one.passed).then(a.cmp(b)));
        shown.truncate(SHOWN_MAX);
        json!({
            "distinct": self.ids.len(),
            "untracked": self.untracked,
            "arrived_repeatedly": self.repeated.arrived,
            "passed_repeatedly": self.passed_repeatedly.len(),
            "answered_repeatedly": self.repeated.answered,
            "most_passed": shown.into_iter().collect::<BTreeMap<_, _>>(),
        })
    }

    fn seen(&mut self, id: &str) -> Option<&mut Seen> {
        if !self.ids.contains_key(id) {
            if self.ids.len() >= TRACKED_MAX {
                self.untracked += 1;
                return None;
            }
            self.ids.insert(id.into(), Seen::default());
        }
        self.ids.get_mut(id)
    }
}

fn windows(now: Totals, peak: Totals) -> Value {
    json!({
        "requests": now.requests,
        "tokens": now.tokens,
        "requests_max": peak.requests,
        "tokens_max": peak.tokens,
    })
}

#[cfg(test)]
mod tests {
    use super::super::limiter::Limiter;
    use super::super::settings::LimitBy;
    use super::*;

    fn report(stats: &Stats) -> Value {
        stats.report(Limiter::new(LimitBy::Global, 1).watch(), 0)
    }

    #[test]
    fn an_id_that_was_called_twice_is_named() {
        let mut stats = Stats::default();
        for id in ["once", "twice", "twice", "held back", "held back"] {
            stats.begin(Some(id));
            if id != "held back" {
                stats.pass(Some(id), 1);
            }
            stats.end(Some(id), id == "once", 0);
        }
        assert_eq!(stats.of("twice"), Seen { arrived: 2, passed: 2, answered: 0 });
        assert_eq!(stats.of("nobody"), Seen::default());
        let ids = &report(&stats)["ids"];
        assert_eq!((&ids["distinct"], &ids["arrived_repeatedly"]), (&json!(3), &json!(2)));
        assert_eq!((&ids["passed_repeatedly"], &ids["answered_repeatedly"]), (&json!(1), &json!(0)));
        assert_eq!(ids["most_passed"], json!({"twice": {"arrived": 2, "passed": 2, "answered": 0}}));
    }

    #[test]
    fn a_reset_keeps_what_is_under_way() {
        let mut stats = Stats::default();
        stats.begin(None);
        stats.begin(None);
        stats.end(None, true, 1);
        stats.answer("models", 200);
        stats.reset();
        let report = report(&stats);
        assert_eq!((&report["requests"], &report["in_flight"]), (&json!(0), &json!(1)));
        assert_eq!(report["answers"]["by_status"], json!({}));
    }
}
