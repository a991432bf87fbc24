//! The limits as one row for each key, changed by compare-and-set alone.
//!
//! An operation reads the row, lets the domain decide on it, and writes what it became on the condition that nobody wrote
//! in between. After a timeout nothing is known: the row is read again at the serial level and the operation decided
//! again under its number. If the first try went in, the row has the number and nothing is done twice; if not, the second
//! one is written on the version that the first was: one of the two at most goes in, whichever comes first.
//!
//! The time is the database's, read in the statement that reads the row: a worker's wall clock is never asked. All
//! statements of a row go to its replicas in one fixed order, so it is mostly the same node's, and the account keeps it
//! from running backwards where another one takes over. The nodes must agree within 100 ms, which whoever runs them sees
//! to (NTP), because their other writes depend on it too; the slack of the domain covers that.

use super::journal::refusal::applied;
use super::session::{Store, may_have_happened, words};
use crate::domain::Micros;
use crate::domain::limit::{Account, Ask, LimitKey, News, Reserved, Returned, Setting, Standing};
use crate::ports::limits::{Error, Limits};
use async_trait::async_trait;
use scylla::errors::ExecutionError;
use scylla::statement::Consistency;
use scylla::statement::prepared::PreparedStatement;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// First byte of an account's blob. Raise it when the bytes change their meaning; see [`decode`].
const FORMAT: u8 = 1;
/// How long one operation is tried. Well within the time for which the row knows its number.
const TRIED: Duration = Duration::from_millis(4000);
/// Longest wait between two tries, per try so far.
const PAUSE_STEP: Duration = Duration::from_millis(5);
const PAUSE_STEPS_MAX: u32 = 20;

const READ: &str = "SELECT version, account, toUnixTimestamp(now()) FROM {ks}.limits WHERE key = ?";

pub struct ScyllaLimits {
    store: Arc<Store>,
    read: PreparedStatement,
    read_serial: PreparedStatement,
    insert: PreparedStatement,
    update: PreparedStatement,
    /// Of pauses between tries, so that two who lost do not meet again.
    pauses: AtomicU64,
}

/// A row as it was read.
struct Row {
    version: i64,
    account: Account,
    /// The database's time.
    now: Micros,
}

/// What one try came to.
enum Try {
    Done,
    /// Somebody else was first, or nothing happened.
    Again(String),
    /// It may have happened.
    Unknown(String),
}

impl ScyllaLimits {
    /// # Errors
    /// When the table is not there.
    pub async fn open(store: Arc<Store>) -> Result<Self, super::session::Error> {
        // Conditional ones too, for where they go: to the node that answers for the row.
        let mut read = store.prepare_conditional(READ).await?;
        read.set_consistency(Consistency::LocalQuorum);
        let mut read_serial = read.clone();
        read_serial.set_consistency(Consistency::LocalSerial);
        let insert = store
            .prepare_conditional("INSERT INTO {ks}.limits (key, version, account) VALUES (?, 1, ?) IF NOT EXISTS")
            .await?;
        let update = store
            .prepare_conditional("UPDATE {ks}.limits SET version = ?, account = ? WHERE key = ? IF version = ?")
            .await?;
        Ok(Self { store, read, read_serial, insert, update, pauses: AtomicU64::new(0x9e37_79b9_7f4a_7c15) })
    }

    async fn row(&self, key: &LimitKey, serial: bool) -> Result<Option<Row>, String> {
        let statement = if serial { &self.read_serial } else { &self.read };
        let result = self.store.session.execute_unpaged(statement, (key.to_string(),)).await;
        let rows = result.map_err(|error| words(&error))?.into_rows_result().map_err(|error| words(&error))?;
        let row = rows.maybe_first_row::<(Option<i64>, Option<&[u8]>, i64)>().map_err(|error| words(&error))?;
        let Some((Some(version), Some(bytes), millis)) = row else { return Ok(None) };
        Ok(Some(Row { version, account: decode(bytes)?, now: millis * 1000 }))
    }

    async fn write(&self, key: &LimitKey, version: i64, account: &Account) -> Try {
        let bytes = match encode(account) {
            Ok(bytes) => bytes,
            Err(cause) => return Try::Again(cause),
        };
        let values = (version + 1, bytes, key.to_string(), version);
        Try::of(self.store.session.execute_unpaged(&self.update, values).await)
    }

