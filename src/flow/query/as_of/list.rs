//! Lists as of a time.
//!
//! Nothing ever leaves the views, so a list as of a time is made of the rows that there were by then: those that did not
//! change since are shown as they stand, the others folded, and the filters are asked of what comes out. The rows must
//! show all that the logs hold, which the caller waits for.

use super::{AsOf, At};
use crate::domain::{Micros, TenantId};
use crate::flow::query::list::{passes, streams_of};
use crate::flow::query::{Error, LOOKED_AT_MAX, ListQuery, PAGE_BYTES_MAX, Page, Place, Query, Reach, Resource};
use crate::ports::views::ViewRow;
use futures::stream::{self, StreamExt, TryStreamExt};

/// Rows that are read at once, and of them folded at a time.
const ROWS: usize = 256;
const FOLDS_MAX: usize = 8;

/// A page in the making.
struct Filling<'a> {
    ask: &'a ListQuery,
    at: Micros,
    page: Page,
    /// Rows and records, which cost about the same.
    looked_at: usize,
    bytes: usize,
    last: Option<Place>,
}

impl Filling<'_> {
    fn is_full(&self) -> bool {
        self.page.items.len() >= self.ask.limit || self.looked_at >= LOOKED_AT_MAX || self.bytes >= PAGE_BYTES_MAX
    }

    fn take(&mut self, row: &ViewRow, found: Option<Resource>, records: usize) {
        self.looked_at += 1 + records;
        self.last = Some(Place { tenant: row.stream.tenant, id: row.stream.id });
        if let Some(resource) = found.filter(|resource| passes(resource, self.ask)) {
            self.bytes += row.data.state.len();
            self.page.items.push(resource);
        }
    }
}

impl Query {
    /// One page of a list as of a time. It looks at [`LOOKED_AT_MAX`] rows and records, and little more; a page that meets
    /// this ends short.
    ///
    /// # Errors
    /// [`Error::TooFar`] when one of its resources has a longer history than may be folded.
    pub async fn list_as_of(&self, ask: &ListQuery, at: Micros) -> Result<Page, Error> {
        if let Some(ids) = &ask.ids {
            let asked = streams_of(ask, ids).into_iter().map(|stream| self.get_as_of(stream, At::Time(at)));
            let found: Vec<_> = stream::iter(asked).buffered(FOLDS_MAX).try_collect().await?;
            let items = found.into_iter().filter_map(stood).filter(|it| passes(it, ask)).collect();
            return Ok(Page { items, ..Page::default() });
        }
        let mut filling = Filling { ask, at, page: Page::default(), looked_at: 0, bytes: 0, last: ask.after };
        match &ask.reach {
            Reach::All => {
                self.scan_as_of(&mut filling, None).await?;
            }
            Reach::Tenants(tenants) => {
                let begin = ask.after.and_then(|place| tenants.iter().position(|tenant| *tenant == place.tenant));
                for tenant in &tenants[begin.unwrap_or(0)..] {
                    if !self.scan_as_of(&mut filling, Some(*tenant)).await? {
                        break;
                    }
                }
            }
        }
        Ok(filling.page)
    }

    /// Fills the page with one tenant's rows, or with every tenant's; `false` once it is full.
    async fn scan_as_of(&self, filling: &mut Filling<'_>, tenant: Option<TenantId>) -> Result<bool, Error> {
        let (aggregate, at) = (filling.ask.aggregate, filling.at);
        let mut after = filling.last.filter(|place| tenant.is_none_or(|tenant| tenant == place.tenant));
        loop {
            let rows = match tenant {
                Some(tenant) => self.views.list(tenant, aggregate, after.map(|place| place.id), ROWS).await?,
                None => self.views.list_all(aggregate, after.map(|place| (place.tenant, place.id)), ROWS).await?,
            };
            let mut rest = rows.as_slice();
            while !rest.is_empty() {
                if filling.is_full() {
                    filling.page.next = filling.last;
                    return Ok(false);
                }
                let room = filling.ask.limit - filling.page.items.len();
                let (group, later) = rest.split_at(room.min(FOLDS_MAX).min(rest.len()));
                rest = later;
                let folds: Vec<_> = group.iter().map(|row| self.row_as_of(row, at)).collect();
                let found: Vec<_> = stream::iter(folds).buffered(FOLDS_MAX).try_collect().await?;
                for (row, (found, records)) in group.iter().zip(found) {
                    filling.take(row, found, records);
                }
            }
            if rows.len() < ROWS {
                return Ok(true);
            }
            after = filling.last;
            tokio::task::yield_now().await;
        }
    }

    /// What a row was then, and how many records told it.
    async fn row_as_of(&self, row: &ViewRow, at: Micros) -> Result<(Option<Resource>, usize), Error> {
        if row.data.created_at > at {
            return Ok((None, 0));
        }
        let resource = Resource::from_row(row)?;
        if resource.updated_at <= at {
            return Ok((Some(resource), 0));
        }
        let (found, records) = self.fold(row.stream, At::Time(at), Some(resource)).await?;
        Ok((stood(found), records))
    }
}

fn stood(found: Option<AsOf>) -> Option<Resource> {
    match found {
        Some(AsOf::Stood(resource)) => Some(*resource),
        _ => None,
    }
}
