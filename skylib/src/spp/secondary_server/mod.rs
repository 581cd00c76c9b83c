//! `SecondaryServer`: where processes of SPP connect.

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

/// Listens for processes of SPP (`spp_pcap`, usually on port 6666) and adds them to an [`SppCtl`].
///
/// Anybody who can connect can be such a process: listen where only they can. One whose id is in
/// use is refused; in SPP it would replace the other, which would replace it, and so on.
#[derive(Debug)]
pub struct SecondaryServer {
    address: SocketAddr,
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl SecondaryServer {
    /// Starts to listen; dropping this ends it.
    ///
    /// # Errors
    /// When the address is taken, or the system has no thread or descriptor left.
    pub fn start(address: SocketAddr, ctl: Arc<SppCtl>) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let stop = Arc::new(EventFd::new()?);
        let stopped = Arc::clone(&stop);
        let work = move || {
            if let Err(error) = listen(&listener, &ctl, &stopped) {
                tracing::error!(%error, "no more processes of SPP can connect");
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

    /// Where it listens.
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

fn listen(listener: &TcpListener, ctl: &Arc<SppCtl>, stop: &EventFd) -> io::Result<()> {
    let greeted = Arc::new(AtomicUsize::new(0));
    let pause = TimerFd::new()?;
    loop {
        let [_, stopped] = wait_readable([listener.as_fd(), stop.as_fd()])?;
        if stopped {
            return Ok(());
        }
        match listener.accept() {
            Ok((stream, peer)) => {
                if let Err(error) = greet(stream, peer, ctl, &greeted) {
                    tracing::warn!(%peer, %error, "a process of SPP is turned away");
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                // Out of descriptors, say: nothing is gained by trying in a tight loop.
                tracing::warn!(%error, "cannot accept processes of SPP");
                pause.once(PAUSE)?;
                wait_readable([pause.as_fd(), stop.as_fd()])?;
                pause.clear();
            }
        }
    }
}

/// On a thread of its own, as a process may keep silent; of such there are only so many.
fn greet(
    stream: TcpStream,
    peer: SocketAddr,
    ctl: &Arc<SppCtl>,
    greeted: &Arc<AtomicUsize>,
) -> io::Result<()> {
    let turn = Turn::take(greeted).ok_or_else(|| io::Error::other("too many at a time"))?;
    stream.set_nonblocking(false)?;
    let ctl = Arc::clone(ctl);
    let work = move || {
        let _turn = turn;
        let outcome = Secondary::greet(stream).map_err(|error| error.to_string());
        let outcome = outcome.and_then(|process| {
            let id = process.id;
            ctl.add_secondary(process)
                .map_err(|error| error.to_string())?;
            Ok(id)
        });
        match outcome {
            Ok(id) => tracing::info!(%peer, id, "a process of SPP has connected"),
            Err(reason) => tracing::warn!(%peer, reason, "a process of SPP is turned away"),
        }
    };
    thread::Builder::new()
        .name("spp-greet".to_owned())
        .spawn(work)?;
    Ok(())
}

/// One of those that may be greeted at a time.
struct Turn(Arc<AtomicUsize>);

impl Turn {
    fn take(count: &Arc<AtomicUsize>) -> Option<Self> {
        let turn = Self(Arc::clone(count));
        (count.fetch_add(1, Ordering::Relaxed) < MOST_GREETED).then_some(turn)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

const MOST_GREETED: usize = 128;
const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
