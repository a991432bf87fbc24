//! The node as provisioning sees it: what is there, and what becomes of the commands that it is sent.
//!
//! The id of a command is a function of its subject, of the version that was seen of it and of its data. So the same step
//! that is sent again, after a broken connection or by a second run, takes effect once and is told its first outcome; and
//! a change that is taken back and made again is a command of its own.

use super::differ::Change;
use super::pace::{Gate, Pace};
use super::templates;
use crate::cli::client::{ClientError, Connection, Request};
use crate::cli::send::deliver::{Courier, Outcome, Verdict};
use crate::cli::send::lines::Line;
use crate::cli::url::{BaseUrl, append_query};
use crate::domain::agent::{Profile, TemplateUse};
use crate::domain::agent_template::{Definition, Parameter};
use crate::domain::common::{PromptStorage, Requirements};
use crate::domain::tenant::{Project, Tier};
use crate::domain::{StreamId, TenantId};
use crate::runtime::retry::Policy;
use parking_lot::Mutex;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use uuid::Uuid;

/// As histories show where a command came from.
const SOURCE: &str = "agentverse/provision";
/// Ids in one question: their URL stays below what gateways take (8 KiB).
const ASKED_IDS_MAX: usize = 100;
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_LONGEST: Duration = Duration::from_secs(5);
/// How often commands are sent again that were accepted and not decided while it was waited for.
const UNDECIDED_ROUNDS: usize = 5;
/// How often it is looked for a tenant that was just made, and how long between two looks: where read models are further
/// behind, it is not noted as done, and a run that goes on looks at it again.
const LOOKS_MAX: usize = 5;
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[derive(Clone, Debug, Deserialize)]
pub struct KnownTenant {
    pub created_at: String,
    pub status: String,
    pub name: String,
    pub region: String,
    pub tier: Tier,
    pub monthly_budget_micro_usd: Option<i64>,
    /// The effective one.
    pub coupling_threshold: f64,
    pub projects: BTreeMap<String, Project>,
    pub prompt_storage: PromptStorage,
    pub version: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct KnownAgent {
    pub id: Uuid,
    pub version: u64,
    pub status: String,
    pub template: Option<TemplateUse>,
    #[serde(flatten)]
    pub profile: Profile,
}

#[derive(Debug, Deserialize)]
struct KnownTemplate {
    status: String,
    name: String,
    category: String,
    role: String,
    purpose: String,
    instructions: String,
    parameters: Vec<Parameter>,
    skills: Vec<String>,
    domains: Vec<String>,
    requirements: Requirements,
}

#[derive(Debug, Deserialize)]
struct Items<T> {
    items: Vec<T>,
}

/// A command for a stream, made for a version of it (0: it was not there).
pub struct Step<'a> {
    pub stream: StreamId,
    pub seen: u64,
    pub change: &'a Change,
}

/// A node, over as many connections as there are under way at a time.
pub struct Node {
    url: BaseUrl,
    timeout: Duration,
    policy: Policy,
    correlation: String,
    idle: Mutex<Vec<Courier>>,
    gate: Gate,
    pace: Pace,
}

impl Node {
    /// `correlation` groups in histories what came of one manifest.
    pub fn new(
        url: BaseUrl,
        timeout: Duration,
        retry_for: Duration,
        correlation: String,
        gate: Gate,
        pace: Pace,
    ) -> Self {
        let policy = Policy { first: RETRY_FIRST, longest: RETRY_LONGEST, budget: retry_for };
        Self { url, timeout, policy, correlation, idle: Mutex::default(), gate, pace }
    }

    /// # Errors
    /// When the node cannot be reached or stays busy for as long as it is tried.
    pub async fn tenant(&self, tenant: Uuid) -> Result<Option<KnownTenant>, ClientError> {
        self.get(tenant, format!("/v1/tenants/{tenant}")).await
    }

