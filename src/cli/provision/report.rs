//! What is told: each tenant as it is done, how far the whole is, and what it came to.

use super::Verb;
use super::tally::{AgentFate, Detail, Fate, Tally, Told};
use crate::cli::exit::Exit;
use crate::cli::output::{self, Format};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use serde_json::json;
use std::io;

/// Tenants that a table shows one by one; JSON has all.
const LINES_MAX: usize = 50;
const REASON_CHARS_MAX: usize = 160;

/// Shows a run on the terminal, or as lines of JSON.
pub struct Shown {
    verb: Verb,
    /// What the manifest calls itself.
    manifest: String,
    format: Format,
    bar: ProgressBar,
    tenants_total: u64,
    tenants: Tally,
    agents: Tally,
    /// Commands that were answered.
    commands: u64,
    /// Agents of tenants that an earlier run had done.
    skipped: u64,
    notable: Vec<Told>,
    not_listed: u64,
}

impl Shown {
    pub fn new(verb: Verb, manifest: &str, format: Format, (tenants_total, agents_total): (u64, u64)) -> Self {
        // Drawn on standard error, and only on a terminal.
        let bar = if format == Format::Table { ProgressBar::new(agents_total) } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_bar} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(std::time::Duration::from_millis(200));
        Self {
            verb,
            manifest: manifest.to_owned(),
            format,
            bar,
            tenants_total,
            tenants: Tally::default(),
            agents: Tally::default(),
            commands: 0,
            skipped: 0,
            notable: Vec::new(),
            not_listed: 0,
        }
    }

    /// So many agents need not be looked at: they say nothing of how fast it goes.
    pub fn skip(&mut self, agents: u64) {
        self.skipped += agents;
        self.progress(agents, 0);
    }

    /// So many agents were looked at, by so many commands.
    pub fn progress(&mut self, agents: u64, commands: u64) {
        self.commands += commands;
        self.bar.inc(agents);
        let seconds = self.bar.elapsed().as_secs_f64().max(0.001);
        let (position, length) = (self.bar.position(), self.bar.length().unwrap_or_default());
        let rate = position.saturating_sub(self.skipped) as f64 / seconds;
        let left = (rate > 0.0).then(|| length.saturating_sub(position) as f64 / rate);
        let left = left.map(|left| format!(", {left:.0} s left")).unwrap_or_default();
        let (done, total) = (HumanCount(self.tenants.wanted), HumanCount(self.tenants_total));
        let agents = HumanCount(position);
        self.bar.set_message(format!("{done} of {total} tenants, {agents} agents, {rate:.0}/s{left}"));
    }

    /// Whether anything was looked at.
    pub fn has_begun(&self) -> bool {
        self.commands > 0 || self.tenants.wanted > 0
    }

    /// Takes in a tenant that is done.
    ///
    /// # Errors
    /// When standard output is gone.
    pub fn tenant(&mut self, told: Told) -> io::Result<()> {
        self.tenants.wanted += 1;
        let count = match told.outcome {
            Fate::Created => &mut self.tenants.created,
            Fate::Changed => &mut self.tenants.changed,
            Fate::Unchanged => &mut self.tenants.unchanged,
            Fate::Refused => &mut self.tenants.refused,
            Fate::Undecided => &mut self.tenants.undecided,
            Fate::DoneBefore => &mut self.tenants.done_before,
        };
        *count += 1;
        self.agents.add(&told.agents);
        if self.format == Format::Json {
            return output::json(&told);
        }
        if told.is_notable(self.verb) {
            if self.notable.len() < LINES_MAX {
                self.notable.push(told);
            } else {
                self.not_listed += 1;
            }
        }
        Ok(())
    }

    /// Writes what the run came to.
    ///
    /// # Errors
    /// When standard output is gone.
    pub fn end(&mut self, is_complete: bool) -> io::Result<()> {
        let seconds = self.bar.elapsed().as_secs_f64();
        self.bar.finish_and_clear();
        if self.format == Format::Json {
            return output::json(&json!({"summary": {
                "verb": self.verb.name(), "manifest": self.manifest, "complete": is_complete, "tenants_total": self.tenants_total,
                "tenants": self.tenants, "agents": self.agents,
                "commands": self.commands, "seconds": seconds,
            }}));
        }
        self.list()?;
        output::line(self.counts())?;
        if !is_complete {
            let (done, total) = (HumanCount(self.tenants.wanted), HumanCount(self.tenants_total));
            output::line(format!("of {total} tenants, {done} are done; others may be under way"))?;
        }
        if self.tenants.done_before > 0 {
            let done = HumanCount(self.tenants.done_before);
            output::line(format!(
                "{done} tenants were done by an earlier run of this manifest; --from-start looks at them again"
            ))?;
        }
        if self.agents.surplus > self.agents.retired {
            let surplus = HumanCount(self.agents.surplus - self.agents.retired);
            output::line(format!(
                "{surplus} agents are above their group's count; apply --retire-surplus decommissions them"
            ))?;
        }
        if self.agents.decommissioned > 0 {
            let decommissioned = HumanCount(self.agents.decommissioned);
            let advice = "which is final: a higher count, or a group with another key, has new ones";
            output::line(format!("{decommissioned} agents that are wanted were decommissioned, {advice}"))?;
        }
        let commands = HumanCount(self.commands);
        match self.verb {
            Verb::Apply => output::line(format!("{commands} commands in {seconds:.1} s")),
            Verb::Plan => output::line("nothing was changed; apply does it"),
            Verb::Status => Ok(()),
        }
    }

    fn counts(&self) -> comfy_table::Table {
        let rows = [("tenants", &self.tenants), ("agents", &self.agents)];
        let columns: &[&str] = match self.verb {
            Verb::Status => &["WHAT", "WANTED", "THERE", "MISSING", "DIFFERENT", "ENDED", "REFUSED"],
            Verb::Plan => &["WHAT", "WANTED", "TO CREATE", "TO CHANGE", "UNCHANGED", "REFUSED"],
            Verb::Apply => &["WHAT", "WANTED", "CREATED", "CHANGED", "UNCHANGED", "REFUSED", "UNDECIDED"],
        };
        let mut table = output::table(columns.iter().copied());
        for (what, tally) in rows {
            let numbers = match self.verb {
                Verb::Status => {
                    let ended = tally.decommissioned;
                    vec![tally.wanted, tally.there(), tally.created, tally.changed, ended, tally.refused]
                }
                Verb::Plan => vec![tally.wanted, tally.created, tally.changed, tally.unchanged, tally.refused],
                Verb::Apply => {
                    vec![tally.wanted, tally.created, tally.changed, tally.unchanged, tally.refused, tally.undecided]
                }
            };
            let numbers = numbers.into_iter().map(|number| HumanCount(number).to_string());
            table.add_row(std::iter::once(what.to_owned()).chain(numbers));
        }
        table
    }

    /// The tenants that there is something to say of, and agents one by one where that was asked for.
    fn list(&mut self) -> io::Result<()> {
        // They came as they were done.
        self.notable.sort_by(|a, b| a.name.cmp(&b.name));
        if !self.notable.is_empty() {
            let mut table = output::table(["TENANT", "ID", "OUTCOME", "FIELDS", "AGENTS", "REASON"]);
            for told in &self.notable {
                table.add_row([
                    output::shorten(&told.name, 48),
                    told.tenant.to_string(),
                    word(self.verb, told.outcome).to_owned(),
                    told.fields.join(", "),
                    agents(self.verb, &told.agents),
                    reason(told),
                ]);
            }
            output::line(table)?;
        }
        if self.not_listed > 0 {
            output::line(format!("and {} more tenants; --output json has them", HumanCount(self.not_listed)))?;
        }
        let details: Vec<&Detail> = self.notable.iter().flat_map(|told| &told.details).collect();
        if !details.is_empty() {
            let mut table = output::table(["AGENT", "ID", "OUTCOME", "FIELDS"]);
            for it in details {
                table.add_row([
                    it.name.clone(),
                    it.id.to_string(),
                    agent_word(self.verb, it.outcome).to_owned(),
                    it.fields.join(", "),
                ]);
            }
            output::line(table)?;
        }
        Ok(())
    }

    /// The worst that happened.
    pub fn exit(&self) -> Exit {
        if self.tenants.refused + self.agents.refused > 0 {
            Exit::Refused
        } else if self.tenants.undecided + self.agents.undecided > 0 {
            Exit::Undecided
        } else if self.verb == Verb::Status && self.differs() {
            Exit::Failed
        } else {
            Exit::Done
        }
    }

    fn differs(&self) -> bool {
        // What somebody ended stays so: no run changes it, and waiting for it would be in vain.
        [&self.tenants, &self.agents].into_iter().any(|tally| tally.unchanged + tally.decommissioned < tally.wanted)
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn word(verb: Verb, fate: Fate) -> &'static str {
    match (verb, fate) {
        (Verb::Status, Fate::Created) => "missing",
        (Verb::Status, Fate::Changed) => "different",
        (Verb::Status, Fate::Unchanged) => "there",
        (Verb::Plan, Fate::Created) => "to create",
        (Verb::Plan, Fate::Changed) => "to change",
        (_, Fate::Created) => "created",
        (_, Fate::Changed) => "changed",
        (_, Fate::Unchanged) => "unchanged",
        (_, Fate::Refused) => "refused",
        (_, Fate::Undecided) => "undecided",
        (_, Fate::DoneBefore) => "done before",
    }
}

