//! Tells a tenant how far its budget is used: at 80 %, and when calls stop for it.
//!
//! It stands between the limiter and the store of limits and only listens. What counts is what was really spent, as the
//! usage of requests says, not what calls under way reserved. Usage is projected a moment after a call, so a budget that
//! its account calls nearly used is looked at a few times, [`LOOK`] apart. The tenant decides what is news
//! ([`domain::tenant`](crate::domain::tenant)): any number of processes tell it the same, and it says so once.

use crate::domain::envelope::SYSTEM_SOURCE;
use crate::domain::id::reaction_command_id;
use crate::domain::limit::{Ask, Dimension, LimitKey, Mark, News, Outcome, Reserved, Returned, Setting, Standing, Why};
use crate::domain::tenant::{self, BudgetLevel, ReportBudgetUse, standing};
use crate::domain::{AnyCommand, Envelope, Micros, TenantId};
use crate::flow::request::owners::Spending;
use crate::metrics::handles;
use crate::ports::limits::Error;
use crate::ports::topic::{Accepted, Lane};
use crate::ports::{Limits, Topics};
use async_trait::async_trait;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Between two looks at what a tenant spent.
const LOOK: Duration = Duration::from_secs(2);
/// For how long a tenant is looked at after its account said that its budget is nearly used.
const LOOKED_FOR: Duration = Duration::from_secs(7);
/// After so long it is told again: a budget that was set to another and back begins without an alert.
const TOLD_FOR: Duration = Duration::from_secs(600);
/// Tenants that are remembered; beyond it those are forgotten that nobody looks at.
const TENANTS_MAX: usize = 100_000;

/// A store of limits that is listened to.
pub struct Alerted(Arc<Shared>);

struct Shared {
    limits: Arc<dyn Limits>,
    spending: Arc<dyn Spending>,
    topics: Arc<dyn Topics>,
    tenants: Mutex<HashMap<TenantId, Watch>>,
}

/// What is known of one tenant.
#[derive(Clone, Copy, Debug, Default)]
struct Watch {
    /// Somebody looks at it, until then.
    until: Option<Instant>,
    /// What a call wanted that got nothing, while somebody looks.
    refused: Option<u64>,
    /// What was told last, and when.
    told: Option<(Told, Instant)>,
}

/// Of this budget in this period.
type Told = (u64, Micros, BudgetLevel);

impl Alerted {
    pub fn new(limits: Arc<dyn Limits>, spending: Arc<dyn Spending>, topics: Arc<dyn Topics>) -> Self {
        Self(Arc::new(Shared { limits, spending, topics, tenants: Mutex::default() }))
    }

    /// `refused`: what a call wanted that the budget does not give.
    fn notice(&self, tenant: TenantId, refused: Option<u64>) {
        let mut tenants = self.0.tenants.lock();
        if tenants.len() >= TENANTS_MAX {
            tenants.retain(|_, watch| watch.until.is_some());
        }
        let watch = tenants.entry(tenant).or_default();
        watch.refused = watch.refused.max(refused);
        let is_watched = watch.until.replace(Instant::now() + LOOKED_FOR).is_some();
        drop(tenants);
        if !is_watched {
            tokio::spawn(self.0.clone().watch(tenant));
        }
    }

    fn is_watched(&self, tenant: TenantId) -> bool {
        self.0.tenants.lock().get(&tenant).is_some_and(|watch| watch.until.is_some())
    }
}

impl Shared {
    async fn watch(self: Arc<Self>, tenant: TenantId) {
        loop {
            // Kept while it is looked: what the calls under way came to is projected a moment later.
            let refused = self.tenants.lock().get(&tenant).and_then(|watch| watch.refused);
            if let Err(error) = self.look(tenant, refused).await {
                tracing::warn!(%tenant, %error, "how far a budget is used could not be told; it is tried again");
            }
            tokio::time::sleep(LOOK).await;
            let mut tenants = self.tenants.lock();
            let Some(watch) = tenants.get_mut(&tenant) else { return };
            if watch.until.is_none_or(|until| until <= Instant::now()) {
                (watch.until, watch.refused) = (None, None);
                return;
            }
        }
    }

