//! The catalogue: what a call needs to know of its model, its provider and its tenant, read from the index's heads and kept
//! for a few seconds. A change of any of them counts from then on.

use crate::domain::common::PromptStorage;
use crate::domain::limit::{Amounts, LimitKey};
use crate::domain::llm_provider;
use crate::domain::llm_request::{ModelChoice, Operation, PRICE_MICRO_USD_PER_MILLION_MAX, Price, TOKENS_MAX, Usage};
use crate::domain::tenant::{self, Tier, standing};
use crate::domain::{Aggregate, AnyState, Partitions, StreamId, TenantId};
use crate::ports::Index;
use crate::ports::index::Error;
use crate::ports::llm::Target;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Providers or tenants kept; beyond it those that are too old are dropped, and all where none is.
const KEPT_MAX: usize = 10_000;
/// Tokens of an answer for which neither request nor model has a bound.
const OUTPUT_TOKENS: i64 = 4_096;
/// Pico-dollars in a micro-dollar.
const PICO: i64 = 1_000_000;

/// Why a model cannot be called. For good, as far as one request is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    Provider,
    Deregistered,
    /// Never there, or retired.
    Model,
}

impl Missing {
    /// As in the events' `rejected`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Provider => "unknown_provider",
            Self::Deregistered => "provider_deregistered",
            Self::Model => "unknown_model",
        }
    }
}

/// A model as it is called.
#[derive(Clone, Debug)]
pub struct Model {
    pub provider: StreamId,
    pub target: Target,
    pub price: Price,
    /// Of calls that the provider charges as a batch: input and output.
    pub batch_prices: (Option<i64>, Option<i64>),
}

/// What a call is expected to use at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    pub tokens: i64,
    pub micro_usd: i64,
    /// Whether all prices are known that the call may be charged by; else nothing is reserved of a budget.
    pub is_priced: bool,
}

impl Model {
    /// The prices of a call that was charged as a batch, or as any other.
    pub fn price_of(&self, is_batch: bool) -> Price {
        let (input, output) = self.batch_prices;
        if is_batch { self.price.of_batch(input, output) } else { self.price }
    }

    /// Prompt and the longest answer that request and model allow. Of a price that is not known nothing is reserved.
    pub fn estimate(&self, operation: Operation, prompt_tokens: i64, output_tokens_max: Option<i64>) -> Estimate {
        let input_tokens = prompt_tokens.clamp(0, TOKENS_MAX);
        let own = self.target.output_tokens_max;
        let bound = output_tokens_max.map_or(own, |asked| Some(own.map_or(asked, |own| own.min(asked))));
        let output_tokens = match operation {
            Operation::ChatCompletion => bound.unwrap_or(OUTPUT_TOKENS).clamp(0, TOKENS_MAX),
            Operation::Embeddings => 0,
        };
        let usage = Usage { input_tokens, output_tokens, ..Usage::default() };
        // A provider may write all of the prompt to its cache, at a higher price.
        let price = &self.price;
        let input = price.input_micro_usd_per_million.max(price.cache_write_micro_usd_per_million);
        let dearest = Price { input_micro_usd_per_million: input, ..*price };
        let cost = usage.cost_pico_usd(&dearest);
        Estimate {
            tokens: input_tokens + output_tokens,
            micro_usd: cost.map_or(0, micro_usd),
            is_priced: cost.is_some(),
        }
    }

    /// The limits that a call falls under, with what it takes of each.
    pub fn wants(&self, tenant: TenantId, estimate: Estimate) -> [(LimitKey, Amounts); 3] {
        let call = Amounts::call(estimate.tokens.unsigned_abs());
        let money = Amounts { requests: 1, tokens: 0, micro_usd: estimate.micro_usd.unsigned_abs() };
        [(LimitKey::Provider(self.provider), call), (self.limit_key(), call), (LimitKey::Tenant(tenant), money)]
    }

    /// The limit that is this model's alone: what its provider tells of limits is of this one.
    pub fn limit_key(&self) -> LimitKey {
        LimitKey::Model { provider: self.provider, model: self.target.model.to_string() }
    }
}

/// Pico-dollars in whole micro-dollars, rounded up.
pub fn micro_usd(pico_usd: i64) -> i64 {
    pico_usd.saturating_add(PICO - 1) / PICO
}

/// What is known of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tenancy {
    pub tier: Tier,
    pub storage: PromptStorage,
    pub status: tenant::Status,
    /// Whether what its calls cost is bounded.
    pub has_budget: bool,
}

impl Tenancy {
    /// A tenant that nothing is recorded of is taken for open: its provisioning may still be under way.
    pub const UNKNOWN: Self =
        Self { tier: Tier::Onyx, storage: PromptStorage::Full, status: tenant::Status::Absent, has_budget: false };
}

/// What is known of a provider beside its models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderInfo {
    pub name: Arc<str>,
    pub requests_per_minute: Option<i64>,
    pub tokens_per_minute: Option<i64>,
}

struct Provider {
    status: llm_provider::Status,
    info: ProviderInfo,
    models: HashMap<String, Arc<Model>>,
}

/// What was read, when, and of which head.
struct Kept<T> {
    read_at: Instant,
    position: u64,
    what: Option<T>,
}

