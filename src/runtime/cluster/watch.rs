//! Says when the database goes away and when it is back: once each, where its driver says it every second.

use crate::adapters::scylla::Store;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(5);

/// Watches for as long as the handle lives.
pub fn watch(store: Arc<Store>) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut away: Option<Instant> = None;
        loop {
            tokio::time::sleep(LOOK).await;
            match (store.answers().await, away) {
                (Err(error), None) => {
                    tracing::warn!(%error, "the database does not answer; what needs it waits or fails until it does");
                    away = Some(Instant::now());
                }
                (Ok(()), Some(since)) => {
                    tracing::info!(away_s = since.elapsed().as_secs(), "the database answers again");
                    away = None;
                }
                (Err(_), Some(_)) | (Ok(()), None) => {}
            }
        }
    }))
}
