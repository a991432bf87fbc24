//! Segments: the files that the committer writes, and the handles that readers share.
//!
//! `wal/<number>.seg` begins with 16 bytes (`AGVWAL01`, u32 number, u32 crc32 of both) and goes on with frames. Behind the
//! last frame of the segment that is written there may be zeros, which are no frame: a file that is written where it
//! already has blocks needs no change of its size or its extents with a sync, which is more than half of what a small one
//! costs. They are cut off before the next segment is made, when the committer ends, and at a start.

use super::folder::{FolderError, sync_directory};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"AGVWAL01";
/// Bytes before the first frame.
pub const HEADER_BYTES: u64 = 16;
/// Read handles kept open.
const HANDLES_MAX: usize = 256;
/// Zeros written ahead at once: a mebibyte holds the groups of many syncs.
const FILL_BYTES: u32 = 1 << 20;
/// A group that is larger than this grows the file by itself: its sync costs little beside its bytes, and zeros would
/// double what a busy log writes.
const FILLED_GROUP_BYTES_MAX: u32 = FILL_BYTES / 16;

/// Where something stands in the segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Location {
    pub segment: u32,
    pub offset: u32,
}

impl Location {
    pub fn pack(self) -> u64 {
        u64::from(self.segment) << 32 | u64::from(self.offset)
    }

    pub fn unpack(packed: u64) -> Self {
        Self { segment: (packed >> 32) as u32, offset: packed as u32 }
    }
}

pub fn path_of(wal: &Path, segment: u32) -> PathBuf {
    wal.join(format!("{segment:010}.seg"))
}

/// The numbers of the segments that are there, in order.
pub fn list(wal: &Path) -> Result<Vec<u32>, FolderError> {
    let entries = fs::read_dir(wal).map_err(|cause| FolderError::io(wal, cause))?;
    let mut numbers: Vec<u32> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".seg")?.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

pub fn header(segment: u32) -> [u8; HEADER_BYTES as usize] {
    let mut bytes = [0; HEADER_BYTES as usize];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&segment.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..12]);
    bytes[12..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The segment that is written.
pub struct Writer {
    wal: PathBuf,
    file: File,
    pub segment: u32,
    /// Where the frames end.
    pub length: u32,
    /// How far the frames are known to be on disk.
    pub synced: u32,
    /// Where the file ends: behind the frames stand zeros.
    filled: u32,
}

impl Writer {
    /// Makes a new segment and everything that leads to it durable.
    pub fn create(wal: &Path, segment: u32) -> Result<Self, FolderError> {
        let path = path_of(wal, segment);
        let make = || -> std::io::Result<File> {
            let mut file = File::options().write(true).create_new(true).open(&path)?;
            file.write_all(&header(segment))?;
            file.sync_all()?;
            Ok(file)
        };
        let file = make().map_err(|cause| FolderError::io(&path, cause))?;
        sync_directory(wal)?;
        let length = HEADER_BYTES as u32;
        Ok(Self { wal: wal.to_owned(), file, segment, length, synced: length, filled: length })
    }

    /// Goes on with a segment at `length`; what stands behind it is cut off and the cut is synced before anything is
    /// appended.
    pub fn resume(wal: &Path, segment: u32, length: u32) -> Result<Self, FolderError> {
        let path = path_of(wal, segment);
        let open = || -> std::io::Result<File> {
            let file = File::options().write(true).open(&path)?;
            file.set_len(u64::from(length))?;
            file.sync_all()?;
            Ok(file)
        };
        let file = open().map_err(|cause| FolderError::io(&path, cause))?;
        Ok(Self { wal: wal.to_owned(), file, segment, length, synced: length, filled: length })
    }

    /// Where the next frame goes.
    pub fn end(&self) -> Location {
        Location { segment: self.segment, offset: self.length }
    }

    /// The next segment, made once this one ends with its last frame.
    pub fn roll(&mut self) -> Result<(), FolderError> {
        self.trim()?;
        *self = Self::create(&self.wal, self.segment + 1)?;
        Ok(())
    }

    /// Cuts off what was filled ahead, durably.
    pub fn trim(&mut self) -> Result<(), FolderError> {
        let path = path_of(&self.wal, self.segment);
        let cut = self.file.set_len(u64::from(self.length)).and_then(|()| self.file.sync_all());
        cut.map_err(|cause| FolderError::io(&path, cause))?;
        self.filled = self.length;
        Ok(())
    }

    /// Appends and syncs. A small group that passes what was filled ahead fills more, up to `full` bytes of file.
    ///
    /// # Errors
    /// When the bytes could not be written (a full disk); the segment is then as before.
    ///
    /// A sync that fails ends the process: what the kernel then holds is unknown, and no later sync can tell.
    pub fn append(&mut self, bytes: &[u8], full: u32) -> Result<(), FolderError> {
        if let Err(cause) = self.file.write_all_at(bytes, u64::from(self.length)) {
            self.cut_to(self.length);
            return Err(FolderError::io(&path_of(&self.wal, self.segment), cause));
        }
        let end = self.length + bytes.len() as u32;
        if end > self.filled {
            self.filled = end;
            if bytes.len() as u32 <= FILLED_GROUP_BYTES_MAX {
                self.fill(full.min(end.saturating_add(FILL_BYTES)));
            }
        }
        if let Err(error) = self.file.sync_data() {
            let path = path_of(&self.wal, self.segment);
            tracing::error!(path = %path.display(), %error, "a sync failed; ending the process");
            std::process::abort();
        }
        self.length = end;
        self.synced = end;
        Ok(())
    }

    /// Zeros from where the file ends. A disk that has no room for them may have some for frames: that is no error.
    fn fill(&mut self, to: u32) {
        let zeros = vec![0; to.saturating_sub(self.filled) as usize];
        if self.file.write_all_at(&zeros, u64::from(self.filled)).is_ok() {
            self.filled += zeros.len() as u32;
        } else {
            self.cut_to(self.filled);
        }
    }

    /// After a write that failed.
    fn cut_to(&mut self, length: u32) {
        if let Err(error) = self.file.set_len(u64::from(length)) {
            let path = path_of(&self.wal, self.segment);
            tracing::error!(path = %path.display(), %error, "a failed write cannot be undone; ending the process");
            std::process::abort();
        }
        self.filled = length;
    }
}

/// Whether bytes that are no frame were filled ahead: there is nothing in them.
pub fn is_filling(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// Read handles on the segments.
pub struct Readers {
    wal: PathBuf,
    handles: Mutex<HashMap<u32, Arc<File>>>,
}

impl Readers {
    pub fn new(wal: PathBuf) -> Self {
        Self { wal, handles: Mutex::default() }
    }

    pub fn file(&self, segment: u32) -> std::io::Result<Arc<File>> {
        let mut handles = self.handles.lock();
        if let Some(file) = handles.get(&segment) {
            return Ok(file.clone());
        }
        if handles.len() >= HANDLES_MAX {
            handles.clear();
        }
        let file = Arc::new(File::open(path_of(&self.wal, segment))?);
        handles.insert(segment, file.clone());
        Ok(file)
    }
}
