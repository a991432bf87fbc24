//! The limits as one row for each key, changed by compare-and-set alone.
//!
//! An operation reads the row, lets the domain decide on it, and writes what it became on the condition that nobody wrote
//! in between. Who loses waits a random time, longer with each loss, and decides again on what the row then is; after
//! [`TRIED`] it gives up, and nothing happened. However many contend, one of them gets through at a time.
//!
//! After a timeout nothing is known, but what was written can go in on the version that it was written on and on no other.
//! So once the row shows another version, it either has the operation's number, and nothing is done twice, or never will.
//! Until then the row is read at the serial level, which settles what is still under way, and the operation is decided and
//! written again: one of the two at most goes in, whichever comes first.
//!
//! The time is the database's, read in the statement that reads the row: a worker's wall clock is never asked. All
//! statements of a row go to its replicas in one fixed order, so it is mostly the same node's, and the account keeps it
//! from running backwards where another one takes over. The nodes must agree within 100 ms, which whoever runs them sees
//! to (NTP), because their other writes depend on it too; the slack of the domain covers that.

use super::journal::refusal::applied;
use super::session::{Store, may_have_happened};
use crate::adapters::words::words;
use crate::domain::Micros;
use crate::domain::limit::{Account, Ask, LimitKey, News, Reserved, Returned, Setting, Standing};
use crate::ports::limits::{Error, Limits};
use async_trait::async_trait;
use scylla::errors::ExecutionError;
use scylla::response::query_result::QueryResult;
use scylla::statement::Consistency;
use scylla::statement::prepared::PreparedStatement;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// First byte of an account's blob. Raise it when the bytes change their meaning; see [`decode`].
const FORMAT: u8 = 1;
/// How long one operation is tried. A lease counts from when it was asked for, so one that took longer would be over when
/// it comes: better to ask anew.
const TRIED: Duration = Duration::from_millis(1500);
/// Longest wait after the first try that was lost, doubled with each: any time up to it, so that two who lost do not meet
/// again.
const PAUSE: Duration = Duration::from_millis(10);
const PAUSE_DOUBLED_MAX: u32 = 5;

const READ: &str = "SELECT version, account, toUnixTimestamp(now()) FROM {ks}.limits WHERE key = ?";

pub struct ScyllaLimits {
    store: Arc<Store>,
    read: PreparedStatement,
    read_serial: PreparedStatement,
    insert: PreparedStatement,
    update: PreparedStatement,
}

/// A row as it was read.
struct Row {
    version: i64,
    account: Account,
    /// The database's time.
    now: Micros,
}

/// Why there is no row to work on.
enum Unread {
    /// Another try may read it.
    Failed(String),
    Unreadable(String),
}

