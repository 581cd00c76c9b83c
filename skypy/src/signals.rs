//! Handling of Ctrl-C and other signals while Rust code runs without the interpreter lock.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;

/// Runs work that polls whether it must end. At a signal such as Ctrl-C, the poll returns `true`,
/// and the exception of the signal replaces the result.
pub(crate) fn interruptible<T>(
    work: impl FnOnce(&(dyn Fn() -> bool + Sync)) -> PyResult<T>,
) -> PyResult<T> {
    let signal = Mutex::new(None);
    let (polls, ended) = (AtomicU32::new(0), AtomicBool::new(false));
    let outcome = work(&|| {
        let poll = polls.fetch_add(1, Ordering::Relaxed);
        if poll.is_multiple_of(POLLS_PER_CHECK)
            && let Err(error) = Python::attach(|py| py.check_signals())
        {
            *signal.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            ended.store(true, Ordering::Relaxed);
        }
        ended.load(Ordering::Relaxed)
    });
    let signal = signal.into_inner().unwrap_or_else(PoisonError::into_inner);
    signal.map_or(outcome, Err)
}

/// Number of polls between two checks for signals. Work polls once every few hundred elements or
/// packets.
const POLLS_PER_CHECK: u32 = 8;
