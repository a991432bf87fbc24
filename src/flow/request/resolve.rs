//! What a caller's `model` means: a coupling, an agent's best coupling, or a model of a provider by name.
//!
//! Couplings, their agents and tenants are read from the index anew for every request: a coupling that was suspended a
//! moment ago lets nothing through. The names of providers and models are kept for [`NAMES_LIFE`], and read anew before a
//! name is said not to be there.

use crate::domain::coupling::{self, Command, Coupling, RequestCompletion};
use crate::domain::llm_provider::{self, LlmProvider};
use crate::domain::llm_request::{ModelChoice, Operation, Priority, Submission, payload};
use crate::domain::personal::Personal;
use crate::domain::tenant::standing;
use crate::domain::{Aggregate, Context, Decider, Envelope, Lookup, Partitions, Rejection, StreamId, TenantId, World};
use crate::flow::world::Sight;
use crate::ports::index::Error;
use crate::ports::{Clock, Index};
use hashbrown::HashMap;
use parking_lot::Mutex;
use serde::Deserialize;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// How long the names of a tenant's providers and models are taken as they were read.
const NAMES_LIFE: Duration = Duration::from_secs(2);
/// Tenants whose names are kept.
const TENANTS_MAX: usize = 1_000;
/// Couplings of an agent among which the best is looked for.
const COUPLINGS_MAX: usize = 256;
/// Bytes of a name that an error repeats.
const NAME_SHOWN_BYTES: usize = 128;
/// Models that an error names as what may have been meant.
const MEANT_MAX: usize = 5;

/// What a caller asks for.
#[derive(Clone, Debug)]
pub struct Asked {
    pub tenant: TenantId,
    /// The stream that the request becomes.
    pub request_id: Uuid,
    pub operation: Operation,
    /// `coupling:<id>`, `agent:<id>` or `provider/model`.
    pub model: String,
    /// OpenAI-style JSON text.
    pub payload: String,
    pub priority: Priority,
    /// From now; absent: [`Priority::deadline_ms_default`].
    pub deadline_ms: Option<i64>,
    pub stream: bool,
    /// Whether nobody can ask for its answer but the caller that waits for it.
    pub awaited: bool,
}

/// What of a payload is not only its provider's.
#[derive(Deserialize)]
pub struct Shape<'a> {
    #[serde(borrow)]
    pub model: Cow<'a, str>,
    #[serde(default)]
    pub stream: Option<bool>,
}

/// Why a request goes nowhere.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// A sentence that says what to name instead.
    #[error("{0}")]
    UnknownModel(String),
    #[error("{}", .0.message)]
    Rejected(Rejection),
    #[error(transparent)]
    Index(#[from] Error),
}

impl From<Rejection> for Refused {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

/// A model as callers name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offered {
    /// `provider/model`.
    pub name: String,
    pub provider: String,
}

/// Finds out what is meant.
pub struct Resolver {
    index: Arc<dyn Index>,
    partitions: Partitions,
    clock: Arc<dyn Clock>,
    /// As many as were needed at once; each keeps what it decoded.
    sights: Mutex<Vec<Sight>>,
    names: Mutex<HashMap<TenantId, (Instant, Arc<World>)>>,
}

/// What a `model` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    Coupling(Uuid),
    Agent(Uuid),
    Model,
}

impl Named {
    fn read(model: &str) -> Result<Self, Refused> {
        let (kind, id) = match model.split_once(':') {
            Some((kind @ ("coupling" | "agent"), id)) => (kind, id),
            _ => return Ok(Self::Model),
        };
        let read = Uuid::parse_str(id);
        let names_none = || format!("{:?} names no {kind}: write {kind}:<UUID>", clipped(model));
        let id = read.map_err(|_| Refused::UnknownModel(names_none()))?;
        Ok(if kind == "agent" { Self::Agent(id) } else { Self::Coupling(id) })
    }
}

impl Resolver {
    pub fn new(index: Arc<dyn Index>, partitions: Partitions, clock: Arc<dyn Clock>) -> Self {
        Self { index, partitions, clock, sights: Mutex::default(), names: Mutex::default() }
    }

    /// What the request is to be recorded as. Its payload is in it whatever the tenant stores: `storage` says that.
    ///
    /// # Errors
    /// When the model names nothing that the tenant may use, the coupling lets nothing through, or the payload is none.
    pub async fn submission(&self, asked: Asked) -> Result<Submission, Refused> {
        let kept = self.sights.lock().pop();
        let mut sight = kept.unwrap_or_else(|| Sight::new(self.index.clone(), self.partitions));
        sight.refresh();
        let submission = self.read(&mut sight, asked).await;
        self.sights.lock().push(sight);
        submission
    }

