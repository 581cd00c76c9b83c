//! Compression of WebSocket messages: `permessage-deflate` (RFC 7692) without context takeover.
//!
//! Each message is compressed on its own, so that a connection stores no window between messages.
//! Only large messages to clients are compressed, such as the reply to a sync request; every
//! message of a client may be compressed. A message in fragments is compressed as it is produced.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use flate2::{
    Compress, CompressError, Compression, Decompress, FlushCompress, FlushDecompress, Status,
};
use hyper::header::{HeaderMap, SEC_WEBSOCKET_EXTENSIONS};
use skylib::memory::{MemoryBudget, MemoryUse};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::connection::ConnectionEnd;
use super::pending_messages::PendingMessages;

/// Response to the offer of a client.
pub(super) const ACCEPTED: &str =
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// Minimum length of a message to a client that is compressed, in bytes: shorter messages are sent
/// to many clients, and compression would cost more than it saves.
pub(super) const MIN_BYTES: usize = 16 << 10;

/// Returns whether a client offers a variant of `permessage-deflate` that is supported.
pub(super) fn is_offered(headers: &HeaderMap) -> bool {
    let lists = headers
        .get_all(SEC_WEBSOCKET_EXTENSIONS)
        .iter()
        .filter_map(|value| value.to_str().ok());
    lists
        .flat_map(|list| list.split(','))
        .any(is_supported_offer)
}

fn is_supported_offer(offer: &str) -> bool {
    let mut parts = offer.split(';').map(str::trim);
    parts.next() == Some("permessage-deflate") && parts.all(is_supported_parameter)
}

fn is_supported_parameter(parameter: &str) -> bool {
    let (name, value) = match parameter.split_once('=') {
        Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
        None => (parameter, None),
    };
    match name {
        "server_no_context_takeover" | "client_no_context_takeover" => value.is_none(),
        // The decompressor has a window of 2^15 bytes, which suffices for every smaller one.
        "client_max_window_bits" => value.is_none_or(|bits| bits.parse().is_ok_and(is_window)),
        // The compressor always uses a window of 2^15 bytes.
        "server_max_window_bits" => value == Some("15"),
        _ => false,
    }
}

/// Returns whether a window has a permitted size, as a power of two.
fn is_window(bits: u8) -> bool {
    (8..=15).contains(&bits)
}

/// Compressor of one message.
pub(super) struct Deflater(Compress);

impl Deflater {
    /// Begins a message.
    pub(super) fn new() -> Self {
        Self(Compress::new(Compression::fast(), false))
    }

    /// Returns the compressed bytes of the next piece of the message; they may be empty except for
    /// the last piece, because the compressor has a buffer.
    pub(super) fn add(&mut self, piece: &[u8], is_last: bool) -> Result<Bytes, CompressError> {
        let flush = match is_last {
            true => FlushCompress::Sync,
            false => FlushCompress::None,
        };
        let mut packed = Vec::with_capacity(piece.len() / 4 + SPARE_BYTES);
        let mut left = piece;
        loop {
            let before = self.0.total_in();
            self.0.compress_vec(left, &mut packed, flush)?;
            let taken = usize::try_from(self.0.total_in() - before).unwrap_or(left.len());
            left = left.get(taken..).unwrap_or_default();
            // Spare room after all input means that nothing waits in the compressor for room.
            if left.is_empty() && packed.len() < packed.capacity() {
                break;
            }
            packed.reserve(packed.capacity().max(SPARE_BYTES));
        }
        if is_last {
            packed.truncate(packed.len().saturating_sub(TAIL.len()));
        }
        Ok(packed.into())
    }
}

/// End of each compressed message, which is not sent (RFC 7692, 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
/// Minimum room for output, in bytes.
const SPARE_BYTES: usize = 256;

/// Whether each received message is compressed, in the order of the messages. Clones share the list.
#[derive(Clone, Debug, Default)]
pub(super) struct CompressedMessages(Arc<Mutex<VecDeque<bool>>>);

impl CompressedMessages {
    /// Adds a message that has been received completely.
    pub(super) fn add(&self, is_compressed: bool) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.push_back(is_compressed);
    }

    /// Removes the oldest message; returns whether it is compressed.
    fn take(&self) -> bool {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.pop_front().unwrap_or_default()
    }
}

/// Decompressor of the messages of a client.
#[derive(Debug)]
pub(super) struct Inflater {
    pub(super) messages: CompressedMessages,
    /// Maximum length of a message, in bytes.
    pub(super) limit: usize,
    pub(super) memory: MemoryBudget,
    /// Charges of messages that have not been processed.
    pub(super) pending: PendingMessages,
}

