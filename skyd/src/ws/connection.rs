//! One WebSocket connection: frames in and out, pings, and every way it can end.

use std::io::ErrorKind;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{FutureExt, SinkExt, StreamExt};
use skylib::proto::Encoding;
use tokio::time::{Instant, Interval, MissedTickBehavior, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::lenient_frames::LenientFrames;
use crate::client_socket::ClientSocket;
use crate::incoming_memory::{MemoryClaim, PendingMessages};
use crate::limits::Limits;

type Socket = WebSocketStream<LenientFrames<ClientSocket>>;

/// A connection after its handshake.
pub(crate) struct Connection {
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionEnd {
    /// The client said so, and its close frame has been echoed.
    Closed,
    /// The stream is over.
    Lost,
    /// The client answers no more pings.
    Silent,
    /// The client takes no more bytes.
    Stuck,
    /// We have nothing more to say: the daemon ends, or the client did not keep up.
    Cut,
    /// We say so, with this code.
    Close(CloseCode),
}

/// What a client may send to an endpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Traffic {
    /// Short requests.
    Requests,
    /// As much as it likes, in messages of up to so many bytes.
    Bulk(usize),
}

impl Connection {
    /// Takes over an upgraded connection; `early` is what came with the handshake.
    pub(crate) async fn new(
        socket: ClientSocket,
        early: Bytes,
        limits: &Limits,
        claim: MemoryClaim,
        traffic: Traffic,
        encoding: Encoding,
    ) -> Self {
        let (buffer, message) = match traffic {
            Traffic::Requests => (4 << 10, REQUEST_BYTES.min(limits.ws_message_bytes)),
            Traffic::Bulk(bytes) => (64 << 10, bytes),
        };
        let config = WebSocketConfig::default()
            .read_buffer_size(buffer)
            .write_buffer_size(WRITE_BUFFER)
            .max_message_size(Some(message))
            .max_frame_size(Some(message));
        let arrived = PendingMessages::default();
        let mut socket = LenientFrames::new(socket, claim, arrived.clone());
        let mut early = Vec::from(early);
        socket.pass(&mut early);
        let socket = Socket::from_partially_read(socket, early, Role::Server, Some(config)).await;
        let (sink, stream) = socket.split();
        let mut ping = tokio::time::interval(limits.ping_delay);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            reader: Reader {
                stream,
                arrived,
                patience: limits.ping_delay + limits.pong_timeout,
            },
            writer: Writer {
                sink,
                ping,
                next_flush: Instant::now(),
                opcode: match encoding {
                    Encoding::Json => Data::Text,
                    Encoding::Protobuf => Data::Binary,
                },
            },
        }
    }

    /// Ends the connection the way its end asks for.
    pub(crate) async fn finish(self, end: ConnectionEnd) {
        let Ok(mut socket) = self.writer.sink.reunite(self.reader.stream) else {
            return;
        };
        if let ConnectionEnd::Close(code) = end {
            let frame = CloseFrame {
                code,
                reason: "".into(),
            };
            if !matches!(
                timeout(LAST_WORDS, socket.close(Some(frame))).await,
                Ok(Ok(()))
            ) {
                return;
            }
        }
        if matches!(end, ConnectionEnd::Close(_) | ConnectionEnd::Closed) {
            // Whoever does not end its side in time is cut off.
            drop(socket.get_mut().get_mut().close().await);
        }
    }
}

/// The half that reads.
pub(crate) struct Reader {
    stream: SplitStream<Socket>,
    /// What the messages handed out weigh.
    arrived: PendingMessages,
    /// How long the client may send nothing at all, not even a pong.
    patience: Duration,
}

impl Reader {
    /// The next message, whichever kind of frame it came in; those before have been worked
    /// through. Pings are answered on the way.
    ///
    /// # Errors
    /// How the connection ends.
    pub(crate) async fn next(&mut self) -> Result<Bytes, ConnectionEnd> {
        self.arrived.clear();
        loop {
            let Ok(frame) = timeout(self.patience, self.stream.next()).await else {
                return Err(ConnectionEnd::Silent);
            };
            if let Some(message) = message_of(frame)? {
                return Ok(message);
            }
        }
    }

    /// The next message if it is there already.
    pub(crate) fn try_next(&mut self) -> Option<Result<Bytes, ConnectionEnd>> {
        loop {
            let frame = self.stream.next().now_or_never()?;
            match message_of(frame) {
                Ok(Some(message)) => return Some(Ok(message)),
                Ok(None) => {}
                Err(end) => return Some(Err(end)),
            }
        }
    }
}