    async fn read(&self, sight: &mut Sight, asked: Asked) -> Result<Submission, Refused> {
        match Named::read(&asked.model)? {
            Named::Coupling(id) => self.of_coupling(sight, asked, id).await,
            Named::Agent(id) => {
                let coupling = self.best_coupling(sight, asked.tenant, id).await?;
                self.of_coupling(sight, asked, coupling).await
            }
            Named::Model => self.of_model(sight, asked).await,
        }
    }

    /// The models that a tenant may name, in the order of their names.
    ///
    /// # Errors
    /// When the index does not answer.
    pub async fn offered(&self, tenant: TenantId) -> Result<Vec<Offered>, Error> {
        let (world, _) = self.names(tenant, NAMES_LIFE).await?;
        let models = registered(&world, tenant).flat_map(|(_, provider)| {
            let owner = &provider.access.name;
            let offered = move |model: &llm_provider::Model| Offered {
                name: format!("{owner}/{}", model.model_id),
                provider: owner.clone(),
            };
            provider.models.iter().map(offered)
        });
        let mut models: Vec<_> = models.collect();
        models.sort_unstable();
        models.dedup();
        Ok(models)
    }

    async fn of_coupling(&self, sight: &mut Sight, asked: Asked, id: Uuid) -> Result<Submission, Refused> {
        let stream = StreamId::new(asked.tenant, Aggregate::Coupling, id);
        let world = sight.world(&[Lookup::Stream(stream)]).await?;
        let Some((version, state)) = world.get::<Coupling>(&stream) else {
            return Err(Rejection::not_found("coupling").into());
        };
        let command = RequestCompletion {
            request_id: asked.request_id,
            operation: asked.operation,
            payload: Personal::Plain(asked.payload),
            priority: asked.priority,
            deadline_ms: asked.deadline_ms,
            stream: asked.stream,
        };
        let envelope = Envelope::new(asked.request_id, stream);
        let command = Command::RequestCompletion(command);
        let lookups = Coupling::lookups(state, &command, &envelope);
        let world = sight.world(&lookups).await?;
        let context = Context { now: self.clock.now(), envelope: &envelope, version, world: &world };
        let Command::RequestCompletion(command) = &command else { return Err(Rejection::not_found("coupling").into()) };
        Ok(Submission { awaited: asked.awaited, ..coupling::submission(state, command, &context)? })
    }

    /// The agent's active coupling with the highest score; of several, the one with the lowest id.
    async fn best_coupling(&self, sight: &mut Sight, tenant: TenantId, agent: Uuid) -> Result<Uuid, Refused> {
        let from = StreamId::new(tenant, Aggregate::Agent, agent);
        let after = StreamId::new(tenant, Aggregate::Coupling, Uuid::nil());
        let streams = self.index.edges(from, Some(after), COUPLINGS_MAX).await?;
        let streams = streams.into_iter().take_while(|stream| stream.aggregate == Aggregate::Coupling);
        let streams: Vec<_> = streams.collect();
        sight.foresee(streams.iter().copied()).await?;
        let lookups: Vec<_> = streams.iter().copied().map(Lookup::Stream).collect();
        let world = sight.world(&lookups).await?;
        let scored = streams.iter().filter_map(|stream| {
            let (_, state) = world.get::<Coupling>(stream)?;
            let binding = state.binding.as_ref().filter(|_| state.status == coupling::Status::Active)?;
            Some((binding.score, stream.id))
        });
        let best = scored.max_by(|(one, first), (other, second)| one.total_cmp(other).then(second.cmp(first)));
        best.map(|(_, id)| id).ok_or_else(|| {
            let why = "the agent has no active coupling; request one, or name a coupling or a model";
            Rejection::new("no_active_coupling", why).with("agent", agent).into()
        })
    }

