//! Limits as their owners set them: a provider its requests and tokens per minute, a tenant its tier and its budget.
//!
//! Whoever asks for a lease looks at the owner's head in the index first, at most every [`LOOK`], and sets the limit where
//! the head is newer than what was set. So a changed limit needs nobody to carry it here: it counts a lease's life after
//! its event is indexed, in every process, and the store lets an older head never overwrite a newer one.

use crate::domain::limit::{
    Ask, Budget, Limit, LimitKey, News, Period, Reserved, Returned, Setting, Spent, Standing, Tiers,
};
use crate::domain::tenant::{Tier, standing};
use crate::domain::usage::{self, Series, Window};
use crate::domain::{AnyState, Partitions, StreamId, TenantId, llm_provider, tenant};
use crate::ports::limits::Error;
use crate::ports::{Clock, Index, Limits, Usage};
use async_trait::async_trait;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Between two looks at an owner.
const LOOK: Duration = Duration::from_secs(2);
/// Keys that are remembered; beyond it those that were not looked at lately are looked at anew.
const KEYS_MAX: usize = 100_000;

/// Who knows what a tenant spent in the current period of its budget.
#[async_trait]
pub trait Spending: Send + Sync + 'static {
    /// # Errors
    /// When it cannot be read.
    async fn of(&self, tenant: TenantId, period: Period) -> Result<Option<Spent>, String>;
}

/// What the usage of requests says, as far as it is projected.
pub struct Counted {
    pub usage: Arc<dyn Usage>,
    pub clock: Arc<dyn Clock>,
}

/// Pico-dollars in a micro-dollar.
const PICO: i128 = 1_000_000;

#[async_trait]
impl Spending for Counted {
    async fn of(&self, tenant: TenantId, period: Period) -> Result<Option<Spent>, String> {
        let at = self.clock.now();
        let key = tenant.to_string().into();
        let series = Series { tenant, dimension: usage::Dimension::Tenant, key, window: Window::Day };
        let days = self.usage.windows(&series, period.start_of(at)..at).await.map_err(|error| error.to_string())?;
        // What nobody learned the cost of counts as it was estimated.
        let pico: i128 = days.iter().map(|(_, totals)| totals.cost_pico_usd + totals.unknown_cost_pico_usd).sum();
        // Rounded up: a budget is not to be exceeded.
        let micro_usd = u64::try_from((pico.max(0) + PICO - 1) / PICO).unwrap_or(u64::MAX);
        Ok(Some(Spent { at, micro_usd }))
    }
}

/// A store of limits that are set by their owners.
pub struct OwnedLimits {
    limits: Arc<dyn Limits>,
    index: Arc<dyn Index>,
    partitions: Partitions,
    spending: Arc<dyn Spending>,
    tiers: Tiers,
    seen: Mutex<HashMap<LimitKey, Seen>>,
}

/// What is set, as far as this process knows.
#[derive(Clone, Copy)]
struct Seen {
    looked_at: Instant,
    version: u64,
}

impl OwnedLimits {
    pub fn new(
        limits: Arc<dyn Limits>,
        index: Arc<dyn Index>,
        partitions: Partitions,
        spending: Arc<dyn Spending>,
        tiers: Tiers,
    ) -> Self {
        Self { limits, index, partitions, spending, tiers, seen: Mutex::default() }
    }

    /// Sets the limit where its owner's head is newer.
    async fn look(&self, key: &LimitKey) -> Result<(), Error> {
        let before = self.seen.lock().get(key).copied();
        if before.is_some_and(|seen| seen.looked_at.elapsed() < LOOK) {
            return Ok(());
        }
        let looked_at = Instant::now();
        let (version, limit) = self.owner(key).await?;
        if before.is_none_or(|seen| seen.version != version) {
            let spent = match (key, limit.budget) {
                (LimitKey::Tenant(tenant), Some(budget)) => {
                    self.spending.of(*tenant, budget.period).await.map_err(Error::Unavailable)?
                }
                _ => None,
            };
            self.limits.set(key, &Setting { version, limit, spent }).await?;
        }
        let mut seen = self.seen.lock();
        if seen.len() >= KEYS_MAX {
            seen.retain(|_, seen| seen.looked_at.elapsed() < LOOK);
        }
        seen.insert(key.clone(), Seen { looked_at, version });
        Ok(())
    }

    /// The limit that the owner set, and the version of the owner that says so.
    async fn owner(&self, key: &LimitKey) -> Result<(u64, Limit), Error> {
        let stream = match key {
            LimitKey::Provider(provider) | LimitKey::Model { provider, .. } => *provider,
            LimitKey::Tenant(tenant) => standing::stream(*tenant),
        };
        let (version, state) = self.head(stream).await?;
        let limit = match (key, state) {
            (LimitKey::Provider(_), Some(AnyState::LlmProvider(state))) => of_provider(&state),
            (LimitKey::Tenant(_), Some(AnyState::Tenant(state))) => self.of_tenant(&state),
            // Its provisioning may still be under way.
            (LimitKey::Tenant(_), _) => self.of_tier(Tier::default()),
            // Of a model alone nothing is set; its provider may tell of a limit that it has.
            _ => Limit::default(),
        };
        Ok((version, limit))
    }

    fn of_tenant(&self, state: &tenant::State) -> Limit {
        let micro_usd = state.monthly_budget_micro_usd.and_then(|budget| u64::try_from(budget).ok());
        let budget = micro_usd.map(|micro_usd| Budget { micro_usd, period: Period::Month });
        Limit { budget, ..self.of_tier(state.tier) }
    }

    fn of_tier(&self, tier: Tier) -> Limit {
        Limit { requests_per_minute: Some(self.tiers.requests_per_minute(tier)), ..Limit::default() }
    }

    async fn head(&self, stream: StreamId) -> Result<(u64, Option<AnyState>), Error> {
        let unavailable = |error: crate::ports::index::Error| Error::Unavailable(error.to_string());
        let heads = self.index.heads(stream.log(self.partitions), &[stream]).await.map_err(unavailable)?;
        match heads.into_iter().next().flatten() {
            Some(head) => Ok((head.version, Some(head.state_of(stream.aggregate).map_err(unavailable)?))),
            None => Ok((0, None)),
        }
    }
}

fn of_provider(state: &llm_provider::State) -> Limit {
    let limit = |limit: Option<i64>| limit.and_then(|limit| u64::try_from(limit).ok());
    Limit {
        requests_per_minute: limit(state.requests_per_minute),
        tokens_per_minute: limit(state.tokens_per_minute),
        budget: None,
    }
}

#[async_trait]
impl Limits for OwnedLimits {
    async fn reserve(&self, key: &LimitKey, ask: &Ask) -> Result<Reserved, Error> {
        self.look(key).await?;
        match self.limits.reserve(key, ask).await {
            // The store lost it: it is set again at the next look.
            Err(error @ Error::Unset { .. }) => {
                self.seen.lock().remove(key);
                Err(error)
            }
            reserved => reserved,
        }
    }

    async fn give_back(&self, key: &LimitKey, holder: u64, op: u64, returned: &Returned) -> Result<(), Error> {
        self.limits.give_back(key, holder, op, returned).await
    }

    async fn set(&self, key: &LimitKey, setting: &Setting) -> Result<bool, Error> {
        self.limits.set(key, setting).await
    }

    async fn throttle(&self, key: &LimitKey, news: &News) -> Result<(), Error> {
        self.limits.throttle(key, news).await
    }

    async fn state(&self, key: &LimitKey) -> Result<Option<Standing>, Error> {
        self.limits.state(key).await
    }
}
