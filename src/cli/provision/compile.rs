//! From the manifest as it is written to the one that can be carried out: everything that can be known without the node
//! is held against the rules here, by the deciders themselves, before anything is sent.

use super::blueprint::{AgentWanted, Blueprint, Group, TenantSet, TenantWanted};
use super::differ;
use super::document::{Defaults, GroupEntry, ProjectEntry, TenantEntry, read};
use super::pattern::{Field, Pattern};
use crate::cli::exit::Error;
use crate::domain::agent::RegisterAgent;
use crate::domain::common::{NAME_BYTES_MAX, check_length, check_name, hex};
use crate::domain::personal::Personal;
use crate::domain::tenant::Project;
use crate::domain::{Rejection, World};
use serde_saphyr::Spanned;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

/// Most tenants of a manifest.
pub const TENANTS_MAX: u64 = 1_000_000;
/// Most agents of a group.
pub const GROUP_AGENTS_MAX: u64 = 1_000_000;
/// Most groups of a tenant.
pub const GROUPS_MAX: usize = 256;
/// Mistakes that are told at once.
const FAULTS_MAX: usize = 20;
const MICRO: f64 = 1e6;
/// Largest monthly budget, in dollars: above it, a double does not hold every micro-dollar.
const BUDGET_USD_MAX: f64 = 1e9;

/// What is wrong, each with its line.
struct Faults<'a> {
    file: &'a str,
    found: Vec<String>,
}

impl Faults<'_> {
    fn add(&mut self, line: u64, what: impl std::fmt::Display) {
        self.found.push(format!("{}:{line}: {what}", self.file));
    }

    /// The value, or nothing where it is a mistake.
    fn take<T>(&mut self, line: u64, field: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|why| self.add(line, format!("{field}: {why}"))).ok()
    }
}

/// Reads a manifest and checks it; `file` is what errors call it.
///
/// # Errors
/// [`Error::Usage`] with what is wrong with it, line by line.
pub fn compile(file: &str, text: &str) -> Result<Blueprint, Error> {
    let document = read(file, text)?;
    let mut faults = Faults { file, found: Vec::new() };
    let shared = Shared::of(&document.defaults, &mut faults);
    if document.tenants.is_empty() {
        faults.add(1, "tenants: there are none; list at least one");
    }
    let sets: Vec<TenantSet> =
        document.tenants.iter().map(|entry| tenant_set(entry, &document.defaults, &shared, &mut faults)).collect();
    let digest = hex(blake3::hash(text.as_bytes()).as_bytes());
    let blueprint = Blueprint { name: document.metadata.name, digest, sets };
    if faults.found.is_empty() {
        check(&blueprint, &mut faults);
    }
    if faults.found.is_empty() {
        return Ok(blueprint);
    }
    let more = faults.found.len().saturating_sub(FAULTS_MAX);
    let mut said = faults.found.into_iter().take(FAULTS_MAX).collect::<Vec<_>>().join("\n");
    if more > 0 {
        said += &format!("\nand {more} more");
    }
    Err(Error::Usage(format!("the manifest has mistakes, and nothing was sent:\n{said}")))
}

/// The defaults' projects and groups, which all tenants without their own share.
struct Shared {
    projects: Arc<BTreeMap<String, Project>>,
    groups: Arc<Vec<Group>>,
}

impl Shared {
    fn of(defaults: &Defaults, faults: &mut Faults<'_>) -> Self {
        let projects = projects(defaults.projects.as_deref().unwrap_or_default(), faults);
        let groups = groups(defaults.agents.as_deref().unwrap_or_default(), faults);
        Self { projects: Arc::new(projects), groups: Arc::new(groups) }
    }
}

