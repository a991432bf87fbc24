//! One page of what a question finds, in any order, after any place.
//!
//! Within a segment a row's order is a number: a time, a score, or the rank of its value among the segment's values, which
//! are sorted. A place that was seen in another segment, or that is gone, lies between two ranks; so ranks are odd, and
//! what is between them even.

use super::fields::{CREATED_AT, ID_HIGH, ID_LOW, TENANT_HIGH, TENANT_LOW, UPDATED_AT, column};
use crate::ports::search::{Key, Order, Place};
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::io;
use std::ops::Bound;
use tantivy::collector::{Collector, SegmentCollector};
use tantivy::columnar::{Column, StrColumn};
use tantivy::{DocAddress, DocId, Score, SegmentOrdinal, SegmentReader};

/// Collects the first `limit` rows after a place.
pub struct Page<'a> {
    pub order: &'a Order,
    pub after: Option<&'a Place>,
    pub limit: usize,
}

/// A row of the page.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    pub key: Key,
    /// The id, and the tenant.
    identity: Identity,
    pub address: DocAddress,
}

type Identity = [u64; 4];
/// What comes first is smallest.
type Rank = (u64, Identity);

/// After every other rank, whichever way the order goes.
const NO_VALUE: u64 = u64::MAX;

impl Page<'_> {
    fn is_descending(&self) -> bool {
        match self.order {
            Order::Id => false,
            Order::CreatedAt { descending } | Order::UpdatedAt { descending } | Order::Value { descending, .. } => {
                *descending
            }
            Order::Relevance => true,
        }
    }
}

impl<'a> Collector for Page<'a> {
    type Fruit = Vec<Placed>;
    type Child = SegmentPage;

    fn for_segment(&self, segment: SegmentOrdinal, reader: &SegmentReader) -> tantivy::Result<SegmentPage> {
        let columns = reader.fast_fields();
        let by = match self.order {
            Order::Id => By::Id,
            Order::CreatedAt { .. } => By::Time(columns.i64(CREATED_AT)?),
            Order::UpdatedAt { .. } => By::Time(columns.i64(UPDATED_AT)?),
            Order::Value { name, .. } => By::Value(columns.str(&column(name))?),
            Order::Relevance => By::Relevance,
        };
        let mut page = SegmentPage {
            segment,
            by,
            is_descending: self.is_descending(),
            identity: [
                columns.u64(ID_HIGH)?,
                columns.u64(ID_LOW)?,
                columns.u64(TENANT_HIGH)?,
                columns.u64(TENANT_LOW)?,
            ],
            after: None,
            limit: self.limit,
            best: BinaryHeap::with_capacity(self.limit + 1),
        };
        if let Some(place) = self.after {
            let ((id_high, id_low), (tenant_high, tenant_low)) = (place.id.as_u64_pair(), place.tenant.0.as_u64_pair());
            page.after = Some((page.rank_of(&place.key)?, [id_high, id_low, tenant_high, tenant_low]));
        }
        Ok(page)
    }

    fn requires_scoring(&self) -> bool {
        *self.order == Order::Relevance
    }

    fn merge_fruits(&self, pages: Vec<tantivy::Result<Vec<Placed>>>) -> tantivy::Result<Vec<Placed>> {
        let mut all = Vec::new();
        for page in pages {
            all.extend(page?);
        }
        let is_descending = self.is_descending();
        all.sort_by(|one, other| compare(one, other, is_descending));
        all.truncate(self.limit);
        Ok(all)
    }
}

fn compare(one: &Placed, other: &Placed, is_descending: bool) -> Ordering {
    let turned = |order: Ordering| if is_descending { order.reverse() } else { order };
    let by_key = match (&one.key, &other.key) {
        (Key::Time(one), Key::Time(other)) => turned(one.cmp(other)),
        (Key::Relevance(one), Key::Relevance(other)) => turned(one.total_cmp(other)),
        (Key::Value(Some(one)), Key::Value(Some(other))) => turned(one.as_bytes().cmp(other.as_bytes())),
        (Key::Value(Some(_)), Key::Value(None)) => Ordering::Less,
        (Key::Value(None), Key::Value(Some(_))) => Ordering::Greater,
        _ => Ordering::Equal,
    };
    by_key.then(one.identity.cmp(&other.identity))
}

enum By {
    Id,
    Time(Column<i64>),
    /// Absent where no row of the segment has a value.
    Value(Option<StrColumn>),
    Relevance,
}

