//! The limits of one process: accounts in memory, under one lock.
//!
//! They begin anew with the process. A budget's owner tells what is spent of it when it sets the limit; of a window that
//! a restart falls into, what went before is forgotten, and the pace alone bounds how much the two parts of it make
//! together: the limit, a burst, and one call.
//!
//! Time is the wall clock's at start and monotonic from then on, so that a clock that is set moves no window.

use crate::domain::Micros;
use crate::domain::limit::{Account, Ask, LimitKey, News, Reserved, Returned, Setting, Standing};
use crate::ports::Clock;
use crate::ports::limits::{Error, Limits};
use async_trait::async_trait;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::time::Instant;

pub struct MemoryLimits {
    accounts: Mutex<HashMap<LimitKey, Account>>,
    started: Instant,
    started_at: Micros,
}

impl MemoryLimits {
    pub fn new(clock: &dyn Clock) -> Self {
        Self { accounts: Mutex::default(), started: Instant::now(), started_at: clock.now() }
    }

    fn now(&self) -> Micros {
        self.started_at + Micros::try_from(self.started.elapsed().as_micros()).unwrap_or(Micros::MAX / 2)
    }

    fn with<T>(&self, key: &LimitKey, change: impl FnOnce(&mut Account, Micros) -> T) -> Result<T, Error> {
        let mut accounts = self.accounts.lock();
        let account = accounts.get_mut(key).ok_or_else(|| Error::Unset { key: key.clone() })?;
        // Read under the lock, so that it never runs backwards between two operations.
        Ok(change(account, self.now()))
    }
}

#[async_trait]
impl Limits for MemoryLimits {
    async fn reserve(&self, key: &LimitKey, ask: &Ask) -> Result<Reserved, Error> {
        self.with(key, |account, now| account.reserve(now, ask))
    }

    async fn give_back(&self, key: &LimitKey, holder: u64, op: u64, returned: &Returned) -> Result<(), Error> {
        self.with(key, |account, now| account.give_back(now, holder, op, returned))
    }

    async fn set(&self, key: &LimitKey, setting: &Setting) -> Result<bool, Error> {
        let mut accounts = self.accounts.lock();
        match accounts.get_mut(key) {
            Some(account) => Ok(account.set(setting)),
            None => {
                accounts.insert(key.clone(), Account::new(setting));
                Ok(true)
            }
        }
    }

    async fn throttle(&self, key: &LimitKey, news: &News) -> Result<(), Error> {
        self.with(key, |account, now| account.throttle(now, news))
    }

    async fn state(&self, key: &LimitKey) -> Result<Option<Standing>, Error> {
        let accounts = self.accounts.lock();
        Ok(accounts.get(key).map(|account| account.standing(self.now())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::clock::SystemClock;
    use crate::ports::conformance;
    use std::sync::Arc;

    #[tokio::test(start_paused = true)]
    async fn conforms() {
        let limits: Arc<dyn Limits> = Arc::new(MemoryLimits::new(&SystemClock));
        conformance::limits::suite(&limits, &limits.clone()).await;
    }
}
