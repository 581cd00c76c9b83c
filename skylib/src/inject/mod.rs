//! Packet injection: builds packets from a request, or reads them from a capture file, and sends
//! them on an interface.
//!
//! A [`PacketRequest`] describes packets completely, without reference to the graph, so that it can
//! be sent to the host of the interface. [`Packets`] produces the frames and is pure;
//! [`PacketSender`] sends them on a packet socket in the namespace of the interface.
//!
//! ```
//! use skylib::inject::{PacketRequest, PacketType, Packets};
//! use skylib::packet::LinkType;
//!
//! let request = PacketRequest::new(PacketType::Udp4)
//!     .with_source("02:00:00:00:00:01", "192.0.2.1", 4000)?
//!     .with_destination("02:00:00:00:00:02", "192.0.2.2", 53)?
//!     .with_payload("hello");
//! let mut packets = Packets::new(&request, LinkType::ETHERNET, 1)?;
//! assert_eq!(packets.next_frame()?.len(), 60);
//! # Ok::<(), skylib::Error>(())
//! ```

mod error;
mod forge;
mod mac;
mod random;
mod replay;
mod request;
#[cfg(feature = "afpacket")]
mod send;

pub use error::InjectError;
pub use mac::MacAddress;
pub use replay::{MAX_REPLAY_BYTES, MAX_REPLAY_PACKETS};
pub use request::{MAX_SHOWN_BYTES, PacketMode, PacketRequest, PacketType};
#[cfg(feature = "afpacket")]
pub use send::PacketSender;

use self::forge::Forge;
use self::replay::FrameReplay;
use crate::packet::LinkType;

/// Frames of a request, one after the other, without end.
#[derive(Debug)]
pub struct Packets(Frames);

#[derive(Debug)]
enum Frames {
    Forged(Box<Forge>),
    Replayed(FrameReplay),
}

impl Packets {
    /// Returns the frames of a request for an interface of the link type `link`. Random values
    /// depend on `seed` only.
    ///
    /// # Errors
    /// Returns an error if the request lacks an address that its packets need, or if its capture
    /// file cannot be read, has no packets, or has packets of another link type.
    pub fn new(request: &PacketRequest, link: LinkType, seed: u64) -> Result<Self, InjectError> {
        Ok(Self(match &request.pcap {
            Some(file) if !file.is_empty() => Frames::Replayed(FrameReplay::new(file, link)?),
            _ => Frames::Forged(Box::new(Forge::new(request, link, seed)?)),
        }))
    }

    /// Returns the number of frames after which the frames of a capture file repeat; 1 for
    /// generated packets.
    #[must_use]
    pub fn natural_count(&self) -> u64 {
        match &self.0 {
            Frames::Forged(_) => 1,
            Frames::Replayed(replay) => replay.len() as u64,
        }
    }

    /// Returns the next frame. A capture file starts again after its last frame.
    ///
    /// # Errors
    /// Returns an error if the payload has grown beyond the maximum length of a packet.
    pub fn next_frame(&mut self) -> Result<&[u8], InjectError> {
        match &mut self.0 {
            Frames::Forged(forge) => forge.next_frame(),
            Frames::Replayed(replay) => Ok(replay.next_frame()),
        }
    }
}