    /// A tenant that was just provisioned: read models are a moment behind.
    ///
    /// # Errors
    /// As [`Self::tenant`].
    pub async fn new_tenant(&self, tenant: Uuid) -> Result<Option<KnownTenant>, ClientError> {
        for _ in 0..LOOKS_MAX {
            if let Some(known) = self.tenant(tenant).await? {
                return Ok(Some(known));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(None)
    }

    /// Those of the agents that are there.
    ///
    /// # Errors
    /// As [`Self::tenant`].
    pub async fn agents(&self, tenant: Uuid, ids: &[Uuid]) -> Result<HashMap<Uuid, KnownAgent>, ClientError> {
        let mut known = HashMap::with_capacity(ids.len());
        for ids in ids.chunks(ASKED_IDS_MAX) {
            let mut target = format!("/v1/agents?limit={ASKED_IDS_MAX}");
            ids.iter().for_each(|id| append_query(&mut target, "id", &id.to_string()));
            let found: Option<Items<KnownAgent>> = self.get(tenant, target).await?;
            known.extend(found.into_iter().flat_map(|found| found.items).map(|agent| (agent.id, agent)));
        }
        Ok(known)
    }

    /// An owner's template, unless it is retired.
    ///
    /// # Errors
    /// As [`Self::tenant`].
    pub async fn template(&self, owner: TenantId, template: &str) -> Result<Option<Definition>, ClientError> {
        let id = templates::stream(owner, template).id;
        let found: Option<KnownTemplate> = self.get(owner.0, format!("/v1/agent-templates/{id}")).await?;
        Ok(found.filter(|found| found.status == "active").map(|found| Definition {
            name: found.name,
            category: found.category,
            role: found.role,
            purpose: found.purpose,
            instructions: found.instructions,
            parameters: found.parameters,
            skills: found.skills,
            domains: found.domains,
            requirements: found.requirements,
        }))
    }

    /// Sends commands of one tenant in their order; one verdict for each.
    ///
    /// # Errors
    /// As [`Self::tenant`]; it is unknown which were taken, and sending them again is safe.
    pub async fn send(&self, tenant: Uuid, steps: &[Step<'_>]) -> Result<Vec<Verdict>, ClientError> {
        let lines: Vec<Line> = (0u64..).zip(steps).map(|(number, step)| self.line(number, step)).collect();
        let mut verdicts: Vec<Verdict> = Vec::new();
        for _ in 0..UNDECIDED_ROUNDS {
            self.pace.take(lines.len()).await;
            let _pass = self.gate.enter().await;
            let mut courier = self.courier(tenant);
            let before = courier.retries;
            let delivered = courier.deliver(&lines).await;
            self.gate.heard(courier.retries > before || delivered.is_err());
            verdicts = delivered?;
            self.idle.lock().push(courier);
            if verdicts.iter().all(|verdict| verdict.outcome != Outcome::Accepted) {
                break;
            }
        }
        Ok(verdicts)
    }

    fn line(&self, number: u64, step: &Step<'_>) -> Line {
        let Step { stream, seen, change } = step;
        let name = change.command.name();
        let data = change.command.to_json();
        let id = Uuid::new_v5(&stream.id, format!("{name}/{seen}/{data}").as_bytes());
        let event = json!({
            "id": id, "source": SOURCE, "type": format!("{}.{name}", stream.aggregate.name()), "subject": stream.id,
            "correlationid": self.correlation, "data": data,
        });
        Line { number, event: event.to_string() }
    }

    /// What is at the target; nothing where there is none.
    async fn get<T: DeserializeOwned>(&self, tenant: Uuid, target: String) -> Result<Option<T>, ClientError> {
        let mut waits = self.policy.waits();
        loop {
            let answer = {
                let _pass = self.gate.enter().await;
                let mut courier = self.courier(tenant);
                let answer = courier.connection.request(Request::get(target.clone(), Some(tenant))).await;
                self.idle.lock().push(courier);
                answer
            };
            let error = match answer {
                Ok(answer) => return answer.json().map(Some),
                Err(ClientError::Problem(problem)) if problem.status == 404 => return Ok(None),
                Err(error) => error,
            };
            self.gate.heard(true);
            let Some(asked) = error.retry_after() else { return Err(error) };
            let Some(wait) = waits.after(asked) else { return Err(error) };
            tokio::time::sleep(wait).await;
        }
    }

    fn courier(&self, tenant: Uuid) -> Courier {
        let idle = self.idle.lock().pop();
        let mut courier = idle.unwrap_or_else(|| Courier {
            connection: Connection::new(self.url.clone(), self.timeout),
            target: "/v1/commands?wait=applied".to_owned(),
            tenant: None,
            policy: self.policy,
            retries: 0,
        });
        courier.tenant = Some(tenant);
        courier
    }
}
