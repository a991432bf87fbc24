//! The suite of the port `usage`.

use super::{Ports, Rig};
use crate::domain::usage::{Dimension, Latencies, PERIOD_WINDOWS, Row, Series, Slot, Totals, Window};
use crate::domain::{Aggregate, LogId, Micros, TenantId};
use crate::ports::usage::Keys;
use uuid::Uuid;

const DAY: Micros = 24 * 3_600_000_000;
/// A moment at which all that the suite puts is kept.
const NOW: Micros = 20_480 * DAY + 7 * 3_600_000_000;

pub async fn suite(rig: &mut impl Rig) {
    rows_are_replaced_and_added_up_over_the_logs(rig).await;
    an_older_row_does_not_come_back(rig).await;
    series_do_not_mix(rig).await;
    windows_are_found_over_the_ends_of_periods(rig).await;
    keys_come_in_order_page_by_page(rig).await;
    what_a_crash_takes_is_below_the_mark(rig).await;
}

fn tenant(number: u128) -> TenantId {
    TenantId(Uuid::from_u128(0x7e4a << 64 | number))
}

fn log(partition: u16) -> LogId {
    LogId { aggregate: Aggregate::LlmRequest, partition }
}

fn series(number: u128, dimension: Dimension, key: &str, window: Window) -> Series {
    Series { tenant: tenant(number), dimension, key: key.into(), window }
}

fn slot(series: &Series, start: Micros) -> Slot {
    assert_eq!(series.window.start_of(start), start);
    Slot { series: series.clone(), start }
}

fn row(position: u64, completed: u64) -> Row {
    let mut latencies = Latencies::default();
    (0..completed).for_each(|step| latencies.add(&Latencies::of(step * 100)));
    // More than 64 bits of it.
    let cost_pico_usd = i128::from(i64::MAX) * i128::from(completed);
    let totals = Totals { requests_completed: completed, cost_pico_usd, latencies, ..Totals::default() };
    Row { position, totals }
}

async fn put(ports: &Ports, partition: u16, rows: Vec<(Slot, Row)>) {
    ports.usage.put(log(partition), rows, NOW).await.expect("put");
}

async fn read(ports: &Ports, partition: u16, slots: &[Slot]) -> Vec<Option<Row>> {
    ports.usage.rows(log(partition), slots).await.expect("read")
}

/// The requests completed in each window of a range.
async fn completed(ports: &Ports, series: &Series, from: Micros, to: Micros) -> Vec<(Micros, u64)> {
    let windows = ports.usage.windows(series, from..to).await.expect("read");
    windows.into_iter().map(|(start, totals)| (start, totals.requests_completed)).collect()
}

async fn rows_are_replaced_and_added_up_over_the_logs(rig: &mut impl Rig) {
    let ports = rig.ports();
    let it = series(1, Dimension::Model, "5/large", Window::Hour);
    let start = it.window.start_of(NOW);
    let slots = [slot(&it, start), slot(&it, start - it.window.size())];
    assert_eq!(read(&ports, 0, &slots).await, [None, None]);
    put(&ports, 0, vec![(slots[0].clone(), row(3, 1))]).await;
    put(&ports, 0, vec![(slots[0].clone(), row(9, 2)), (slots[1].clone(), row(7, 5))]).await;
    put(&ports, 2, vec![(slots[0].clone(), row(4, 40))]).await;
    assert_eq!(read(&ports, 0, &slots).await, [Some(row(9, 2)), Some(row(7, 5))]);
    assert_eq!(read(&ports, 2, &slots).await, [Some(row(4, 40)), None]);
    assert_eq!(read(&ports, 1, &slots).await, [None, None]);
    let sums = ports.usage.windows(&it, start - it.window.size()..start + 1).await.expect("read");
    let mut both = row(0, 2).totals;
    both.add(&row(0, 40).totals);
    assert_eq!(sums, [(start - it.window.size(), row(0, 5).totals), (start, both)]);
    assert_eq!(completed(&ports, &it, start, start).await, [], "a range without a window");
}

async fn an_older_row_does_not_come_back(rig: &mut impl Rig) {
    let ports = rig.ports();
    let it = series(2, Dimension::Tenant, "t", Window::Day);
    let slots = [slot(&it, it.window.start_of(NOW))];
    put(&ports, 1, vec![(slots[0].clone(), row(20, 6))]).await;
    put(&ports, 1, vec![(slots[0].clone(), row(11, 3))]).await;
    assert_eq!(read(&ports, 1, &slots).await, [Some(row(20, 6))], "a writer that was overtaken loses");
    put(&ports, 1, vec![(slots[0].clone(), row(20, 6))]).await;
    assert_eq!(read(&ports, 1, &slots).await, [Some(row(20, 6))], "the same again is the same");
}

