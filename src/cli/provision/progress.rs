//! How far an apply is, in a file beside the manifest: a line for each tenant that is done.
//!
//! It saves time and decides nothing. It holds for one text of the manifest; a tenant counts as done only where the node
//! still has it, made at the same moment (another fleet's was made at another). Lost, cut off or out of date, what it would
//! have spared is looked at again. A run that comes to its end removes it, so that the next one looks at everything.

use crate::cli::exit::Error;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

const FORMAT: &str = "agentverse-provision/1";
/// What a crash of the machine may make this forget.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// Longest line that is read; ours have about 120 bytes.
const LINE_BYTES_MAX: usize = 4_096;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    format: String,
    /// The manifest's digest, and what was asked for beside it.
    manifest: String,
}

/// A tenant that is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    pub tenant: Uuid,
    pub created_at: String,
}

/// The file, which one run at a time writes.
pub struct Progress {
    path: PathBuf,
    file: File,
    synced_at: Instant,
    is_synced: bool,
}

impl Progress {
    /// Opens the file for a manifest, and reads which tenants are done; none where `resumes` is not set, or the file is of
    /// another manifest.
    ///
    /// # Errors
    /// When it cannot be written, or another run writes it.
    pub fn open(path: &Path, manifest: &str, resumes: bool) -> Result<(Self, HashMap<Uuid, String>), Error> {
        let failed = |cause: std::io::Error| {
            Error::failed(format!(
                "cannot write {}: {cause}; name another place with --progress FILE, or use --no-progress",
                path.display()
            ))
        };
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = options.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::failed(format!(
                    "another run is applying this manifest ({} is in use); wait for its end",
                    path.display()
                )));
            }
            // A file system without locks: two runs do no harm, they only do the same twice.
            Err(TryLockError::Error(_)) => {}
        }
        let head = Head { format: FORMAT.to_owned(), manifest: manifest.to_owned() };
        let (done, end) = if resumes { read(&file, &head).map_err(failed)? } else { (HashMap::new(), 0) };
        // What was cut off must not become the beginning of the next line.
        file.set_len(end).map_err(failed)?;
        file.seek(SeekFrom::Start(end)).map_err(failed)?;
        let mut progress = Self { path: path.to_owned(), file, synced_at: Instant::now(), is_synced: false };
        if end == 0 {
            progress.line(&head)?;
        }
        progress.sync()?;
        Ok((progress, done))
    }

    /// # Errors
    /// When it cannot be written.
    pub fn add(&mut self, done: &Done) -> Result<(), Error> {
        self.line(done)?;
        if self.synced_at.elapsed() >= SYNC_EVERY { self.sync() } else { Ok(()) }
    }

    /// All was looked at: the next run begins anew.
    pub fn finish(self) {
        // What stays behind costs the next run nothing: it counts only what the node still has.
        let _ = std::fs::remove_file(&self.path);
    }

    fn line(&mut self, line: &impl Serialize) -> Result<(), Error> {
        let mut text = serde_json::to_vec(line).map_err(|cause| Error::failed(cause.to_string()))?;
        text.push(b'\n');
        self.is_synced = false;
        self.file.write_all(&text).map_err(|cause| self.failed(&cause))
    }

    /// # Errors
    /// When it cannot be written.
    pub fn sync(&mut self) -> Result<(), Error> {
        if !self.is_synced {
            self.file.sync_data().map_err(|cause| self.failed(&cause))?;
            (self.is_synced, self.synced_at) = (true, Instant::now());
        }
        Ok(())
    }

    fn failed(&self, cause: &std::io::Error) -> Error {
        Error::failed(format!(
            "cannot write {}: {cause}; make room and run the same again to go on, or use --no-progress",
            self.path.display()
        ))
    }
}

/// The tenants that are done, and where the last whole line ends; nothing of a file of anything else.
fn read(file: &File, head: &Head) -> std::io::Result<(HashMap<Uuid, String>, u64)> {
    let mut reader = BufReader::new(file);
    let mut done = HashMap::new();
    let mut end = 0;
    let mut line = Vec::new();
    loop {
        line.clear();
        std::io::Read::take(&mut reader, LINE_BYTES_MAX as u64).read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\n") {
            return Ok((done, end));
        }
        if end == 0 {
            if serde_json::from_slice::<Head>(&line).ok().as_ref() != Some(head) {
                return Ok((done, 0));
            }
        } else {
            let Ok(Done { tenant, created_at }) = serde_json::from_slice(&line) else { return Ok((done, end)) };
            done.insert(tenant, created_at);
        }
        end += line.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn done(number: u128) -> Done {
        Done { tenant: Uuid::from_u128(number), created_at: format!("2026-01-01T00:00:00.00000{number}Z") }
    }

    fn open(path: &Path, manifest: &str) -> (Progress, HashMap<Uuid, String>) {
        Progress::open(path, manifest, true).unwrap()
    }

    #[tokio::test]
    async fn what_is_done_is_known_again_and_a_line_that_was_cut_off_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p");
        let (mut progress, none) = open(&path, "a");
        assert!(none.is_empty());
        (1..=3).for_each(|number| progress.add(&done(number)).unwrap());
        drop(progress);
        let text = fs::read_to_string(&path).unwrap();
        for cut in [1, 20, 40] {
            fs::write(&path, &text[..text.len() - cut]).unwrap();
            let (mut progress, known) = open(&path, "a");
            assert_eq!(known.len(), 2, "{cut}");
            assert_eq!(known[&Uuid::from_u128(2)], done(2).created_at);
            progress.add(&done(7)).unwrap();
            drop(progress);
            assert!(open(&path, "a").1.contains_key(&Uuid::from_u128(7)), "{cut}");
        }
    }

    #[tokio::test]
    async fn another_manifest_a_new_start_and_a_foreign_file_begin_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p");
        let begin = || {
            let (mut progress, _) = Progress::open(&path, "a", false).unwrap();
            progress.add(&done(1)).unwrap();
        };
        begin();
        assert_eq!(open(&path, "b").1.len(), 0);
        begin();
        assert_eq!(Progress::open(&path, "a", false).unwrap().1.len(), 0);
        assert_eq!(open(&path, "a").1.len(), 0, "it was begun anew");
        fs::write(&path, "apiVersion: x\n".repeat(1_000)).unwrap();
        assert_eq!(open(&path, "a").1.len(), 0);
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1);
    }

    #[tokio::test]
    async fn one_run_at_a_time_writes_it_and_the_end_removes_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p");
        let (progress, _) = open(&path, "a");
        let error = Progress::open(&path, "a", true).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("another run"), "{error}");
        progress.finish();
        assert!(!path.exists());
        let error = Progress::open(&folder.path().join("no/p"), "a", true).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("--progress"), "{error}");
    }
}
