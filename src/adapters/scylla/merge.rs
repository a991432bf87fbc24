//! Merge: one ordered list out of lanes that are each in order.
//!
//! Rows are spread over partitions by a hash, so each lane holds about its share of any page: reading the share and a
//! little more from all lanes at once nearly always fills the page in one round.

use futures::future::try_join_all;
use std::collections::VecDeque;
use std::ops::Range;

/// Most rows that one read asks for.
pub const CHUNK_ROWS_MAX: usize = 500;

struct Lane<K, T> {
    number: i32,
    rows: VecDeque<(K, T)>,
    /// The last key that was read.
    last: Option<K>,
    ended: bool,
    reads: u32,
}

impl<K: Clone, T> Lane<K, T> {
    fn dry(&self) -> bool {
        self.rows.is_empty() && !self.ended
    }

    fn take(&mut self, rows: Vec<(K, T)>, asked: usize) {
        self.ended = rows.len() < asked;
        self.last = rows.last().map(|(key, _)| key.clone()).or(self.last.take());
        self.rows.extend(rows);
        self.reads += 1;
    }
}

/// The first `rows_max` rows of all lanes together, those after `after`. `read` gives up to so many rows of a lane after a
/// key, in order; fewer than asked means that there are no more.
pub async fn merge<K, T, E, F>(
    lanes: Range<i32>,
    after: Option<K>,
    rows_max: usize,
    read: impl Fn(i32, Option<K>, usize) -> F,
) -> Result<Vec<T>, E>
where
    K: Ord + Clone,
    F: Future<Output = Result<Vec<(K, T)>, E>>,
{
    let count = lanes.len();
    let mut lanes: Vec<_> = lanes
        .map(|number| Lane { number, rows: VecDeque::new(), last: after.clone(), ended: false, reads: 0 })
        .collect();
    let mut merged = Vec::new();
    while merged.len() < rows_max {
        let left = rows_max - merged.len();
        let read = lanes.iter_mut().filter(|lane| lane.dry()).map(|lane| {
            let asked = share(left, count, lane.reads);
            let rows = read(lane.number, lane.last.clone(), asked);
            async move {
                lane.take(rows.await?, asked);
                Ok(())
            }
        });
        try_join_all(read).await?;
        while merged.len() < rows_max && !lanes.iter().any(Lane::dry) {
            let least = lanes.iter_mut().filter(|lane| !lane.rows.is_empty());
            let least = least.min_by(|a, b| a.rows[0].0.cmp(&b.rows[0].0));
            match least.and_then(|lane| lane.rows.pop_front()) {
                Some((_, row)) => merged.push(row),
                None => return Ok(merged),
            }
        }
    }
    Ok(merged)
}

/// Rows to ask of one lane where so many are wanted of all. More at each turn, where one lane has more than its share.
fn share(wanted: usize, lanes: usize, reads: u32) -> usize {
    if lanes <= 1 {
        return wanted.min(CHUNK_ROWS_MAX);
    }
    let mean = wanted / lanes;
    let room = 2 * mean.isqrt() + 3;
    ((mean + room) << reads.min(8)).min(wanted).min(CHUNK_ROWS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Every page of these lanes, page by page, and the reads that it took.
    async fn pages(lanes: &[Vec<u32>], rows_max: usize) -> (Vec<u32>, usize) {
        let reads = Cell::new(0);
        let mut all = Vec::new();
        loop {
            let page = merge(0..lanes.len() as i32, all.last().copied(), rows_max, |lane, after, asked| {
                reads.set(reads.get() + 1);
                let after_it = lanes[lane as usize].iter().filter(move |row| after.is_none_or(|after| **row > after));
                let rows: Vec<_> = after_it.take(asked).map(|row| (*row, *row)).collect();
                async move { Ok::<_, ()>(rows) }
            });
            let page = page.await.unwrap();
            let whole = page.len() == rows_max;
            assert!(page.len() <= rows_max);
            all.extend(page);
            if !whole {
                return (all, reads.get());
            }
        }
    }

    #[tokio::test]
    async fn pages_of_every_size_give_the_sorted_whole() {
        let spread: Vec<Vec<u32>> = (0..5).map(|lane| (0..40).map(|row| row * 5 + (lane * 3) % 5).collect()).collect();
        let skewed = vec![vec![], (0..150).collect(), vec![7000], (1000..1003).collect(), vec![]];
        let none = vec![vec![]; 3];
        let one = vec![(0..1200).collect()];
        for lanes in [spread, skewed, none, one] {
            let mut whole: Vec<u32> = lanes.concat();
            whole.sort();
            for rows_max in (1..30).chain([77, 150, 200, 201, 1000, 5000]) {
                assert_eq!(pages(&lanes, rows_max).await.0, whole, "{rows_max} a page");
            }
        }
    }

    #[tokio::test]
    async fn a_page_of_rows_that_are_well_spread_takes_one_read_a_lane() {
        let lanes: Vec<Vec<u32>> = (0..16).map(|lane| (0..100).map(|row| row * 16 + lane).collect()).collect();
        let page = merge(0..16, None, 200, |lane, _, asked| {
            assert!(asked < 25, "asks for its share");
            let rows = lanes[lane as usize].iter().take(asked).map(|row| (*row, *row)).collect();
            async move { Ok::<_, ()>(rows) }
        });
        assert_eq!(page.await.unwrap(), (0..200).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_read_that_fails_fails_the_page() {
        let page =
            merge(
                0..3,
                None::<u8>,
                10,
                |lane, _, _| async move { if lane == 1 { Err("down") } else { Ok(vec![(1, 1)]) } },
            );
        assert_eq!(page.await, Err("down"));
    }
}
