//! `PollerPool`: the few threads that watch all namespaces except that of the host.

use std::io;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use super::namespace::{Shared, lock};
use super::poller::Poller;
use crate::sys::eventfd::EventFd;

/// Threads that are started with the first namespaces, at most [`MAX_THREADS`].
#[derive(Debug, Default)]
pub(super) struct PollerPool(Mutex<Vec<PollerThread>>);

#[derive(Debug)]
struct PollerThread {
    poller: Arc<Poller>,
    stop: Arc<EventFd>,
    thread: JoinHandle<()>,
}

impl PollerPool {
    /// Returns the loop with the fewest namespaces; starts a thread if all have some and there may be
    /// more threads.
    ///
    /// # Errors
    /// Returns the error of the system if the first thread cannot be started.
    pub(super) fn poller(&self, shared: &Arc<Shared>) -> io::Result<Arc<Poller>> {
        let mut threads = lock(&self.0);
        let least = threads.iter().min_by_key(|thread| thread.poller.load());
        let least = least.map(|thread| Arc::clone(&thread.poller));
        let most = thread::available_parallelism().map_or(1, usize::from);
        if let Some(poller) = &least
            && (poller.load() == 0 || threads.len() >= most.min(MAX_THREADS))
        {
            return Ok(Arc::clone(poller));
        }
        match (PollerThread::start(threads.len(), shared), least) {
            (Ok(started), _) => {
                let poller = Arc::clone(&started.poller);
                threads.push(started);
                Ok(poller)
            }
            // The threads that exist can watch any number of namespaces.
            (Err(_), Some(poller)) => Ok(poller),
            (Err(error), None) => Err(error),
        }
    }

    /// Ends all threads and waits for them.
    pub(super) fn stop(&self) {
        let threads = std::mem::take(&mut *lock(&self.0));
        for thread in &threads {
            thread.stop.raise();
        }
        for thread in threads {
            // A panic has been reported by the thread.
            let _ended = thread.thread.join();
        }
    }
}

impl PollerThread {
    fn start(number: usize, shared: &Arc<Shared>) -> io::Result<Self> {
        let (poller, stop) = (Arc::new(Poller::new()?), Arc::new(EventFd::new()?));
        let (inside, shared, stopped) =
            (Arc::clone(&poller), Arc::clone(shared), Arc::clone(&stop));
        let run = move || {
            if let Err(error) = inside.run(&shared, &stopped) {
                tracing::error!(%error, "a thread that watches network namespaces has ended");
            }
        };
        let thread = thread::Builder::new()
            .name(format!("netns-{number}"))
            .stack_size(STACK_BYTES)
            .spawn(run)?;
        Ok(Self {
            poller,
            stop,
            thread,
        })
    }
}

/// Maximum number of threads; each transaction locks the graph, so more threads would only wait.
const MAX_THREADS: usize = 4;

/// Stack size of a thread, in bytes.
const STACK_BYTES: usize = 512 * 1024;
