//! Port `usage` on the database: rows by (tenant, dimension, key, window size, period), each with its position as its
//! timestamp, and a directory of the keys of each period.
//!
//! A key is in the directory before its first row is written: a crash between the two leaves a key without rows, which
//! shows nothing, and not rows that no list finds.
//!
//! Rows expire when their window is kept no longer. They live an hour more than that, so that clocks that differ a little
//! never show a row that expired while it was added to.

use super::flush::{self, Writer};
use super::merge::merge;
use super::places::{bucket_of, timestamp};
use super::session::{self, Store};
use crate::adapters::words::words;
use crate::domain::usage::{Dimension, Retention, Row, Series, Slot, Totals, Window};
use crate::domain::{LogId, Micros, TenantId};
use crate::ports::usage::{Error, Keys, Usage, summed};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use hashbrown::HashSet;
use parking_lot::Mutex;
use scylla::serialize::SerializationError;
use scylla::serialize::row::{RowSerializationContext, SerializeRow};
use scylla::serialize::writers::RowWriter;
use scylla::statement::prepared::PreparedStatement;
use std::ops::Range;
use std::sync::Arc;
use uuid::Uuid;

/// Partitions that the keys of one period are spread over, where they are ids.
const KEY_SHARDS: u16 = 16;
/// Rows, or periods of a series, read at a time.
const READS_MAX: usize = 64;
/// Keys whose being in the directory this process remembers to have written.
const KEYS_REMEMBERED_MAX: usize = 200_000;
/// How much longer a row lives than its window is kept.
const SLACK: Micros = 3_600_000_000;

#[derive(Clone, Copy, Debug)]
pub struct UsageConfig {
    pub retention: Retention,
    /// Writes under way at a time.
    pub writes_max: usize,
}

pub struct ScyllaUsage {
    store: Arc<Store>,
    config: UsageConfig,
    writer: Writer<TableRow>,
    row: PreparedStatement,
    windows: PreparedStatement,
    keys: PreparedStatement,
    /// Keys that the directory is known to hold.
    known: Mutex<HashSet<Place>>,
}

/// A series in one of its periods: the partition of its rows, and its line in the directory.
type Place = (Series, i32);

/// In the order in which `TableRow` names its statement.
const INSERT: [&str; 2] = [
    "INSERT INTO {ks}.usage_rows (tenant, dimension, key, size_s, period, start, log, row) \
     VALUES (?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?",
    "INSERT INTO {ks}.usage_keys (tenant, dimension, size_s, period, shard, key) VALUES (?, ?, ?, ?, ?, ?) USING TTL ?",
];

impl ScyllaUsage {
    /// # Errors
    /// When the tables are not there, or the database does not answer.
    pub async fn open(store: Arc<Store>, config: UsageConfig) -> Result<Self, session::Error> {
        let mut insert = Vec::with_capacity(INSERT.len());
        for cql in INSERT {
            insert.push(store.prepare(cql).await?);
        }
        let of_series = "tenant = ? AND dimension = ? AND key = ? AND size_s = ? AND period = ?";
        let row = format!("SELECT row FROM {{ks}}.usage_rows WHERE {of_series} AND start = ? AND log = ?");
        let windows =
            format!("SELECT start, row FROM {{ks}}.usage_rows WHERE {of_series} AND start >= ? AND start < ?");
        let keys = "SELECT key FROM {ks}.usage_keys \
                    WHERE tenant = ? AND dimension = ? AND size_s = ? AND period = ? AND shard = ? AND key > ? LIMIT ?";
        Ok(Self {
            row: store.prepare(&row).await?,
            windows: store.prepare(&windows).await?,
            keys: store.prepare(keys).await?,
            writer: Writer::new(store.clone(), insert, config.writes_max),
            store,
            config,
            known: Mutex::default(),
        })
    }

    /// Seconds that what goes with the end of a window shall live; 0: for ever.
    fn seconds_left(&self, window: Window, end: Micros, now: Micros) -> i32 {
        let goes_at = self.config.retention.goes_at(window, end);
        goes_at.map_or(0, |goes_at| {
            let left = goes_at.saturating_add(SLACK).saturating_sub(now) / 1_000_000;
            // The longest that the database takes is 20 years.
            left.clamp(1, 20 * 365 * 86_400) as i32
        })
    }

