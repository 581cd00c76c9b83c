//! Stream filter that turns text frames into binary ones, notes which messages are compressed, and
//! accounts for messages being received.
//!
//! COMPAT: a client declares its encoding in `X-Client-Protocol`, and the opcodes of its frames do not
//! matter: Go clients send JSON in binary frames, and some clients send protobuf in text frames. The
//! WebSocket library rejects text frames that are not UTF-8, so the filter rewrites the opcode before
//! the library reads it. A state machine follows the frame headers; payloads are skipped.

use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::task::{Context, Poll};

use skylib::memory::{MemoryCharge, MemoryUse};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::compression::CompressedMessages;
use super::pending_messages::PendingMessages;

/// Stream of client frames in which every text frame is presented as a binary one.
#[derive(Debug)]
pub(crate) struct LenientFrames<S> {
    stream: S,
    position: FramePosition,
    /// Whether the current frame ends a message: it is not a control frame, and FIN is set.
    is_last: bool,
    /// Whether the current frame belongs to a message: it is not a control frame.
    is_data: bool,
    /// Number of payload and mask bytes of the current message so far.
    length: usize,
    /// Memory charge of the current message.
    charge: MemoryCharge,
    /// Charges of complete messages.
    pending: PendingMessages,
    /// List of the messages that are compressed; `None` if none may be.
    compressed: Option<CompressedMessages>,
    /// Whether the current message is compressed.
    is_compressed: bool,
}

/// Meaning of the next byte of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FramePosition {
    /// FIN, reserved bits, and opcode.
    Opcode,
    /// Mask bit and length, or the size of an extended length.
    Length,
    /// Extended length in big-endian order.
    ExtendedLength {
        bytes_left: u8,
        so_far: u64,
        mask: u64,
    },
    /// Mask and payload, with the number of bytes left.
    Payload(u64),
}

impl FramePosition {
    /// Returns the position after the byte with the mask bit and the length.
    fn after_length(byte: u8) -> Self {
        let mask = if byte & MASKED == 0 { 0 } else { MASK_BYTES };
        let extended = |bytes_left| Self::ExtendedLength {
            bytes_left,
            so_far: 0,
            mask,
        };
        match byte & !MASKED {
            126 => extended(2),
            127 => extended(8),
            length => Self::Payload(u64::from(length) + mask),
        }
    }
}

impl<S> LenientFrames<S> {
    /// Wraps a stream of frames.
    pub(super) const fn new(
        stream: S,
        charge: MemoryCharge,
        pending: PendingMessages,
        compressed: Option<CompressedMessages>,
    ) -> Self {
        Self {
            stream,
            position: FramePosition::Opcode,
            is_last: false,
            is_data: false,
            length: 0,
            charge,
            pending,
            compressed,
            is_compressed: false,
        }
    }

    /// Returns the underlying stream.
    pub(crate) const fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Rewrites the opcodes in the next bytes of the stream.
    pub(crate) fn rewrite(&mut self, mut bytes: &mut [u8]) {
        while let Some((first, rest)) = std::mem::take(&mut bytes).split_first_mut() {
            let next = match self.position {
                FramePosition::Opcode => self.opcode(first),
                FramePosition::Length => FramePosition::after_length(*first),
                FramePosition::ExtendedLength {
                    bytes_left,
                    so_far,
                    mask,
                } => {
                    let so_far = so_far << 8 | u64::from(*first);
                    match bytes_left - 1 {
                        0 => FramePosition::Payload(so_far.saturating_add(mask)),
                        bytes_left => FramePosition::ExtendedLength {
                            bytes_left,
                            so_far,
                            mask,
                        },
                    }
                }
                FramePosition::Payload(left) => {
                    // `first` is a payload byte; skips the payload bytes that follow it.
                    let skip = usize::try_from(left - 1)
                        .unwrap_or(usize::MAX)
                        .min(rest.len());
                    bytes = &mut rest[skip..];
                    if self.is_data {
                        self.length += 1 + skip;
                    }
                    self.position = match left - 1 - skip as u64 {
                        0 => self.end_frame(),
                        left => FramePosition::Payload(left),
                    };
                    continue;
                }
            };
            self.position = if next == FramePosition::Payload(0) {
                self.end_frame()
            } else {
                next
            };
            bytes = rest;
        }
    }
}

