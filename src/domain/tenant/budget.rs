//! What a tenant is told of its budget: once at 80 %, and once when calls stop for it, in each month and for each budget.

use super::{Event, State};
use crate::domain::common::check_not_negative;
use crate::domain::{Decision, Micros, Rejection};
use serde::{Deserialize, Serialize};

/// How far a budget is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetLevel {
    /// 80 % are spent.
    #[default]
    Alert,
    /// What is left does not pay for a call that somebody wanted to make.
    Exhausted,
}

impl BudgetLevel {
    pub fn name(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Exhausted => "exhausted",
        }
    }
}

/// How far the budget was found to be used by whoever makes the calls.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportBudgetUse {
    pub level: BudgetLevel,
    /// The budget that was looked at: one that was changed since is another.
    pub monthly_budget_micro_usd: i64,
    pub spent_micro_usd: i64,
    /// When the budget begins anew.
    pub period_ends_at: Micros,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BudgetAlertRaised {
    pub level: BudgetLevel,
    pub monthly_budget_micro_usd: i64,
    pub spent_micro_usd: i64,
    pub period_ends_at: Micros,
}

pub fn decide(state: &State, command: &ReportBudgetUse) -> Result<Decision<Event>, Rejection> {
    let ReportBudgetUse { level, monthly_budget_micro_usd, spent_micro_usd, period_ends_at } = *command;
    check_not_negative("monthly_budget_micro_usd", Some(monthly_budget_micro_usd))?;
    check_not_negative("spent_micro_usd", Some(spent_micro_usd))?;
    let is_other = state.monthly_budget_micro_usd != Some(monthly_budget_micro_usd);
    let is_told = state.budget_alert.as_ref().is_some_and(|told| {
        // The end of a month grows: what is told late of the month before is of no use to anybody.
        (told.period_ends_at, told.level) >= (period_ends_at, level)
    });
    if is_other || is_told {
        return Ok(Decision::unchanged());
    }
    Ok(Decision::event(Event::BudgetAlertRaised(BudgetAlertRaised {
        level,
        monthly_budget_micro_usd,
        spent_micro_usd,
        period_ends_at,
    })))
}
