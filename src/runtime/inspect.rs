//! Looking into a data folder that no process has open.

use crate::adapters::embedded::{Config, Layout, check};
use std::path::Path;

pub use crate::adapters::embedded::FolderError as Error;
pub use crate::adapters::embedded::check::Report;

/// Checks a folder, with the partition count that it was made with.
///
/// # Errors
/// When there is no folder, or it cannot be opened: in use, of another format, or damaged before its last sync.
pub async fn check(path: &Path, mut config: Config, deep: bool) -> Result<Report, Error> {
    let missing = || Error::Io { path: path.to_owned(), cause: std::io::ErrorKind::NotFound.into() };
    if !path.is_dir() {
        return Err(missing());
    }
    config.partitions = Layout::existing(path)?.ok_or_else(missing)?.partitions;
    check::check(path, &config, deep).await
}
