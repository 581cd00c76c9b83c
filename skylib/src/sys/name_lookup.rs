//! Addresses of host names, looked up on helper threads: the resolver of the C library can block for
//! a long time, and cannot be interrupted.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Receives the result of a lookup.
pub(crate) type Done = Box<dyn FnOnce(io::Result<Vec<SocketAddr>>) + Send>;

/// Looks up the addresses of a host, and calls `done` with the result, on a helper thread. The
/// caller limits the time for which it waits; a late result is passed to `done` nevertheless.
///
/// # Errors
/// Returns an error if [`MAX_LOOKUPS`] lookups run, or the thread cannot be started.
pub(crate) fn start(host: &str, port: u16, done: Done) -> io::Result<()> {
    let slot = Slot::take()?;
    let host = host.to_owned();
    let look_up = move || {
        let found = (host.as_str(), port).to_socket_addrs();
        let found = found.map(Iterator::collect);
        // A slow receiver of the result occupies no slot.
        drop(slot);
        done(found);
    };
    let thread = thread::Builder::new().name("name-lookup".to_owned());
    thread.spawn(look_up).map(drop)
}

/// A running lookup.
struct Slot;

impl Slot {
    fn take() -> io::Result<Self> {
        let before = RUNNING.fetch_add(1, Ordering::Relaxed);
        let slot = Self;
        if before >= MAX_LOOKUPS {
            let text = format!("limit of {MAX_LOOKUPS} pending host name lookups reached");
            return Err(io::Error::other(text));
        }
        Ok(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Number of lookups that run.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// Maximum number of lookups that run at the same time.
const MAX_LOOKUPS: usize = 32;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn the_result_arrives_on_another_thread() {
        let (send, results) = mpsc::channel();
        let done = move |result| send.send((result, thread::current().id())).unwrap();
        start("127.0.0.1", 53, Box::new(done)).unwrap();
        let (found, thread) = results.recv().unwrap();
        assert_eq!(found.unwrap(), ["127.0.0.1:53".parse().unwrap()]);
        assert_ne!(thread, thread::current().id());
    }
}
