//! The limits of one process: accounts in memory, and on a file that the next start reads.
//!
//! A grant leaves only after its account is written, so that a process that is killed and started again goes on where it
//! was: no window exceeds its limit because it fell across a restart. The file ([`LIMITS_FILE`]) is a run of accounts, the
//! last of each key counts:
//!
//! ```text
//! u32 length of the body    u32 crc32 of it    body: u8 format, then (key, account) in postcard
//! ```
//!
//! It is written to, not synced: a kill loses nothing of it, and after a power cut the minute that matters is mostly over.
//! What was lost then, or is damaged, is as if it had not been used; the pace alone bounds how much the two parts of a
//! window make together: the limit, a burst, and one call. Costs one small write per lease, not per request.
//!
//! Time is the wall clock's at start and monotonic from then on, so that a clock that is set moves no window; and never
//! before that of an account, unless a clock that was far ahead kept it.

use super::folder::{FolderError, Layout};
use crate::domain::Micros;
use crate::domain::limit::{Account, Ask, LimitKey, News, Reserved, Returned, Setting, Standing};
use crate::ports::Clock;
use crate::ports::limits::{Error, Limits};
use async_trait::async_trait;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use tokio::time::Instant;

/// Its name in the folder.
pub const LIMITS_FILE: &str = "LIMITS";
/// Of the layout of a body.
const FORMAT: u8 = 1;
/// An account that is further ahead was kept by a clock that was wrong: followed, it would move every window and month.
const AHEAD_MAX: Micros = 120_000_000;
/// Before a body.
const HEADER_BYTES: usize = 8;
/// Accounts on the file that are no longer the last of their keys, before it is written anew: so many, and so many for
/// each key.
const STALE_MAX: usize = 4_096;
const STALE_PER_KEY_MAX: usize = 16;

/// See the module.
pub struct FolderLimits {
    inner: Mutex<Inner>,
    started: Instant,
    started_at: Micros,
}

struct Inner {
    accounts: HashMap<LimitKey, Account>,
    path: PathBuf,
    /// Absent where the last write failed: then the next one begins the file anew.
    file: Option<File>,
    /// Accounts on it.
    written: usize,
}

impl FolderLimits {
    /// Goes on where the process before left off. Only one at a time may have the folder.
    ///
    /// # Errors
    /// When the folder cannot be read or written.
    pub fn open(layout: &Layout, clock: &dyn Clock) -> Result<Self, FolderError> {
        let path = layout.root().join(LIMITS_FILE);
        let mut accounts = match fs::read(&path) {
            Ok(bytes) => read(&path, &bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => HashMap::new(),
            Err(error) => return Err(FolderError::io(&path, error)),
        };
        let now = clock.now();
        accounts.retain(|_, account| !account.is_blank(now) && account.standing(now).at <= now + AHEAD_MAX);
        let last = accounts.values().map(|account| account.standing(now).at).max();
        let mut inner = Inner { accounts, path, file: None, written: 0 };
        inner.begin().map_err(|error| FolderError::io(&inner.path, error))?;
        Ok(Self {
            inner: Mutex::new(inner),
            started: Instant::now(),
            started_at: last.map_or(now, |last| last.max(now)),
        })
    }

    fn now(&self) -> Micros {
        self.started_at + Micros::try_from(self.started.elapsed().as_micros()).unwrap_or(Micros::MAX / 2)
    }

    /// Changes an account and writes it before anybody hears of it.
    fn with<T>(&self, key: &LimitKey, change: impl FnOnce(&mut Account, Micros) -> T) -> Result<T, Error> {
        let mut inner = self.inner.lock();
        let before = inner.accounts.get(key).ok_or_else(|| Error::Unset { key: key.clone() })?;
        let mut account = before.clone();
        // Read under the lock, so that it never runs backwards between two operations.
        let changed = change(&mut account, self.now());
        if account.take_changed() {
            inner.write(key, &account)?;
        }
        inner.accounts.insert(key.clone(), account);
        Ok(changed)
    }
}

impl Inner {
    /// Appends an account, to the file or to a new one.
    fn write(&mut self, key: &LimitKey, account: &Account) -> Result<(), Error> {
        let failed =
            |path: &Path, cause: String| Error::Unavailable(format!("{} cannot be written: {cause}", path.display()));
        let body = encode(key, account).map_err(|cause| failed(&self.path, cause))?;
        if self.written > self.accounts.len() * STALE_PER_KEY_MAX + STALE_MAX {
            self.file = None;
        }
        let mut write = || -> std::io::Result<()> {
            if self.file.is_none() {
                self.begin()?;
            }
            let Some(file) = &mut self.file else { return Ok(()) };
            file.write_all(&body)
        };
        match write() {
            Ok(()) => {
                self.written += 1;
                Ok(())
            }
            Err(error) => {
                // Half a frame may be there: nothing may be written behind it.
                self.file = None;
                Err(failed(&self.path, error.to_string()))
            }
        }
    }