fn tenant_set(
    entry: &Spanned<TenantEntry>,
    defaults: &Defaults,
    shared: &Shared,
    faults: &mut Faults<'_>,
) -> TenantSet {
    let (line, entry) = (entry.referenced.line(), &entry.value);
    let name = faults.take(line, "name", Pattern::new(&entry.name, Field::OF_TENANTS)).unwrap_or_default();
    let count = entry.count.unwrap_or(1);
    let start = entry.start.unwrap_or(1);
    if entry.count.is_some() && !name.has(Field::N) && count != 1 {
        faults.add(line, format!("name: {:?} would be the same {count} times; put {{n}} into it", entry.name));
    }
    if entry.id.is_some() && count != 1 {
        faults.add(line, "id: belongs to one tenant; leave it out of a generator, whose ids follow from the names");
    }
    if entry.id.is_some_and(|id| id.is_nil()) {
        faults.add(line, "id: the nil UUID is the shared catalogue, which is no tenant");
    }
    if !(1..=TENANTS_MAX).contains(&count) {
        faults.add(line, format!("count: is {count}; it may be 1 to {TENANTS_MAX}"));
    }
    if start.checked_add(count).is_none() {
        faults.add(line, format!("start: {start} is too large"));
    }
    let projects = match &entry.projects {
        Some(entries) => Arc::new(projects(entries, faults)),
        None => shared.projects.clone(),
    };
    let groups = match &entry.agents {
        Some(entries) => Arc::new(groups(entries, faults)),
        None => shared.groups.clone(),
    };
    for group in groups.iter() {
        if let Some(project) = group.base.project.as_ref().filter(|project| !projects.contains_key(*project)) {
            let why = format!("the group {:?} is of the project {project:?}, which this tenant has not", group.key);
            faults.add(line, format!("projects: {why}; add it, or correct the name"));
        }
    }
    let budget = entry.monthly_budget_usd.or(defaults.monthly_budget_usd);
    TenantSet {
        line,
        name,
        id: entry.id,
        start,
        count: count.min(TENANTS_MAX),
        regions: regions(line, entry, defaults, faults),
        tier: entry.tier.or(defaults.tier),
        monthly_budget_micro_usd: budget
            .and_then(|dollars| faults.take(line, "monthly_budget_usd", micro_usd(dollars))),
        coupling_threshold: entry.coupling_threshold.or(defaults.coupling_threshold),
        prompt_storage: entry.prompt_storage.or(defaults.prompt_storage),
        projects,
        groups,
    }
}

/// The regions that are taken in turn: the tenant's own before the defaults'.
fn regions(line: u64, entry: &TenantEntry, defaults: &Defaults, faults: &mut Faults<'_>) -> Vec<String> {
    let (one, several) = match (&entry.region, &entry.regions) {
        (None, None) => (&defaults.region, &defaults.regions),
        own => own,
    };
    match (one, several) {
        (Some(_), Some(_)) => {
            faults.add(line, "region and regions are both given; keep one of them");
            Vec::new()
        }
        (_, Some(several)) if several.is_empty() => {
            faults.add(line, "regions: is empty; leave it out, or name one");
            Vec::new()
        }
        (Some(one), None) => vec![one.clone()],
        (None, Some(several)) => several.clone(),
        (None, None) => Vec::new(),
    }
}

/// # Errors
/// When it is negative, too large, or finer than a micro-dollar.
fn micro_usd(dollars: f64) -> Result<i64, String> {
    let micro = (dollars * MICRO).round();
    if !(0.0..=BUDGET_USD_MAX).contains(&dollars) {
        return Err(format!("is {dollars}; it may be 0 to {BUDGET_USD_MAX}"));
    }
    if (micro / MICRO - dollars).abs() > dollars.abs() * f64::EPSILON {
        return Err(format!("is {dollars}, which is finer than a micro-dollar"));
    }
    Ok(micro as i64)
}

fn projects(entries: &[Spanned<ProjectEntry>], faults: &mut Faults<'_>) -> BTreeMap<String, Project> {
    let mut projects = BTreeMap::new();
    for entry in entries {
        let (line, entry) = (entry.referenced.line(), &entry.value);
        let project = Project {
            allowed_mcp_servers: entry.allowed_mcp_servers.clone(),
            allowed_llm_providers: entry.allowed_llm_providers.clone(),
        };
        if projects.insert(entry.name.clone(), project).is_some() {
            faults.add(line, format!("projects: {:?} is there twice", entry.name));
        }
    }
    projects
}

fn groups(entries: &[Spanned<GroupEntry>], faults: &mut Faults<'_>) -> Vec<Group> {
    if entries.len() > GROUPS_MAX {
        let line = entries[0].referenced.line();
        faults.add(line, format!("agents: has {} groups, at most {GROUPS_MAX} are allowed", entries.len()));
    }
    let mut keys = BTreeSet::new();
    let mut groups = Vec::with_capacity(entries.len());
    for entry in entries {
        let (line, entry) = (entry.referenced.line(), &entry.value);
        if !keys.insert(entry.group.as_str()) {
            faults.add(line, format!("group: {:?} is there twice; groups tell agents apart", entry.group));
        }
        groups.extend(group(line, entry, faults));
    }
    groups
}

