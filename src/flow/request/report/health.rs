//! Models that are down, and up again.
//!
//! *Down* is what a breaker cannot decide alone: it was not closed for a while, and a call that was let through to see
//! failed after all of that while. Without such a call nothing is known, and nothing is said. *Up* is said as soon as a
//! call succeeds, whoever made it (a request that names the model, or one that falls back on it), and after a while in
//! which this process tried nothing: couplings have left a model that is down, so nobody else may ever try it again.
//!
//! A process that alone cannot reach a model says so, and another that reaches it says the opposite. They take turns no
//! faster than `down_after`: what was said before the last change is not said again without failures for as long.
//!
//! Providers with models that are down hang on anchors, so that they are found by processes that never called them, as
//! after a restart of all.

use super::{AGAIN, Error, Reporter, SEARCH, SENT_MAX, offering, provider_of};
use crate::domain::llm_provider::{
    Command, LlmProvider, ModelCondition, ModelHealth, OPEN_WITHOUT_END, ReportModelHealth,
};
use crate::domain::llm_request::ModelChoice;
use crate::domain::open::{anchor, hour_of};
use crate::domain::{Aggregate, Micros, StreamId};
use crate::flow::request::breaker::Heard;
use hashbrown::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// Providers that are found at a time.
const PAGE: usize = 200;

/// A change of a model's health that somebody should know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Down,
    /// A call succeeded.
    Alive,
    /// It was not tried for so long that it should be.
    Rested,
}

impl Change {
    fn health(self) -> ModelHealth {
        match self {
            Self::Down => ModelHealth::Down,
            Self::Alive | Self::Rested => ModelHealth::Up,
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::Down => "its breaker stays open: calls go on failing",
            Self::Alive => "a call succeeded",
            Self::Rested => "it was not tried for a while, and gets another chance",
        }
    }
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub wall: Micros,
    pub instant: Instant,
}

impl Now {
    /// A moment of the past, by the wall clock.
    fn wall_of(self, at: Instant) -> Micros {
        let ago = self.instant.saturating_duration_since(at).as_micros();
        self.wall.saturating_sub(Micros::try_from(ago).unwrap_or(Micros::MAX))
    }
}

/// What is to be said of a model of which this process heard that, and whose provider says `condition` of it.
pub fn change(
    heard: Heard,
    condition: Option<&ModelCondition>,
    now: Now,
    down_after: Duration,
    recheck_after: Duration,
) -> Option<Change> {
    let micros = |span: Duration| Micros::try_from(span.as_micros()).unwrap_or(Micros::MAX);
    let since = condition.map_or(Micros::MIN, |condition| condition.since);
    if condition.is_none_or(|condition| condition.health == ModelHealth::Up) {
        let (opened_at, failed_at) = (heard.opened_at?, heard.probe_failed_at?);
        let is_long = failed_at.saturating_duration_since(opened_at) >= down_after;
        let is_new = now.wall_of(failed_at) >= since.saturating_add(micros(down_after));
        return (is_long && is_new).then_some(Change::Down);
    }
    let lives = |at: &Instant| now.wall_of(*at) >= since && heard.failed_at.is_none_or(|failed_at| *at > failed_at);
    if heard.alive_at.as_ref().is_some_and(lives) {
        return Some(Change::Alive);
    }
    let last = heard.failed_at.map_or(since, |at| now.wall_of(at).max(since));
    (now.wall >= last.saturating_add(micros(recheck_after))).then_some(Change::Rested)
}

impl Reporter {
    pub(super) async fn look_at_health(&mut self, heard: &[(ModelChoice, Heard)]) -> Result<(), Error> {
        self.search().await?;
        let mut all: HashMap<ModelChoice, Heard> = heard.iter().cloned().collect();
        let streams: Vec<StreamId> = self.found.iter().copied().chain(all.keys().map(provider_of)).collect();
        if streams.is_empty() {
            return Ok(());
        }
        let world = self.providers(streams).await?;
        for stream in &self.found {
            let Some((_, provider)) = world.get::<LlmProvider>(stream) else { continue };
            for model_id in provider.conditions.keys().cloned() {
                let choice = ModelChoice { provider_tenant_id: stream.tenant.0, provider_id: stream.id, model_id };
                all.entry(choice).or_default();
            }
        }
        let now = Now { wall: self.parts.clock.now(), instant: Instant::now() };
        let (down_after, recheck_after) = (self.parts.config.down_after, self.parts.config.recheck_after);
        for (choice, heard) in all {
            let Some((version, provider)) = offering(&world, &choice) else { continue };
            let condition = provider.conditions.get(&choice.model_id);
            if let Some(change) = change(heard, condition, now, down_after, recheck_after) {
                self.report_health(choice, version, change, now.instant).await?;
            }
        }
        Ok(())
    }