pub struct SegmentPage {
    segment: SegmentOrdinal,
    by: By,
    is_descending: bool,
    identity: [Column<u64>; 4],
    after: Option<Rank>,
    limit: usize,
    best: BinaryHeap<(Rank, DocId)>,
}

impl SegmentPage {
    fn turned(&self, rank: u64) -> u64 {
        // The greatest stays free for what has no value.
        if self.is_descending { NO_VALUE - 1 - rank } else { rank }
    }

    fn rank(&self, doc: DocId, score: Score) -> u64 {
        match &self.by {
            By::Id => 0,
            By::Time(times) => self.turned(ordered(times.first(doc).unwrap_or_default())),
            By::Value(values) => {
                let first = values.as_ref().and_then(|values| values.ords().first(doc));
                first.map_or(NO_VALUE, |rank| self.turned(2 * rank + 1))
            }
            By::Relevance => self.turned(u64::from(score.to_bits())),
        }
    }

    /// Where a key lies among this segment's rows.
    fn rank_of(&self, key: &Key) -> io::Result<u64> {
        Ok(match key {
            Key::None => 0,
            Key::Time(time) => self.turned(ordered(*time)),
            Key::Relevance(score) => self.turned(u64::from(score.to_bits())),
            Key::Value(None) => NO_VALUE,
            Key::Value(Some(text)) => {
                let By::Value(Some(values)) = &self.by else { return Ok(0) };
                let values = values.dictionary();
                if let Some(rank) = values.term_ord(text)? {
                    return Ok(self.turned(2 * rank + 1));
                }
                let (from, _) = values.term_bounds_to_ord(Bound::Included(text), Bound::Unbounded)?;
                let next = match from {
                    Bound::Included(next) | Bound::Excluded(next) => next.min(values.num_terms() as u64),
                    Bound::Unbounded => 0,
                };
                self.turned(2 * next)
            }
        })
    }

    fn key(&self, doc: DocId, rank: u64) -> io::Result<Key> {
        Ok(match &self.by {
            By::Id => Key::None,
            By::Time(times) => Key::Time(times.first(doc).unwrap_or_default()),
            By::Relevance => Key::Relevance(Score::from_bits(self.turned(rank) as u32)),
            By::Value(values) => {
                let first = values.as_ref().and_then(|values| Some((values, values.ords().first(doc)?)));
                let Some((values, first)) = first else { return Ok(Key::Value(None)) };
                let mut text = String::new();
                values.ord_to_str(first, &mut text)?;
                Key::Value(Some(text))
            }
        })
    }
}

/// As an unsigned number with the same order, below the rank that stands for no value.
fn ordered(time: i64) -> u64 {
    ((time as u64) ^ (1 << 63)).min(NO_VALUE - 1)
}

impl SegmentCollector for SegmentPage {
    type Fruit = tantivy::Result<Vec<Placed>>;

    fn collect(&mut self, doc: DocId, score: Score) {
        let rank = self.rank(doc, score);
        let is_full = self.best.len() >= self.limit;
        // The id is not looked at where the order alone says that the row is not on this page.
        let worst = self.best.peek().map(|((worst, _), _)| *worst);
        let is_beyond = is_full && worst.is_some_and(|worst| rank > worst);
        if is_beyond || self.after.is_some_and(|(after, _)| rank < after) {
            return;
        }
        // Nor all of it where its beginning says so.
        let begin = (rank, self.identity[0].first(doc).unwrap_or_default());
        let is_beyond = is_full && self.best.peek().is_some_and(|((worst, [id, ..]), _)| begin > (*worst, *id));
        if is_beyond || self.after.is_some_and(|(after, [id, ..])| begin < (after, id)) {
            return;
        }
        let rank = (rank, self.identity.each_ref().map(|column| column.first(doc).unwrap_or_default()));
        if self.after.is_some_and(|after| rank <= after) {
            return;
        }
        if !is_full {
            self.best.push((rank, doc));
        } else if let Some(mut worst) = self.best.peek_mut()
            && rank < worst.0
        {
            *worst = (rank, doc);
        }
    }

    fn harvest(mut self) -> Self::Fruit {
        let best = std::mem::take(&mut self.best).into_sorted_vec();
        let placed = best.into_iter().map(|((rank, identity), doc)| {
            let key = self.key(doc, rank)?;
            Ok(Placed { key, identity, address: DocAddress::new(self.segment, doc) })
        });
        placed.collect::<io::Result<_>>().map_err(tantivy::TantivyError::from)
    }
}
