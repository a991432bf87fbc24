//! Port: limits, which hold over all workers together however many there are.
//!
//! What an account does with an operation is decided in [`domain::limit`](crate::domain::limit); a store only keeps the
//! accounts, one compare-and-set for each operation that changes one.

use crate::domain::limit::{Ask, LimitKey, News, Reserved, Returned, Setting, Standing};
use async_trait::async_trait;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody set a limit for this key, not even that there is none.
    #[error("no limit is set for {key}; set one first, without bounds where it has none")]
    Unset { key: LimitKey },
    /// It may have happened or may still happen. Refunds that were returned with it must not be returned again: they
    /// would count twice. Leases that were closed with it may, and the lease that it asked for should be.
    #[error("whether the limit of {key} was changed is not known: {cause}")]
    Unknown { key: LimitKey, cause: String },
    /// Nothing happened: the store cannot be asked, or too many asked it at once. Ask again, under the same number or
    /// another.
    #[error("the limits are not available: {0}")]
    Unavailable(String),
}

impl Error {
    /// Whether the operation may be in force all the same.
    pub fn may_have_happened(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }
}

/// The limits.
///
/// Contract:
/// - Operations on one key happen one after the other, each whole or not at all, whichever process they come from.
/// - An operation happens at most once: `reserve` and `give_back` carry the holder and a number of its own that grows,
///   and one that is repeated with its number finds itself done. `set` and `throttle` may be repeated.
/// - The time of an account is that of the store, not of a worker, and never runs backwards.
/// - A holder has one operation on a key under way at a time, and repeats none after
///   [`LEASE_LIFE`](crate::domain::limit::LEASE_LIFE) and its grace.
/// - An operation that others keep from happening gives up within a lease's life, and says that nothing happened.
/// - A grant is good from the moment the caller *began* to ask for `expires_at` minus `at`, by its monotonic clock. Who
///   holds one lets nothing go after that.
#[async_trait]
pub trait Limits: Send + Sync + 'static {
    /// Takes in what is returned, and grants a lease or tells when to ask again.
    async fn reserve(&self, key: &LimitKey, ask: &Ask) -> Result<Reserved, Error>;

    /// Takes in what is returned: leases that are closed, and what calls came to against their estimate.
    async fn give_back(&self, key: &LimitKey, holder: u64, op: u64, returned: &Returned) -> Result<(), Error>;

    /// Sets a limit. `false` where a newer version is there already, or this very limit, by an earlier try of the same too;
    /// what is known to be spent is taken in all the same. Another limit of the same version replaces it: what a tier gives
    /// is a setting, which changes without the tenant. Where there was no limit before, it is exact in windows that begin
    /// [`LEASE_LIFE`](crate::domain::limit::LEASE_LIFE) and [`SLACK`](crate::domain::limit::SLACK) later.
    async fn set(&self, key: &LimitKey, setting: &Setting) -> Result<bool, Error>;

    /// Takes in what a provider told about its limits. Leases that are out still run, for their life at most.
    async fn throttle(&self, key: &LimitKey, news: &News) -> Result<(), Error>;

    /// How a key stands; `None` where no limit was ever set.
    async fn state(&self, key: &LimitKey) -> Result<Option<Standing>, Error>;
}