/// What a conditional write came to.
enum Written {
    Done,
    /// The database did not take it.
    Never(String),
    /// Somebody else was first. Where nodes contend it can be the write itself that went in first, by another's hand: the
    /// next look at the row tells.
    Refused,
    /// It may have happened, or still happen.
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
        Ok(Self { store, read, read_serial, insert, update })
    }

    async fn row(&self, key: &LimitKey, serial: bool) -> Result<Option<Row>, Unread> {
        let failed = |error: &dyn std::error::Error| Unread::Failed(words(error));
        let statement = if serial { &self.read_serial } else { &self.read };
        let result = self.store.session.execute_unpaged(statement, (key.to_string(),)).await;
        let rows = result.map_err(|error| failed(&error))?.into_rows_result().map_err(|error| failed(&error))?;
        let row = rows.maybe_first_row::<(Option<i64>, Option<&[u8]>, i64)>().map_err(|error| failed(&error))?;
        let Some((Some(version), Some(bytes), millis)) = row else { return Ok(None) };
        let account = decode(bytes).map_err(Unread::Unreadable)?;
        Ok(Some(Row { version, account, now: millis * 1000 }))
    }

    async fn write(&self, key: &LimitKey, version: i64, account: &Account) -> Written {
        let bytes = match encode(account) {
            Ok(bytes) => bytes,
            Err(cause) => return Written::Never(cause),
        };
        let values = (version + 1, bytes, key.to_string(), version);
        Written::of(self.store.session.execute_unpaged(&self.update, values).await)
    }

    /// Changes an account. `change` is called again for each try, on the account as it then is, and must find itself done
    /// where it is.
    async fn change<T>(&self, key: &LimitKey, change: impl Fn(&mut Account, Micros) -> T) -> Result<T, Error> {
        let until = Instant::now() + TRIED;
        // The version that a write is on of which nobody knows yet whether it went in. On no other can it any more.
        let mut open: Option<i64> = None;
        let mut unsettled = false;
        let mut cause = String::new();
        for tries in 0.. {
            match self.row(key, unsettled).await {
                Ok(None) => return Err(Error::Unset { key: key.clone() }),
                Ok(Some(mut row)) => {
                    open = open.filter(|version| *version == row.version);
                    unsettled &= open.is_some();
                    let answer = change(&mut row.account, row.now);
                    let changed = row.account.take_changed();
                    // Else what was written before may still go in, and make another answer of it.
                    if !changed && open.is_none() {
                        return Ok(answer);
                    }
                    // Here, where it is known best what became of the tries before.
                    if Instant::now() >= until {
                        break;
                    }
                    if changed {
                        match self.write(key, row.version, &row.account).await {
                            Written::Done => return Ok(answer),
                            Written::Never(words) => cause = words,
                            Written::Refused => {
                                open = Some(row.version);
                                cause = format!("others changed it first for {} ms", TRIED.as_millis());
                            }
                            Written::Unknown(words) => (open, unsettled, cause) = (Some(row.version), true, words),
                        }
                    }
                }
                Err(Unread::Unreadable(words)) => return Err(given_up(key, open, words)),
                Err(Unread::Failed(words)) => {
                    cause = words;
                    if Instant::now() >= until {
                        break;
                    }
                }
            }
            tokio::time::sleep(pause(tries)).await;
        }
        Err(given_up(key, open, cause))
    }
}

/// Any time up to a longest one, which grows with the tries that were in vain; another one in every process.
fn pause(tries: u32) -> Duration {
    let random = (RandomState::new().hash_one(tries) % 1000) as u32;
    PAUSE * 2u32.pow(tries.min(PAUSE_DOUBLED_MAX)) * random / 1000
}

impl Written {
    fn of(result: Result<QueryResult, ExecutionError>) -> Self {
        match result.map(applied) {
            Ok(Ok(true)) => Self::Done,
            Ok(Ok(false)) => Self::Refused,
            Ok(Err(cause)) => Self::Unknown(cause),
            Err(error) if may_have_happened(&error) => Self::Unknown(words(&error)),
            Err(error) => Self::Never(words(&error)),
        }
    }
}

fn given_up(key: &LimitKey, open: Option<i64>, cause: String) -> Error {
    match open {
        Some(_) => Error::Unknown { key: key.clone(), cause },
        None => Error::Unavailable(cause),
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
        match Written::of(result) {
            Written::Done => Ok(true),
            // Somebody else made the row.
            Written::Refused => self.change(key, |account, _| account.set(setting)).await,
            Written::Never(cause) => Err(Error::Unavailable(cause)),
            Written::Unknown(cause) => Err(Error::Unknown { key: key.clone(), cause }),
        }
    }

    async fn throttle(&self, key: &LimitKey, news: &News) -> Result<(), Error> {
        self.change(key, |account, now| account.throttle(now, news)).await
    }

    async fn state(&self, key: &LimitKey) -> Result<Option<Standing>, Error> {
        match self.row(key, false).await {
            Ok(row) => Ok(row.map(|row| row.account.standing(row.now))),
            Err(Unread::Failed(cause) | Unread::Unreadable(cause)) => Err(Error::Unavailable(cause)),
        }
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