    async fn look(&self, tenant: TenantId, refused: Option<u64>) -> Result<(), String> {
        let key = LimitKey::Tenant(tenant);
        let state = self.limits.state(&key).await.map_err(|error| error.to_string())?;
        let Some((there, budget)) = state.as_ref().and_then(|there| Some((there, there.limit.budget?))) else {
            return Ok(());
        };
        let Some(mut spent) = self.spending.of(tenant, budget.period).await? else { return Ok(()) };
        // What workers held that disappeared is gone for the account, and usage knows no more of it than of lost calls.
        if let Some(purse) = &there.budget {
            let gone = spent.micro_usd.saturating_add(purse.unaccounted).min(purse.spent);
            spent.micro_usd = spent.micro_usd.max(gone);
        }
        let period_ends = budget.period.end_of(there.at);
        let level = match refused {
            Some(wanted) if spent.micro_usd.saturating_add(wanted) > budget.micro_usd => BudgetLevel::Exhausted,
            _ if budget.mark(spent.micro_usd) == Mark::Within => return Ok(()),
            _ => BudgetLevel::Alert,
        };
        let news = (budget.micro_usd, period_ends, level);
        let told = self.tenants.lock().get(&tenant).and_then(|watch| watch.told);
        let is_told = |level: BudgetLevel| {
            told.is_some_and(|((budget, ends, told), at)| {
                (budget, ends) == (news.0, news.1) && told >= level && at.elapsed() < TOLD_FOR
            })
        };
        // Spent between two looks, a budget passes the first mark all the same.
        let is_news = |it: &BudgetLevel| *it <= level && !is_told(*it);
        let levels: Vec<_> = [BudgetLevel::Alert, BudgetLevel::Exhausted].into_iter().filter(is_news).collect();
        if levels.is_empty() {
            return Ok(());
        }
        let commands: Result<Vec<_>, String> = levels
            .iter()
            .map(|&level| {
                let report = ReportBudgetUse {
                    level,
                    monthly_budget_micro_usd: i64::try_from(budget.micro_usd).unwrap_or(i64::MAX),
                    spent_micro_usd: i64::try_from(spent.micro_usd).unwrap_or(i64::MAX),
                    period_ends_at: period_ends,
                };
                say(tenant, there.version, report)
            })
            .collect();
        self.topics.produce(commands?, Lane::System).await.map_err(|error| error.to_string())?;
        for level in levels {
            match level {
                BudgetLevel::Alert => handles().budget_alert.increment(1),
                BudgetLevel::Exhausted => handles().budget_exhausted.increment(1),
            }
            tracing::warn!(%tenant, level = level.name(), "a budget is nearly used");
        }
        self.tenants.lock().entry(tenant).or_default().told = Some((news, Instant::now()));
        Ok(())
    }
}

/// The id is made from what it says, and from the version of the tenant that set the budget: what says more is another
/// command, and the tenant knows what it was told already.
fn say(tenant: TenantId, version: u64, report: ReportBudgetUse) -> Result<Arc<Accepted>, String> {
    let stream = standing::stream(tenant);
    let kind = format!("budget/{version}/{}/{}/{}", report.period_ends_at, report.level.name(), report.spent_micro_usd);
    let id = reaction_command_id(tenant.0, &kind, &stream);
    let envelope = Envelope { source: SYSTEM_SOURCE.into(), ..Envelope::new(id, stream) };
    let command = AnyCommand::from(tenant::Command::ReportBudgetUse(report));
    Accepted::new(envelope, command).map(Arc::new).map_err(|error| error.to_string())
}

/// What a call wanted of money and did not get.
fn refused(ask: &Ask, reserved: &Reserved) -> Option<u64> {
    let is_money = match reserved.outcome {
        Outcome::Granted(_) => false,
        Outcome::Wait { why, .. } => why == Why::Limit(Dimension::MicroUsd),
        Outcome::TooLarge { dimension, .. } => dimension == Dimension::MicroUsd,
    };
    is_money.then_some(ask.needed.micro_usd)
}

#[async_trait]
impl Limits for Alerted {
    async fn reserve(&self, key: &LimitKey, ask: &Ask) -> Result<Reserved, Error> {
        let reserved = self.0.limits.reserve(key, ask).await?;
        let refused = refused(ask, &reserved);
        if let LimitKey::Tenant(tenant) = key
            && (refused.is_some() || reserved.mark.is_some_and(|mark| mark > Mark::Within))
        {
            self.notice(*tenant, refused);
        }
        Ok(reserved)
    }

    async fn give_back(&self, key: &LimitKey, holder: u64, op: u64, returned: &Returned) -> Result<(), Error> {
        self.0.limits.give_back(key, holder, op, returned).await?;
        // What a call came to, the last before a long silence it may be.
        if let LimitKey::Tenant(tenant) = key
            && self.is_watched(*tenant)
        {
            self.notice(*tenant, None);
        }
        Ok(())
    }

    async fn set(&self, key: &LimitKey, setting: &Setting) -> Result<bool, Error> {
        self.0.limits.set(key, setting).await
    }

    async fn throttle(&self, key: &LimitKey, news: &News) -> Result<(), Error> {
        self.0.limits.throttle(key, news).await
    }

    async fn state(&self, key: &LimitKey) -> Result<Option<Standing>, Error> {
        self.0.limits.state(key).await
    }
}