type Cache<T> = Mutex<HashMap<StreamId, Kept<T>>>;

/// See the module.
pub struct Catalog {
    index: Arc<dyn Index>,
    partitions: Partitions,
    kept_for: Duration,
    providers: Cache<Arc<Provider>>,
    tenants: Cache<Tenancy>,
}

impl Catalog {
    pub fn new(index: Arc<dyn Index>, partitions: Partitions, kept_for: Duration) -> Self {
        Self { index, partitions, kept_for, providers: Mutex::default(), tenants: Mutex::default() }
    }

    /// # Errors
    /// When the index cannot be read.
    pub async fn model(&self, choice: &ModelChoice) -> Result<Result<Arc<Model>, Missing>, Error> {
        let tenant = TenantId(choice.provider_tenant_id);
        let stream = StreamId::new(tenant, Aggregate::LlmProvider, choice.provider_id);
        let read = self.read(&self.providers, stream, |state, version| match state {
            AnyState::LlmProvider(state) => Some(Arc::new(provider(stream, &state, version))),
            _ => None,
        });
        let Some(provider) = read.await? else { return Ok(Err(Missing::Provider)) };
        if provider.status != llm_provider::Status::Registered {
            return Ok(Err(Missing::Deregistered));
        }
        Ok(provider.models.get(&choice.model_id).cloned().ok_or(Missing::Model))
    }

    /// A provider as it was read last, where one of its models was called lately.
    pub fn provider(&self, stream: StreamId) -> Option<ProviderInfo> {
        Some(self.providers.lock().get(&stream)?.what.as_ref()?.info.clone())
    }

    /// # Errors
    /// When the index cannot be read.
    pub async fn tenant(&self, tenant: TenantId) -> Result<Tenancy, Error> {
        let read = self.read(&self.tenants, standing::stream(tenant), |state, _| match state {
            AnyState::Tenant(state) => Some(Tenancy {
                tier: state.tier,
                storage: state.prompt_storage,
                status: state.status,
                has_budget: state.monthly_budget_micro_usd.is_some(),
            }),
            _ => None,
        });
        Ok(read.await?.unwrap_or(Tenancy::UNKNOWN))
    }

    async fn read<T: Clone>(
        &self,
        cache: &Cache<T>,
        stream: StreamId,
        make: impl FnOnce(AnyState, u64) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let now = Instant::now();
        let is_fresh = |kept: &&Kept<T>| now.duration_since(kept.read_at) < self.kept_for;
        if let Some(kept) = cache.lock().get(&stream).filter(is_fresh) {
            return Ok(kept.what.clone());
        }
        let head = self.index.heads(stream.log(self.partitions), &[stream]).await?.pop().flatten();
        let position = head.as_ref().map_or(0, |head| head.position);
        if let Some(kept) = cache.lock().get_mut(&stream).filter(|kept| kept.position == position) {
            kept.read_at = now;
            return Ok(kept.what.clone());
        }
        let what = match head.filter(|head| head.version > 0) {
            Some(head) => make(head.state_of(stream.aggregate)?, head.version),
            None => None,
        };
        let mut cache = cache.lock();
        if cache.len() >= KEPT_MAX {
            cache.retain(|_, kept| is_fresh(&&*kept));
            if cache.len() >= KEPT_MAX {
                cache.clear();
            }
        }
        cache.insert(stream, Kept { read_at: now, position, what: what.clone() });
        Ok(what)
    }
}

fn provider(stream: StreamId, state: &llm_provider::State, version: u64) -> Provider {
    let access = &state.access;
    let name: Arc<str> = access.name.as_str().into();
    let endpoint: Option<Arc<str>> = access.endpoint.as_deref().map(Into::into);
    let key: Option<Arc<str>> = access.api_key_env.as_deref().map(Into::into);
    let model = |model: &llm_provider::Model| {
        let target = Target {
            provider: name.clone(),
            protocol: access.wire_protocol,
            endpoint: endpoint.clone(),
            key: key.clone(),
            model: model.model_id.as_str().into(),
            output_tokens_max: model.output_tokens_max,
        };
        // A price above what a command may carry is taken for unknown.
        let known = |price: Option<i64>| price.filter(|price| (0..=PRICE_MICRO_USD_PER_MILLION_MAX).contains(price));
        let price = Price {
            input_micro_usd_per_million: known(model.input_micro_usd_per_million),
            output_micro_usd_per_million: known(model.output_micro_usd_per_million),
            cached_input_micro_usd_per_million: known(model.cached_input_micro_usd_per_million),
            cache_write_micro_usd_per_million: known(model.cache_write_micro_usd_per_million),
            llm_provider_version: i64::try_from(version).ok(),
            batch: false,
        };
        let batch_prices =
            (known(model.batch_input_micro_usd_per_million), known(model.batch_output_micro_usd_per_million));
        (model.model_id.clone(), Arc::new(Model { provider: stream, target, price, batch_prices }))
    };
    let info = ProviderInfo {
        name: name.clone(),
        requests_per_minute: state.requests_per_minute,
        tokens_per_minute: state.tokens_per_minute,
    };
    Provider { status: state.status, info, models: state.models.iter().map(model).collect() }
}

#[cfg(test)]
mod tests;