async fn series_do_not_mix(rig: &mut impl Rig) {
    let ports = rig.ports();
    let one = series(3, Dimension::Project, "a", Window::Minute);
    let start = one.window.start_of(NOW) / DAY * DAY;
    let others = [
        Series { tenant: tenant(4), ..one.clone() },
        Series { dimension: Dimension::Model, ..one.clone() },
        Series { key: "a\0".into(), ..one.clone() },
        Series { key: "aa".into(), ..one.clone() },
        Series { key: "ä".into(), ..one.clone() },
        Series { window: Window::FiveMinutes, ..one.clone() },
    ];
    put(&ports, 0, vec![(slot(&one, start), row(1, 1))]).await;
    for (other, count) in others.iter().zip(2..) {
        put(&ports, 0, vec![(slot(other, start), row(1, count))]).await;
    }
    for (it, count) in std::iter::once(&one).chain(&others).zip(1..) {
        let found = completed(&ports, it, start, start + it.window.size()).await;
        assert_eq!(found, [(start, count)], "{it:?}");
    }
}

async fn windows_are_found_over_the_ends_of_periods(rig: &mut impl Rig) {
    let ports = rig.ports();
    for window in Window::ALL {
        let it = series(5, Dimension::Agent, &Uuid::from_u128(1).to_string(), window);
        let end = window.end_of_period(window.period_of(NOW) - 1);
        let starts: Vec<Micros> = (-3..3).map(|step| end + step * window.size()).collect();
        let far = end - PERIOD_WINDOWS * window.size();
        for (partition, start) in (0..).zip(std::iter::once(&far).chain(&starts)) {
            put(&ports, partition % 3, vec![(slot(&it, *start), row(1, 1))]).await;
        }
        let found = completed(&ports, &it, starts[1], starts[5]).await;
        assert_eq!(found, starts[1..5].iter().map(|start| (*start, 1)).collect::<Vec<_>>(), "{window:?}");
        let all = completed(&ports, &it, far, starts[5] + 1).await;
        assert_eq!(all.len(), 7, "{window:?}");
    }
}

async fn keys_come_in_order_page_by_page(rig: &mut impl Rig) {
    let ports = rig.ports();
    for dimension in [Dimension::Agent, Dimension::Project] {
        let window = Window::Minute;
        let start = window.start_of(NOW);
        let earlier = start - 2 * PERIOD_WINDOWS * window.size();
        let mut names: Vec<String> = (1..30).map(|number| Uuid::from_u128(number << 100).to_string()).collect();
        for (step, name) in names.iter().enumerate() {
            let it = series(6, dimension, name, window);
            // Some in one period, some in the other, some in both.
            let starts = [start, earlier].into_iter().zip([step % 3 != 0, step % 3 != 1]).filter(|(_, there)| *there);
            let rows = starts.map(|(start, _)| (slot(&it, start), row(1, 1))).collect();
            put(&ports, (step % 4) as u16, rows).await;
        }
        put(&ports, 0, vec![(slot(&series(7, dimension, "other", window), start), row(1, 1))]).await;
        names.sort();
        for keys_max in [1, 4, 29, 100] {
            let (mut found, mut after) = (Vec::new(), None::<String>);
            loop {
                let starts = earlier..start + window.size();
                let ask = Keys { tenant: tenant(6), dimension, window, starts, after: after.as_deref(), keys_max };
                let page = ports.usage.keys(&ask).await.expect("read");
                assert!(page.len() <= keys_max);
                let Some(last) = page.last() else { break };
                after = Some(last.to_string());
                found.extend(page.iter().map(ToString::to_string));
            }
            assert_eq!(found, names, "{keys_max} a page");
        }
        let ask = Keys { tenant: tenant(6), dimension, window, starts: start..start, after: None, keys_max: 5 };
        assert_eq!(ports.usage.keys(&ask).await.expect("read").len(), 0, "a range without a window");
    }
}

async fn what_a_crash_takes_is_below_the_mark(rig: &mut impl Rig) {
    let ports = rig.ports();
    let it = series(8, Dimension::Tenant, "t", Window::Day);
    let slots = [slot(&it, it.window.start_of(NOW))];
    put(&ports, 3, vec![(slots[0].clone(), row(2_000_000, 1))]).await;
    ports.views.apply(log(3), Vec::new(), 2_000_000).await.expect("applied");
    drop(ports);
    rig.crash();
    let ports = rig.ports();
    let kept = read(&ports, 3, &slots).await[0].is_some();
    let mark = ports.views.applied_to(log(3)).await.expect("read");
    assert!(kept || mark < 2_000_000, "a row up to the mark {mark} was lost");
}
