//! The statements of the log's table.

use crate::adapters::scylla::session::{Error, Store};
use crate::domain::record::Hash;
use crate::ports::journal::Batch;
use scylla::statement::Consistency;
use scylla::statement::prepared::PreparedStatement;

/// Rows asked for at once.
pub const PAGE_ROWS: i32 = 200;

pub struct Statements {
    pub claim: PreparedStatement,
    pub open: PreparedStatement,
    pub advance: PreparedStatement,
    pub insert: PreparedStatement,
    pub state: PreparedStatement,
    pub state_serial: PreparedStatement,
    pub read: PreparedStatement,
}

const STATE: &str = "SELECT epoch, head, head_hash, recorded_at, consumed, derived_to FROM {ks}.log \
     WHERE log = ? AND segment = ? LIMIT 1";

impl Statements {
    pub async fn prepare(store: &Store) -> Result<Self, Error> {
        let mut state_serial = store.prepare(STATE).await?;
        state_serial.set_consistency(Consistency::LocalSerial);
        let mut read = store
            .prepare("SELECT position, record, hash FROM {ks}.log WHERE log = ? AND segment = ? AND position >= ?")
            .await?;
        read.set_page_size(PAGE_ROWS);
        Ok(Self {
            claim: store
                .prepare_conditional("UPDATE {ks}.log SET epoch = ? WHERE log = ? AND segment = ? IF epoch = ?")
                .await?,
            open: store
                .prepare_conditional(
                    "UPDATE {ks}.log SET epoch = ?, head = ?, head_hash = ?, recorded_at = ?, consumed = ?, \
                     derived_to = ? WHERE log = ? AND segment = ? IF epoch = null",
                )
                .await?,
            advance: store
                .prepare_conditional(
                    "UPDATE {ks}.log SET head = ?, head_hash = ?, recorded_at = ?, consumed = ?, derived_to = ? \
                     WHERE log = ? AND segment = ? IF epoch = ? AND head_hash = ?",
                )
                .await?,
            insert: store
                .prepare_conditional(
                    "INSERT INTO {ks}.log (log, segment, position, record, hash) VALUES (?, ?, ?, ?, ?)",
                )
                .await?,
            state: store.prepare(STATE).await?,
            state_serial,
            read,
        })
    }
}

/// The values of one statement of a batch.
pub enum Values<'a> {
    Advance(&'a str, i32, &'a Batch),
    Insert(&'a str, i32, i64, &'a [u8], &'a Hash),
}

impl scylla::serialize::row::SerializeRow for Values<'_> {
    fn serialize(
        &self,
        context: &scylla::serialize::row::RowSerializationContext<'_>,
        writer: &mut scylla::serialize::writers::RowWriter<'_>,
    ) -> Result<(), scylla::serialize::SerializationError> {
        match self {
            Self::Advance(log, segment, batch) => (
                (batch.first_position + batch.records.len() as u64 - 1) as i64,
                batch.head_hash.as_slice(),
                batch.recorded_at,
                batch.consumed as i64,
                batch.derived_to as i64,
                log,
                segment,
                batch.epoch as i64,
                batch.previous_hash.as_slice(),
            )
                .serialize(context, writer),
            Self::Insert(log, segment, position, record, hash) => {
                (log, segment, position, record, hash.as_slice()).serialize(context, writer)
            }
        }
    }

    fn is_empty(&self) -> bool {
        false
    }
}