    /// Writes into the directory what may not be there yet.
    async fn announce(&self, rows: &[(Slot, Row)], now: Micros) -> Result<(), Error> {
        let mut new: HashSet<Place> = HashSet::new();
        {
            let known = self.known.lock();
            for (Slot { series, start }, _) in rows {
                let place = (series.clone(), series.window.period_of(*start));
                if !known.contains(&place) {
                    new.insert(place);
                }
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        let line = |(series, period): &Place| {
            let end = series.window.end_of_period(*period);
            TableRow::Key { place: (series.clone(), *period), ttl_s: self.seconds_left(series.window, end, now) }
        };
        self.writer.write(new.iter().map(line).collect()).await.map_err(unavailable)?;
        let mut known = self.known.lock();
        if known.len() + new.len() > KEYS_REMEMBERED_MAX {
            known.clear();
        }
        known.extend(new);
        Ok(())
    }

    async fn read(&self, log: &str, slot: &Slot) -> Result<Option<Row>, Error> {
        let Slot { series, start } = slot;
        let period = series.window.period_of(*start);
        let place = (series.tenant.0, series.dimension.name(), &*series.key, size_s(series.window), period, start, log);
        let result = self.store.session.execute_unpaged(&self.row, place).await.map_err(unavailable)?;
        let found = flush::rows::<(Bytes,)>(result).map_err(Error::Damaged)?.pop();
        found.map(|(row,)| decode(&row)).transpose()
    }

    async fn read_period(
        &self,
        series: &Series,
        period: i32,
        starts: &Range<Micros>,
    ) -> Result<Vec<(Micros, Totals)>, Error> {
        let (dimension, size_s) = (series.dimension.name(), size_s(series.window));
        let values = (series.tenant.0, dimension, &*series.key, size_s, period, starts.start, starts.end);
        let pager = self.store.session.execute_iter(self.windows.clone(), values).await.map_err(unavailable)?;
        let rows = pager.rows_stream::<(i64, Bytes)>().map_err(|error| Error::Damaged(words(&error)))?;
        let rows = rows.map_err(unavailable).and_then(async |(start, row)| Ok((start, decode(&row)?.totals)));
        rows.try_collect().await
    }

    async fn read_keys(
        &self,
        ask: &Keys<'_>,
        (period, shard): (i32, u16),
        after: Option<String>,
        keys_max: usize,
    ) -> Result<Vec<(String, String)>, Error> {
        // No key is empty.
        let after = after.unwrap_or_default();
        let (dimension, size_s, shard) = (ask.dimension.name(), size_s(ask.window), i32::from(shard));
        let values = (ask.tenant.0, dimension, size_s, period, shard, after, keys_max as i32);
        let result = self.store.session.execute_unpaged(&self.keys, values).await.map_err(unavailable)?;
        let found = flush::rows::<(String,)>(result).map_err(Error::Damaged)?;
        Ok(found.into_iter().map(|(key,)| (key.clone(), key)).collect())
    }
}

fn size_s(window: Window) -> i32 {
    (window.size() / 1_000_000) as i32
}

fn shards(dimension: Dimension) -> u16 {
    match dimension {
        Dimension::Agent | Dimension::Coupling => KEY_SHARDS,
        Dimension::Tenant | Dimension::Project | Dimension::Model | Dimension::Offer => 1,
    }
}

fn shard_of(series: &Series) -> i32 {
    Uuid::parse_str(&series.key).map_or(0, |id| bucket_of(id, shards(series.dimension)))
}

/// A row as it is stored, also one from before the fields at the end of its totals were there.
fn decode(row: &[u8]) -> Result<Row, Error> {
    let damaged = |error: postcard::Error| Error::Damaged(error.to_string());
    match postcard::from_bytes(row) {
        Err(postcard::Error::DeserializeUnexpectedEnd) => {
            // Those fields were 0, each a byte; a row that is cut short elsewhere is not made whole by that.
            let whole = |lacks: usize| {
                let bytes = [row, &[0; Totals::FIELDS_ADDED][..lacks]].concat();
                let (read, rest) = postcard::take_from_bytes::<Row>(&bytes).ok()?;
                rest.is_empty().then_some(read)
            };
            let read = (1..=Totals::FIELDS_ADDED).find_map(whole);
            read.ok_or_else(|| damaged(postcard::Error::DeserializeUnexpectedEnd))
        }
        read => read.map_err(damaged),
    }
}

fn unavailable(error: impl std::error::Error) -> Error {
    Error::Unavailable(words(&error))
}

/// A row of the two tables.
enum TableRow {
    Totals { slot: Slot, log: Arc<str>, row: Vec<u8>, position: u64, ttl_s: i32 },
    Key { place: Place, ttl_s: i32 },
}

impl flush::Row for TableRow {
    /// A series and a period; or the directory's tenant, dimension, window size, period and shard.
    type Partition = Result<Place, (TenantId, Dimension, Window, i32, i32)>;

    fn partition(&self) -> Self::Partition {
        match self {
            Self::Totals { slot: Slot { series, start }, .. } => Ok((series.clone(), series.window.period_of(*start))),
            Self::Key { place: (series, period), .. } => {
                Err((series.tenant, series.dimension, series.window, *period, shard_of(series)))
            }
        }
    }

    fn statement(&self) -> usize {
        match self {
            Self::Totals { .. } => 0,
            Self::Key { .. } => 1,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Totals { slot, row, .. } => 96 + slot.series.key.len() + row.len(),
            Self::Key { place: (series, _), .. } => 64 + series.key.len(),
        }
    }
}

impl SerializeRow for TableRow {
    fn serialize(
        &self,
        context: &RowSerializationContext<'_>,
        writer: &mut RowWriter<'_>,
    ) -> Result<(), SerializationError> {
        match self {
            Self::Totals { slot: Slot { series, start }, log, row, position, ttl_s } => {
                let (period, size_s) = (series.window.period_of(*start), size_s(series.window));
                let series = (series.tenant.0, series.dimension.name(), &*series.key);
                let cells =
                    (series.0, series.1, series.2, size_s, period, start, &**log, row, timestamp(*position), ttl_s);
                cells.serialize(context, writer)
            }
            Self::Key { place: (series, period), ttl_s } => {
                let (shard, size_s) = (shard_of(series), size_s(series.window));
                let cells = (series.tenant.0, series.dimension.name(), size_s, period, shard, &*series.key, ttl_s);
                cells.serialize(context, writer)
            }
        }
    }

    fn is_empty(&self) -> bool {
        false
    }
}

#[async_trait]
impl Usage for ScyllaUsage {
    fn retention(&self) -> &Retention {
        &self.config.retention
    }

    async fn rows(&self, log: LogId, slots: &[Slot]) -> Result<Vec<Option<Row>>, Error> {
        let log = log.to_string();
        let reads: Vec<_> = slots.iter().map(|slot| self.read(&log, slot)).collect();
        stream::iter(reads).buffered(READS_MAX).try_collect().await
    }

    async fn put(&self, log: LogId, rows: Vec<(Slot, Row)>, now: Micros) -> Result<(), Error> {
        self.announce(&rows, now).await?;
        let log: Arc<str> = log.to_string().into();
        let mut writes = Vec::with_capacity(rows.len());
        for (slot, row) in rows {
            let window = slot.series.window;
            let ttl_s = self.seconds_left(window, slot.start.saturating_add(window.size()), now);
            let bytes = postcard::to_stdvec(&row).map_err(|error| Error::Damaged(error.to_string()))?;
            writes.push(TableRow::Totals { slot, log: log.clone(), row: bytes, position: row.position, ttl_s });
        }
        self.writer.write(writes).await.map_err(unavailable)
    }

    async fn windows(&self, series: &Series, starts: Range<Micros>) -> Result<Vec<(Micros, Totals)>, Error> {
        let periods: Vec<_> = series.window.periods(&starts).collect();
        let reads: Vec<_> = periods.into_iter().map(|period| self.read_period(series, period, &starts)).collect();
        let found: Vec<Vec<_>> = stream::iter(reads).buffered(READS_MAX).try_collect().await?;
        Ok(summed(found.into_iter().flatten()))
    }

    async fn keys(&self, ask: &Keys<'_>) -> Result<Vec<Arc<str>>, Error> {
        let shards = shards(ask.dimension);
        let lanes: Vec<(i32, u16)> =
            ask.window.periods(&ask.starts).flat_map(|period| (0..shards).map(move |shard| (period, shard))).collect();
        let mut keys: Vec<Arc<str>> = Vec::new();
        let mut after = ask.after.map(str::to_owned);
        // A key that is in several periods comes as often.
        while keys.len() < ask.keys_max {
            let wanted = ask.keys_max - keys.len();
            let read = |lane: i32, after, keys_max| self.read_keys(ask, lanes[lane as usize], after, keys_max);
            let found = merge(0..lanes.len() as i32, after, wanted, read).await?;
            let ended = found.len() < wanted;
            for key in found {
                if keys.last().is_none_or(|last| **last != *key) {
                    keys.push(key.into());
                }
            }
            after = keys.last().map(ToString::to_string);
            if ended {
                break;
            }
        }
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::usage::{Latencies, Ratings};

    #[test]
    fn rows_of_earlier_forms_are_read_and_cut_ones_are_not() {
        let mut latencies = Latencies::of(1_200);
        latencies.add(&Latencies::of(7));
        let totals = Totals { requests_completed: 3, cost_pico_usd: -5, latencies, ..Totals::default() };
        let row = Row { position: 300, totals };
        let bytes = postcard::to_stdvec(&row).unwrap();
        let first_form = &bytes[..bytes.len() - Totals::FIELDS_ADDED];
        assert_eq!(decode(&bytes).unwrap(), row);
        assert_eq!(decode(first_form).unwrap(), row);
        assert_eq!(decode(&bytes[..bytes.len() - 1]).unwrap(), row, "of the second");
        for end in 0..first_form.len() {
            assert!(decode(&bytes[..end]).is_err(), "{end} bytes");
        }
        let rated = Row { totals: Totals { ratings: Ratings::of(TenantId::SHARED, 7), ..row.totals }, ..row };
        let bytes = postcard::to_stdvec(&rated).unwrap();
        assert_eq!(decode(&bytes).unwrap(), rated);
        assert_eq!(decode(&bytes[..bytes.len() - 1]).unwrap(), rated);
    }
}
