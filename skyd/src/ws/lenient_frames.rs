//! Text frames read as binary ones.
//!
//! COMPAT: a client declares how it writes (`X-Client-Protocol`) and its frames' opcodes do not
//! count: Go clients send JSON in binary frames, and protobuf may come in text frames. The
//! WebSocket library would refuse text that is not UTF-8, so it is shown binary frames only.
//!
//! Whoever knows where messages begin and end also knows what they weigh while they arrive.

use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::incoming_memory::{MemoryClaim, PendingMessages};

/// A stream of a client's frames in which every text frame has become a binary one.
#[derive(Debug)]
pub(crate) struct LenientFrames<S> {
    stream: S,
    place: Place,
    /// Whether the frame is the last of a message: no control frame, and FIN is set.
    is_last: bool,
    /// Whether the frame is one of a message.
    is_data: bool,
    /// Bytes of the message so far.
    length: usize,
    arriving: MemoryClaim,
    arrived: PendingMessages,
}

/// What the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// FIN, reserved bits and opcode of a frame.
    Opcode,
    /// Mask bit and length, or how long the length is.
    Length,
    /// A long length, most significant byte first, and what stands of it so far.
    LongLength {
        bytes_left: u8,
        so_far: u64,
        mask: u64,
    },
    /// So many bytes of mask and payload.
    Payload(u64),
}

impl<S> LenientFrames<S> {
    pub(crate) const fn new(stream: S, arriving: MemoryClaim, arrived: PendingMessages) -> Self {
        Self {
            stream,
            place: Place::Opcode,
            is_last: false,
            is_data: false,
            length: 0,
            arriving,
            arrived,
        }
    }

    /// The stream itself, for what is no frame any more.
    pub(crate) const fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Changes the opcodes among bytes that come next in the stream.
    pub(crate) fn pass(&mut self, mut bytes: &mut [u8]) {
        while let Some((first, rest)) = std::mem::take(&mut bytes).split_first_mut() {
            let next = match self.place {
                Place::Opcode => {
                    self.is_data = *first & CONTROL == 0;
                    self.is_last = self.is_data && *first & FIN != 0;
                    if *first & OPCODE == TEXT {
                        *first = (*first & !OPCODE) | BINARY;
                    }
                    Place::Length
                }
                Place::Length => {
                    let mask = if *first & 0x80 == 0 { 0 } else { 4 };
                    match *first & 0x7f {
                        126 => Place::LongLength {
                            bytes_left: 2,
                            so_far: 0,
                            mask,
                        },
                        127 => Place::LongLength {
                            bytes_left: 8,
                            so_far: 0,
                            mask,
                        },
                        length => Place::Payload(u64::from(length) + mask),
                    }
                }
                Place::LongLength {
                    bytes_left,
                    so_far,
                    mask,
                } => {
                    let so_far = so_far << 8 | u64::from(*first);
                    match bytes_left - 1 {
                        0 => Place::Payload(so_far.saturating_add(mask)),
                        bytes_left => Place::LongLength {
                            bytes_left,
                            so_far,
                            mask,
                        },
                    }
                }
                Place::Payload(left) => {
                    // The first byte is one of them; most of the rest usually are, too.
                    let skip = usize::try_from(left - 1)
                        .unwrap_or(usize::MAX)
                        .min(rest.len());
                    bytes = &mut rest[skip..];
                    if self.is_data {
                        self.length += 1 + skip;
                    }
                    self.place = match left - 1 - skip as u64 {
                        0 => self.frame_ends(),
                        left => Place::Payload(left),
                    };
                    continue;
                }
            };
            self.place = if next == Place::Payload(0) {
                self.frame_ends()
            } else {
                next
            };
            bytes = rest;
        }
    }
}

impl<S> LenientFrames<S> {
    fn frame_ends(&mut self) -> Place {
        if self.is_last {
            self.length = 0;
            let next = self.arriving.next();
            self.arrived
                .add(std::mem::replace(&mut self.arriving, next));
        }
        Place::Opcode
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
            self.pass(new);
            let length = self.length;
            self.arriving
                .grow_to(length)
                .map_err(|error| Error::new(ErrorKind::OutOfMemory, error))?;
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

const FIN: u8 = 0x80;
const OPCODE: u8 = 0x0f;
/// Set in the opcodes of control frames.
const CONTROL: u8 = 0x08;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incoming_memory::IncomingMemory;

    fn blind() -> LenientFrames<()> {
        LenientFrames::new(
            (),
            IncomingMemory::new(0).claim(),
            PendingMessages::default(),
        )
    }

    /// A client's frame: opcode with its high bits, and a payload that looks like frames itself.
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
    fn opcodes_change_and_nothing_else_however_the_bytes_come() {
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
            let mut blind = blind();
            let mut bytes = sent.clone();
            bytes.chunks_mut(step).for_each(|chunk| blind.pass(chunk));
            assert!(bytes == wanted, "in steps of {step}");
            assert_eq!(blind.place, Place::Opcode);
        }
    }

    #[test]
    fn a_length_beyond_all_bounds_does_no_harm() {
        let mut blind = blind();
        let mut bytes = [
            0x81, 0xff, 255, 255, 255, 255, 255, 255, 255, 255, 0x81, 0x81,
        ];
        blind.pass(&mut bytes);
        assert_eq!((bytes[0], bytes[10], bytes[11]), (0x82, 0x81, 0x81));
        assert!(matches!(blind.place, Place::Payload(_)));
    }
}
