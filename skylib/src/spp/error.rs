//! `SppError`: failures of requests to [`SppCtl`](super::SppCtl) and its instances.

use std::io;
use std::path::PathBuf;

use crate::capture::CaptureError;

/// Error returned for a failed request.
///
/// COMPAT: SPP's REST clients show these messages. SPP's own message is used wherever SPP has one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SppError {
    /// No process of the requested type has this id. The id is that of the request.
    #[error("sec_id {0} not found.")]
    NoProcess(String),
    /// The virtual primary is disabled.
    #[error("primary not found.")]
    NoPrimary,
    /// The body of a request is not JSON.
    #[error("Not in json format.")]
    NotJson,
    /// A required key is missing.
    #[error("key({0}) required.")]
    KeyRequired(&'static str),
    /// The value of a key is invalid.
    #[error("invalid key({key}): {value}.")]
    InvalidKey {
        /// Name of the key.
        key: &'static str,
        /// The invalid value, truncated if it is long.
        value: String,
    },
    /// The name of a port is invalid.
    #[error("invalid port {0:?}; expected a name such as phy:0, phy:0 nq 1, or ring:0")]
    Port(String),
    /// The settings of an instance are invalid; the message states the allowed values.
    #[error("{0}")]
    Spec(String),
    /// Another process uses the id.
    #[error("client id {0} is in use")]
    IdInUse(u8),
    /// The port has no interface, or the interface does not exist or is down.
    #[error("port {port} ({interface}) not available")]
    PortNotAvailable {
        /// Name of the port.
        port: String,
        /// Interface of the port, or `no interface`.
        interface: String,
    },
    /// The process lacks a capability.
    #[error("permission denied ({0})")]
    NotPermitted(String),
    /// The folder for the files does not exist or is not writable.
    #[error("cannot write to {}", folder.display())]
    Folder {
        /// Path of the folder.
        folder: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// Capturing failed.
    #[error(transparent)]
    Capture(CaptureError),
    /// The operating system cannot create a thread.
    #[error("cannot start a thread of the recording")]
    Thread(io::Error),
    /// The thread of a writer ended although no stop was requested.
    #[error("a writer thread of the recording ended unexpectedly; the log gives the reason")]
    WriterEnded,
    /// Another request is starting the capture and has not opened its files and sockets yet.
    #[error("the recording is still starting; try again later")]
    StillStarting,
    /// The files of the last recording are still being written.
    #[error("the previous recording is still being written; try again later")]
    StillWriting,
    /// A connected process rejected a command; contains its message.
    #[error("{0}")]
    Refused(String),
    /// A connected process did not reply in time, or its reply was invalid. Its connection is
    /// closed.
    #[error("no answer from client id {id}: {reason}")]
    NoAnswer {
        /// Id of the process.
        id: u8,
        /// Cause of the failure.
        reason: String,
    },
}
