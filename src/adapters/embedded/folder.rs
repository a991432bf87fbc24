//! The folder: its layout, its format version, and the lock against a second process.

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Version of the folder's format.
const FORMAT: u32 = 1;

#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("{path}: {cause}")]
    Io { path: PathBuf, cause: std::io::Error },
    #[error("{0} is open in another process; stop that one, or use another folder with --data")]
    Locked(PathBuf),
    #[error("{path} has format {found}, this program reads format {FORMAT}; use the program that made it, or migrate")]
    Format { path: PathBuf, found: u32 },
    #[error(
        "{path} was made with {found} partitions per aggregate and the settings ask for {asked}; the count is fixed, set partitions = {found}"
    )]
    Partitions { path: PathBuf, found: u16, asked: u16 },
    #[error(
        "{path} is damaged at byte {offset}: {cause}; what stands before it was synced, so this is no torn write. Restore the file from a backup"
    )]
    Damaged { path: PathBuf, offset: u64, cause: String },
    #[error(
        "{path} was moved to the fleet with {to}: start `agentverse process`, `project` and `serve` there. Removing the file MOVED undoes it, and what was done there since is not here"
    )]
    Moved { path: PathBuf, to: String },
    #[error(
        "{path} is being moved to the fleet with {to}, which has its waiting commands: run `agentverse migrate --switch` again to finish. To stay here instead, remove the file MOVED, and that fleet before any of its roles has run"
    )]
    Moving { path: PathBuf, to: String },
    #[error("{0} is no folder of this program: it has files but no FORMAT; choose an empty or a new folder")]
    Foreign(PathBuf),
    #[error(
        "the derived store: {0}; it can be removed (the folder `derived` and the file CHECKPOINT) and is built again from the log"
    )]
    Derived(String),
}

impl FolderError {
    pub fn io(path: &Path, cause: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), cause }
    }

    pub fn derived(cause: impl ToString) -> Self {
        Self::Derived(cause.to_string())
    }
}

/// Where things are in an open folder.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
    /// Logs per aggregate, as the folder was made with.
    pub partitions: u16,
}

#[derive(Serialize, Deserialize)]
struct FormatFile {
    format: u32,
    partitions: u16,
}

/// The lock on a folder, for as long as it lives.
pub struct Lock {
    _file: File,
}

impl Layout {
    /// Opens the layout, making the folder where there is none.
    ///
    /// # Errors
    /// For another format, another partition count, or a folder that holds something else.
    pub fn open(root: &Path, partitions: u16) -> Result<Self, FolderError> {
        fs::create_dir_all(root).map_err(|cause| FolderError::io(root, cause))?;
        match Self::existing(root)? {
            Some(layout) if layout.partitions != partitions => {
                Err(FolderError::Partitions { path: root.to_owned(), found: layout.partitions, asked: partitions })
            }
            Some(layout) => Ok(layout),
            None => Self::make(root, partitions),
        }
    }

    /// The layout of a folder that is there, or `None` for an empty or missing one.
    ///
    /// # Errors
    /// For another format, or a folder that holds something else.
    pub fn existing(root: &Path) -> Result<Option<Self>, FolderError> {
        let path = root.join("FORMAT");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let foreign = fs::read_dir(root).is_ok_and(|entries| {
                    entries.flatten().any(|entry| !matches!(entry.file_name().to_str(), Some("LOCK" | "FORMAT.new")))
                });
                return if foreign { Err(FolderError::Foreign(root.to_owned())) } else { Ok(None) };
            }
            Err(cause) => return Err(FolderError::io(&path, cause)),
        };
        let format: FormatFile = serde_json::from_slice(&text).map_err(|error| FolderError::Damaged {
            path: path.clone(),
            offset: error.column() as u64,
            cause: error.to_string(),
        })?;
        if format.format != FORMAT {
            return Err(FolderError::Format { path, found: format.format });
        }
        Ok(Some(Self { root: root.to_owned(), partitions: format.partitions }))
    }

    fn make(root: &Path, partitions: u16) -> Result<Self, FolderError> {
        let text = serde_json::to_vec(&FormatFile { format: FORMAT, partitions }).unwrap_or_default();
        write_atomically(&root.join("FORMAT"), &text)?;
        if let Some(parent) = root.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_directory(parent)?;
        }
        Ok(Self { root: root.to_owned(), partitions })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn wal(&self) -> PathBuf {
        self.root.join("wal")
    }

    pub fn derived(&self) -> PathBuf {
        self.root.join("derived")
    }

    pub fn checkpoint(&self) -> PathBuf {
        self.root.join("CHECKPOINT")
    }

    pub fn tries(&self) -> PathBuf {
        self.root.join("TRIES")
    }

    /// Takes the lock.
    ///
    /// # Errors
    /// When another process has it.
    pub fn lock(&self) -> Result<Lock, FolderError> {
        let path = self.root.join("LOCK");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|cause| FolderError::io(&path, cause))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| FolderError::Locked(self.root.clone()))?;
        // For who wants to ask this process to end; nothing rests on it.
        let _ = file.set_len(0).and_then(|()| (&file).write_all(std::process::id().to_string().as_bytes()));
        Ok(Lock { _file: file })
    }

    /// The process that has the folder open, where that is certain: the id in LOCK may be of one that has gone, and
    /// whoever has it now must have the file open.
    pub fn holder(&self) -> Option<u32> {
        let path = self.root.join("LOCK").canonicalize().ok()?;
        let pid = fs::read_to_string(&path).ok()?.trim().parse().ok()?;
        let mut open = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
        open.any(|entry| fs::read_link(entry.path()).is_ok_and(|link| link == path)).then_some(pid)
    }
}

/// Writes a small file so that a crash leaves the old one or the new one, whole.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), FolderError> {
    let new = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().map_err(|cause| FolderError::io(path, cause))?;
    match path.parent() {
        Some(parent) => sync_directory(parent),
        None => Ok(()),
    }
}

/// Makes a directory's entries durable.
pub fn sync_directory(path: &Path) -> Result<(), FolderError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(|cause| FolderError::io(path, cause))
}
