//! What an import did, or would do.

use super::offer::{Offers, Refused};
use super::plan::Difference;
use crate::cli::output;
use comfy_table::Table;
use serde::Serialize;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Changed models and refusals that a table shows one by one; JSON has all.
const LINES_MAX: usize = 50;

/// What becomes of a provider of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It is there.
    #[default]
    Known,
    /// It is, or will be, registered.
    Registered,
    /// There is none, and none was asked for.
    Missing,
    Refused,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct ProviderReport {
    pub in_file: String,
    pub fate: Fate,
    pub id: Option<Uuid>,
    pub created: usize,
    pub changed: usize,
    pub unchanged: usize,
    pub reason: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct ModelReport {
    pub provider: String,
    pub model_id: String,
    pub created: bool,
    pub differences: Vec<Difference>,
}

#[derive(Clone, Debug, Serialize)]
pub struct RefusedReport {
    pub provider: String,
    pub model_id: String,
    pub reason: String,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub source: &'static str,
    pub dry_run: bool,
    pub providers: Vec<ProviderReport>,
    /// Created and changed ones.
    pub models: Vec<ModelReport>,
    pub refused: Vec<RefusedReport>,
    /// Models of which the file has dearer prices for long prompts, which are not kept.
    pub tiered: usize,
    /// Prices of the file with the noise of floating point, taken for what they stand for.
    pub denoised: usize,
}

impl Report {
    pub fn new(offers: &Offers, dry_run: bool) -> Self {
        Self { source: offers.source, dry_run, tiered: offers.tiered, denoised: offers.denoised, ..Self::default() }
    }

    pub fn refuse(&mut self, refused: Refused) {
        let Refused { provider, model_id, reason } = refused;
        self.refused.push(RefusedReport { provider, model_id, reason });
    }

    /// Whether any provider was refused, whatever became of the others.
    pub fn is_refused(&self) -> bool {
        self.count(Fate::Refused) > 0
    }

    fn count(&self, fate: Fate) -> usize {
        self.providers.iter().filter(|it| it.fate == fate).count()
    }

    /// Providers that have anything to show, then changes and refusals, then what it comes to.
    pub fn show(&self) -> std::io::Result<()> {
        let mut table = output::table(["PROVIDER", "WHAT", "CREATED", "CHANGED", "UNCHANGED", "REASON"]);
        let shown = self.providers.iter().filter(|it| it.fate != Fate::Missing);
        for it in shown {
            let counts = [it.created, it.changed, it.unchanged].map(|count| count.to_string());
            let reason = it.reason.clone().unwrap_or_default();
            let fate = format!("{:?}", it.fate).to_lowercase();
            table.add_row([&[it.in_file.clone(), fate], &counts[..], &[reason]].concat());
        }
        output::line(&table)?;
        let changed = self.models.iter().filter(|it| !it.created);
        if changed.clone().next().is_some() {
            output::line(changes(changed.take(LINES_MAX)))?;
        }
        if !self.refused.is_empty() {
            output::line(self.refusals())?;
        }
        output::line(self.summary())
    }

    fn refusals(&self) -> Table {
        let mut by_reason: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for it in &self.refused {
            by_reason.entry(&it.reason).or_default().push(format!("{}/{}", it.provider, it.model_id));
        }
        let mut table = output::table(["REFUSED BECAUSE", "MODELS", "SUCH AS"]);
        for (reason, models) in by_reason.into_iter().take(LINES_MAX) {
            table.add_row([reason.to_owned(), models.len().to_string(), models.first().cloned().unwrap_or_default()]);
        }
        table
    }

    fn summary(&self) -> String {
        // What was to become of a refused provider's models did not, or not of all.
        let put = || self.providers.iter().filter(|it| it.fate != Fate::Refused);
        let sum = |of: fn(&ProviderReport) -> usize| put().map(of).sum::<usize>();
        let missing = self.count(Fate::Missing);
        let mut said = format!(
            "{}: {} created, {} changed, {} unchanged, {} refused",
            if self.dry_run { "This would be" } else { "Models" },
            sum(|it| it.created),
            sum(|it| it.changed),
            sum(|it| it.unchanged),
            self.refused.len()
        );
        if self.is_refused() {
            let refused = self.count(Fate::Refused);
            said += &format!("; {refused} of the providers refused, whose models are not counted");
        }
        if missing > 0 {
            said += &format!("; {missing} providers of the file are not here (--register makes them)");
        }
        if self.tiered > 0 {
            said += &format!(
                "; {} models of the file cost more from some size of the prompt on: their first price is taken",
                self.tiered
            );
        }
        if self.denoised > 0 {
            said += &format!("; {} prices of the file were off by the noise of floating point", self.denoised);
        }
        said
    }
}

fn changes<'a>(models: impl Iterator<Item = &'a ModelReport>) -> Table {
    let mut table = output::table(["CHANGED", "FIELD", "BEFORE", "AFTER"]);
    for model in models {
        for (at, it) in model.differences.iter().enumerate() {
            let name = if at == 0 { format!("{}/{}", model.provider, model.model_id) } else { String::new() };
            let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
            table.add_row([name, it.field.to_owned(), text(&it.before), text(&it.after)]);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_provider_is_in_the_summary_and_nothing_of_it_counts_as_done() {
        let provider = |fate| ProviderReport { fate, created: 2, changed: 1, ..ProviderReport::default() };
        let mut report = Report { providers: vec![provider(Fate::Registered)], ..Report::default() };
        let others = "Models: 2 created, 1 changed, 0 unchanged, 0 refused";
        assert_eq!(report.summary(), others);
        assert!(!report.is_refused());
        report.providers.push(provider(Fate::Refused));
        assert_eq!(report.summary(), format!("{others}; 1 of the providers refused, whose models are not counted"));
        assert!(report.is_refused());
    }
}
