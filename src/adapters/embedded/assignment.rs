//! The assignment where one process owns everything: the folder's lock sees to it.
//!
//! The file TRIES is in the folder while a node works on it, and is removed when the node stops cleanly. A node that
//! finds it there follows one that ended otherwise: only then does it note its tries, so that a node whose predecessor
//! stopped as it should writes and syncs one small file and no more.

use super::folder::{FolderError, Layout, sync_directory, write_atomically};
use crate::domain::LogId;
use crate::ports::Assignment;
use async_trait::async_trait;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// All logs are this process's.
pub struct Everything(Arc<Tries>);

struct Tries {
    path: PathBuf,
    /// Whether the node before ended without stopping.
    noting: bool,
    /// By the log's name.
    noted: Mutex<BTreeMap<String, Noted>>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Noted {
    offset: u64,
    tries: u32,
}

impl Everything {
    /// Begins a node's work on a folder.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn begin(layout: &Layout) -> Result<Self, FolderError> {
        let path = layout.tries();
        let (noting, noted) = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => (false, BTreeMap::new()),
            Err(cause) => return Err(FolderError::io(&path, cause)),
            // It only counts: what cannot be read is counted anew.
            Ok(bytes) => (true, serde_json::from_slice(&bytes).unwrap_or_default()),
        };
        let tries = Tries { path, noting, noted: Mutex::new(noted) };
        if !noting {
            tries.write(&BTreeMap::new())?;
        }
        Ok(Self(Arc::new(tries)))
    }

    /// Ends it cleanly.
    pub(super) fn end(&self) -> Result<(), FolderError> {
        let path = &self.0.path;
        std::fs::remove_file(path).map_err(|cause| FolderError::io(path, cause))?;
        path.parent().map_or(Ok(()), sync_directory)
    }
}

impl Tries {
    fn write(&self, noted: &BTreeMap<String, Noted>) -> Result<(), FolderError> {
        let bytes = serde_json::to_vec(noted).map_err(FolderError::derived)?;
        write_atomically(&self.path, &bytes)
    }

    fn note(&self, log: LogId, now: Noted) {
        let mut noted = self.noted.lock();
        let before = noted.insert(log.to_string(), now);
        if before.is_none() && now.tries == 0 {
            return;
        }
        if let Err(error) = self.write(&noted) {
            tracing::warn!(%log, %error, "the try of a batch could not be noted");
        }
    }
}

#[async_trait]
impl Assignment for Everything {
    async fn confirm(&self, _log: LogId) -> bool {
        true
    }

    fn consumed(&self, _log: LogId, _offset: u64) {}

    async fn tried(&self, log: LogId, offset: u64) -> u32 {
        let noted = self.0.noted.lock();
        noted.get(&log.to_string()).filter(|noted| noted.offset == offset).map_or(0, |noted| noted.tries)
    }

    async fn note(&self, log: LogId, offset: u64, tries: u32) {
        if !self.0.noting {
            return;
        }
        let shared = self.0.clone();
        let noting = tokio::task::spawn_blocking(move || shared.note(log, Noted { offset, tries }));
        if let Err(error) = noting.await {
            tracing::error!(%log, %error, "noting a try panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::embedded::Embedded;
    use crate::adapters::embedded::tests::config;
    use crate::ports::conformance::stream;
    use std::path::Path;

    fn log() -> LogId {
        stream(1).log(config().partitions)
    }

    /// What a node finds noted at offset 7 and at 8, and notes then; `None` where it stops cleanly.
    async fn node(folder: &Path, notes: Option<u32>) -> (u32, u32) {
        let open = Embedded::open(folder, &config()).unwrap();
        let assignment = open.assignment().unwrap();
        let found = (assignment.tried(log(), 7).await, assignment.tried(log(), 8).await);
        match notes {
            Some(tries) => assignment.note(log(), 7, tries).await,
            None => open.close().unwrap(),
        }
        found
    }

    #[tokio::test]
    async fn tries_are_noted_after_an_unclean_end_and_forgotten_at_a_clean_one() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(node(folder.path(), Some(1)).await, (0, 0), "the first one follows nobody");
        assert_eq!(node(folder.path(), Some(1)).await, (0, 0), "and so noted nothing");
        assert_eq!(node(folder.path(), Some(2)).await, (1, 0));
        assert_eq!(node(folder.path(), None).await, (2, 0), "at exactly this offset");
        assert!(!folder.path().join("TRIES").exists());
        assert_eq!(node(folder.path(), None).await, (0, 0));
    }

    #[tokio::test]
    async fn a_folder_that_is_only_looked_at_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        drop(Embedded::open(folder.path(), &config()).unwrap());
        assert!(!folder.path().join("TRIES").exists());
        node(folder.path(), Some(0)).await;
        node(folder.path(), Some(3)).await;
        drop(Embedded::open(folder.path(), &config()).unwrap());
        assert_eq!(node(folder.path(), Some(3)).await, (3, 0));
    }

    #[tokio::test]
    async fn a_file_of_tries_that_is_damaged_keeps_nobody_from_starting() {
        let folder = tempfile::tempdir().unwrap();
        node(folder.path(), Some(0)).await;
        std::fs::write(folder.path().join("TRIES"), b"{\"ten").unwrap();
        assert_eq!(node(folder.path(), Some(2)).await, (0, 0));
        assert_eq!(node(folder.path(), None).await, (2, 0));
    }
}
