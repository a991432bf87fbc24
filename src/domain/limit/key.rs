//! What a limit is of.

use crate::domain::tenant::Tier;
use crate::domain::{StreamId, TenantId};
use serde::{Deserialize, Serialize};
use std::fmt;

use super::Dimension;

/// One account.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum LimitKey {
    /// All models of a provider together.
    Provider(StreamId),
    /// One model of a provider.
    Model { provider: StreamId, model: String },
    /// A tenant: the requests of its tier, and its budget.
    Tenant(TenantId),
}

impl LimitKey {
    /// Whether what a call came to in this dimension is booked here.
    pub fn counts(&self, dimension: Dimension) -> bool {
        match (self, dimension) {
            (_, Dimension::Requests) => true,
            (Self::Tenant(_), dimension) => dimension == Dimension::MicroUsd,
            (_, dimension) => dimension == Dimension::Tokens,
        }
    }
}

/// For maps that make an entry of a borrowed key.
impl From<&LimitKey> for LimitKey {
    fn from(key: &LimitKey) -> Self {
        key.clone()
    }
}

/// As it stands in a store: one text per key, for ever.
impl fmt::Display for LimitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Provider(provider) => write!(f, "provider/{}/{}", provider.tenant, provider.id),
            // The model comes last: its name may hold a slash.
            Self::Model { provider, model } => write!(f, "model/{}/{}/{model}", provider.tenant, provider.id),
            Self::Tenant(tenant) => write!(f, "tenant/{tenant}"),
        }
    }
}

/// Requests per minute of a tenant, by its tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiers {
    pub diamond: u64,
    pub emerald: u64,
    pub sapphire: u64,
    pub opal: u64,
    pub onyx: u64,
}

impl Default for Tiers {
    fn default() -> Self {
        Self { diamond: 10_000, emerald: 5_000, sapphire: 2_000, opal: 1_000, onyx: 500 }
    }
}

impl Tiers {
    pub fn requests_per_minute(&self, tier: Tier) -> u64 {
        match tier {
            Tier::Diamond => self.diamond,
            Tier::Emerald => self.emerald,
            Tier::Sapphire => self.sapphire,
            Tier::Opal => self.opal,
            Tier::Onyx => self.onyx,
        }
    }
}
