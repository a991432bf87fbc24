//! Goes through a manifest, several tenants at a time, and has each become what it is to be: first the tenant, then, once
//! that is decided, its agents, each registered before it is activated.
//!
//! What is held at a time is a chunk of agents per request under way, however many the manifest asks for. Nothing here
//! makes a run repeatable but that what is there is read first, and that a command's id follows from what it does.

use super::blueprint::{AgentWanted, Blueprint, TenantWanted, agent_id};
use super::differ::{self, AgentDiff, Change};
use super::node::{KnownAgent, KnownTenant, Node, Step};
use super::progress::{Done, Progress};
use super::report::Shown;
use super::tally::{AgentFate, DETAILS_MAX, Detail, Fate, REFUSALS_MAX, Refusal, Tally, Told};
use super::{Options, Verb};
use crate::cli::exit::Error;
use crate::cli::send::deliver::{Outcome, Verdict};
use crate::domain::{Aggregate, StreamId, TenantId};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use parking_lot::Mutex;
use std::collections::HashMap;
use uuid::Uuid;

/// Agents above a group's count that are asked for at once; the first chunk that is empty ends the search.
const SURPLUS_PROBED: u64 = 100;

pub struct Engine<'a> {
    pub node: Node,
    pub blueprint: &'a Blueprint,
    pub verb: Verb,
    pub options: Options,
    /// Tenants that an earlier run had done, and when they were made.
    pub done: HashMap<Uuid, String>,
    pub progress: Mutex<Option<Progress>>,
    pub shown: Mutex<Shown>,
}

/// What became of some of a tenant's agents.
#[derive(Default)]
struct Part {
    tally: Tally,
    refusals: Vec<Refusal>,
    details: Vec<Detail>,
}

/// An agent that needs commands.
struct Work<'a> {
    agent: AgentWanted<'a>,
    is_new: bool,
    /// The version that was seen of it.
    seen: u64,
    changes: Vec<Change>,
}