    /// Begins a file that holds the accounts as they are. It takes the place of the one before in one step.
    fn begin(&mut self) -> std::io::Result<()> {
        let new = self.path.with_extension("new");
        let mut bytes = Vec::new();
        for (key, account) in &self.accounts {
            bytes.extend(encode(key, account).map_err(std::io::Error::other)?);
        }
        let mut file = File::create(&new)?;
        file.write_all(&bytes)?;
        fs::rename(&new, &self.path)?;
        (self.file, self.written) = (Some(file), self.accounts.len());
        Ok(())
    }
}

fn encode(key: &LimitKey, account: &Account) -> Result<Vec<u8>, String> {
    let mut frame = vec![0; HEADER_BYTES];
    frame.push(FORMAT);
    let mut frame = postcard::to_extend(&(key, account), frame).map_err(|error| error.to_string())?;
    let (header, body) = frame.split_at_mut(HEADER_BYTES);
    let length = u32::try_from(body.len()).map_err(|error| error.to_string())?;
    header[..4].copy_from_slice(&length.to_le_bytes());
    header[4..].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
    Ok(frame)
}

/// All accounts up to the first that is not whole.
fn read(path: &Path, mut bytes: &[u8]) -> HashMap<LimitKey, Account> {
    let mut accounts = HashMap::new();
    while let Some((key, account, rest)) = decode(bytes) {
        accounts.insert(key, account);
        bytes = rest;
    }
    if !bytes.is_empty() {
        let path = path.display();
        tracing::warn!(%path, bytes = bytes.len(), "what was used of the limits is not all known: the end of their file is torn");
    }
    accounts
}

fn decode(bytes: &[u8]) -> Option<(LimitKey, Account, &[u8])> {
    let (length, bytes) = bytes.split_first_chunk()?;
    let (crc, bytes) = bytes.split_first_chunk()?;
    let (body, rest) = bytes.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    let (format, account) = body.split_first()?;
    if u32::from_le_bytes(*crc) != crc32fast::hash(body) || *format != FORMAT {
        return None;
    }
    let (key, account) = postcard::from_bytes(account).ok()?;
    Some((key, account, rest))
}

#[async_trait]
impl Limits for FolderLimits {
    async fn reserve(&self, key: &LimitKey, ask: &Ask) -> Result<Reserved, Error> {
        self.with(key, |account, now| account.reserve(now, ask))
    }

    async fn give_back(&self, key: &LimitKey, holder: u64, op: u64, returned: &Returned) -> Result<(), Error> {
        self.with(key, |account, now| account.give_back(now, holder, op, returned))
    }

    async fn set(&self, key: &LimitKey, setting: &Setting) -> Result<bool, Error> {
        let there = self.with(key, |account, _| account.set(setting));
        if !matches!(there, Err(Error::Unset { .. })) {
            return there;
        }
        let account = Account::new(setting);
        let mut inner = self.inner.lock();
        inner.write(key, &account)?;
        inner.accounts.insert(key.clone(), account);
        Ok(true)
    }

    async fn throttle(&self, key: &LimitKey, news: &News) -> Result<(), Error> {
        self.with(key, |account, now| account.throttle(now, news))
    }

