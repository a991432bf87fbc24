//! How many rows there are of each value of a filter.

use super::fields::column;
use crate::ports::search::Counted;
use std::collections::HashMap;
use std::io;
use tantivy::collector::{Collector, SegmentCollector};
use tantivy::columnar::StrColumn;
use tantivy::{DocId, Score, SegmentOrdinal, SegmentReader};

pub struct Groups<'a> {
    pub by: Option<&'a str>,
    pub groups_max: usize,
}

#[derive(Default)]
pub struct SegmentGroups {
    values: Option<StrColumn>,
    /// By a value's rank in the segment.
    counts: Vec<u64>,
    without: u64,
    count: u64,
}

/// What a segment has: rows, rows without a value, and rows by value.
type Part = (u64, u64, Vec<(String, u64)>);

impl Collector for Groups<'_> {
    type Fruit = Counted;
    type Child = SegmentGroups;

    fn for_segment(&self, _: SegmentOrdinal, reader: &SegmentReader) -> tantivy::Result<SegmentGroups> {
        let Some(by) = self.by else { return Ok(SegmentGroups::default()) };
        let values = reader.fast_fields().str(&column(by))?;
        let counts = vec![0; values.as_ref().map_or(0, |values| values.num_terms())];
        Ok(SegmentGroups { values, counts, ..SegmentGroups::default() })
    }

    fn requires_scoring(&self) -> bool {
        false
    }

    fn merge_fruits(&self, parts: Vec<tantivy::Result<Part>>) -> tantivy::Result<Counted> {
        let mut counted = Counted::default();
        let mut groups: HashMap<String, u64> = HashMap::new();
        for part in parts {
            let (count, without, values) = part?;
            counted.count += count;
            counted.without += without;
            for (value, count) in values {
                *groups.entry(value).or_default() += count;
            }
        }
        counted.groups = groups.into_iter().collect();
        counted.groups.sort_by(|(one, few), (other, many)| many.cmp(few).then_with(|| one.cmp(other)));
        counted.further_values = counted.groups.len().saturating_sub(self.groups_max) as u64;
        counted.groups.truncate(self.groups_max);
        if self.by.is_none() {
            counted.without = 0;
        }
        Ok(counted)
    }
}

impl SegmentCollector for SegmentGroups {
    type Fruit = tantivy::Result<Part>;

    fn collect(&mut self, doc: DocId, _: Score) {
        self.count += 1;
        let mut values = 0;
        for rank in self.values.iter().flat_map(|column| column.term_ords(doc)) {
            values += 1;
            if let Some(count) = self.counts.get_mut(rank as usize) {
                *count += 1;
            }
        }
        self.without += u64::from(values == 0);
    }

    fn harvest(self) -> Self::Fruit {
        let Some(values) = &self.values else { return Ok((self.count, self.without, Vec::new())) };
        let found = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        let found = found.map(|(rank, count)| {
            let mut value = String::new();
            values.ord_to_str(rank as u64, &mut value)?;
            Ok((value, *count))
        });
        let found = found.collect::<io::Result<_>>().map_err(tantivy::TantivyError::from)?;
        Ok((self.count, self.without, found))
    }
}