impl Engine<'_> {
    /// # Errors
    /// When the node cannot be reached or stays busy for as long as it is tried, or the output is gone.
    pub async fn run(&self) -> Result<(), Error> {
        let tenants = self.blueprint.tenants().filter(|tenant| self.options.takes(tenant));
        stream::iter(tenants.map(Ok)).try_for_each_concurrent(self.options.parallel, |tenant| self.settle(tenant)).await
    }

    async fn settle(&self, tenant: TenantWanted<'_>) -> Result<(), Error> {
        let known = self.node.tenant(tenant.id).await?;
        let agents_total = tenant.set.agents_each();
        let created_at = known.as_ref().map(|known| known.created_at.clone());
        if created_at.is_some() && self.done.get(&tenant.id) == created_at.as_ref() {
            let mut told = Told::new(tenant.id, &tenant.name, Fate::DoneBefore);
            told.agents = Tally { wanted: agents_total, done_before: agents_total, ..Tally::default() };
            self.shown.lock().skip(agents_total);
            return Ok(self.shown.lock().tenant(told)?);
        }
        let mut told = Told::new(tenant.id, &tenant.name, Fate::Unchanged);
        told.agents.wanted = agents_total;
        if self.tenant(&tenant, known.as_ref(), &mut told).await? {
            self.agents(&tenant, known.is_some(), &mut told).await?;
        } else {
            let is_undecided = told.outcome == Fate::Undecided;
            let count = if is_undecided { &mut told.agents.undecided } else { &mut told.agents.refused };
            *count = agents_total;
            self.shown.lock().progress(agents_total, 0);
        }
        if self.verb == Verb::Apply && told.is_settled() {
            let created_at = match created_at {
                Some(created_at) => Some(created_at),
                None => self.node.new_tenant(tenant.id).await?.map(|known| known.created_at),
            };
            if let (Some(created_at), Some(progress)) = (created_at, self.progress.lock().as_mut()) {
                progress.add(&Done { tenant: tenant.id, created_at })?;
            }
        }
        Ok(self.shown.lock().tenant(told)?)
    }

    /// The tenant itself; whether it takes agents.
    async fn tenant(
        &self,
        tenant: &TenantWanted<'_>,
        known: Option<&KnownTenant>,
        told: &mut Told,
    ) -> Result<bool, Error> {
        if let Some(known) = known.filter(|known| known.status != "active") {
            let advice = if known.status == "closed" {
                "that is final: take it out of the manifest, or use another name"
            } else {
                "resume it first"
            };
            told.outcome = Fate::Refused;
            told.refuse(
                &tenant.name,
                tenant.id,
                "tenant_not_active",
                &format!("the tenant is {}; {advice}", known.status),
            );
            return Ok(false);
        }
        let changes = differ::tenant(tenant, known);
        if changes.is_empty() {
            return Ok(true);
        }
        told.outcome = if known.is_some() { Fate::Changed } else { Fate::Created };
        if known.is_some() {
            told.fields = changes.iter().flat_map(|change| change.fields.iter().copied()).collect();
            told.fields.dedup();
        }
        if self.verb != Verb::Apply {
            return Ok(true);
        }
        let seen = known.map_or(0, |known| known.version);
        let stream = tenant.stream();
        let mut verdicts = Vec::with_capacity(changes.len());
        for changes in changes.chunks(self.options.batch) {
            let steps: Vec<_> = changes.iter().map(|change| Step { stream, seen, change }).collect();
            verdicts.extend(self.node.send(tenant.id, &steps).await?);
            self.shown.lock().progress(0, steps.len() as u64);
        }
        for verdict in &verdicts {
            match verdict.outcome {
                Outcome::Applied => {}
                Outcome::Accepted => told.outcome = Fate::Undecided,
                _ => {
                    told.outcome = Fate::Refused;
                    told.refuse(&tenant.name, tenant.id, &verdict.code, &verdict.message);
                }
            }
        }
        // What was refused of a tenant that is there harms its agents no more than it does those it has.
        Ok(known.is_some() || verdicts.first().is_some_and(|verdict| verdict.outcome == Outcome::Applied))
    }

    /// All agents of a tenant. Those of one that was not there are not looked for.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn agents(&self, tenant: &TenantWanted<'_>, is_known: bool, told: &mut Told) -> Result<(), Error> {
        if !is_known && self.verb != Verb::Apply && !self.options.has_details {
            // Nothing of a tenant that is not there has to be looked for.
            told.agents.created = told.agents.wanted;
            self.shown.lock().progress(told.agents.wanted, 0);
            return Ok(());
        }
        let parts = stream::iter(chunks(tenant.agents(), self.options.batch / 2))
            .map(|agents| self.chunk(tenant.id, agents, is_known))
            .buffer_unordered(self.options.parallel_within);
        let mut parts = std::pin::pin!(parts);
        while let Some(part) = parts.try_next().await? {
            absorb(told, part);
        }
        if is_known {
            for group in tenant.set.groups.iter() {
                let part = self.surplus(tenant, &group.key, group.count).await?;
                absorb(told, part);
            }
        }
        Ok(())
    }

    /// Some agents of one tenant. Those of a tenant that is new are not looked for: whoever made them beforehand is found
    /// out by their refusal.
    async fn chunk(&self, tenant: Uuid, agents: Vec<AgentWanted<'_>>, is_known: bool) -> Result<Part, Error> {
        let ids: Vec<Uuid> = agents.iter().map(|agent| agent.stream().id).collect();
        let known = if is_known { self.node.agents(tenant, &ids).await? } else { HashMap::new() };
        let mut part = Part::default();
        let mut works = Vec::new();
        for (agent, id) in agents.iter().zip(&ids) {
            let seen = known.get(id);
            self.compare(*agent, *id, seen, &mut part, &mut works);
        }
        if self.verb != Verb::Apply || works.is_empty() {
            self.shown.lock().progress(agents.len() as u64, 0);
            return Ok(part);
        }
        let steps: Vec<Step<'_>> = works
            .iter()
            .flat_map(|work| {
                let (stream, seen) = (work.agent.stream(), work.seen);
                work.changes.iter().map(move |change| Step { stream, seen, change })
            })
            .collect();
        let mut verdicts = self.node.send(tenant, &steps).await?.into_iter();
        let commands = steps.len() as u64;
        let mut again = Vec::new();
        for work in &works {
            let of_agent: Vec<Verdict> = verdicts.by_ref().take(work.changes.len()).collect();
            if !judge(work, &of_agent, !is_known, &mut part) {
                again.push(work.agent);
            }
        }
        self.shown.lock().progress((agents.len() - again.len()) as u64, commands);
        if !again.is_empty() {
            let further = Box::pin(self.chunk(tenant, again, true)).await?;
            part.tally.add(&further.tally);
            part.refusals.extend(further.refusals);
        }
        Ok(part)
    }

    /// Counts an agent that needs nothing, or lists what it needs.
    fn compare<'a>(
        &self,
        agent: AgentWanted<'a>,
        id: Uuid,
        known: Option<&KnownAgent>,
        part: &mut Part,
        works: &mut Vec<Work<'a>>,
    ) {
        let seen = known.map_or(0, |known| known.version);
        let (fate, changes) = match differ::agent(&agent, known) {
            AgentDiff::Create(changes) => (AgentFate::Created, changes),
            AgentDiff::Change(changes) => (AgentFate::Changed, changes),
            AgentDiff::Unchanged => {
                part.tally.unchanged += 1;
                return;
            }
            AgentDiff::Decommissioned => {
                part.tally.decommissioned += 1;
                (AgentFate::Decommissioned, Vec::new())
            }
            AgentDiff::Impossible(why) => {
                part.refuse(&agent, "template_kept", &why);
                (AgentFate::Refused, Vec::new())
            }
        };
        let is_new = fate == AgentFate::Created;
        if self.options.has_details {
            // All of a new one is new.
            let changes = if is_new { &[][..] } else { &changes };
            let mut fields: Vec<_> = changes.iter().flat_map(|change| change.fields.iter().copied()).collect();
            fields.dedup();
            part.details.push(Detail { name: agent.name(), id, outcome: fate, fields });
        }
        if changes.is_empty() {
            return;
        }
        if self.verb == Verb::Apply {
            works.push(Work { agent, is_new, seen, changes });
        } else {
            *part.count(is_new) += 1;
        }
    }

    /// The agents of a group above its count: they are looked for from there on, and ended where that was asked for.
    async fn surplus(&self, tenant: &TenantWanted<'_>, group: &str, count: u64) -> Result<Part, Error> {
        let mut part = Part::default();
        let mut first = count.saturating_add(1);
        loop {
            let numbers = first..first.saturating_add(SURPLUS_PROBED);
            let ids: Vec<Uuid> = numbers.clone().map(|number| agent_id(tenant.id, group, number)).collect();
            let known = self.node.agents(tenant.id, &ids).await?;
            if known.is_empty() {
                return Ok(part);
            }
            let alive: Vec<_> = known.values().filter(|agent| agent.status != "decommissioned").collect();
            part.tally.surplus += alive.len() as u64;
            if self.verb == Verb::Apply && self.options.retires_surplus && !alive.is_empty() {
                self.retire(tenant.id, &alive, &mut part).await?;
            }
            first = numbers.end;
        }
    }

    async fn retire(&self, tenant: Uuid, agents: &[&KnownAgent], part: &mut Part) -> Result<(), Error> {
        let change = differ::retirement();
        for agents in agents.chunks(self.options.batch) {
            let step = |agent: &&KnownAgent| {
                let stream = StreamId::new(TenantId(tenant), Aggregate::Agent, agent.id);
                Step { stream, seen: agent.version, change: &change }
            };
            let steps: Vec<_> = agents.iter().map(step).collect();
            let verdicts = self.node.send(tenant, &steps).await?;
            self.shown.lock().progress(0, steps.len() as u64);
            for (agent, verdict) in agents.iter().zip(verdicts) {
                match verdict.outcome {
                    Outcome::Applied => part.tally.retired += 1,
                    Outcome::Accepted => part.tally.undecided += 1,
                    _ => {
                        part.tally.refused += 1;
                        part.refusal(&agent.profile.name, agent.id, &verdict.code, &verdict.message);
                    }
                }
            }
        }
        Ok(())
    }
}