    async fn report_health(
        &mut self,
        choice: ModelChoice,
        version: u64,
        change: Change,
        now: Instant,
    ) -> Result<(), Error> {
        let health = change.health();
        let place = (choice.clone(), health, version);
        if self.sent.get(&place).is_some_and(|at| now.saturating_duration_since(*at) < AGAIN) {
            return Ok(());
        }
        let (model_id, stream) = (choice.model_id.clone(), provider_of(&choice));
        tracing::warn!(model = model_id, provider = %stream.id, health = health.name(), "a model's health changed");
        let kind = format!("health/{version}/{change:?}/{model_id}");
        let report = ReportModelHealth { model_id, health, reason: change.reason().to_owned() };
        self.send(stream, &kind, Command::ReportModelHealth(report)).await?;
        if self.sent.len() >= SENT_MAX {
            self.sent.retain(|_, at| now.saturating_duration_since(*at) < AGAIN);
        }
        self.sent.insert(place, now);
        Ok(())
    }

    /// Finds the providers with models that are down, now and then.
    async fn search(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        let every = SEARCH.min(self.parts.config.recheck_after / 4);
        if self.searched_at.is_some_and(|at| now.saturating_duration_since(at) < every) {
            return Ok(());
        }
        let mut found = Vec::new();
        let logs = self.parts.partitions.logs().filter(|log| log.aggregate == Aggregate::LlmProvider);
        for log in logs {
            let anchor = anchor(log, hour_of(OPEN_WITHOUT_END));
            let mut after = None;
            loop {
                let page = self.parts.index.edges(anchor, after, PAGE).await?;
                let is_last = page.len() < PAGE;
                after = page.last().copied();
                found.extend(page);
                if is_last {
                    break;
                }
            }
        }
        (self.found, self.searched_at) = (found, Some(now));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Micros = 1_000_000;
    const DOWN_AFTER: Duration = Duration::from_secs(120);
    const RECHECK: Duration = Duration::from_secs(600);
    const WALL: Micros = 1_767_225_600_000_000;

    /// Seconds ago, by the monotonic clock; the base is far enough from its beginning.
    struct Clock(Instant);

    impl Clock {
        fn ago(&self, seconds: u64) -> Instant {
            self.0 - Duration::from_secs(seconds)
        }

        fn change(&self, heard: Heard, condition: Option<(ModelHealth, i64)>) -> Option<Change> {
            let condition = condition.map(|(health, seconds_ago)| ModelCondition {
                health,
                since: WALL - seconds_ago * SECOND,
                reason: String::new(),
            });
            change(heard, condition.as_ref(), Now { wall: WALL, instant: self.0 }, DOWN_AFTER, RECHECK)
        }
    }

    fn clock() -> Clock {
        Clock(Instant::now() + Duration::from_secs(100_000))
    }

    #[test]
    fn a_model_is_down_when_a_call_failed_after_all_of_the_time() {
        let clock = clock();
        let heard = |opened: u64, probed: Option<u64>| Heard {
            opened_at: Some(clock.ago(opened)),
            probe_failed_at: probed.map(|ago| clock.ago(ago)),
            failed_at: Some(clock.ago(probed.unwrap_or(opened))),
            alive_at: None,
        };
        assert_eq!(clock.change(heard(120, Some(0)), None), Some(Change::Down));
        assert_eq!(clock.change(heard(119, Some(0)), None), None);
        assert_eq!(clock.change(heard(500, None), None), None, "nobody tried since");
        assert_eq!(clock.change(heard(500, Some(400)), None), None, "and nobody lately");
        assert_eq!(clock.change(Heard::default(), None), None);
        let up = |seconds_ago| Some((ModelHealth::Up, seconds_ago));
        assert_eq!(clock.change(heard(500, Some(0)), up(119)), None, "it was up in between, for others");
        assert_eq!(clock.change(heard(500, Some(0)), up(120)), Some(Change::Down));
        assert_eq!(clock.change(heard(500, Some(0)), Some((ModelHealth::Down, 1))), None, "that is said");
    }

    #[test]
    fn a_model_is_up_when_a_call_succeeds_or_when_none_was_made_for_long() {
        let clock = clock();
        let down = |seconds_ago| Some((ModelHealth::Down, seconds_ago));
        let alive = |ago| Heard { alive_at: Some(clock.ago(ago)), ..Heard::default() };
        assert_eq!(clock.change(alive(5), down(10)), Some(Change::Alive));
        assert_eq!(clock.change(alive(15), down(10)), None, "before it went down");
        let failing = Heard { failed_at: Some(clock.ago(1)), ..alive(5) };
        assert_eq!(clock.change(failing, down(700)), None, "and failed again");
        assert_eq!(clock.change(Heard::default(), down(599)), None);
        assert_eq!(clock.change(Heard::default(), down(600)), Some(Change::Rested));
        let tried = Heard { failed_at: Some(clock.ago(599)), ..Heard::default() };
        assert_eq!(clock.change(tried, down(5_000)), None);
        assert_eq!(clock.change(Heard::default(), Some((ModelHealth::Up, 5_000))), None);
    }
}