    /// Changes an account. `change` is called again for each try, on the account as it then is, and must find itself done
    /// where it is.
    async fn change<T>(&self, key: &LimitKey, change: impl Fn(&mut Account, Micros) -> T) -> Result<T, Error> {
        let until = Instant::now() + TRIED;
        let (mut unknown, mut tries) = (false, 0);
        loop {
            let tried = match self.row(key, tries > 0).await {
                Ok(None) => return Err(Error::Unset { key: key.clone() }),
                Ok(Some(mut row)) => {
                    let answer = change(&mut row.account, row.now);
                    if !row.account.take_changed() {
                        return Ok(answer);
                    }
                    match self.write(key, row.version, &row.account).await {
                        Try::Done => return Ok(answer),
                        other => other,
                    }
                }
                Err(cause) => Try::Again(cause),
            };
            let (Try::Again(cause) | Try::Unknown(cause)) = &tried else { continue };
            unknown |= matches!(tried, Try::Unknown(_));
            tries += 1;
            let pause = self.pause(tries);
            if Instant::now() + pause >= until {
                return Err(match unknown {
                    true => Error::Unknown { key: key.clone(), cause: cause.clone() },
                    false => Error::Unavailable(cause.clone()),
                });
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Longer the more tries were in vain, and different for everybody.
    fn pause(&self, tries: u32) -> Duration {
        let mut bits = self.pauses.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits ^= bits >> 27;
        PAUSE_STEP * tries.min(PAUSE_STEPS_MAX) * (bits % 1000) as u32 / 1000
    }
}

impl Try {
    fn of(result: Result<scylla::response::query_result::QueryResult, ExecutionError>) -> Self {
        match result.map(applied) {
            Ok(Ok(true)) => Self::Done,
            Ok(Ok(false)) => Self::Again("others changed it first, again and again".into()),
            Ok(Err(cause)) => Self::Unknown(cause),
            Err(error) if may_have_happened(&error) => Self::Unknown(words(&error)),
            Err(error) => Self::Again(words(&error)),
        }
    }
}

fn encode(account: &Account) -> Result<Vec<u8>, String> {
    postcard::to_extend(account, vec![FORMAT]).map_err(|error| error.to_string())
}

fn decode(bytes: &[u8]) -> Result<Account, String> {
    match bytes.split_first() {
        Some((&FORMAT, account)) => {
            postcard::from_bytes(account).map_err(|error| format!("a limit's row is damaged: {error}"))
        }
        Some((format, _)) => {
            Err(format!("a limit's row has format {format} and this program reads {FORMAT}: run a newer program"))
        }
        None => Err("a limit's row is empty".into()),
    }
}

#[async_trait]
impl Limits for ScyllaLimits {
    async fn reserve(&self, key: &LimitKey, ask: &Ask) -> Result<Reserved, Error> {
        self.change(key, |account, now| account.reserve(now, ask)).await
    }

    async fn give_back(&self, key: &LimitKey, holder: u64, op: u64, returned: &Returned) -> Result<(), Error> {
        self.change(key, |account, now| account.give_back(now, holder, op, returned)).await
    }

    async fn set(&self, key: &LimitKey, setting: &Setting) -> Result<bool, Error> {
        match self.change(key, |account, _| account.set(setting)).await {
            Err(Error::Unset { .. }) => {}
            other => return other,
        }
        let bytes = encode(&Account::new(setting)).map_err(Error::Unavailable)?;
        let result = self.store.session.execute_unpaged(&self.insert, (key.to_string(), bytes)).await;
        match Try::of(result) {
            Try::Done => Ok(true),
            // Somebody else made the row, or nobody knows: now it is there, or the caller sets it again.
            Try::Again(_) => self.change(key, |account, _| account.set(setting)).await,
            Try::Unknown(cause) => Err(Error::Unknown { key: key.clone(), cause }),
        }
    }

    async fn throttle(&self, key: &LimitKey, news: &News) -> Result<(), Error> {
        self.change(key, |account, now| account.throttle(now, news)).await
    }

    async fn state(&self, key: &LimitKey) -> Result<Option<Standing>, Error> {
        let row = self.row(key, false).await.map_err(Error::Unavailable)?;
        Ok(row.map(|row| row.account.standing(row.now)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_the_same_from_its_bytes_and_an_unknown_format_is_told() {
        let account = Account::default();
        let mut bytes = encode(&account).unwrap();
        assert_eq!(decode(&bytes).unwrap(), account);
        bytes[0] = 9;
        assert!(decode(&bytes).unwrap_err().contains("format 9"));
        assert!(decode(&[]).is_err());
    }
}
