//! `SppError`: why a request cannot be done.

use std::io;
use std::path::PathBuf;

use crate::capture::CaptureError;

/// Why a request cannot be done, in the words of SPP where it has some.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SppError {
    /// There is no process of that id, or it is of another kind. The id is as it was asked for.
    #[error("sec_id {0} not found.")]
    NoProcess(String),
    /// There is no primary.
    #[error("primary not found.")]
    NoPrimary,
    /// A body is no JSON.
    #[error("Not in json format.")]
    NotJson,
    /// A key that must be there is not.
    #[error("key({0}) required.")]
    KeyRequired(&'static str),
    /// A value that its key does not take.
    #[error("invalid key({key}): {value}.")]
    InvalidKey {
        /// The key.
        key: &'static str,
        /// What was there.
        value: String,
    },
    /// A text names no port.
    #[error("invalid port {0:?}, such as phy:0, phy:0 nq 1 or ring:0 expected")]
    Port(String),
    /// The settings of an instance make no sense.
    #[error("{0}")]
    Spec(String),
    /// Another process has the id.
    #[error("client id {0} is in use")]
    IdInUse(u8),
    /// The port stands for no interface that is there and up.
    #[error("port {port} ({interface}) not available")]
    PortNotAvailable {
        /// The port.
        port: String,
        /// The interface it stands for, or that it stands for none.
        interface: String,
    },
    /// A privilege is missing.
    #[error("permission denied ({0})")]
    NotPermitted(String),
    /// The folder for the files is not there or cannot be written to.
    #[error("cannot write to {}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be written any more.
    #[error("cannot write {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Packets cannot be captured.
    #[error(transparent)]
    Capture(CaptureError),
    /// A thread cannot be started.
    #[error("cannot start a thread")]
    Thread(io::Error),
    /// A writer's thread is gone, and nobody told it to go.
    #[error("a writer has ended by itself")]
    WriterEnded,
    /// Another request is starting the capture, and its files or sockets take their time.
    #[error("still opening files and sockets")]
    StillStarting,
    /// What was captured before is not written yet.
    #[error("still writing what was captured")]
    StillWriting,
    /// A process elsewhere refused a command, in these words.
    #[error("{0}")]
    Refused(String),
    /// A process elsewhere did not answer in time, or not sensibly; its connection is closed.
    #[error("no answer from client id {id}: {reason}")]
    NoAnswer {
        /// Its id.
        id: u8,
        /// What went wrong.
        reason: String,
    },
}
