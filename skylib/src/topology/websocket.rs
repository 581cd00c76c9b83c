//! `EventSocket`: a WebSocket that receives text messages (RFC 6455), for services whose events have
//! no other form. It answers pings, and sends nothing else.

use std::io::{self, Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::http;

/// A WebSocket over a connection.
#[derive(Debug)]
pub(super) struct EventSocket<S> {
    stream: S,
    /// Payloads of the frames of a message that is not complete.
    message: Vec<u8>,
    /// Maximum size of a message, in bytes.
    limit: usize,
}

/// A frame.
struct Frame {
    is_last: bool,
    opcode: u8,
    payload: Vec<u8>,
}

impl<S: Read + Write> EventSocket<S> {
    /// Opens a WebSocket at a path, for messages of at most `limit` bytes.
    ///
    /// # Errors
    /// Returns the error of the connection, or `Other` if the server does not open a WebSocket.
    pub(super) fn open(stream: S, path: &str, limit: usize) -> io::Result<Self> {
        let key = BASE64.encode(uuid::Uuid::new_v4().as_bytes());
        let headers = [
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", key.as_str()),
        ];
        let (status, stream) = http::upgrade(stream, path, &headers)?;
        // The response need not prove that it is not cached: the service is local.
        match status {
            101 => Ok(Self {
                stream,
                message: Vec::new(),
                limit,
            }),
            code => Err(io::Error::other(format!(
                "the service answered with HTTP status {code}"
            ))),
        }
    }

    /// Returns the next message.
    ///
    /// # Errors
    /// Returns the error of the connection, `UnexpectedEof` at its end, or `InvalidData` for a
    /// malformed or too large message.
    pub(super) fn next_message(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let frame = self.read_frame()?;
            match frame.opcode {
                CONTINUATION | TEXT | BINARY => {
                    self.message.extend_from_slice(&frame.payload);
                    if frame.is_last {
                        return Ok(std::mem::take(&mut self.message));
                    }
                }
                PING => self.send(PONG, &frame.payload)?,
                CLOSE => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ => {}
            }
        }
    }

    fn read_frame(&mut self) -> io::Result<Frame> {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head)?;
        let [first, second] = head;
        if second & MASKED != 0 {
            return Err(malformed("the service sent a masked frame"));
        }
        let length = match second & !MASKED {
            126 => {
                let mut bytes = [0; 2];
                self.stream.read_exact(&mut bytes)?;
                u64::from(u16::from_be_bytes(bytes))
            }
            127 => {
                let mut bytes = [0; 8];
                self.stream.read_exact(&mut bytes)?;
                u64::from_be_bytes(bytes)
            }
            short => u64::from(short),
        };
        let rest = self.limit.saturating_sub(self.message.len());
        let length = usize::try_from(length)
            .ok()
            .filter(|length| *length <= rest);
        let length = length.ok_or_else(|| malformed("a message is too large"))?;
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload)?;
        Ok(Frame {
            is_last: first & LAST != 0,
            opcode: first & OPCODE,
            payload,
        })
    }

    /// Sends a control frame, whose payload has at most 125 bytes.
    fn send(&mut self, opcode: u8, payload: &[u8]) -> io::Result<()> {
        let length = u8::try_from(payload.len())
            .ok()
            .filter(|length| *length < 126);
        let length = length.ok_or_else(|| malformed("a control frame is too large"))?;
        // The mask 0 leaves the payload as it is (RFC 6455, section 5.3).
        let mut frame = vec![LAST | opcode, MASKED | length, 0, 0, 0, 0];
        frame.extend_from_slice(payload);
        self.stream.write_all(&frame)?;
        self.stream.flush()
    }
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Flag of the last frame of a message.
const LAST: u8 = 0x80;
/// Bits of the opcode.
const OPCODE: u8 = 0x0f;
/// Flag of a masked payload.
const MASKED: u8 = 0x80;
const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

#[cfg(test)]
mod tests {
    use super::*;

    /// The connection of a test: recorded bytes of the server, and what was sent.
    struct Recorded {
        incoming: io::Cursor<Vec<u8>>,
        sent: Vec<u8>,
    }

    impl Read for Recorded {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.incoming.read(buffer)
        }
    }

    impl Write for Recorded {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.sent.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn open(frames: &[u8], limit: usize) -> io::Result<EventSocket<impl Read + Write>> {
        let head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
        let stream = Recorded {
            incoming: io::Cursor::new([&head[..], frames].concat()),
            sent: Vec::new(),
        };
        EventSocket::open(stream, "/1.0/events", limit)
    }

    #[test]
    fn messages_consist_of_frames() {
        let frames = b"\x81\x02ab\x01\x01c\x89\x01p\x80\x01d\x82\x7e\x00\x03efg\x88\x00";
        let mut socket = open(frames, 10).unwrap();
        assert_eq!(socket.next_message().unwrap(), b"ab");
        assert_eq!(
            socket.next_message().unwrap(),
            b"cd",
            "with a ping between the frames"
        );
        assert_eq!(socket.next_message().unwrap(), b"efg");
        let end = socket.next_message().unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn malformed_frames_are_errors() {
        let error = |frames: &[u8]| open(frames, 10).unwrap().next_message().unwrap_err().kind();
        assert_eq!(error(b"\x81\x82abcdxx"), io::ErrorKind::InvalidData);
        assert_eq!(error(b"\x81\x0bhello world"), io::ErrorKind::InvalidData);
        assert_eq!(
            error(b"\x01\x06abcdef\x80\x06abcdef"),
            io::ErrorKind::InvalidData
        );
        assert_eq!(
            error(b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff"),
            io::ErrorKind::InvalidData
        );
        assert_eq!(error(b"\x81\x05ab"), io::ErrorKind::UnexpectedEof);
    }
}
