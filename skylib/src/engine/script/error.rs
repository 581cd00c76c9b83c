//! `ScriptError`: reason why a script has no result.

use std::time::Duration;

/// Reason why a script has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptError {
    /// No workflow has this ID. COMPAT: clients of Skydive match this text.
    #[error("No workflow found with ID: {0}")]
    UnknownWorkflow(String),
    /// The script threw a value, or its source is invalid; contains the thrown value as a string.
    #[error("{0}")]
    Thrown(String),
    /// The script exceeded its time limit.
    #[error("the script was ended because it took longer than {} s (workflow.max_time; for alerts, 5 s)", .0.as_secs_f64())]
    Timeout(Duration),
    /// The script exceeded its memory limit, in bytes.
    #[error("the script was ended because it needs more than {0} bytes (workflow.max_memory)")]
    Memory(usize),
    /// The caller no longer waits, or the engine is stopping.
    #[error("the script was canceled")]
    Canceled,
    /// Too many calls wait for a thread.
    #[error("{0} workflow calls are already waiting (workflow.max_running); try again later")]
    Busy(usize),
}
