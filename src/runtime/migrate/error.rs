//! Why a move did not go on, and what to do.

use crate::adapters::embedded::FolderError;
use crate::domain::LogId;
use crate::flow::derive;
use crate::ports::{journal, topic};
use crate::runtime::cluster;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no data folder at {0}; name the one that `agentverse dev` was started with: --data DIR")]
    Missing(PathBuf),
    #[error("{path} was moved already, to the fleet with {to}; to move it again, elsewhere, remove the file MOVED")]
    Moved { path: PathBuf, to: String },
    #[error(
        "{path} is being moved to the fleet with {to}, and the settings name the one with {asked}: finish that move, or remove the file MOVED if the fleet is the same or no role of it has run"
    )]
    Elsewhere { path: PathBuf, to: String, asked: String },
    #[error(
        "the folder has {folder} logs per aggregate and the settings give {aggregate} {fleet}: every chain stays in its log, so the counts must be equal. Make a fleet with partitions = {folder} and no partitions_of (`agentverse schemas apply`, `agentverse topics apply`) under its own scylla_keyspace and topic_prefix"
    )]
    Partitions { folder: u16, aggregate: &'static str, fleet: u16 },
    #[error(
        "log {log} of the fleet has another history than the folder's up to position {position}: it is neither empty nor a copy of this folder. Make a fleet for it under another scylla_keyspace and topic_prefix, or drop this one's tables and topics if nobody needs them"
    )]
    Other { log: LogId, position: u64 },
    #[error(
        "commands were decided in log {log} of the fleet: it is at work. Move the folder to a fleet of its own, under another scylla_keyspace and topic_prefix"
    )]
    Worked { log: LogId },
    #[error(
        "log {log} was claimed by somebody else: a role of the fleet is running, or another migrate. Stop every `agentverse process` of this fleet, then run this again; it goes on where it was"
    )]
    Role { log: LogId },
    #[error(
        "a record of log {log} has {bytes} bytes and the database is given {bytes_max} at most: raise scylla_command_bytes_max, for the fleet's processors too, and run this again"
    )]
    TooLarge { log: LogId, bytes: usize, bytes_max: usize },
    #[error(
        "{path} is still open in another process after {seconds} s: end `agentverse dev` (and whatever starts it again), then run this again; it goes on where it was"
    )]
    StillOpen { path: PathBuf, seconds: u64 },
    #[error("log {log} of the folder is damaged: {cause}; `agentverse check` says more")]
    Folder { log: LogId, cause: String },
    #[error(
        "log {log} of the fleet is not what was written: {cause}; drop the fleet's tables and topics and begin anew"
    )]
    Fleet { log: LogId, cause: String },
    #[error(
        "{0} logs differ between folder and fleet after the copy; the folder was not marked, `agentverse dev` can go on"
    )]
    Unequal(usize),
    #[error("stopped; the same command goes on from here")]
    Stopped,
    #[error(transparent)]
    Open(#[from] FolderError),
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    #[error(transparent)]
    Journal(#[from] journal::Error),
    #[error(transparent)]
    Derive(#[from] derive::Error),
    #[error(transparent)]
    Topic(#[from] topic::Error),
}

/// What kind of trouble an error is, for the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A rule stands against it; nothing was made.
    Refused,
    Damaged,
    Unreachable,
    Other,
}

impl Error {
    pub fn trouble(&self) -> Trouble {
        match self {
            Self::Moved { .. } | Self::Elsewhere { .. } | Self::Partitions { .. } | Self::Other { .. } => {
                Trouble::Refused
            }
            Self::Worked { .. } | Self::Role { .. } => Trouble::Refused,
            Self::Folder { .. } | Self::Fleet { .. } | Self::Unequal(_) => Trouble::Damaged,
            Self::Open(FolderError::Damaged { .. }) => Trouble::Damaged,
            Self::Journal(journal::Error::Damaged { .. }) | Self::Derive(derive::Error::Payload { .. }) => {
                Trouble::Damaged
            }
            Self::Journal(_) | Self::Topic(_) => Trouble::Unreachable,
            _ => Trouble::Other,
        }
    }
}