    async fn state(&self, key: &LimitKey) -> Result<Option<Standing>, Error> {
        let inner = self.inner.lock();
        Ok(inner.accounts.get(key).map(|account| account.standing(self.now())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::limit::{Amounts, Limit, Outcome};
    use crate::domain::{StreamId, TenantId};
    use crate::ports::clock::SystemClock;
    use crate::ports::conformance;
    use std::sync::Arc;
    use uuid::Uuid;

    /// An hour ahead.
    struct Later;

    impl Clock for Later {
        fn now(&self) -> Micros {
            SystemClock.now() + 3_600_000_000
        }
    }

    fn folder() -> (tempfile::TempDir, Layout) {
        let folder = tempfile::tempdir().expect("a folder");
        let layout = Layout::open(folder.path(), 4).expect("a layout");
        (folder, layout)
    }

    fn open(layout: &Layout) -> FolderLimits {
        FolderLimits::open(layout, &SystemClock).expect("limits")
    }

    fn key() -> LimitKey {
        let provider = StreamId::new(TenantId(Uuid::nil()), crate::domain::Aggregate::LlmProvider, Uuid::from_u128(1));
        LimitKey::Provider(provider)
    }

    async fn set(limits: &FolderLimits, requests: u64) {
        let limit = Limit { requests_per_minute: Some(requests), ..Limit::default() };
        limits.set(&key(), &Setting { version: 1, limit, spent: None }).await.expect("set");
    }

    async fn granted(limits: &FolderLimits, holder: u64, op: u64) -> u64 {
        let amounts = |requests| Amounts { requests, ..Amounts::default() };
        let ask = Ask { holder, op, needed: amounts(1), wanted: amounts(1), ..Ask::default() };
        match limits.reserve(&key(), &ask).await.expect("an answer").outcome {
            Outcome::Granted(grant) => grant.amounts.requests,
            _ => 0,
        }
    }

    fn used(standing: &Standing) -> u64 {
        standing.requests.expect("a limit").used
    }

    #[tokio::test(start_paused = true)]
    async fn conforms() {
        let (_folder, layout) = folder();
        let limits: Arc<dyn Limits> = Arc::new(open(&layout));
        conformance::limits::suite(&limits, &limits.clone()).await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_after_a_kill_goes_on_with_what_was_used() {
        let (_folder, layout) = folder();
        let mut granted_in_all = 0;
        for start in 1..=5 {
            // Dropped without a word, as a kill does.
            let limits = open(&layout);
            set(&limits, 60).await;
            for op in 1..100 {
                granted_in_all += granted(&limits, start, op).await;
            }
            assert_eq!(used(&limits.state(&key()).await.expect("read").expect("set")), granted_in_all);
        }
        assert!((1..=60).contains(&granted_in_all), "{granted_in_all}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_torn_end_costs_what_was_written_last_and_nothing_else() {
        let (_folder, layout) = folder();
        let path = layout.root().join(LIMITS_FILE);
        let limits = open(&layout);
        set(&limits, 6000).await;
        assert_eq!(granted(&limits, 1, 1).await, 1);
        let whole = fs::read(&path).expect("the file");
        assert_eq!(granted(&limits, 1, 2).await, 1);
        let torn = fs::read(&path).expect("the file");
        drop(limits);
        for cut in whole.len()..torn.len() {
            fs::write(&path, &torn[..cut]).expect("written");
            let there = open(&layout).state(&key()).await.expect("read").expect("set");
            assert_eq!(used(&there), 1, "cut at {cut} of {}", torn.len());
        }
        let mut flipped = torn.clone();
        let last = flipped.len() - 1;
        flipped[last] ^= 1;
        fs::write(&path, &flipped).expect("written");
        assert_eq!(used(&open(&layout).state(&key()).await.expect("read").expect("set")), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_file_does_not_grow_without_end_and_what_is_past_is_forgotten() {
        let (_folder, layout) = folder();
        let limits = open(&layout);
        set(&limits, 1_000_000).await;
        for op in 1..3 * STALE_MAX as u64 {
            granted(&limits, 1, op).await;
            tokio::time::advance(std::time::Duration::from_millis(20)).await;
        }
        let written = limits.inner.lock().written;
        assert!(written <= STALE_MAX + STALE_PER_KEY_MAX + 2, "{written}");
        drop(limits);
        let limits = FolderLimits::open(&layout, &Later).expect("limits");
        assert!(limits.state(&key()).await.expect("read").is_none());
    }
}
