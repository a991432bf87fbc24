//! Usage: what requests came to and cost, window by window, page by page.

use super::{Error, Query};
use crate::domain::usage::{Dimension, Series, Totals, Window};
use crate::domain::{Micros, TenantId};
use crate::ports::usage::Keys;
use futures::stream::{self, StreamExt, TryStreamExt};
use std::ops::Range;
use std::sync::Arc;

/// Most windows of one size that a question may range over: all of those that are kept for a while, eight years of days.
pub const USAGE_WINDOWS_MAX: i64 = 3_000;
/// Most keys that one page looks at.
const KEYS_LOOKED_AT_MAX: usize = 512;
/// Keys looked at in one go.
const KEYS_CHUNK: usize = 64;
/// Keys read at a time.
const READS_MAX: usize = 8;

/// What a question about usage asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageQuery {
    pub tenant: TenantId,
    pub dimension: Dimension,
    /// Only this one; `None`: all, in the order of their bytes.
    pub key: Option<Arc<str>>,
    pub window: Window,
    /// Windows that begin within; [`USAGE_WINDOWS_MAX`] at most.
    pub starts: Range<Micros>,
    /// Go on after this window.
    pub after: Option<UsagePlace>,
    /// Most items of the page, at least 1.
    pub limit: usize,
}

/// Where a page ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsagePlace {
    pub key: Arc<str>,
    pub start: Micros,
}

/// One window of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageItem {
    pub key: Arc<str>,
    pub start: Micros,
    pub totals: Totals,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsagePage {
    /// Windows in which something was counted, by key and then by start.
    pub items: Vec<UsageItem>,
    /// Where the next page starts; `None` after the last. A page can be short, even empty, and still have one.
    pub next: Option<UsagePlace>,
}

impl Query {
    /// Wall-clock time, for questions that name none.
    pub fn now(&self) -> Micros {
        self.clock.now()
    }

    /// One page of usage. Windows that are kept no longer are not shown, whether they are gone yet or not.
    pub async fn usage(&self, ask: &UsageQuery) -> Result<UsagePage, Error> {
        let first_kept = self.usage.retention().first_kept(ask.window, self.clock.now());
        let starts = ask.starts.start.max(first_kept)..ask.starts.end;
        let mut page = UsagePage::default();
        if starts.is_empty() {
            return Ok(page);
        }
        let mut looked_at = 0;
        // The key that the page before ended in goes first.
        let mut keys: Vec<Arc<str>> = match (&ask.key, &ask.after) {
            (Some(key), _) => vec![key.clone()],
            (None, Some(after)) => vec![after.key.clone()],
            (None, None) => self.usage_keys(ask, &starts, None).await?,
        };
        while let Some(last) = keys.last().cloned() {
            looked_at += keys.len();
            let reads: Vec<_> = keys.into_iter().map(|key| self.usage_of(ask, &starts, key)).collect();
            let found: Vec<Vec<UsageItem>> = stream::iter(reads).buffered(READS_MAX).try_collect().await?;
            page.items.extend(found.into_iter().flatten());
            if page.items.len() > ask.limit {
                page.items.truncate(ask.limit);
                page.next = page.items.last().map(|item| UsagePlace { key: item.key.clone(), start: item.start });
                return Ok(page);
            }
            if ask.key.is_some() {
                break;
            }
            if looked_at >= KEYS_LOOKED_AT_MAX {
                page.next = Some(UsagePlace { key: last, start: Micros::MAX });
                return Ok(page);
            }
            keys = self.usage_keys(ask, &starts, Some(&last)).await?;
        }
        Ok(page)
    }

    async fn usage_keys(
        &self,
        ask: &UsageQuery,
        starts: &Range<Micros>,
        after: Option<&str>,
    ) -> Result<Vec<Arc<str>>, Error> {
        let UsageQuery { tenant, dimension, window, .. } = *ask;
        let keys_max = KEYS_CHUNK.min(ask.limit + 1);
        Ok(self.usage.keys(&Keys { tenant, dimension, window, starts: starts.clone(), after, keys_max }).await?)
    }