fn message_of(frame: Option<Result<Message, Error>>) -> Result<Option<Bytes>, ConnectionEnd> {
    match frame {
        None => Err(ConnectionEnd::Closed),
        // There are no text frames here: see `LenientFrames`.
        Some(Ok(Message::Text(text))) => Ok(Some(text.into())),
        Some(Ok(Message::Binary(bytes))) => Ok(Some(bytes)),
        // After a close frame the next call sends the echo and finds the end.
        Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_))) => {
            Ok(None)
        }
        Some(Err(error)) => Err(match error {
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => ConnectionEnd::Lost,
            // The reason in a close frame is the only text that is looked at.
            Error::Protocol(_) | Error::Utf8(_) => ConnectionEnd::Close(CloseCode::Protocol),
            Error::Capacity(CapacityError::MessageTooLong { .. }) => {
                ConnectionEnd::Close(CloseCode::Size)
            }
            Error::Io(error) if error.kind() == ErrorKind::OutOfMemory => {
                ConnectionEnd::Close(CloseCode::Again)
            }
            _ => ConnectionEnd::Lost,
        }),
    }
}

/// The half that writes.
pub(crate) struct Writer {
    sink: SplitSink<Socket, Message>,
    ping: Interval,
    opcode: Data,
    next_flush: Instant,
}

impl Writer {
    /// Waits until the next ping is due; the first is at once.
    pub(crate) async fn ping_time(&mut self) {
        self.ping.tick().await;
    }

    /// Sends a ping.
    pub(crate) async fn ping(&mut self) -> Result<(), ConnectionEnd> {
        self.sink
            .send(Message::Ping(Bytes::new()))
            .await
            .map_err(|error| end_of(&error))
    }

    /// Sends one message.
    pub(crate) async fn send(&mut self, message: Bytes) -> Result<(), ConnectionEnd> {
        self.feed(message).await?;
        self.flush().await
    }

    /// Puts a message into the buffer, which goes out when it is full or flushed.
    pub(crate) async fn feed(&mut self, message: Bytes) -> Result<(), ConnectionEnd> {
        self.feed_frame(message, OpCode::Data(self.opcode), true)
            .await
    }

    /// Sends what is in the buffer.
    pub(crate) async fn flush(&mut self) -> Result<(), ConnectionEnd> {
        self.next_flush = Instant::now() + COALESCE;
        self.sink.flush().await.map_err(|error| end_of(&error))
    }

    /// Waits where the last flush was just now: what comes meanwhile goes out together, since it is
    /// the system call that costs.
    pub(crate) async fn pace(&mut self) {
        if Instant::now() < self.next_flush {
            tokio::time::sleep_until(self.next_flush).await;
        }
    }

    /// Sends one message as fragments, each made when those before have been taken.
    pub(crate) async fn send_pieces(
        &mut self,
        pieces: impl Iterator<Item = Bytes>,
    ) -> Result<(), ConnectionEnd> {
        let mut pieces = pieces.peekable();
        let mut opcode = OpCode::Data(self.opcode);
        while let Some(piece) = pieces.next() {
            self.feed_frame(piece, opcode, pieces.peek().is_none())
                .await?;
            opcode = OpCode::Data(Data::Continue);
            if self.ping.tick().now_or_never().is_some() {
                self.ping().await?;
            }
        }
        self.flush().await
    }

    async fn feed_frame(
        &mut self,
        payload: Bytes,
        opcode: OpCode,
        is_last: bool,
    ) -> Result<(), ConnectionEnd> {
        // A frame made by hand: whatever we send is UTF-8 already and need not be looked at again
        // for each receiver.
        let frame = Frame::message(payload, opcode, is_last);
        self.sink
            .feed(Message::Frame(frame))
            .await
            .map_err(|error| end_of(&error))
    }

    /// Waits for something else and sends the pings that are due meanwhile.
    pub(crate) async fn pinging<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<T, ConnectionEnd> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                result = work.as_mut() => return Ok(result),
                () = self.ping_time() => self.ping().await?,
            }
        }
    }
}

/// How a connection ends that can no longer be written to.
fn end_of(error: &Error) -> ConnectionEnd {
    match error {
        Error::Io(error) if error.kind() == ErrorKind::TimedOut => ConnectionEnd::Stuck,
        _ => ConnectionEnd::Lost,
    }
}

/// Messages of a stream are sent at most so often.
const COALESCE: Duration = Duration::from_millis(1);
/// Bytes gathered before they are written to the socket.
const WRITE_BUFFER: usize = 128 << 10;
/// Longest message of a client that only asks.
const REQUEST_BYTES: usize = 1 << 20;
/// How long a client has to take our close frame.
const LAST_WORDS: Duration = Duration::from_secs(1);