impl<S> LenientFrames<S> {
    /// Reads the first byte of a frame and rewrites its opcode; returns the next position.
    fn opcode(&mut self, first: &mut u8) -> FramePosition {
        self.is_data = *first & CONTROL == 0;
        self.is_last = self.is_data && *first & FIN != 0;
        if self.is_data && *first & OPCODE != CONTINUATION && self.compressed.is_some() {
            self.is_compressed = *first & RSV1 != 0;
            *first &= !RSV1;
        }
        if *first & OPCODE == TEXT {
            *first = (*first & !OPCODE) | BINARY;
        }
        FramePosition::Length
    }

    /// Accounts for the end of a frame; returns the position of the next one.
    fn end_frame(&mut self) -> FramePosition {
        if self.is_last {
            if let Some(compressed) = &self.compressed {
                compressed.add(self.is_compressed);
            }
            self.length = 0;
            if self.charge.bytes() > 0 {
                let next = self.charge.budget().charge(MemoryUse::Requests);
                self.pending.add(std::mem::replace(&mut self.charge, next));
            }
        }
        FramePosition::Opcode
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LenientFrames<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if let Some(new) = buffer.filled_mut().get_mut(before..) {
            self.rewrite(new);
            if self.length > FREE_BYTES {
                self.charge
                    .grow_to(BUFFER_FACTOR * self.length)
                    .map_err(|error| Error::new(ErrorKind::OutOfMemory, error))?;
            }
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LenientFrames<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Length up to which a message is not charged, in bytes: the connection limit bounds the number of
/// short messages.
const FREE_BYTES: usize = 4 << 10;
/// Maximum ratio of the capacity of a buffer that grows by doubling to the length of its content.
const BUFFER_FACTOR: usize = 2;
/// Bit of the last frame of a message.
const FIN: u8 = 0x80;
/// Bits of the opcode.
const OPCODE: u8 = 0x0f;
/// Bit of the opcodes of control frames.
const CONTROL: u8 = 0x08;
/// Bit of the first frame of a compressed message (RFC 7692, 6).
const RSV1: u8 = 0x40;
/// Bit of frames whose payload is masked.
const MASKED: u8 = 0x80;
/// Length of the masking key, in bytes.
const MASK_BYTES: u64 = 4;
const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;

#[cfg(test)]
mod tests {
    use skylib::memory::MemoryBudget;

    use super::*;

    fn lenient() -> LenientFrames<()> {
        LenientFrames::new(
            (),
            MemoryBudget::new(0).charge(MemoryUse::Requests),
            PendingMessages::default(),
            None,
        )
    }

    /// Returns a client frame whose payload looks like frames itself; `first` is the first header byte.
    fn frame(first: u8, length: usize, mask: bool) -> Vec<u8> {
        let bit = if mask { 0x80 } else { 0 };
        let mut bytes = vec![first];
        match length {
            0..126 => bytes.push(bit | u8::try_from(length).unwrap()),
            126..65_536 => {
                bytes.push(bit | 126);
                bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                bytes.push(bit | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.extend(std::iter::repeat_n(0x81, if mask { 4 } else { 0 } + length));
        bytes
    }

    #[test]
    fn only_opcodes_change_however_the_stream_is_cut() {
        let shapes = [
            (0x81, 5, true),
            (0x01, 0, true),
            (0x00, 200, true),
            (0x80, 70_000, true),
            (0x82, 126, false),
            (0x89, 0, true),
            (0x81, 0, false),
            (0xc1, 125, true),
            (0x83, 1, true),
            (0x81, 65_535, true),
        ];
        let sent: Vec<u8> = shapes
            .iter()
            .flat_map(|(f, n, m)| frame(*f, *n, *m))
            .collect();
        let seen = |first: u8| {
            if first & OPCODE == TEXT {
                first + 1
            } else {
                first
            }
        };
        let wanted: Vec<u8> = shapes
            .iter()
            .flat_map(|(f, n, m)| frame(seen(*f), *n, *m))
            .collect();
        for step in [1, 2, 3, 7, 1000, sent.len()] {
            let mut frames = lenient();
            let mut bytes = sent.clone();
            bytes
                .chunks_mut(step)
                .for_each(|chunk| frames.rewrite(chunk));
            assert!(bytes == wanted, "in steps of {step}");
            assert_eq!(frames.position, FramePosition::Opcode);
        }
    }

    #[test]
    fn a_length_beyond_all_bounds_does_no_harm() {
        let mut frames = lenient();
        let mut bytes = [
            0x81, 0xff, 255, 255, 255, 255, 255, 255, 255, 255, 0x81, 0x81,
        ];
        frames.rewrite(&mut bytes);
        assert_eq!((bytes[0], bytes[10], bytes[11]), (0x82, 0x81, 0x81));
        assert!(matches!(frames.position, FramePosition::Payload(_)));
    }
}