    /// The windows of one key, those after the page before.
    async fn usage_of(&self, ask: &UsageQuery, starts: &Range<Micros>, key: Arc<str>) -> Result<Vec<UsageItem>, Error> {
        let mut starts = starts.clone();
        if let Some(after) = ask.after.as_ref().filter(|after| after.key == key) {
            starts.start = starts.start.max(after.start.saturating_add(1));
        }
        if starts.is_empty() {
            return Ok(Vec::new());
        }
        let UsageQuery { tenant, dimension, window, .. } = *ask;
        let series = Series { tenant, dimension, key: key.clone(), window };
        let found = self.usage.windows(&series, starts).await?;
        Ok(found.into_iter().map(|(start, totals)| UsageItem { key: key.clone(), start, totals }).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::usage::{Retention, Slot};
    use crate::flow::query::stores::{Stores, query};
    use uuid::Uuid;

    const TENANT: TenantId = TenantId(Uuid::from_u128(0xa));
    const HOUR: Micros = 3_600_000_000;
    const NOW: Micros = 490_000 * HOUR + 1;

    /// So many completed requests of a key, some hours ago.
    fn counted(tenant: TenantId, key: &str, hours_ago: i64, requests_completed: u64) -> (Slot, Totals) {
        let window = Window::Hour;
        let series = Series { tenant, dimension: Dimension::Agent, key: key.into(), window };
        let slot = Slot { series, start: window.start_of(NOW) - hours_ago * HOUR };
        (slot, Totals { requests_completed, ..Totals::default() })
    }

    fn stores() -> Stores {
        let many = (0..150).map(|number| counted(TENANT, &format!("k{number:03}"), number % 3, 1));
        let rest = [
            counted(TENANT, "a", 0, 2),
            counted(TENANT, "a", 1, 3),
            counted(TENANT, "a", 30, 4),
            counted(TENANT, "b", 30, 5),
            counted(TenantId(Uuid::from_u128(0xb)), "a", 0, 100),
        ];
        let retention = Retention::of_seconds(3_600, 3_600, 24 * 3_600);
        Stores { usage: many.chain(rest).collect(), retention, now: NOW, ..Stores::default() }
    }

    fn ask(key: Option<&str>, hours: i64, limit: usize) -> UsageQuery {
        let starts = Window::Hour.start_of(NOW) - (hours - 1) * HOUR..NOW + 1;
        let key = key.map(Arc::from);
        UsageQuery {
            tenant: TENANT,
            dimension: Dimension::Agent,
            key,
            window: Window::Hour,
            starts,
            after: None,
            limit,
        }
    }

    /// Every page; at least one that is not the last must be full or have looked at all that a page may.
    async fn walk(query: &Query, mut ask: UsageQuery) -> Vec<(String, u64)> {
        let mut all = Vec::new();
        loop {
            let page = query.usage(&ask).await.unwrap();
            assert!(page.items.len() <= ask.limit);
            all.extend(page.items.iter().map(|item| (item.key.to_string(), item.totals.requests_completed)));
            ask.after = page.next;
            if ask.after.is_none() {
                return all;
            }
        }
    }

    #[tokio::test]
    async fn pages_of_any_length_show_the_same_windows() {
        let query = query(stores());
        let whole = walk(&query, ask(None, 2, 1_000)).await;
        assert_eq!(whole[..2], [("a".to_owned(), 3), ("a".to_owned(), 2)], "by key, then by time");
        assert_eq!(whole.len(), 2 + 100, "two of three hours");
        for limit in [1, 2, 7, 64, 101, 102] {
            assert_eq!(walk(&query, ask(None, 2, limit)).await, whole, "{limit} a page");
        }
        for limit in [1, 2] {
            let alone = walk(&query, ask(Some("a"), 2, limit)).await;
            assert_eq!(alone, whole[..2]);
        }
        assert!(walk(&query, ask(Some("nobody"), 2, 5)).await.is_empty());
    }

    #[tokio::test]
    async fn what_is_kept_no_longer_is_not_shown() {
        let query = query(stores());
        let all = walk(&query, ask(None, 1_000, 1_000)).await;
        assert!(!all.contains(&("b".into(), 5)) && !all.contains(&("a".into(), 4)), "a day is over");
        assert!(all.contains(&("a".into(), 3)));
    }
}
