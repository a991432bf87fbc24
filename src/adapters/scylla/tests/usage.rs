//! Usage on a real server: the suite, and what only this adapter has: rows that expire by themselves.

use super::{rig, usage_config};
use crate::adapters::scylla::{ScyllaUsage, Store, UsageConfig};
use crate::domain::usage::{Dimension, Retention, Row, Series, Slot, Window};
use crate::domain::{Aggregate, LogId, TenantId};
use crate::ports::{Usage, conformance};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn usage_conforms() {
    let Some(mut rig) = rig(None).await else { return };
    conformance::usage::suite(&mut rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_lives_an_hour_longer_than_its_window_is_kept_and_a_day_for_ever() {
    let Some(rig) = rig(None).await else { return };
    let store = Arc::new(Store::connect(&rig.config).await.expect("connected"));
    let usage = ScyllaUsage::open(store.clone(), usage_config()).await.expect("open");
    let log = LogId { aggregate: Aggregate::LlmRequest, partition: 0 };
    let start = 20_480 * 24 * 3_600_000_000;
    let slot = |window| {
        let tenant = TenantId(Uuid::from_u128(1));
        Slot { series: Series { tenant, dimension: Dimension::Agent, key: "a".into(), window }, start }
    };
    let now = start + 1_000_000;
    let rows = Window::ALL.map(|window| (slot(window), Row { position: 1, ..Row::default() }));
    usage.put(log, rows.to_vec(), now).await.expect("put");
    for (window, kept_s) in [(60, Some(172_800)), (300, Some(691_200)), (3_600, Some(7_776_000)), (86_400, None::<i32>)]
    {
        let cql = format!(
            "SELECT TTL(row) FROM {}.usage_rows WHERE tenant = {} AND dimension = 'agent' AND key = 'a' \
             AND size_s = {window} AND period = {}",
            rig.config.keyspace,
            Uuid::from_u128(1),
            start / 1_000_000 / window / 256
        );
        let found = store.session.query_unpaged(cql, ()).await.expect("read");
        let (ttl,) = found.into_rows_result().expect("rows").single_row::<(Option<i32>,)>().expect("one");
        let expected = kept_s.map(|kept| kept + window as i32 - 1 + 3_600);
        match (ttl, expected) {
            (Some(ttl), Some(expected)) => assert!((expected - 30..=expected).contains(&ttl), "{window}: {ttl}"),
            other => assert_eq!(other, (None, None), "{window}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_expired_is_gone_from_rows_and_lists() {
    let Some(rig) = rig(None).await else { return };
    let store = Arc::new(Store::connect(&rig.config).await.expect("connected"));
    let config = UsageConfig { retention: Retention::of_seconds(60, 60, 60), ..usage_config() };
    let usage = ScyllaUsage::open(store, config).await.expect("open");
    let log = LogId { aggregate: Aggregate::LlmRequest, partition: 0 };
    let tenant = TenantId(Uuid::from_u128(2));
    // The last window of its period, put so late that it lives two seconds more.
    let start = Window::Minute.end_of_period(100_000) - Window::Minute.size();
    let series = Series { tenant, dimension: Dimension::Project, key: "a".into(), window: Window::Minute };
    let now = start + Window::Minute.size() + (60 + 3_600 - 2) * 1_000_000;
    let slots = [Slot { series: series.clone(), start }];
    usage.put(log, vec![(slots[0].clone(), Row { position: 1, ..Row::default() })], now).await.expect("put");
    let ask = crate::ports::usage::Keys {
        tenant,
        dimension: Dimension::Project,
        window: Window::Minute,
        starts: start..start + 1,
        after: None,
        keys_max: 10,
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let (rows, keys) = (usage.rows(log, &slots).await.expect("read"), usage.keys(&ask).await.expect("read"));
        if rows[0].is_none() && keys.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "{rows:?} {keys:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
