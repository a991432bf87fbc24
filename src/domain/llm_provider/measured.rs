//! What calls show of a model, beside what its provider declares: statistics, and whether it is down.
//!
//! Statistics are events, so that a choice that is made by them is made again by a replay. Not every look is one: a report
//! is an event only where a figure moved past its threshold ([`ModelStatistics::moved_from`]), or where the last event is
//! so old that it would soon not count any more. Of several reports of the same stretch of time one counts.

use super::decide::{check_registered, find_model, model_unknown};
use super::*;
use crate::domain::common::{TEXT_BYTES_MAX, check_length, check_not_negative, check_unit};
use crate::domain::{Micros, Rejection};

/// Calls from which on an error rate counts.
pub const CALLS_MIN: i64 = 20;
/// Ratings from which on their mean counts as a model's quality.
pub const RATINGS_MIN: i64 = 5;
/// A model that fails more often than this is not chosen.
pub const ERROR_RATE_MAX: f64 = 0.5;
/// How long after they were measured an error rate and a latency count, in microseconds. A model that nobody chooses is not
/// measured: it must get another chance.
pub const MEASURED_LIFE: Micros = 3_600_000_000;
/// The same for ratings, which come slower.
pub const RATED_LIFE: Micros = 24 * MEASURED_LIFE;
/// What a latency, a speed or a cost must move by, as a share of what it was.
const RELATIVE: f64 = 0.2;
/// What an error rate or a rating must move by.
const ABSOLUTE: f64 = 0.05;

/// How a model did lately, for everybody who called it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelStatistics {
    /// The end of what was measured, microseconds since 1970.
    pub measured_to: Micros,
    /// Calls that tell of the provider, in the last five minutes: those that were answered, and those that it failed.
    pub calls: i64,
    /// Of those: the failed ones, 0..1.
    pub error_rate: f64,
    /// Of calls that were answered, milliseconds; absent where none was.
    pub latency_ms_p50: Option<i64>,
    pub latency_ms_p95: Option<i64>,
    /// Tokens of answers per second of call.
    pub tokens_per_second: Option<f64>,
    /// What 1,000 tokens cost, in and out as they were used; absent where a call's cost is not known.
    pub cost_per_1k_tokens_micro_usd: Option<f64>,
    /// Ratings in the last day.
    pub ratings: i64,
    /// How good they found answers, 0..1: the median over groups of tenants of each group's mean.
    pub rating_mean: Option<f64>,
}

/// Whether calls to a model come to anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelHealth {
    #[default]
    Up,
    Down,
}

impl ModelHealth {
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// The health of a model that was ever down, since its last change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelCondition {
    pub health: ModelHealth,
    /// When that was recorded.
    pub since: Micros,
    pub reason: String,
}

/// What calls showed of a model in the last minutes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportModelStatistics {
    pub model_id: String,
    pub statistics: ModelStatistics,
}

/// What calls to a model come to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportModelHealth {
    pub model_id: String,
    pub health: ModelHealth,
    #[serde(default)]
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelStatisticsChanged {
    pub model_id: String,
    /// Absent where the model was not measured before.
    pub before: Option<ModelStatistics>,
    pub after: ModelStatistics,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelHealthChanged {
    pub model_id: String,
    pub before: ModelHealth,
    pub after: ModelHealth,
    pub reason: String,
}

/// What counts of a model at one moment: measured where it was, declared where not.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    pub latency_ms_p50: Option<i64>,
    pub latency_is_measured: bool,
    pub quality: Option<f64>,
    pub quality_is_measured: bool,
    /// 0..1, of [`Self::calls`]; absent where too few calls tell, or too long ago.
    pub error_rate: Option<f64>,
    pub calls: i64,
}

impl ModelStatistics {
    /// The mean of the ratings, where they are enough to say something.
    pub fn quality(&self) -> Option<f64> {
        self.rating_mean.filter(|_| self.ratings >= RATINGS_MIN)
    }

    fn is_unreliable(&self) -> bool {
        self.calls >= CALLS_MIN && self.error_rate > ERROR_RATE_MAX
    }

    /// Whether a figure moved past its threshold: latency, speed or cost by a fifth of what it was, error rate or rating
    /// by 0.05, any of them from or to unknown, or the error rate over the bound of what is chosen at all. Whatever is
    /// half as old as an error rate may be is renewed.
    pub fn moved_from(&self, before: Option<&Self>) -> bool {
        let Some(before) = before else { return true };
        let millis = |it: Option<i64>| it.map(|ms| ms as f64);
        let relative = |is: Option<f64>, was: Option<f64>| moved(is, was, was.unwrap_or_default().abs() * RELATIVE);
        relative(millis(self.latency_ms_p50), millis(before.latency_ms_p50))
            || relative(millis(self.latency_ms_p95), millis(before.latency_ms_p95))
            || relative(self.tokens_per_second, before.tokens_per_second)
            || relative(self.cost_per_1k_tokens_micro_usd, before.cost_per_1k_tokens_micro_usd)
            || moved(Some(self.error_rate), Some(before.error_rate), ABSOLUTE)
            || moved(self.quality(), before.quality(), ABSOLUTE)
            || self.is_unreliable() != before.is_unreliable()
            || self.measured_to.saturating_sub(before.measured_to) >= MEASURED_LIFE / 2
    }

