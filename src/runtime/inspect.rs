//! Looking into a data folder that no process has open.

use crate::adapters::embedded::{Config, FolderError, Layout, check};
use std::path::{Path, PathBuf};

pub use crate::adapters::embedded::check::Report;

/// Why a folder was not checked. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no data folder at {0}; name the one that `agentverse dev` was started with: --data DIR")]
    Missing(PathBuf),
    #[error(
        "{0} is no data folder of this program: it has files but no FORMAT; name the one that `agentverse dev` was started with: --data DIR"
    )]
    Foreign(PathBuf),
    #[error("{0} is open in another process; stop that one and check again")]
    InUse(PathBuf),
    #[error("{0}")]
    Other(FolderError),
}

impl From<FolderError> for Error {
    fn from(error: FolderError) -> Self {
        match error {
            FolderError::Foreign(path) => Self::Foreign(path),
            FolderError::Locked(path) => Self::InUse(path),
            other => Self::Other(other),
        }
    }
}

impl Error {
    /// Whether the folder's content is at fault, and not where or when it was looked for.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Other(FolderError::Damaged { .. } | FolderError::Derived(_)))
    }
}

/// Checks a folder, with the partition count that it was made with.
///
/// # Errors
/// When there is no folder, or it cannot be opened: in use, of another format, or damaged before its last sync.
pub async fn check(path: &Path, mut config: Config, deep: bool) -> Result<Report, Error> {
    let missing = || Error::Missing(path.to_owned());
    if !path.is_dir() {
        return Err(missing());
    }
    config.partitions = Layout::existing(path)?.ok_or_else(missing)?.partitions;
    Ok(check::check(path, &config, deep).await?)
}
