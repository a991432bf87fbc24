//! Port `usage`, embedded: rows in an overlay, by window size and period first, so that periods whose time is over go in
//! one piece.
//!
//! ```text
//! window size (1) ‖ period (4) ‖ tenant (16) ‖ dimension (1) ‖ key, escaped ‖ 00 01 ‖ window of the period (2) ‖ log (2)
//! ```
//!
//! A zero byte within the key is written as `00 ff`, so that the rows sort as their keys do and none runs into another's.

use super::folder::FolderError;
use super::store::Store;
use crate::domain::usage::{Retention, Row, Series, Slot, Totals, Window};
use crate::domain::{LogId, Micros, TenantId};
use crate::ports::usage::{Error, Keys, Usage, summed};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// After the last row of a key.
const AFTER: [u8; 2] = [0, 2];
const END: [u8; 2] = [0, 1];
/// The window and the log.
const TAIL_BYTES: usize = 4;

pub struct EmbeddedUsage {
    store: Arc<Store>,
    retention: Retention,
    /// The latest time at which anything was put.
    newest: AtomicI64,
    /// Per window size, the first period that was not removed.
    removed_to: Mutex<[Option<i32>; Window::ALL.len()]>,
}

impl EmbeddedUsage {
    pub(super) fn new(store: Arc<Store>, retention: Retention) -> Self {
        Self { store, retention, newest: AtomicI64::new(Micros::MIN), removed_to: Mutex::default() }
    }

    /// Removes the periods of which no window is kept any more. Between two of them it costs nothing.
    ///
    /// # Errors
    /// When the store refuses; the next call tries again.
    pub(super) fn remove_old(&self) -> Result<(), FolderError> {
        let now = self.newest.load(Ordering::Relaxed);
        if now == Micros::MIN {
            return Ok(());
        }
        for window in Window::ALL {
            let first_kept = self.retention.first_kept(window, now);
            if first_kept == Micros::MIN {
                continue;
            }
            let period = window.period_of(first_kept);
            if self.removed_to.lock()[window as usize].is_some_and(|removed| removed >= period) {
                continue;
            }
            self.store.usage.remove(&period_key(window, i32::MIN), &period_key(window, period))?;
            self.removed_to.lock()[window as usize] = Some(period);
        }
        Ok(())
    }

    /// The first key of a period that comes after `after`.
    fn next_key(&self, ask: &Keys<'_>, period: i32, after: Option<&str>) -> Result<Option<Arc<str>>, Error> {
        let group = group_key(ask.window, period, ask.tenant, ask.dimension as u8);
        let mut from = group.clone();
        if let Some(after) = after {
            escape(&mut from, after);
            from.extend(AFTER);
        }
        let mut to = group.clone();
        // Above every byte of UTF-8.
        to.push(0xff);
        let found = self.store.usage.scan(&from, Some(&to), 1).map_err(unavailable)?;
        let Some((bytes, _)) = found.first() else { return Ok(None) };
        let key = bytes.get(group.len()..bytes.len() - TAIL_BYTES - END.len()).and_then(unescape);
        key.map(Some).ok_or_else(|| Error::Damaged("a key is not as it is written".into()))
    }
}

fn unavailable(error: FolderError) -> Error {
    Error::Unavailable(error.to_string())
}

fn period_key(window: Window, period: i32) -> Vec<u8> {
    let mut key = vec![window as u8];
    // The sign turned over, so that earlier sorts before later.
    key.extend((period as u32 ^ 0x8000_0000).to_be_bytes());
    key
}

fn group_key(window: Window, period: i32, tenant: TenantId, dimension: u8) -> Vec<u8> {
    let mut key = period_key(window, period);
    key.extend(tenant.0.as_bytes());
    key.push(dimension);
    key
}

fn escape(out: &mut Vec<u8>, key: &str) {
    for byte in key.bytes() {
        out.push(byte);
        if byte == 0 {
            out.push(0xff);
        }
    }
}

fn unescape(bytes: &[u8]) -> Option<Arc<str>> {
    let mut key = Vec::with_capacity(bytes.len());
    let mut bytes = bytes.iter();
    while let Some(byte) = bytes.next() {
        key.push(*byte);
        if *byte == 0 {
            bytes.next().filter(|next| **next == 0xff)?;
        }
    }
    String::from_utf8(key).ok().map(Arc::from)
}

fn series_key(series: &Series, period: i32) -> Vec<u8> {
    let mut key = group_key(series.window, period, series.tenant, series.dimension as u8);
    escape(&mut key, &series.key);
    key.extend(END);
    key
}

/// How many windows of a period begin before a moment.
fn windows_before(window: Window, period: i32, at: Micros) -> u16 {
    let begin = window.end_of_period(period - 1);
    let end = window.end_of_period(period);
    let passed = at.clamp(begin, end) - begin;
    passed.div_euclid(window.size()) as u16 + u16::from(passed.rem_euclid(window.size()) > 0)
}

/// Where the row of one source log is.
pub(super) fn row_key(slot: &Slot, log: LogId) -> Vec<u8> {
    let window = slot.series.window;
    let period = window.period_of(slot.start);
    let mut key = series_key(&slot.series, period);
    key.extend(windows_before(window, period, slot.start).to_be_bytes());
    key.extend(log.partition.to_be_bytes());
    key
}

