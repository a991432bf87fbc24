//! A store as workers see it: each way takes some time, some answers are lost, some requests never arrive.

use crate::domain::Micros;
use crate::domain::limit::{Account, Amounts, Ask, Limit, LimitKey, News, Reserved, Returned, Setting, Standing};
use crate::ports::limits::{Error, Limits};
use async_trait::async_trait;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

pub struct Store {
    inner: Mutex<Inner>,
    started: Instant,
}

struct Inner {
    accounts: HashMap<LimitKey, Account>,
    changes: usize,
    random: u64,
    /// Of 100 answers that are lost, and of 100 requests.
    fails_percent: u64,
}

const T0: Micros = 1_706_800_000_000_000;

impl Store {
    pub fn new(limits: &[(LimitKey, Limit)]) -> Arc<Self> {
        let account = |limit| Account::new(&Setting { version: 1, limit, spent: None });
        let accounts = limits.iter().map(|(key, limit)| (key.clone(), account(*limit))).collect();
        let inner = Inner { accounts, changes: 0, random: 0x2545_f491_4f6c_dd1d, fails_percent: 0 };
        Arc::new(Self { inner: Mutex::new(inner), started: Instant::now() })
    }

    pub fn fail(&self, percent: u64) {
        self.inner.lock().fails_percent = percent;
    }

    pub fn set(&self, key: &LimitKey, limit: Limit) {
        let setting = Setting { version: 2, limit, spent: None };
        self.inner.lock().accounts.entry_ref(key).or_insert_with(|| Account::new(&setting)).set(&setting);
    }

    fn standing(&self, key: &LimitKey) -> Standing {
        self.inner.lock().accounts[key].standing(self.now())
    }

    pub fn used(&self, key: &LimitKey) -> (u64, u64) {
        let there = self.standing(key);
        (there.requests.map_or(0, |usage| usage.used), there.tokens.map_or(0, |usage| usage.used))
    }

    pub fn spent(&self, key: &LimitKey) -> u64 {
        self.standing(key).budget.expect("a budget").spent
    }

    pub fn leased(&self, key: &LimitKey) -> Amounts {
        self.standing(key).leased
    }

    pub fn changes(&self) -> usize {
        self.inner.lock().changes
    }

    fn now(&self) -> Micros {
        T0 + self.started.elapsed().as_micros() as Micros
    }

    fn chance(&self) -> (u64, bool) {
        let mut inner = self.inner.lock();
        inner.random ^= inner.random << 13;
        inner.random ^= inner.random >> 7;
        inner.random ^= inner.random << 17;
        (inner.random, (inner.random >> 8) % 100 < inner.fails_percent)
    }

    async fn with<T>(&self, key: &LimitKey, change: impl FnOnce(&mut Account, Micros) -> T) -> Result<T, Error> {
        let (random, fails) = self.chance();
        tokio::time::sleep(Duration::from_millis(1 + random % 20)).await;
        if fails {
            return Err(Error::Unavailable("a test".into()));
        }
        let answer = {
            let mut inner = self.inner.lock();
            let now = self.now();
            let account = inner.accounts.get_mut(key).ok_or_else(|| Error::Unset { key: key.clone() })?;
            let answer = change(account, now);
            let changed = account.take_changed();
            inner.changes += usize::from(changed);
            answer
        };
        let (random, fails) = self.chance();
        tokio::time::sleep(Duration::from_millis(1 + random % 20)).await;
        if fails { Err(Error::Unknown { key: key.clone(), cause: "a test".into() }) } else { Ok(answer) }
    }
}

#[async_trait]
impl Limits for Store {
    async fn reserve(&self, key: &LimitKey, ask: &Ask) -> Result<Reserved, Error> {
        self.with(key, |account, now| account.reserve(now, ask)).await
    }

    async fn give_back(&self, key: &LimitKey, holder: u64, op: u64, returned: &Returned) -> Result<(), Error> {
        self.with(key, |account, now| account.give_back(now, holder, op, returned)).await
    }

    async fn set(&self, key: &LimitKey, setting: &Setting) -> Result<bool, Error> {
        self.with(key, |account, _| account.set(setting)).await
    }

    async fn throttle(&self, key: &LimitKey, news: &News) -> Result<(), Error> {
        self.with(key, |account, now| account.throttle(now, news)).await
    }

    async fn state(&self, key: &LimitKey) -> Result<Option<Standing>, Error> {
        self.with(key, |account, now| Some(account.standing(now))).await
    }
}