fn agent_word(verb: Verb, fate: AgentFate) -> &'static str {
    match fate {
        AgentFate::Created => word(verb, Fate::Created),
        AgentFate::Changed => word(verb, Fate::Changed),
        AgentFate::Decommissioned => "decommissioned",
        AgentFate::Refused => "refused",
    }
}

fn agents(verb: Verb, tally: &Tally) -> String {
    let (created, changed, unchanged) = match verb {
        Verb::Status => ("missing", "different", "as wanted"),
        Verb::Plan => ("to create", "to change", "unchanged"),
        Verb::Apply => ("created", "changed", "unchanged"),
    };
    let parts = [
        (tally.created, created),
        (tally.changed, changed),
        (tally.unchanged, unchanged),
        (tally.refused, "refused"),
        (tally.undecided, "undecided"),
        (tally.decommissioned, "decommissioned"),
        (tally.surplus, "above the count"),
        (tally.retired, "of them retired"),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    parts.map(|(count, what)| format!("{} {what}", HumanCount(*count))).collect::<Vec<_>>().join(", ")
}

/// The first refusal, and how many more there are.
fn reason(told: &Told) -> String {
    let Some(first) = told.refusals.first() else { return String::new() };
    let more = told.refusals.len() - 1;
    let more = if more > 0 { format!(" (and {more} more; --output json has them)") } else { String::new() };
    let text = format!("{}: {}", first.name, first.message);
    output::shorten(&text, REASON_CHARS_MAX) + &more
}
