//! The file MOVED: this folder's fleet lives, or is about to live, elsewhere, and nobody may go on here.

use super::folder::{FolderError, Layout, sync_directory, write_atomically};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// The fleet, in words that name it among all others.
    pub to: String,
    /// Whether it has everything. Until then `migrate --switch` has to be run again.
    pub finished: bool,
}

impl Moved {
    /// What the folder's file says, if it has one.
    ///
    /// # Errors
    /// When it cannot be read, or says something else.
    pub fn read(layout: &Layout) -> Result<Option<Self>, FolderError> {
        let path = path(layout);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| FolderError::Damaged {
                path,
                offset: error.column() as u64,
                cause: error.to_string(),
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(FolderError::io(&path, cause)),
        }
    }

    /// Writes the file and makes it durable. For the holder of the lock alone.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, layout: &Layout) -> Result<(), FolderError> {
        let text = serde_json::to_vec(self).unwrap_or_default();
        write_atomically(&path(layout), &text)?;
        sync_directory(layout.root())
    }

    /// Refuses to go on with a folder that was moved.
    ///
    /// # Errors
    /// [`FolderError::Moved`] with what to do.
    pub fn refuse(layout: &Layout) -> Result<(), FolderError> {
        let Some(Self { to, finished }) = Self::read(layout)? else { return Ok(()) };
        let path = layout.root().to_owned();
        Err(if finished { FolderError::Moved { path, to } } else { FolderError::Moving { path, to } })
    }
}

fn path(layout: &Layout) -> PathBuf {
    layout.root().join("MOVED")
}