    fn check(&self) -> Result<(), Rejection> {
        check_not_negative("statistics.measured_to", Some(self.measured_to))?;
        check_not_negative("statistics.calls", Some(self.calls))?;
        check_not_negative("statistics.latency_ms_p50", self.latency_ms_p50)?;
        check_not_negative("statistics.latency_ms_p95", self.latency_ms_p95)?;
        check_not_negative("statistics.ratings", Some(self.ratings))?;
        check_unit("statistics.error_rate", Some(self.error_rate))?;
        check_unit("statistics.rating_mean", self.rating_mean)?;
        for (field, value) in [
            ("statistics.tokens_per_second", self.tokens_per_second),
            ("statistics.cost_per_1k_tokens_micro_usd", self.cost_per_1k_tokens_micro_usd),
        ] {
            if value.is_some_and(|value| !value.is_finite() || value < 0.0) {
                return Err(Rejection::invalid(field, "must be a number that is not negative"));
            }
        }
        Ok(())
    }
}

/// By `least`, or from or to unknown. The least bit is left to rounding: 0.3 from 0.25 is a move of 0.05.
fn moved(is: Option<f64>, was: Option<f64>, least: f64) -> bool {
    match (is, was) {
        (Some(is), Some(was)) => is != was && (is - was).abs() >= least - 1e-9,
        (is, was) => is.is_some() != was.is_some(),
    }
}

impl State {
    pub fn is_down(&self, model_id: &str) -> bool {
        self.conditions.get(model_id).is_some_and(|condition| condition.health == ModelHealth::Down)
    }

    /// What counts of a model as of `now`.
    pub fn figures(&self, model: &Model, now: Micros) -> Figures {
        let measured = self.measured.get(&model.model_id);
        let is_fresh = |it: &&ModelStatistics| now.saturating_sub(it.measured_to) <= MEASURED_LIFE;
        let fresh = measured.filter(is_fresh);
        let latency = fresh.and_then(|it| it.latency_ms_p50);
        let is_rated = |it: &&ModelStatistics| now.saturating_sub(it.measured_to) <= RATED_LIFE;
        let quality = measured.filter(is_rated).and_then(ModelStatistics::quality);
        let told = fresh.filter(|it| it.calls >= CALLS_MIN);
        Figures {
            latency_ms_p50: latency.or(model.latency_ms_p50),
            latency_is_measured: latency.is_some(),
            quality: quality.or(model.quality),
            quality_is_measured: quality.is_some(),
            error_rate: told.map(|it| it.error_rate),
            calls: told.map_or(0, |it| it.calls),
        }
    }
}

fn check_model(state: &State, model_id: &str, to: &str) -> Result<(), Rejection> {
    check_registered(state, to)?;
    match find_model(state, model_id) {
        Some(_) => Ok(()),
        None => Err(model_unknown(&[model_id], "check model_id")),
    }
}

pub fn report_statistics(state: &State, command: &ReportModelStatistics) -> Result<Decision<Event>, Rejection> {
    let ReportModelStatistics { model_id, statistics } = command;
    check_model(state, model_id, "measured")?;
    statistics.check()?;
    let before = state.measured.get(model_id);
    let is_late = before.is_some_and(|before| statistics.measured_to <= before.measured_to);
    if is_late || !statistics.moved_from(before) {
        return Ok(Decision::unchanged());
    }
    Ok(Decision::event(Event::ModelStatisticsChanged(ModelStatisticsChanged {
        model_id: model_id.clone(),
        before: before.cloned(),
        after: statistics.clone(),
    })))
}

pub fn report_model_health(state: &State, command: &ReportModelHealth) -> Result<Decision<Event>, Rejection> {
    let ReportModelHealth { model_id, health, reason } = command;
    check_model(state, model_id, health.name())?;
    check_length("reason", reason, TEXT_BYTES_MAX)?;
    let before = state.conditions.get(model_id).map(|condition| condition.health).unwrap_or_default();
    if before == *health {
        return Ok(Decision::unchanged());
    }
    Ok(Decision::event(Event::ModelHealthChanged(ModelHealthChanged {
        model_id: model_id.clone(),
        before,
        after: *health,
        reason: reason.clone(),
    })))
}
