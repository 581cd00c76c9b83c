//! `PacketSender`: sends frames on one interface.

use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::InjectError;
use crate::packet::LinkType;
use crate::sys::netns;
use crate::sys::socket::PacketSocket;

/// Packet socket that sends frames on one interface. It receives nothing.
///
/// The socket follows the interface when the interface is renamed. It fails when the interface is
/// deleted or moved to another namespace.
#[derive(Debug)]
pub struct PacketSender {
    interface: String,
    index: u32,
    link: LinkType,
    socket: PacketSocket,
}

impl PacketSender {
    /// Opens a socket on an interface of the namespace with the file `namespace`; `None` for the
    /// namespace of the calling thread. Frames have the link type `link`.
    ///
    /// # Errors
    /// Returns an error if the interface does not exist, is down, or has no carrier, or if the process
    /// lacks a capability. Waits up to 1.2 s for the carrier of an interface that is up.
    pub fn open(
        interface: &str,
        namespace: Option<&Path>,
        link: LinkType,
    ) -> Result<Self, InjectError> {
        let fail = |source: io::Error| {
            let hint = if source.kind() == io::ErrorKind::PermissionDenied {
                " (CAP_NET_RAW is required, and CAP_SYS_ADMIN to enter a namespace)"
            } else {
                ""
            };
            InjectError::Io {
                action: format!("send on interface {interface:?}{hint}"),
                source,
            }
        };
        let socket = match namespace {
            None => PacketSocket::open(),
            Some(path) => netns::run_in(path, PacketSocket::open).and_then(|socket| socket),
        };
        let socket = socket.map_err(fail)?;
        let mut info = socket.interface(interface).map_err(fail)?;
        for _ in 0..CARRIER_ATTEMPTS {
            if info.running || !info.up {
                break;
            }
            std::thread::sleep(CARRIER_WAIT);
            info = socket.interface(interface).map_err(fail)?;
        }
        match (info.up, info.running) {
            (false, _) => return Err(InjectError::InterfaceDown(interface.to_owned())),
            (true, false) => return Err(InjectError::NoCarrier(interface.to_owned())),
            (true, true) => {}
        }
        Ok(Self {
            interface: interface.to_owned(),
            index: info.index,
            link,
            socket,
        })
    }

    /// Sends one frame. Waits up to 100 ms while the queue of the interface is full.
    ///
    /// # Errors
    /// Returns an error if the interface is down or has been deleted, if the frame exceeds its
    /// MTU, or if its queue remains full.
    pub fn send(&self, frame: &[u8]) -> Result<(), InjectError> {
        let protocol = protocol_of(frame, self.link);
        let mut outcome = self.socket.send_to(self.index, protocol, frame);
        if outcome.as_ref().is_err_and(is_full) {
            self.wait();
            outcome = self.socket.send_to(self.index, protocol, frame);
        }
        outcome.map_err(|source| {
            let bytes = frame.len();
            InjectError::Io {
                action: format!("send {bytes} bytes on interface {:?}", self.interface),
                source,
            }
        })
    }

    /// Waits until the socket accepts a frame again.
    fn wait(&self) {
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(QUEUE_TIMEOUT.subsec_nanos()),
        };
        let mut socket = [PollFd::new(&self.socket, PollFlags::OUT)];
        // After an error of poll, sending shows the problem.
        poll(&mut socket, Some(&timeout)).ok();
    }
}

fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ENOBUFS)
}

/// Returns the Ethernet type of a frame, which the kernel needs for interfaces without a link
/// header.
fn protocol_of(frame: &[u8], link: LinkType) -> u16 {
    const IPV4: u16 = 0x0800;
    const IPV6: u16 = 0x86dd;
    if link == LinkType::ETHERNET {
        let bytes = frame.get(12..14).and_then(|bytes| bytes.try_into().ok());
        return bytes.map_or(0, u16::from_be_bytes);
    }
    match frame.first() {
        Some(first) if first >> 4 == 6 => IPV6,
        _ => IPV4,
    }
}

/// Maximum time that a frame waits for space in the queue of the interface.
const QUEUE_TIMEOUT: Duration = Duration::from_millis(100);

/// Time between two reads of the state of an interface without a carrier.
const CARRIER_WAIT: Duration = Duration::from_millis(50);

/// Number of further reads; the kernel reports the carrier of an interface that was set up with a
/// delay of up to 1 s.
const CARRIER_ATTEMPTS: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_is_that_of_the_first_header() {
        let mut ethernet = [0; 60];
        (ethernet[12], ethernet[13]) = (0x81, 0x00);
        assert_eq!(protocol_of(&ethernet, LinkType::ETHERNET), 0x8100);
        assert_eq!(protocol_of(&[0x45], LinkType::RAW), 0x0800);
        assert_eq!(protocol_of(&[0x60], LinkType::RAW), 0x86dd);
        assert_eq!(protocol_of(&[], LinkType::ETHERNET), 0);
    }
}
