//! Lists: the resources of one kind, filtered, page by page, in the order of their ids.

use super::{CHUNK, Error, LOOKED_AT_MAX, PAGE_BYTES_MAX, Query, Resource};
use crate::domain::{Aggregate, Micros, Sieve, StreamId, TenantId};
use crate::ports::search::{self, Among, Filter, Order};
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

/// What a list asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListQuery {
    pub aggregate: Aggregate,
    pub reach: Reach,
    /// Only these resources: they are read one by one, in the order given, on one page.
    pub ids: Option<Vec<Uuid>>,
    /// All of them must be passed.
    pub filters: Vec<Filter>,
    /// Only resources that changed at or after this time.
    pub updated_since: Option<Micros>,
    /// Go on after this resource.
    pub after: Option<Place>,
    /// Most items of the page, at least 1.
    pub limit: usize,
}

impl ListQuery {
    /// All of one tenant's own resources of a kind, so many to a page.
    pub fn all(aggregate: Aggregate, tenant: TenantId, limit: usize) -> Self {
        let reach = Reach::Tenants(vec![tenant]);
        Self { aggregate, reach, ids: None, filters: Vec::new(), updated_since: None, after: None, limit }
    }

    fn is_filtered(&self) -> bool {
        !self.filters.is_empty() || self.updated_since.is_some()
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
    /// Whether it ended because it would have become too large.
    pub is_heavy: bool,
}

/// Rows that a page looks at before the replica is asked.
const SCANNED_MAX: usize = 1_000;

/// A page in the making.
struct Filling<'a> {
    ask: &'a ListQuery,
    /// Most rows are turned down by their bytes: to read a state takes longer than all else that a page does.
    sieve: Sieve,
    page: Page,
    looked_at: usize,
    looked_at_max: usize,
    bytes: usize,
    last: Option<Place>,
}

impl Filling<'_> {
    /// Looks at one row; `false` when the page was full before it.
    fn take(&mut self, row: &ViewRow) -> Result<bool, Error> {
        if self.page.items.len() >= self.ask.limit
            || self.looked_at >= self.looked_at_max
            || self.bytes >= PAGE_BYTES_MAX
        {
            self.page.next = self.last;
            return Ok(false);
        }
        self.looked_at += 1;
        self.last = Some(Place { tenant: row.stream.tenant, id: row.stream.id });
        if !is_new(row.data.updated_at, self.ask) || !self.sieve.lets_through(&row.data.state) {
            return Ok(true);
        }
        let resource = Resource::from_row(row)?;
        if passes(&resource, self.ask) {
            self.bytes += row.data.state.len();
            self.page.items.push(resource);
        }
        Ok(true)
    }

    /// Rows worth reading at once: one more than the page can take tells whether there is a next one.
    fn chunk(&self) -> usize {
        let room = if self.ask.is_filtered() {
            self.looked_at_max - self.looked_at
        } else {
            self.ask.limit - self.page.items.len()
        };
        (room + 1).min(CHUNK)
    }
}

impl Query {
    /// One page of a list. It looks at [`LOOKED_AT_MAX`] rows at most; where few of many pass, the replica finds the rest
    /// after [`SCANNED_MAX`].
    pub async fn list(&self, ask: &ListQuery) -> Result<Page, Error> {
        if let Some(ids) = &ask.ids {
            return self.list_ids(ask, ids).await;
        }
        let search = self.search.as_deref().filter(|_| ask.is_filtered() && ask.aggregate.is_searched());
        let Some(search) = search else { return self.walk(ask, LOOKED_AT_MAX).await };
        let mut page = self.walk(ask, SCANNED_MAX).await?;
        let Some(next) = page.next.filter(|_| page.items.len() < ask.limit && !page.is_heavy) else { return Ok(page) };
        let rest = ListQuery { after: Some(next), limit: ask.limit - page.items.len(), ..ask.clone() };
        match self.find(search, &rest).await {
            Ok(found) => {
                page.items.extend(found.items);
                page.next = found.next;
            }
            // Not yet, or not any more: the walk goes on, a page at a time.
            Err(Error::Search(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(page)
    }

    /// What the replica finds after a place.
    async fn find(&self, search: &dyn search::Search, ask: &ListQuery) -> Result<Page, Error> {
        let reached = ask.after.map(|place| place.tenant);
        let tenants: Vec<Option<TenantId>> = match &ask.reach {
            Reach::All => vec![None],
            Reach::Tenants(tenants) => {
                let begin = tenants.iter().position(|tenant| Some(*tenant) == reached).unwrap_or(0);
                tenants[begin..].iter().copied().map(Some).collect()
            }
        };
        let mut page = Page::default();
        let last = tenants.len();
        for (number, tenant) in (1..).zip(tenants) {
            let among = Among {
                aggregate: ask.aggregate,
                tenants: tenant.map(|tenant| vec![tenant]),
                filters: ask.filters.clone(),
                updated_since: ask.updated_since,
                words: Vec::new(),
            };
            let after = ask.after.filter(|place| tenant.is_none_or(|tenant| tenant == place.tenant));
            let after = after.map(|place| search::Place { key: search::Key::None, tenant: place.tenant, id: place.id });
            let room = ask.limit - page.items.len();
            let found = search.page(&among, &Order::Id, after.as_ref(), room).await?;
            let items = found.rows.iter().map(Resource::from_row).collect::<Result<Vec<_>, _>>()?;
            page.items.extend(items);
            if let Some(next) = found.next {
                page.next = Some(Place { tenant: next.tenant, id: next.id });
                break;
            }
            // Another tenant's may follow.
            if page.items.len() == ask.limit && number < last {
                page.next = page.items.last().map(Resource::place);
                break;
            }
        }
        Ok(page)
    }

    /// A page by looking at one row after the other.
    async fn walk(&self, ask: &ListQuery, looked_at_max: usize) -> Result<Page, Error> {
        let filters = ask.filters.iter().map(|filter| (filter.name.as_str(), filter.values.as_slice()));
        let (sieve, page) = (Sieve::new(ask.aggregate, filters), Page::default());
        let mut filling = Filling { ask, sieve, page, looked_at: 0, looked_at_max, bytes: 0, last: ask.after };
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
        filling.page.is_heavy = filling.bytes >= PAGE_BYTES_MAX;
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
        for stream in streams_of(ask, ids) {
            let found = self.get(stream).await?;
            page.items.extend(found.filter(|resource| passes(resource, ask)));
        }
        Ok(page)
    }
}

/// The streams that a list of these ids shows.
pub(super) fn streams_of(ask: &ListQuery, ids: &[Uuid]) -> Vec<StreamId> {
    match &ask.reach {
        Reach::Tenants(tenants) => {
            tenants.iter().flat_map(|tenant| ids.iter().map(|id| StreamId::new(*tenant, ask.aggregate, *id))).collect()
        }
        // Only tenants are listed over all tenants, and a tenant's stream is named by the tenant itself.
        Reach::All => ids.iter().map(|id| StreamId::new(TenantId(*id), ask.aggregate, *id)).collect(),
    }
}

fn is_new(updated_at: Micros, ask: &ListQuery) -> bool {
    ask.updated_since.is_none_or(|since| updated_at >= since)
}

pub(super) fn passes(resource: &Resource, ask: &ListQuery) -> bool {
    is_new(resource.updated_at, ask)
        && ask.filters.iter().all(|filter| match filter.name.as_str() {
            "status" => filter.values.iter().any(|value| value == resource.state.status()),
            name => resource.state.facet(name).iter().any(|value| filter.values.contains(value)),
        })
}
