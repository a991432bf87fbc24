//! The replica's folder: whose it is, and whether what lies in it can be trusted.
//!
//! Files are not synced while the process runs, so they are whole as long as the machine was not cut off in between: the
//! folder's mark names the boot in which it was opened, and a clean close, which syncs everything, takes the mark away.
//! Another format, another kernel's mark, or a mark that cannot be read: the folder is emptied.

use super::fields::FORMAT;
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const LOCK: &str = "LOCK";
const MARK: &str = "OPEN";
const INDEX: &str = "index";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

pub struct Folder {
    path: PathBuf,
    /// Held as long as the process lives.
    _lock: File,
    /// Removed when it is closed.
    temporary: Option<tempfile::TempDir>,
}

impl Folder {
    /// Opens a folder, or makes it. What it holds is kept where it can be trusted.
    ///
    /// # Errors
    /// When it cannot be written, or another process has it open.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::of(path.to_owned(), None)
    }

    /// A folder that ends with the process.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn temporary() -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("agentverse-replica-").tempdir()?;
        Self::of(folder.path().to_owned(), Some(folder))
    }

    fn of(path: PathBuf, temporary: Option<tempfile::TempDir>) -> io::Result<Self> {
        fs::create_dir_all(&path)?;
        let lock = File::create(path.join(LOCK))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            rustix::io::Errno::WOULDBLOCK => io::Error::new(io::ErrorKind::ResourceBusy, "another process has it open"),
            error => error.into(),
        })?;
        let folder = Self { path, _lock: lock, temporary };
        let (mark, expected) = (fs::read_to_string(folder.path.join(MARK)), mark());
        let is_trusted = match mark {
            Ok(mark) => expected.as_ref().is_some_and(|expected| *expected == mark),
            // It was closed; but whether it is of this format, only its index can say.
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if !is_trusted {
            tracing::info!(folder = %folder.path.display(), "the replica was not closed; it is built again");
            folder.empty()?;
        }
        fs::create_dir_all(folder.index())?;
        let mut file = File::create(folder.path.join(MARK))?;
        file.write_all(expected.unwrap_or_default().as_bytes())?;
        file.sync_all()?;
        File::open(&folder.path)?.sync_all()?;
        Ok(folder)
    }

    /// Where the index's files lie.
    pub fn index(&self) -> PathBuf {
        self.path.join(INDEX)
    }

    /// Removes the index.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn empty(&self) -> io::Result<()> {
        match fs::remove_dir_all(self.index()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::create_dir_all(self.index())
    }

    /// What the files take.
    pub fn bytes(&self) -> u64 {
        let files = fs::read_dir(self.index()).into_iter().flatten().flatten();
        files.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
    }

    /// Syncs everything and takes the mark away. To be called once nothing is written any more.
    ///
    /// # Errors
    /// When a file cannot be synced; the folder is built again at the next start.
    pub fn close(self) -> io::Result<()> {
        if self.temporary.is_some() {
            return Ok(());
        }
        for file in fs::read_dir(self.index())? {
            File::open(file?.path())?.sync_all()?;
        }
        File::open(self.index())?.sync_all()?;
        fs::remove_file(self.path.join(MARK))?;
        File::open(&self.path)?.sync_all()
    }
}

/// What the mark of this boot says; `None` where the system does not tell its boots apart.
fn mark() -> Option<String> {
    let boot = fs::read_to_string(BOOT_ID).ok()?;
    Some(format!("{FORMAT} {}\n", boot.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &Folder) -> PathBuf {
        folder.index().join("file")
    }

    #[test]
    fn what_was_closed_or_left_in_the_same_boot_is_kept() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        fs::write(file(&folder), "kept").unwrap();
        // As a kill leaves it.
        drop(folder);
        let folder = Folder::open(place.path()).unwrap();
        assert!(file(&folder).exists());
        folder.close().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        assert!(file(&folder).exists());
    }

    #[test]
    fn what_another_boot_left_open_is_emptied() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        fs::write(file(&folder), "lost").unwrap();
        drop(folder);
        fs::write(place.path().join(MARK), format!("{FORMAT} another\n")).unwrap();
        let folder = Folder::open(place.path()).unwrap();
        assert!(!file(&folder).exists() && folder.index().exists());
    }

    #[test]
    fn a_folder_has_one_process() {
        let place = tempfile::tempdir().unwrap();
        let _folder = Folder::open(place.path()).unwrap();
        let error = Folder::open(place.path()).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
    }

    #[test]
    fn a_temporary_folder_goes_with_its_process() {
        let folder = Folder::temporary().unwrap();
        let path = folder.index();
        assert!(path.exists());
        folder.close().unwrap();
        assert!(!path.exists());
    }
}
