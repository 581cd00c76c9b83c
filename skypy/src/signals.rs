//! Handling of Ctrl-C and other signals while Rust code runs without the interpreter lock, and of the end
//! of the interpreter.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

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
            && let Err(error) = check()
        {
            *signal.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            ended.store(true, Ordering::Relaxed);
        }
        ended.load(Ordering::Relaxed)
    });
    let signal = signal.into_inner().unwrap_or_else(PoisonError::into_inner);
    signal.map_or(outcome, Err)
}

/// Runs the handlers of signals that have arrived; returns the exception of a handler.
///
/// Python handles signals in the main thread only. Other threads do not need the interpreter lock
/// here, and may be working when the interpreter ends.
pub(crate) fn check() -> PyResult<()> {
    let is_main = rustix::thread::gettid() == rustix::process::getpid();
    if is_main {
        Python::attach(|py| py.check_signals())?;
    }
    Ok(())
}

/// Calls Python code, which may switch to another thread.
///
/// When the interpreter ends, Python before 3.14 ends the other threads by unwinding their stacks. Rust
/// ends the process in that case; therefore, such a thread sleeps instead, until the process ends.
#[inline(never)]
pub(crate) fn call_python<T>(work: impl FnOnce() -> T) -> T {
    let sleep = SleepOnUnwind;
    let value = work();
    std::mem::forget(sleep);
    value
}

/// Guard that is dropped only if its thread is unwound.
struct SleepOnUnwind;

impl Drop for SleepOnUnwind {
    fn drop(&mut self) {
        // A panic of this thread is caught and becomes an exception.
        while !thread::panicking() {
            thread::park();
        }
    }
}

/// Number of polls between two checks for signals. Work polls once every few hundred elements or
/// packets.
const POLLS_PER_CHECK: u32 = 8;
