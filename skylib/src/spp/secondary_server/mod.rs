//! `SecondaryServer`: a listener for SPP processes.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::SppCtl;
use super::secondary::Secondary;
use crate::sys::eventfd::{EventFd, wait_readable};
use crate::sys::timerfd::TimerFd;

/// Listener for SPP processes (`spp_pcap`, usually on port 6666), which adds the processes to an
/// [`SppCtl`].
///
/// Connections are not authenticated: listen on an address that only SPP processes can reach. A
/// process whose id is in use is rejected; in SPP, the two processes would replace each other
/// endlessly. Dropping the server stops it.
#[derive(Debug)]
pub struct SecondaryServer {
    address: SocketAddr,
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl SecondaryServer {
    /// Starts to listen on an address.
    ///
    /// # Errors
    /// Returns an error if the address is in use, or if no thread or file descriptor is available.
    pub fn start(address: SocketAddr, ctl: Arc<SppCtl>) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let stop = Arc::new(EventFd::new()?);
        let stopped = Arc::clone(&stop);
        let work = move || {
            if let Err(error) = listen(&listener, &ctl, &stopped) {
                tracing::error!(%error, "listener for SPP processes failed");
            }
        };
        let thread = thread::Builder::new()
            .name("spp-link".to_owned())
            .spawn(work)?;
        Ok(Self {
            address,
            stop,
            thread: Some(thread),
        })
    }

    /// Returns the address of the listener.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for SecondaryServer {
    fn drop(&mut self) {
        self.stop.raise();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// Accepts processes until `stop` is raised.
fn listen(listener: &TcpListener, ctl: &Arc<SppCtl>, stop: &EventFd) -> io::Result<()> {
    let greetings = Arc::new(AtomicUsize::new(0));
    let pause = TimerFd::new()?;
    loop {
        let [_, stopped] = wait_readable([listener.as_fd(), stop.as_fd()])?;
        if stopped {
            return Ok(());
        }
        match listener.accept() {
            Ok((stream, peer)) => {
                if let Err(error) = greet(stream, peer, ctl, &greetings) {
                    tracing::warn!(%peer, %error, "SPP process rejected");
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                // For example, no file descriptor is available: waits instead of retrying in a
                // tight loop.
                tracing::warn!(%error, "cannot accept an SPP process");
                pause.once(PAUSE)?;
                wait_readable([pause.as_fd(), stop.as_fd()])?;
                pause.clear();
            }
        }
    }
}

/// Queries a new process on a separate thread, because the process may not reply; at most
/// [`MAX_GREETINGS`] processes are queried concurrently.
fn greet(
    stream: TcpStream,
    peer: SocketAddr,
    ctl: &Arc<SppCtl>,
    greetings: &Arc<AtomicUsize>,
) -> io::Result<()> {
    let slot = GreetingSlot::take(greetings)
        .ok_or_else(|| io::Error::other("too many processes are connecting"))?;
    stream.set_nonblocking(false)?;
    let ctl = Arc::clone(ctl);
    let work = move || {
        let _slot = slot;
        let outcome = Secondary::greet(stream).map_err(|error| error.to_string());
        let outcome = outcome.and_then(|process| {
            let id = process.id;
            ctl.add_secondary(process)
                .map_err(|error| error.to_string())?;
            Ok(id)
        });
        match outcome {
            Ok(id) => tracing::info!(%peer, id, "SPP process connected"),
            Err(reason) => tracing::warn!(%peer, reason, "SPP process rejected"),
        }
    };
    thread::Builder::new()
        .name("spp-greet".to_owned())
        .spawn(work)?;
    Ok(())
}

/// Slot of a process that is being queried.
struct GreetingSlot(Arc<AtomicUsize>);

impl GreetingSlot {
    /// Takes a slot; returns `None` if all slots are in use.
    fn take(count: &Arc<AtomicUsize>) -> Option<Self> {
        let slot = Self(Arc::clone(count));
        (count.fetch_add(1, Ordering::Relaxed) < MAX_GREETINGS).then_some(slot)
    }
}

impl Drop for GreetingSlot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Maximum number of processes that are queried concurrently.
const MAX_GREETINGS: usize = 128;
/// Pause after a failed accept.
const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