    async fn of_model(&self, sight: &mut Sight, asked: Asked) -> Result<Submission, Refused> {
        let tenant = asked.tenant;
        let facts = payload::inspect(asked.operation, &asked.payload)?;
        let standing: Vec<_> = standing::lookup(tenant).into_iter().collect();
        let world = sight.world(&standing).await?;
        let state = standing::check_open(tenant, &world)?;
        let deadline_ms = asked.deadline_ms.unwrap_or_else(|| asked.priority.deadline_ms_default());
        Ok(Submission {
            coupling_id: None,
            agent_id: None,
            coupling_version: None,
            operation: asked.operation,
            project: None,
            models: vec![self.model(tenant, &asked.model).await?],
            payload: Personal::Plain(asked.payload),
            payload_sha256: Some(facts.sha256),
            payload_bytes: facts.bytes,
            priority: asked.priority,
            deadline_at: self.clock.now().saturating_add(deadline_ms.saturating_mul(1_000)),
            storage: state.map(|state| state.prompt_storage).unwrap_or_default(),
            prompt_tokens_estimated: facts.prompt_tokens_estimated,
            output_tokens_max: facts.output_tokens_max,
            stream: asked.stream,
            awaited: asked.awaited,
        })
    }

    async fn model(&self, tenant: TenantId, name: &str) -> Result<ModelChoice, Refused> {
        let (world, is_fresh) = self.names(tenant, NAMES_LIFE).await?;
        if let Some(choice) = find(&world, tenant, name) {
            return Ok(choice);
        }
        let world = if is_fresh { world } else { self.names(tenant, Duration::ZERO).await?.0 };
        find(&world, tenant, name).ok_or_else(|| Refused::UnknownModel(unknown(&world, tenant, name)))
    }

    /// The providers that a tenant may use, read no longer than `life` ago; and whether they were read just now.
    async fn names(&self, tenant: TenantId, life: Duration) -> Result<(Arc<World>, bool), Error> {
        if let Some((read_at, world)) = self.names.lock().get(&tenant)
            && read_at.elapsed() < life
        {
            return Ok((world.clone(), false));
        }
        let read_at = Instant::now();
        let world = Sight::new(self.index.clone(), self.partitions).world(&[Lookup::Providers(tenant)]).await?;
        let world = Arc::new(world);
        let mut names = self.names.lock();
        if names.len() >= TENANTS_MAX {
            names.retain(|_, (read_at, _)| read_at.elapsed() < NAMES_LIFE);
        }
        if names.len() < TENANTS_MAX {
            names.insert(tenant, (read_at, world.clone()));
        }
        Ok((world, true))
    }
}

/// A tenant's own providers and then the shared ones.
fn registered(world: &World, tenant: TenantId) -> impl Iterator<Item = (StreamId, &llm_provider::State)> {
    let all = move |own: bool| {
        let providers = world.providers::<LlmProvider>(tenant);
        providers
            .filter(move |(stream, _, state)| {
                (stream.tenant == tenant) == own && state.status == llm_provider::Status::Registered
            })
            .map(|(stream, _, state)| (stream, state))
    };
    all(true).chain(all(false))
}

/// The model of this name: `provider/model`, the provider by its name in any case, or by its id.
fn find(world: &World, tenant: TenantId, name: &str) -> Option<ModelChoice> {
    registered(world, tenant).find_map(|(stream, provider)| {
        let model_id = after(name, &provider.access.name).or_else(|| after(name, &stream.id.to_string()))?;
        let at = provider.models.binary_search_by(|model| model.model_id.as_str().cmp(model_id)).ok()?;
        let model_id = provider.models.get(at)?.model_id.clone();
        Some(ModelChoice { provider_tenant_id: stream.tenant.0, provider_id: stream.id, model_id })
    })
}

/// What follows a provider's name and a slash.
fn after<'n>(name: &'n str, provider: &str) -> Option<&'n str> {
    let (first, rest) = name.split_at_checked(provider.len())?;
    rest.strip_prefix('/').filter(|_| first.eq_ignore_ascii_case(provider))
}

fn unknown(world: &World, tenant: TenantId, name: &str) -> String {
    let shown = clipped(name);
    let model_id = name.rsplit('/').next().unwrap_or(name);
    let named = registered(world, tenant).flat_map(|(_, provider)| {
        let alike = provider.models.iter().filter(move |model| {
            model.model_id.eq_ignore_ascii_case(model_id) || model.model_id.eq_ignore_ascii_case(name)
        });
        alike.map(|model| format!("{}/{}", provider.access.name, model.model_id))
    });
    let meant: Vec<_> = named.take(MEANT_MAX).collect();
    if meant.is_empty() {
        format!(
            "there is no model {shown:?}: name provider/model (GET /v1/models lists them), coupling:<id> or agent:<id>"
        )
    } else {
        format!("there is no model {shown:?}; did you mean {}?", meant.join(", "))
    }
}

/// What an error repeats of a name that may be as long as the whole request.
fn clipped(name: &str) -> &str {
    &name[..name.floor_char_boundary(NAME_SHOWN_BYTES)]
}

#[cfg(test)]
mod tests;
