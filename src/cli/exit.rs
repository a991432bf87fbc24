//! Exit codes, and the errors that lead to them.

use super::client::ClientError;
use crate::runtime::cluster;
use std::io;
use std::process::ExitCode;

/// What a script can tell from the exit code. The numbers are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    Refused = 3,
    Rejected = 4,
    NotFound = 5,
    Unreachable = 6,
    Undecided = 7,
    Damaged = 8,
}

/// Shown by `--help`; a test holds it against [`Exit`].
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done; send: every command was accepted or applied
  1  failed for a reason that has no code of its own; topics diff, schemas diff: there are differences; schemas
     check: there are conflicts; provision status: something is missing or different
  2  wrong usage
  3  at least one command was refused by a rule; import: an entry was refused, or nothing could be retired;
     provision: a tenant or an agent was, or would be; topics, migrate: a change was refused, and none was made
  4  at least one command was malformed or dead-lettered
  5  there is no such resource
  6  the server cannot be reached, is busy, or did not answer in time; the same command ids can be sent again
  7  at least one command was accepted, but not decided while waiting for it
  8  the data folder is damaged";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Why a command of the CLI failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("cannot read {what}: {cause}")]
    Input { what: String, cause: io::Error },
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    /// A sentence that says what to do, with the code to leave with.
    #[error("{message}")]
    Failed { message: String, exit: Exit },
}

impl Error {
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed { message: message.into(), exit: Exit::Failed }
    }

    /// The servers of a cluster were not reached, or are not what they should be.
    pub fn unreached(error: cluster::Error) -> Self {
        let exit = if matches!(error, cluster::Error::GaveUp { .. }) { Exit::Unreachable } else { Exit::Failed };
        Self::Failed { message: error.to_string(), exit }
    }

    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Client(error) => error.exit(),
            // Whoever read our output had enough of it (`| head`).
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
            Self::Input { .. } | Self::Output(_) => Exit::Failed,
            Self::Failed { exit, .. } => *exit,
        }
    }

    /// Nothing to tell a reader who has gone.
    pub fn is_silent(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::client::Problem;

    fn problem(status: u16) -> Error {
        Error::Client(ClientError::Problem(Box::new(Problem { status, ..Problem::default() })))
    }

    #[test]
    fn every_exit_code_is_documented_in_the_help() {
        use Exit::{Damaged, Done, Failed, NotFound, Refused, Rejected, Undecided, Unreachable, Usage};
        for exit in [Done, Failed, Usage, Refused, Rejected, NotFound, Unreachable, Undecided, Damaged] {
            assert!(EXIT_CODES.contains(&format!("\n  {}  ", exit as u8)), "{exit:?}");
        }
    }

    #[test]
    fn errors_map_to_their_exit_codes() {
        assert_eq!(Error::Usage("x".into()).exit(), Exit::Usage);
        assert_eq!(problem(404).exit(), Exit::NotFound);
        assert_eq!(problem(503).exit(), Exit::Unreachable);
        assert_eq!(problem(400).exit(), Exit::Rejected);
        assert_eq!(problem(409).exit(), Exit::Refused);
        assert_eq!(problem(500).exit(), Exit::Failed);
        let timed_out = ClientError::TimedOut { url: "http://x".into(), seconds: 1.0 };
        assert_eq!(Error::Client(timed_out).exit(), Exit::Unreachable);
    }

    #[test]
    fn a_reader_who_left_is_no_failure() {
        let error = Error::Output(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(error.is_silent());
        assert_eq!(error.exit(), Exit::Done);
    }
}
