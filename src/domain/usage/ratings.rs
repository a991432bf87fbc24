//! How good answers were found: ratings, added up so that no tenant speaks for all.
//!
//! A tenant names its own raters, so it has as many as it likes. Its ratings all fall into one group, of as many as there
//! are at most; the figure is the median of the groups' means. A model of one tenant has one group and the plain mean; one
//! that many tenants use keeps its figure whatever one of them says. (Median of means: Nemirovsky and Yudin, Problem
//! Complexity and Method Efficiency in Optimization, 1983.)
//!
//! A rating that replaces an earlier one counts too, in the window in which it was given: what a window shows is what was
//! said in it, and nothing is taken back from a window that is over.

use crate::domain::TenantId;
use crate::domain::llm_request::MILLION;
use serde::{Deserialize, Serialize};

/// Most groups.
const GROUPS: u8 = 32;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ratings {
    /// Group, count, and sum in millionths, in the order of the groups.
    groups: Vec<(u8, u64, i64)>,
}

impl Ratings {
    /// One rating by a rater of this tenant, 0 to 1,000,000 millionths.
    pub fn of(tenant: TenantId, millionths: i64) -> Self {
        let group = blake3::hash(tenant.0.as_bytes()).as_bytes()[0] % GROUPS;
        Self { groups: vec![(group, 1, millionths.clamp(0, MILLION))] }
    }

    pub fn add(&mut self, other: &Self) {
        for (group, count, sum) in &other.groups {
            match self.groups.binary_search_by_key(group, |(it, ..)| *it) {
                Ok(at) => {
                    let (_, own_count, own_sum) = &mut self.groups[at];
                    *own_count = own_count.saturating_add(*count);
                    *own_sum = own_sum.saturating_add(*sum);
                }
                Err(at) => self.groups.insert(at, (*group, *count, *sum)),
            }
        }
    }

    pub fn count(&self) -> u64 {
        self.groups.iter().fold(0, |sum, (_, count, _)| sum.saturating_add(*count))
    }

    /// The median of the groups' means, 0..1; absent without ratings.
    pub fn mean(&self) -> Option<f64> {
        let mean = |(_, count, sum): &(u8, u64, i64)| *sum as f64 / MILLION as f64 / *count as f64;
        let mut means: Vec<f64> = self.groups.iter().map(mean).collect();
        means.sort_by(f64::total_cmp);
        let middle = means.len() / 2;
        match means.len() % 2 {
            1 => Some(means[middle]),
            _ if means.is_empty() => None,
            _ => Some(f64::midpoint(means[middle - 1], means[middle])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn tenant(of: u128) -> TenantId {
        TenantId(Uuid::from_u128(of))
    }

    fn sum(ratings: impl IntoIterator<Item = Ratings>) -> Ratings {
        let mut sum = Ratings::default();
        ratings.into_iter().for_each(|it| sum.add(&it));
        sum
    }

    #[test]
    fn one_tenant_has_the_mean_of_what_it_said() {
        assert_eq!((Ratings::default().count(), Ratings::default().mean()), (0, None));
        let said = [0, 250_000, 500_000, 1_000_000].map(|score| Ratings::of(tenant(1), score));
        assert_eq!((sum(said.clone()).count(), sum(said).mean()), (4, Some(0.4375)));
        let out_of_range = sum([i64::MAX, i64::MIN].map(|score| Ratings::of(tenant(1), score)));
        assert_eq!(out_of_range.mean(), Some(0.5));
    }

    #[test]
    fn whoever_shouts_is_one_of_many() {
        let many = |score: i64| (1..=60).map(move |of| Ratings::of(tenant(of), score));
        let loud = (0..100_000).map(|_| Ratings::of(tenant(1), 0));
        assert_eq!(sum(many(900_000).chain(loud)).mean(), Some(0.9));
        let split = sum([Ratings::of(tenant(1), 0), Ratings::of(tenant(2), 1_000_000)]);
        assert_eq!(split.mean(), Some(0.5), "of two that disagree, neither is right");
    }

    #[test]
    fn the_order_does_not_matter() {
        let said = || (0..200).map(|of| Ratings::of(tenant(of % 50), (of as i64 * 7_919) % MILLION));
        assert_eq!(sum(said()), sum(said().rev()));
        let (head, tail): (Vec<_>, Vec<_>) = said().enumerate().partition(|(at, _)| at % 3 == 0);
        let part = |of: Vec<(usize, Ratings)>| sum(of.into_iter().map(|(_, it)| it));
        assert_eq!(sum([part(head), part(tail)]), sum(said()));
    }
}
