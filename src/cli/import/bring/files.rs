//! What is sent: a file, standard input, or the files of a folder one after the other.
//!
//! The documents of a folder go as a sequence (RFC 7464), so that one that is cut off harms no other. The node tells the
//! line of the whole; which file that is, and which line of it, is known here.

use crate::cli::exit::Error;
use crate::cli::stream::Pieces;
use crate::flow::import::RECORD_SEPARATOR;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream;
use parking_lot::Mutex;
use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

/// Bytes that are read at once.
const PIECE_BYTES: usize = 64 << 10;
/// Deepest folder that is looked into.
const DEPTH_MAX: usize = 32;

/// How the entries are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Documents,
    Lines,
}

pub struct Files {
    form: Form,
    paths: Vec<PathBuf>,
    is_folder: bool,
    /// Together, where that is known.
    pub bytes_total: Option<u64>,
    pub sent: Arc<AtomicU64>,
    /// The line of the whole at which each file that was begun begins.
    begins: Mutex<Vec<u64>>,
    failed: Mutex<Option<Error>>,
}

impl Files {
    /// # Errors
    /// When there is no such file, or the folder has none.
    pub fn find(path: &Path, form: Form) -> Result<Self, Error> {
        let failed = |cause| Error::Input { what: path.display().to_string(), cause };
        let is_stdin = path.as_os_str() == "-";
        let is_folder = !is_stdin && fs::metadata(path).map_err(failed)?.is_dir();
        let mut paths = Vec::new();
        if is_folder {
            let endings: &[&str] = if form == Form::Lines { &["json", "jsonl", "ndjson"] } else { &["json"] };
            gather(path, endings, 0, &mut paths).map_err(failed)?;
            if paths.is_empty() {
                let why = format!("{} has no file that ends in .{}", path.display(), endings.join(", ."));
                return Err(Error::Usage(why));
            }
        } else {
            paths.push(path.to_owned());
        }
        let sizes = paths.iter().map(|path| fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|it| it.len()));
        let bytes_total = sizes.sum();
        let (begins, failed) = (Mutex::new(Vec::new()), Mutex::new(None));
        Ok(Self { form, paths, is_folder, bytes_total, sent: Arc::default(), begins, failed })
    }

    pub fn content_type(&self) -> &'static str {
        match (self.form, self.is_folder) {
            (Form::Lines, _) => "application/x-ndjson",
            (Form::Documents, true) => "application/json-seq",
            (Form::Documents, false) => "application/json",
        }
    }

    /// Why they could not be read to their end, if that is so.
    pub fn failure(&self) -> Option<Error> {
        self.failed.lock().take()
    }

    /// The file and the line of it, where there are several; else the line itself.
    pub fn place(&self, line: u64) -> (Option<&Path>, u64) {
        if !self.is_folder {
            return (None, line);
        }
        let begins = self.begins.lock();
        let file = begins.partition_point(|begin| *begin <= line).saturating_sub(1);
        let begin = begins.get(file).copied().unwrap_or(1);
        (self.paths.get(file).map(PathBuf::as_path), line.saturating_sub(begin) + 1)
    }

    /// All of them, as they are read.
    pub fn body(files: Arc<Self>) -> Pieces {
        let reading = Reading { files, next: 0, file: None, line: 1 };
        stream::unfold(Some(reading), async |reading| {
            let mut reading = reading?;
            match reading.piece().await {
                Ok(Some(piece)) => {
                    reading.files.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
                    Some((Ok(piece), Some(reading)))
                }
                Ok(None) => None,
                Err(cause) => {
                    let path = reading.files.paths.get(reading.next.saturating_sub(1));
                    let what = path.map(|path| path.display().to_string()).unwrap_or_default();
                    let error = io::Error::new(cause.kind(), cause.to_string());
                    *reading.files.failed.lock() = Some(Error::Input { what, cause });
                    Some((Err(error), None))
                }
            }
        })
        .boxed()
    }
}

/// The files below a folder with one of these endings, in the order of their names.
fn gather(folder: &Path, endings: &[&str], depth: usize, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        // Not through links: one of them could lead back.
        if entry.file_type()?.is_dir() {
            if depth < DEPTH_MAX {
                gather(&path, endings, depth + 1, found)?;
            }
        } else if path.is_file() && path.extension().is_some_and(|it| endings.iter().any(|ending| it == *ending)) {
            found.push(path);
        }
    }
    Ok(())
}

struct Reading {
    files: Arc<Files>,
    next: usize,
    file: Option<File>,
    /// Of the whole, where the reading is.
    line: u64,
}

impl Reading {
    async fn piece(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let Some(file) = &mut self.file else {
                let Some(path) = self.files.paths.get(self.next) else { return Ok(None) };
                self.next += 1;
                self.file = Some(open(path).await?);
                self.files.begins.lock().push(self.line);
                if self.files.is_folder && self.files.form == Form::Documents {
                    return Ok(Some(Bytes::from_static(&[RECORD_SEPARATOR])));
                }
                continue;
            };
            let mut piece = vec![0; PIECE_BYTES];
            let count = file.read(&mut piece).await?;
            piece.truncate(count);
            if count == 0 {
                self.file = None;
                if self.files.is_folder {
                    self.line += 1;
                    return Ok(Some(Bytes::from_static(b"\n")));
                }
                continue;
            }
            self.line += piece.iter().filter(|byte| **byte == b'\n').count() as u64;
            return Ok(Some(piece.into()));
        }
    }
}

async fn open(path: &Path) -> io::Result<File> {
    if path.as_os_str() == "-" {
        return Ok(File::from_std(fs::File::from(io::stdin().as_fd().try_clone_to_owned()?)));
    }
    File::open(path).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::TryStreamExt as _;

    #[tokio::test]
    async fn a_folders_files_go_in_the_order_of_their_names_and_lines_lead_back_to_them() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("b")).unwrap();
        for (name, text) in [("c.json", "{}\n\n"), ("a.json", "{\n}"), ("b/x.json", "[1]\n"), ("b/notes.txt", "no")] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let files = Arc::new(Files::find(folder.path(), Form::Documents).unwrap());
        let all: Vec<Bytes> = Files::body(files.clone()).try_collect().await.unwrap();
        assert_eq!(all.concat(), b"\x1e{\n}\n\x1e[1]\n\n\x1e{}\n\n\n");
        let place = |line: u64| {
            let (path, line) = files.place(line);
            (path.unwrap().strip_prefix(folder.path()).unwrap().to_str().unwrap().to_owned(), line)
        };
        assert_eq!(
            (place(2), place(3), place(5)),
            (("a.json".into(), 2), ("b/x.json".into(), 1), ("c.json".into(), 1))
        );
        assert_eq!((files.bytes_total, files.content_type()), (Some(11), "application/json-seq"));
    }

    #[tokio::test]
    async fn what_is_not_there_is_said_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let error = Files::find(folder.path(), Form::Lines).err().unwrap().to_string();
        assert!(error.contains("has no file that ends in .json, .jsonl, .ndjson"), "{error}");
        let error = Files::find(&folder.path().join("x"), Form::Lines).err().unwrap().to_string();
        assert!(error.starts_with("cannot read") && error.contains("/x"), "{error}");
    }
}