impl Part {
    fn count(&mut self, is_new: bool) -> &mut u64 {
        if is_new { &mut self.tally.created } else { &mut self.tally.changed }
    }

    fn refuse(&mut self, agent: &AgentWanted<'_>, code: &str, message: &str) {
        self.tally.refused += 1;
        self.refusal(&agent.name(), agent.stream().id, code, message);
    }

    fn refusal(&mut self, name: &str, id: Uuid, code: &str, message: &str) {
        if self.refusals.len() < REFUSALS_MAX {
            let (name, code, message) = (name.to_owned(), code.to_owned(), message.to_owned());
            self.refusals.push(Refusal { name, id, code, message });
        }
    }
}

/// Counts an agent by the verdicts on its commands. False where it has to be looked at again: it was taken for new, and
/// is there.
fn judge(work: &Work<'_>, verdicts: &[Verdict], was_unseen: bool, part: &mut Part) -> bool {
    let Some(bad) = verdicts.iter().find(|verdict| verdict.outcome != Outcome::Applied) else {
        *part.count(work.is_new) += 1;
        return true;
    };
    if bad.outcome == Outcome::Accepted {
        part.tally.undecided += 1;
    } else if was_unseen && (bad.code == "already_exists" || bad.code == "illegal_transition") {
        return false;
    } else {
        part.refuse(&work.agent, &bad.code, &bad.message);
    }
    true
}

fn absorb(told: &mut Told, part: Part) {
    told.agents.add(&part.tally);
    let room = REFUSALS_MAX.saturating_sub(told.refusals.len());
    told.refusals.extend(part.refusals.into_iter().take(room));
    let room = DETAILS_MAX.saturating_sub(told.details.len());
    told.details.extend(part.details.into_iter().take(room));
}

/// The items, so many at a time.
pub fn chunks<T>(mut items: impl Iterator<Item = T>, size: usize) -> impl Iterator<Item = Vec<T>> {
    std::iter::from_fn(move || {
        let chunk: Vec<T> = items.by_ref().take(size.max(1)).collect();
        (!chunk.is_empty()).then_some(chunk)
    })
}
