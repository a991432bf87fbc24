//! The best rows of a discovery: what works before what works badly before what does not; then by score, and by id where
//! that is the same.

use super::fields::{HEALTH, ID_HIGH, ID_LOW};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use tantivy::collector::{Collector, SegmentCollector};
use tantivy::columnar::Column;
use tantivy::{DocAddress, DocId, Score, SegmentOrdinal, SegmentReader};

/// Collects so many of them.
pub struct Best {
    pub limit: usize,
}

/// Health, score (no negative one, so that its bits are in the order of their numbers) and id; the best is smallest.
type Rank = (u64, Reverse<u32>, [u64; 2]);
type Ranked = (Rank, DocAddress);

pub struct SegmentBest {
    segment: SegmentOrdinal,
    health: Column<u64>,
    id: [Column<u64>; 2],
    limit: usize,
    best: BinaryHeap<(Rank, DocId)>,
}

impl Collector for Best {
    type Fruit = Vec<(Score, DocAddress)>;
    type Child = SegmentBest;

    fn for_segment(&self, segment: SegmentOrdinal, reader: &SegmentReader) -> tantivy::Result<SegmentBest> {
        let columns = reader.fast_fields();
        Ok(SegmentBest {
            segment,
            health: columns.u64(HEALTH)?,
            id: [columns.u64(ID_HIGH)?, columns.u64(ID_LOW)?],
            limit: self.limit,
            best: BinaryHeap::with_capacity(self.limit + 1),
        })
    }

    fn requires_scoring(&self) -> bool {
        true
    }

    fn merge_fruits(&self, segments: Vec<Vec<Ranked>>) -> tantivy::Result<Vec<(Score, DocAddress)>> {
        let mut all: Vec<Ranked> = segments.into_iter().flatten().collect();
        all.sort_unstable_by_key(|(rank, _)| *rank);
        all.truncate(self.limit);
        Ok(all.into_iter().map(|((_, Reverse(score), _), address)| (Score::from_bits(score), address)).collect())
    }
}

impl SegmentCollector for SegmentBest {
    type Fruit = Vec<Ranked>;

    fn collect(&mut self, doc: DocId, score: Score) {
        let score = Reverse(score.to_bits());
        let worst = (self.best.len() >= self.limit).then(|| self.best.peek().map(|(worst, _)| *worst)).flatten();
        // Most rows are not among the best, and the score alone says so: nothing is read of them.
        if worst.is_some_and(|(health, worst, _)| health == 0 && score > worst) {
            return;
        }
        let health = self.health.first(doc).unwrap_or_default();
        if worst.is_some_and(|(worst_health, worst, _)| (health, score) > (worst_health, worst)) {
            return;
        }
        let id = self.id.each_ref().map(|column| column.first(doc).unwrap_or_default());
        self.best.push(((health, score, id), doc));
        if self.best.len() > self.limit {
            self.best.pop();
        }
    }

    fn harvest(self) -> Self::Fruit {
        self.best.into_iter().map(|(rank, doc)| (rank, DocAddress::new(self.segment, doc))).collect()
    }
}