fn group(line: u64, entry: &GroupEntry, faults: &mut Faults<'_>) -> Option<Group> {
    let said = |rejection: Rejection| rejection.message;
    faults.take(line, "group", check_name("group", &entry.group).map_err(said));
    if entry.count > GROUP_AGENTS_MAX {
        faults.add(line, format!("count: is {}, at most {GROUP_AGENTS_MAX} are allowed", entry.count));
    }
    let text = entry.name.as_deref().unwrap_or("{group}-{n}");
    let name = faults.take(line, "name", Pattern::new(text, Field::OF_AGENTS))?;
    if entry.count > 1 && !name.has(Field::N) {
        faults.add(line, format!("name: {text:?} would be the same {} times; put {{n}} into it", entry.count));
    }
    if entry.template.is_none() && entry.category.is_none() {
        faults.add(line, "template: there is neither a template nor a category; give one of them");
    }
    let owner = entry.owner.as_deref().map(|owner| Pattern::new(owner, Field::OF_AGENTS));
    let owner = owner.and_then(|owner| faults.take(line, "owner", owner));
    let mut parameters = BTreeMap::new();
    for (name, value) in &entry.parameters {
        let value = faults.take(line, &format!("parameters.{name}"), Pattern::new(value, Field::OF_AGENTS));
        parameters.extend(value.map(|value| (name.clone(), value)));
    }
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let base = RegisterAgent {
        name: String::new(),
        category: text(&entry.category),
        purpose: text(&entry.purpose),
        role: text(&entry.role),
        instructions: entry.instructions.as_deref().map_or(Personal::Absent, Personal::from),
        skills: entry.skills.clone(),
        domains: entry.domains.clone(),
        owner: Personal::Absent,
        project: entry.project.clone(),
        risk_tier: entry.risk_tier.unwrap_or_default(),
        confidence_threshold: entry.confidence_threshold,
        requirements: entry.requirements.clone(),
        template: entry.template.clone(),
        template_parameters: BTreeMap::new(),
    };
    let is_activated = entry.activate.unwrap_or(true);
    let (key, count, risk_tier) = (entry.group.clone(), entry.count, entry.risk_tier);
    Some(Group { line, key, count, name, owner, parameters, is_activated, risk_tier, base })
}

/// Holds the first and the last of every generator and group against the rules (the last has the longest number), and
/// every tenant against all others.
fn check(blueprint: &Blueprint, faults: &mut Faults<'_>) {
    if blueprint.tenants_total() > TENANTS_MAX {
        faults.add(1, format!("tenants: are {}, at most {TENANTS_MAX} are allowed", blueprint.tenants_total()));
        return;
    }
    let mut ids = HashSet::new();
    for set in &blueprint.sets {
        if let Some(twice) = set.tenants().find(|tenant| !ids.insert(tenant.id)) {
            let why = "is there twice; names tell tenants apart, and ids do where they are given";
            faults.add(set.line, format!("name: {:?} {why}", twice.name));
        }
        let ends = if set.count == 1 { vec![0] } else { vec![0, set.count - 1] };
        for tenant in ends.into_iter().map(|at| set.tenant(at)) {
            let commands = differ::tenant(&tenant, None).into_iter().map(|change| change.command);
            let ruled = differ::rehearse(tenant.stream(), commands, &World::default());
            faults.take(set.line, "tenant", ruled.map_err(|rejection| rejection.message));
            for group in set.groups.iter() {
                let fault = last_agent(&tenant, group).err();
                // Where groups are shared, so are their mistakes.
                let fault = fault.map(|why| format!("{}:{}: group {:?}: {why}", faults.file, group.line, group.key));
                faults.found.extend(fault.filter(|fault| !faults.found.contains(fault)));
            }
        }
    }
}

/// Without a template all is known of an agent; with one, what the manifest says itself.
fn last_agent(tenant: &TenantWanted<'_>, group: &Group) -> Result<(), String> {
    let agent = AgentWanted { tenant, group, number: group.count.max(1) };
    let command = agent.registration();
    check_name("name", &command.name).map_err(|rejection| rejection.message)?;
    let owner = command.owner.text().unwrap_or_default();
    check_length("owner", owner, NAME_BYTES_MAX).map_err(|rejection| rejection.message)?;
    if command.template.is_some() {
        return Ok(());
    }
    let steps = [crate::domain::agent::Command::RegisterAgent(command).into()];
    differ::rehearse(agent.stream(), steps, &World::default()).map_err(|rejection| rejection.message)
}
