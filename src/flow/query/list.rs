//! Lists: the resources of one kind, filtered, page by page, in the order of their ids.

use super::{CHUNK, Error, LOOKED_AT_MAX, PAGE_BYTES_MAX, Query, Resource};
use crate::domain::{Aggregate, StreamId, TenantId};
use crate::ports::views::ViewRow;
use uuid::Uuid;

/// Whose resources a list shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// These tenants', one after the other.
    Tenants(Vec<TenantId>),
    /// Every tenant's, in the order of (tenant, id).
    All,
}

/// A filter: a row passes when one of its values is among these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// `status`, or one of [`Aggregate::filters`].
    pub name: String,
    pub values: Vec<String>,
}

/// What a list asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListQuery {
    pub aggregate: Aggregate,
    pub reach: Reach,
    /// Only these resources: they are read one by one, in the order given, on one page.
    pub ids: Option<Vec<Uuid>>,
    /// All of them must be passed.
    pub filters: Vec<Filter>,
    /// Go on after this resource.
    pub after: Option<Place>,
    /// Most items of the page, at least 1.
    pub limit: usize,
}

impl ListQuery {
    /// All of one tenant's own resources of a kind, so many to a page.
    pub fn all(aggregate: Aggregate, tenant: TenantId, limit: usize) -> Self {
        let reach = Reach::Tenants(vec![tenant]);
        Self { aggregate, reach, ids: None, filters: Vec::new(), after: None, limit }
    }
}

/// Where a page ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub tenant: TenantId,
    pub id: Uuid,
}

/// One page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    pub items: Vec<Resource>,
    /// Where the next page starts; `None` after the last. A page can be short, even empty, and still have one.
    pub next: Option<Place>,
}

/// A page in the making.
struct Filling<'a> {
    ask: &'a ListQuery,
    page: Page,
    looked_at: usize,
    bytes: usize,
    last: Option<Place>,
}

impl Filling<'_> {
    /// Looks at one row; `false` when the page was full before it.
    fn take(&mut self, row: &ViewRow) -> Result<bool, Error> {
        if self.page.items.len() >= self.ask.limit || self.looked_at >= LOOKED_AT_MAX || self.bytes >= PAGE_BYTES_MAX {
            self.page.next = self.last;
            return Ok(false);
        }
        self.looked_at += 1;
        self.last = Some(Place { tenant: row.stream.tenant, id: row.stream.id });
        let resource = Resource::from_row(row)?;
        if passes(&resource, &self.ask.filters) {
            self.bytes += row.data.state.len();
            self.page.items.push(resource);
        }
        Ok(true)
    }

    /// Rows worth reading at once: one more than the page can take tells whether there is a next one.
    fn chunk(&self) -> usize {
        if self.ask.filters.is_empty() { (self.ask.limit - self.page.items.len() + 1).min(CHUNK) } else { CHUNK }
    }
}

impl Query {
    /// One page of a list. It looks at [`LOOKED_AT_MAX`] rows at most.
    pub async fn list(&self, ask: &ListQuery) -> Result<Page, Error> {
        if let Some(ids) = &ask.ids {
            return self.list_ids(ask, ids).await;
        }
        let mut filling = Filling { ask, page: Page::default(), looked_at: 0, bytes: 0, last: ask.after };
        match &ask.reach {
            Reach::All => {
                self.scan(&mut filling, None).await?;
            }
            Reach::Tenants(tenants) => {
                let begin = ask.after.and_then(|place| tenants.iter().position(|tenant| *tenant == place.tenant));
                for tenant in &tenants[begin.unwrap_or(0)..] {
                    if !self.scan(&mut filling, Some(*tenant)).await? {
                        break;
                    }
                }
            }
        }
        Ok(filling.page)
    }

    /// Fills the page with one tenant's rows, or with every tenant's; `false` once it is full.
    async fn scan(&self, filling: &mut Filling<'_>, tenant: Option<TenantId>) -> Result<bool, Error> {
        let aggregate = filling.ask.aggregate;
        let mut after = filling.last.filter(|place| tenant.is_none_or(|tenant| tenant == place.tenant));
        loop {
            let rows_max = filling.chunk();
            let rows = match tenant {
                Some(tenant) => self.views.list(tenant, aggregate, after.map(|place| place.id), rows_max).await?,
                None => self.views.list_all(aggregate, after.map(|place| (place.tenant, place.id)), rows_max).await?,
            };
            for row in &rows {
                if !filling.take(row)? {
                    return Ok(false);
                }
            }
            if rows.len() < rows_max {
                return Ok(true);
            }
            after = filling.last;
            // A long scan in memory must not keep its thread from others.
            tokio::task::yield_now().await;
        }
    }

    async fn list_ids(&self, ask: &ListQuery, ids: &[Uuid]) -> Result<Page, Error> {
        let mut page = Page::default();
        let streams: Vec<_> = match &ask.reach {
            Reach::Tenants(tenants) => tenants
                .iter()
                .flat_map(|tenant| ids.iter().map(|id| StreamId::new(*tenant, ask.aggregate, *id)))
                .collect(),
            // Only tenants are listed over all tenants, and a tenant's stream is named by the tenant itself.
            Reach::All => ids.iter().map(|id| StreamId::new(TenantId(*id), ask.aggregate, *id)).collect(),
        };
        for stream in streams {
            let found = self.get(stream).await?;
            page.items.extend(found.filter(|resource| passes(resource, &ask.filters)));
        }
        Ok(page)
    }
}

fn passes(resource: &Resource, filters: &[Filter]) -> bool {
    filters.iter().all(|filter| match filter.name.as_str() {
        "status" => filter.values.iter().any(|value| value == resource.state.status()),
        name => resource.state.facet(name).iter().any(|value| filter.values.contains(value)),
    })
}
