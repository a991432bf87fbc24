//! The replica of the moment: who searches need not know that there is another one now.

use crate::adapters::tantivy::Replica;
use crate::domain::{LogId, StreamId};
use crate::ports::Search;
use crate::ports::search::{Among, Counted, Error, Found, Hit, Mark, Order, Place, Standing, Wanted};
use crate::ports::views::{RowData, ViewRow};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

pub struct Current(watch::Sender<Arc<Replica>>);

impl Current {
    pub fn new(replica: Arc<Replica>) -> Self {
        Self(watch::Sender::new(replica))
    }

    pub fn now(&self) -> Arc<Replica> {
        self.0.borrow().clone()
    }

    pub fn replace(&self, next: Arc<Replica>) {
        self.0.send_replace(next);
    }
}

#[async_trait]
impl Search for Current {
    fn marks(&self) -> BTreeMap<LogId, Mark> {
        self.now().marks()
    }

    async fn apply(&self, rows: Vec<ViewRow>, through: Option<(LogId, Mark)>) -> Result<(), Error> {
        self.now().apply(rows, through).await
    }

    async fn complete(&self) -> Result<(), Error> {
        self.now().complete().await
    }

    async fn clear(&self) -> Result<(), Error> {
        self.now().clear().await
    }

    async fn row(&self, stream: StreamId) -> Result<Option<RowData>, Error> {
        self.now().row(stream).await
    }

    async fn shown(&self, stream: StreamId, version: u64) {
        let mut current = self.0.subscribe();
        loop {
            let replica = current.borrow_and_update().clone();
            tokio::select! {
                () = replica.shown(stream, version) => return,
                changed = current.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn page(&self, among: &Among, order: &Order, after: Option<&Place>, limit: usize) -> Result<Found, Error> {
        self.now().page(among, order, after, limit).await
    }

    async fn count(&self, among: &Among, group_by: Option<&str>, groups_max: usize) -> Result<Counted, Error> {
        self.now().count(among, group_by, groups_max).await
    }

    async fn discover(&self, wanted: &Wanted) -> Result<Vec<Hit>, Error> {
        self.now().discover(wanted).await
    }

    fn standing(&self) -> Standing {
        self.now().standing()
    }
}