impl Inflater {
    /// Returns the content of the next message.
    ///
    /// # Errors
    /// Returns the reason to close the connection if the message is malformed or too long, or if
    /// there is no memory for it.
    pub(super) fn unpack(&self, message: Bytes) -> Result<Bytes, ConnectionEnd> {
        if !self.messages.take() {
            return Ok(message);
        }
        let charge = self.memory.charge(MemoryUse::Requests);
        let mut decompress = Decompress::new(false);
        let mut content = Vec::with_capacity((4 * message.len()).min(self.limit).max(SPARE_BYTES));
        for mut input in [&message[..], &TAIL] {
            loop {
                let (before, length) = (decompress.total_in(), content.len());
                let status = decompress
                    .decompress_vec(input, &mut content, FlushDecompress::Sync)
                    .map_err(|_| ConnectionEnd::Close(CloseCode::Protocol))?;
                let taken = usize::try_from(decompress.total_in() - before).unwrap_or(input.len());
                input = input.get(taken..).unwrap_or_default();
                if status == Status::StreamEnd {
                    // More blocks may follow a final one (RFC 7692, 7.2.3.4).
                    decompress.reset(false);
                }
                if content.len() < content.capacity() {
                    // The decompressor has a buffer of output, so it may take nothing and continue.
                    let is_done = taken == 0 && content.len() == length;
                    match (is_done, input.is_empty()) {
                        (false, _) => continue,
                        (true, true) => break,
                        (true, false) => return Err(ConnectionEnd::Close(CloseCode::Protocol)),
                    }
                }
                if content.len() >= self.limit {
                    return Err(ConnectionEnd::Close(CloseCode::Size));
                }
                content.reserve(content.capacity().max(SPARE_BYTES));
                charge
                    .grow_to(content.capacity())
                    .map_err(|_| ConnectionEnd::Close(CloseCode::Again))?;
            }
        }
        if content.len() > self.limit {
            return Err(ConnectionEnd::Close(CloseCode::Size));
        }
        self.pending.add(charge);
        Ok(content.into())
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn offered(offers: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for offer in offers {
            headers.append(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(offer));
        }
        is_offered(&headers)
    }

    fn inflater(limit: usize) -> Inflater {
        Inflater {
            messages: CompressedMessages::default(),
            limit,
            memory: MemoryBudget::unlimited(),
            pending: PendingMessages::default(),
        }
    }

    fn packed(pieces: &[&[u8]]) -> Vec<u8> {
        let mut deflater = Deflater::new();
        let add = |(at, piece): (usize, &&[u8])| deflater.add(piece, at + 1 == pieces.len());
        let parts = pieces.iter().enumerate().map(add);
        parts.flat_map(|part| part.unwrap()).collect()
    }

    fn unpacked(inflater: &Inflater, packed: &[u8]) -> Result<Bytes, ConnectionEnd> {
        inflater.messages.add(true);
        inflater.unpack(Bytes::copy_from_slice(packed))
    }

    #[test]
    fn only_supported_offers_are_accepted() {
        assert!(offered(&["permessage-deflate; client_max_window_bits"]));
        assert!(offered(&[
            "x-webkit-deflate-frame",
            "permessage-deflate; server_max_window_bits=10, permessage-deflate",
        ]));
        assert!(offered(&[
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=\"15\""
        ]));
        for refused in [
            "permessage-deflate; server_max_window_bits=10",
            "permessage-deflate; client_max_window_bits=16",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; level=9",
            "permessage-bzip2",
            "",
        ] {
            assert!(!offered(&[refused]), "{refused}");
        }
        assert!(!offered(&[]));
    }

    #[test]
    fn what_was_packed_in_pieces_is_unpacked() {
        let text: Vec<u8> = (0..200_000_u32)
            .flat_map(|number| (number / 7).to_be_bytes())
            .collect();
        for step in [1000, 65_536, text.len()] {
            let pieces: Vec<&[u8]> = text.chunks(step).collect();
            let packed = packed(&pieces);
            assert!(packed.len() < text.len() / 2, "in steps of {step}");
            assert!(!packed.ends_with(&TAIL));
            let content = unpacked(&inflater(text.len()), &packed).unwrap();
            assert!(content == text, "in steps of {step}");
        }
        assert_eq!(unpacked(&inflater(0), &packed(&[b""])).unwrap(), "");
    }

    #[test]
    fn the_example_of_the_rfc_is_unpacked() {
        // RFC 7692, 7.2.3.1: "Hello".
        let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        assert_eq!(unpacked(&inflater(5), &hello).unwrap(), "Hello");
        let size = Err(ConnectionEnd::Close(CloseCode::Size));
        assert_eq!(unpacked(&inflater(4), &hello), size);
        // RFC 7692, 7.2.3.4 and 7.2.3.5: a final block, and two blocks.
        let last = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
        assert_eq!(unpacked(&inflater(5), &last).unwrap(), "Hello");
        let two = [
            0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
        ];
        assert_eq!(unpacked(&inflater(5), &two).unwrap(), "Hello");
    }

    #[test]
    fn messages_that_are_not_compressed_are_unchanged() {
        let inflater = inflater(3);
        inflater.messages.add(false);
        let message = Bytes::from_static(b"{\"a\": 1}");
        assert_eq!(inflater.unpack(message.clone()).unwrap(), message);
    }

    #[test]
    fn a_bomb_and_garbage_end_the_connection() {
        let bomb = packed(&[&vec![0; 50 << 20]]);
        assert!(bomb.len() < 1 << 20);
        assert_eq!(
            unpacked(&inflater(1 << 20), &bomb),
            Err(ConnectionEnd::Close(CloseCode::Size))
        );
        let no_memory = Inflater {
            memory: MemoryBudget::new(1000),
            ..inflater(1 << 20)
        };
        assert_eq!(
            unpacked(&no_memory, &bomb),
            Err(ConnectionEnd::Close(CloseCode::Again))
        );
        let protocol = Err(ConnectionEnd::Close(CloseCode::Protocol));
        assert_eq!(unpacked(&inflater(100), b"\xff\xff\xff"), protocol);
        // A final block, and bytes behind it.
        assert_eq!(unpacked(&inflater(100), b"\x03\x00\x01\x02"), protocol);
    }
}
