//! Searches: pages in any order and by words, and counts, from the replica that this node keeps.

use super::{Error, Query, Resource};
use crate::ports::Search;
use crate::ports::search::{self, Among, Counted, Order, Place, Standing};
use std::sync::Arc;

/// What a search asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchQuery {
    pub among: Among,
    pub order: Order,
    pub after: Option<Place>,
    /// Most items of the page, at least 1.
    pub limit: usize,
}

/// One page of a search.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SearchPage {
    pub items: Vec<Resource>,
    pub next: Option<Place>,
}

impl Query {
    /// Gives it a replica to search in.
    pub fn searching(mut self, search: Arc<dyn Search>) -> Self {
        self.search = Some(search);
        self
    }

    /// One page of a search.
    ///
    /// # Errors
    /// When there is no replica, or not yet.
    pub async fn search(&self, ask: &SearchQuery) -> Result<SearchPage, Error> {
        let found = self.replica()?.page(&ask.among, &ask.order, ask.after.as_ref(), ask.limit).await?;
        let items = found.rows.iter().map(Resource::from_row).collect::<Result<_, _>>()?;
        Ok(SearchPage { items, next: found.next })
    }

    /// How many there are, and how many of each value of `group_by`, the most frequent `groups_max` of them.
    ///
    /// # Errors
    /// As [`search`](Self::search).
    pub async fn count(&self, among: &Among, group_by: Option<&str>, groups_max: usize) -> Result<Counted, Error> {
        Ok(self.replica()?.count(among, group_by, groups_max).await?)
    }

    /// How the replica stands; `None` on a node that keeps none.
    pub fn replica_standing(&self) -> Option<Standing> {
        self.search.as_ref().map(|search| search.standing())
    }

    pub(super) fn replica(&self) -> Result<&dyn Search, Error> {
        let off = || search::Error::Unavailable("this node keeps no replica (the setting replica is off)".into());
        Ok(self.search.as_deref().ok_or_else(off)?)
    }
}