#[async_trait]
impl Usage for EmbeddedUsage {
    fn retention(&self) -> &Retention {
        &self.retention
    }

    async fn rows(&self, log: LogId, slots: &[Slot]) -> Result<Vec<Option<Row>>, Error> {
        slots.iter().map(|slot| self.store.usage.get(&row_key(slot, log)).map_err(unavailable)).collect()
    }

    async fn put(&self, log: LogId, rows: Vec<(Slot, Row)>, now: Micros) -> Result<(), Error> {
        self.newest.fetch_max(now, Ordering::Relaxed);
        let mut newer = Vec::with_capacity(rows.len());
        for (slot, row) in rows {
            let key = row_key(&slot, log);
            let there = self.store.usage.get(&key).map_err(unavailable)?;
            if there.is_none_or(|there| there.position <= row.position) {
                newer.push((key, row));
            }
        }
        self.store.usage.put_all(newer);
        Ok(())
    }

    async fn windows(&self, series: &Series, starts: Range<Micros>) -> Result<Vec<(Micros, Totals)>, Error> {
        let window = series.window;
        let mut found = Vec::new();
        for period in window.periods(&starts) {
            let bound = |at: Micros| {
                let mut key = series_key(series, period);
                key.extend(windows_before(window, period, at).to_be_bytes());
                key
            };
            let rows = self.store.usage.scan(&bound(starts.start), Some(&bound(starts.end)), usize::MAX);
            for (key, row) in rows.map_err(unavailable)? {
                let place = key.len() - TAIL_BYTES;
                let passed = u16::from_be_bytes([key[place], key[place + 1]]);
                let start = window.end_of_period(period - 1) + i64::from(passed) * window.size();
                found.push((start, row.totals));
            }
            // A long scan in memory must not keep its thread from others.
            tokio::task::yield_now().await;
        }
        Ok(summed(found))
    }

    async fn keys(&self, ask: &Keys<'_>) -> Result<Vec<Arc<str>>, Error> {
        let mut keys = BTreeSet::new();
        for period in ask.window.periods(&ask.starts) {
            let mut last: Option<Arc<str>> = ask.after.map(Arc::from);
            for _ in 0..ask.keys_max {
                let Some(key) = self.next_key(ask, period, last.as_deref())? else { break };
                last = Some(key.clone());
                keys.insert(key);
            }
            tokio::task::yield_now().await;
        }
        Ok(keys.into_iter().take(ask.keys_max).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::embedded::Embedded;
    use crate::adapters::embedded::tests::config;
    use crate::domain::Aggregate;
    use crate::domain::usage::Dimension;
    use proptest::prelude::*;
    use uuid::Uuid;

    const LOG: LogId = LogId { aggregate: Aggregate::LlmRequest, partition: 0 };

    fn slot(key: &str, window: Window, at: Micros) -> Slot {
        let tenant = TenantId(Uuid::from_u128(1));
        let series = Series { tenant, dimension: Dimension::Project, key: key.into(), window };
        Slot { series, start: window.start_of(at) }
    }

    proptest! {
        #[test]
        fn rows_sort_as_key_and_start_do_and_keys_come_back(
            one in "[a\0\u{1}\u{ff}]{1,5}", other in "[a\0\u{1}\u{ff}]{1,5}", at in 0..255_i64, then in 0..255_i64,
        ) {
            let row = |key: &str, at: i64| row_key(&slot(key, Window::Hour, at * Window::Hour.size()), LOG);
            prop_assert_eq!(row(&one, at).cmp(&row(&other, then)), (&one, at).cmp(&(&other, then)));
            let bytes = row(&one, at);
            let key = unescape(&bytes[22..bytes.len() - TAIL_BYTES - END.len()]);
            prop_assert_eq!(key.as_deref(), Some(one.as_str()));
        }
    }

    #[tokio::test]
    async fn periods_whose_time_is_over_are_removed_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let open = Embedded::open(folder.path(), &config()).unwrap();
        let usage = open.usage.clone();
        let begin = Window::Minute.end_of_period(1_000_000);
        let row = Row { position: 1, ..Row::default() };
        let slots =
            [slot("a", Window::Minute, begin), slot("a", Window::FiveMinutes, begin), slot("a", Window::Day, begin)];
        let all = slots.iter().map(|slot| (slot.clone(), row.clone())).collect();
        usage.put(LOG, all, begin).await.unwrap();
        open.checkpointer().run_once().unwrap();
        let there = async || usage.rows(LOG, &slots).await.unwrap().iter().map(Option::is_some).collect::<Vec<_>>();
        assert_eq!(there().await, [true, true, true]);
        // Three days and a period of minutes later: minutes are kept for two.
        let later = begin + 3 * 24 * 3_600_000_000 + 256 * 60_000_000;
        let new = slot("b", Window::Minute, later);
        usage.put(LOG, vec![(new.clone(), row.clone())], later).await.unwrap();
        open.checkpointer().run_once().unwrap();
        assert_eq!(there().await, [false, true, true]);
        assert_eq!(usage.rows(LOG, &[new]).await.unwrap(), [Some(row)]);
    }
}
