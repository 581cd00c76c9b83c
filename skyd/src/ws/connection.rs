//! WebSocket connection: reads and writes frames, sends pings, and classifies how it ends.
//!
//! Pings and pongs do not wait for messages. The reader answers pings even while its messages wait
//! to be processed ([`Reader::while_waiting`] reads on), and the writer sends a ping that is due
//! between two pieces of a message or two events. They wait only for bytes that are already in the
//! write buffer, while the client does not accept data.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{FutureExt, SinkExt, StreamExt};
use skylib::memory::{MemoryCharge, MemoryUse};
use skylib::proto::Encoding;
use tokio::time::{Instant, Interval, MissedTickBehavior, timeout, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::compression::{self, CompressedMessages, Deflater, Inflater};
use super::lenient_frames::LenientFrames;
use super::pending_messages::PendingMessages;
use crate::client_socket::ClientSocket;
use crate::limits::Limits;

type Socket = WebSocketStream<LenientFrames<ClientSocket>>;

/// WebSocket connection after the handshake, split into its two halves.
pub(crate) struct Connection {
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
}

/// Reason for the end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionEnd {
    /// The client sent a close frame, which has been echoed.
    Closed,
    /// The stream ended or failed without a close frame.
    Lost,
    /// The client sent nothing after a ping within the timeout, not even a pong.
    Silent,
    /// The client accepted no data within the write timeout.
    Stuck,
    /// The daemon is shutting down, or the queue of the client has overflowed.
    Cut,
    /// The daemon closes the connection with this code.
    Close(CloseCode),
    /// The daemon rejects the client with this close code, for this reason, which is sent to the
    /// client.
    Refuse(CloseCode, String),
}

/// Kind of messages that a client may send, which determines their maximum size.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Traffic {
    /// Requests of at most [`REQUEST_BYTES`].
    Requests,
    /// Data in messages of at most this many bytes.
    Bulk(usize),
}

impl Connection {
    /// Takes over an upgraded connection. `early` contains bytes received together with the handshake.
    pub(crate) async fn new(
        socket: ClientSocket,
        early: Bytes,
        limits: &Limits,
        charge: MemoryCharge,
        traffic: Traffic,
        encoding: Encoding,
        is_compressed: bool,
    ) -> Self {
        let (buffer, message) = match traffic {
            Traffic::Requests => (4 << 10, REQUEST_BYTES.min(limits.ws_message_bytes)),
            Traffic::Bulk(bytes) => (16 << 10, bytes),
        };
        let config = WebSocketConfig::default()
            .read_buffer_size(buffer)
            .write_buffer_size(WRITE_BUFFER)
            .max_message_size(Some(message))
            .max_frame_size(Some(message));
        let pending = PendingMessages::default();
        let ahead_memory = charge.budget().charge(MemoryUse::Requests);
        let inflater = is_compressed.then(|| Inflater {
            messages: CompressedMessages::default(),
            limit: message,
            memory: charge.budget().clone(),
            pending: pending.clone(),
        });
        let compressed = inflater.as_ref().map(|inflater| inflater.messages.clone());
        let mut socket = LenientFrames::new(socket, charge, pending.clone(), compressed);
        let mut early = Vec::from(early);
        socket.rewrite(&mut early);
        let socket = Socket::from_partially_read(socket, early, Role::Server, Some(config)).await;
        let (sink, stream) = socket.split();
        let mut ping = tokio::time::interval(limits.ping_delay);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let unanswered = UnansweredPing::default();
        Self {
            reader: Reader {
                stream,
                inflater,
                pending,
                ahead: VecDeque::new(),
                ahead_memory,
                unanswered: unanswered.clone(),
                timeout: limits.pong_timeout,
            },
            writer: Writer {
                sink,
                ping,
                unanswered,
                next_flush: Instant::now(),
                is_compressed,
                opcode: match encoding {
                    Encoding::Json => Data::Text,
                    Encoding::Protobuf => Data::Binary,
                },
            },
        }
    }

    /// Closes the connection, with a close frame if the reason requires one.
    pub(crate) async fn finish(self, end: ConnectionEnd) {
        let Ok(mut socket) = self.writer.sink.reunite(self.reader.stream) else {
            return;
        };
        let close = match &end {
            ConnectionEnd::Close(code) => Some((*code, "")),
            ConnectionEnd::Refuse(code, reason) => Some((*code, close_reason(reason))),
            _ => None,
        };
        if let Some((code, reason)) = close {
            let frame = CloseFrame {
                code,
                reason: reason.into(),
            };
            if !matches!(
                timeout(CLOSE_TIMEOUT, socket.close(Some(frame))).await,
                Ok(Ok(()))
            ) {
                return;
            }
        }
        if close.is_some() || end == ConnectionEnd::Closed {
            // The lingering close has its own timeout.
            drop(socket.get_mut().get_mut().close().await);
        }
    }
}

/// Returns the beginning of a reason that fits into a close frame.
fn close_reason(text: &str) -> &str {
    &text[..text.floor_char_boundary(CLOSE_REASON_BYTES)]
}

/// Maximum length of the reason in a close frame, in bytes (RFC 6455, 5.5.1: 125 bytes including
/// the code).
const CLOSE_REASON_BYTES: usize = 123;

/// Reading half of a connection.
pub(crate) struct Reader {
    stream: SplitStream<Socket>,
    /// Decompressor; `None` if no message may be compressed.
    inflater: Option<Inflater>,
    /// Memory charges of the messages that have been returned but not yet processed.
    pending: PendingMessages,
    /// Messages that were read while an earlier message waited, followed by the end of the
    /// connection if it has ended; at most [`READ_AHEAD_MESSAGES`].
    ahead: VecDeque<Result<Bytes, ConnectionEnd>>,
    /// Charge for the memory of `ahead`: at most [`READ_AHEAD_BYTES`] and one message.
    ahead_memory: MemoryCharge,
    unanswered: UnansweredPing,
    /// Maximum time from a ping to the next frame of the client.
    timeout: Duration,
}

/// Time at which the oldest unanswered ping was sent; any frame of the client counts as an answer.
/// Shared by both halves of a connection.
///
/// The time starts when the ping has left the write buffer, so that a busy daemon that sends its
/// ping late does not disconnect the client.
#[derive(Clone, Debug, Default)]
struct UnansweredPing(Arc<Mutex<Option<Instant>>>);

impl UnansweredPing {
    /// Returns the time of the ping; `None` if no ping is unanswered.
    fn since(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a ping was sent.
    fn sent(&self) {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.get_or_insert_with(Instant::now);
    }

    /// Records a frame of the client.
    fn answered(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Reader {
    /// Returns the next message, text or binary, and answers pings. By calling this method, the
    /// caller confirms that it has processed all earlier messages.
    ///
    /// # Errors
    /// Returns the reason for the end of the connection.
    pub(crate) async fn next(&mut self) -> Result<Bytes, ConnectionEnd> {
        if let Some(message) = self.take_ahead() {
            return message;
        }
        self.pending.clear();
        loop {
            let frame = self.next_frame().await.ok_or(ConnectionEnd::Silent)?;
            if let Some(message) = self.message_of(frame)? {
                return Ok(message);
            }
        }
    }

    /// Waits until work that delays messages is done. In the meantime, continues to read, so that
    /// pings are answered; the next calls to [`Reader::next`] return the messages read.
    pub(crate) async fn while_waiting<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                result = work.as_mut() => return result,
                frame = self.stream.next(), if self.can_read_ahead() => {
                    self.unanswered.answered();
                    if let Some(message) = self.message_of(frame).transpose() {
                        self.ahead.push_back(message);
                    }
                }
            }
        }
    }

    /// Returns the message of a frame; `None` for control frames.
    fn message_of(
        &self,
        frame: Option<Result<Message, Error>>,
    ) -> Result<Option<Bytes>, ConnectionEnd> {
        match (message_of(frame)?, &self.inflater) {
            (Some(message), Some(inflater)) => inflater.unpack(message).map(Some),
            (message, _) => Ok(message),
        }
    }

    /// Returns whether a further message may be read before the messages in `ahead` are processed.
    fn can_read_ahead(&self) -> bool {
        let bytes = self.ahead.iter().flatten().map(Bytes::len).sum();
        self.ahead.len() < READ_AHEAD_MESSAGES
            && bytes < READ_AHEAD_BYTES
            && self.ahead.back().is_none_or(Result::is_ok)
            && self.ahead_memory.set(bytes).is_ok()
    }

    /// Removes and returns the oldest message that was read ahead.
    fn take_ahead(&mut self) -> Option<Result<Bytes, ConnectionEnd>> {
        let message = self.ahead.pop_front()?;
        // A client that sent it cannot be blamed for the time in which it waited.
        self.unanswered.answered();
        if self.ahead.is_empty() {
            self.ahead_memory.shrink_to(0);
        }
        Some(message)
    }

    /// Returns the next frame; `None` if the client does not answer a ping in time.
    async fn next_frame(&mut self) -> Option<Option<Result<Message, Error>>> {
        let frame = loop {
            let since = self.unanswered.since();
            let until = since.unwrap_or_else(Instant::now) + self.timeout;
            match timeout_at(until, self.stream.next()).await {
                Ok(frame) => break frame,
                // No ping was unanswered when the wait began.
                Err(_) if since.is_none() => {}
                // This task may have been busy in the meantime, and the answer may have arrived.
                Err(_) => break timeout(LAST_LOOK, self.stream.next()).await.ok()?,
            }
        };
        self.unanswered.answered();
        Some(frame)
    }

    /// Returns the next message if it has already been received; `None` otherwise.
    pub(crate) fn try_next(&mut self) -> Option<Result<Bytes, ConnectionEnd>> {
        if let Some(message) = self.take_ahead() {
            return Some(message);
        }
        loop {
            let frame = self.stream.next().now_or_never()?;
            self.unanswered.answered();
            match self.message_of(frame) {
                Ok(Some(message)) => return Some(Ok(message)),
                Ok(None) => {}
                Err(end) => return Some(Err(end)),
            }
        }
    }
}

/// Returns the message of a frame as it was sent; `None` for control frames.
fn message_of(frame: Option<Result<Message, Error>>) -> Result<Option<Bytes>, ConnectionEnd> {
    match frame {
        None => Err(ConnectionEnd::Closed),
        // `LenientFrames` has turned text frames into binary ones.
        Some(Ok(Message::Text(text))) => Ok(Some(text.into())),
        Some(Ok(Message::Binary(bytes))) => Ok(Some(bytes)),
        // After a close frame, the next read sends the echo and reaches the end of the stream.
        Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_))) => {
            Ok(None)
        }
        Some(Err(error)) => Err(match error {
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => ConnectionEnd::Lost,
            // Only the reason in a close frame is still checked for UTF-8.
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

/// Writing half of a connection.
pub(crate) struct Writer {
    sink: SplitSink<Socket, Message>,
    ping: Interval,
    unanswered: UnansweredPing,
    /// Whether large messages are compressed.
    is_compressed: bool,
    /// Opcode of data frames: text for JSON, binary for protobuf.
    opcode: Data,
    /// Earliest time of the next flush that [`Writer::pace`] allows.
    next_flush: Instant,
}

impl Writer {
    /// Waits until the next ping is due; the first is due immediately.
    pub(crate) async fn ping_time(&mut self) {
        self.ping.tick().await;
    }

    /// Sends a ping.
    pub(crate) async fn ping(&mut self) -> Result<(), ConnectionEnd> {
        let sent = self.sink.send(Message::Ping(Bytes::new())).await;
        self.unanswered.sent();
        sent.map_err(|error| end_of(&error))
    }

    /// Sends a ping if it is due.
    pub(crate) async fn ping_if_due(&mut self) -> Result<(), ConnectionEnd> {
        match self.ping.tick().now_or_never() {
            Some(_) => self.ping().await,
            None => Ok(()),
        }
    }

    /// Sends one message and flushes.
    pub(crate) async fn send(&mut self, message: Bytes) -> Result<(), ConnectionEnd> {
        self.feed(message).await?;
        self.flush().await
    }

    /// Adds a message to the write buffer, which is sent when it is full or flushed.
    pub(crate) async fn feed(&mut self, message: Bytes) -> Result<(), ConnectionEnd> {
        let is_compressed = self.is_large(&message, true);
        let payload = match is_compressed {
            true => Deflater::new()
                .add(&message, true)
                .map_err(|_| ConnectionEnd::Lost)?,
            false => message,
        };
        self.feed_frame(payload, self.opcode, true, is_compressed)
            .await
    }

    /// Sends the write buffer.
    pub(crate) async fn flush(&mut self) -> Result<(), ConnectionEnd> {
        self.next_flush = Instant::now() + COALESCE;
        self.sink.flush().await.map_err(|error| end_of(&error))
    }

    /// Waits if the last flush was less than a millisecond ago, so that the messages of that
    /// millisecond share one system call, which is the expensive part.
    pub(crate) async fn pace(&mut self) {
        if Instant::now() < self.next_flush {
            tokio::time::sleep_until(self.next_flush).await;
        }
    }

    /// Sends one message as fragments, each produced when the socket has accepted the previous
    /// ones.
    pub(crate) async fn send_pieces(
        &mut self,
        pieces: impl Iterator<Item = Bytes>,
    ) -> Result<(), ConnectionEnd> {
        let mut pieces = pieces.peekable();
        let mut opcode = self.opcode;
        let mut is_begun = false;
        let mut deflater = None;
        while let Some(piece) = pieces.next() {
            let is_last = pieces.peek().is_none();
            if !is_begun && self.is_large(&piece, is_last) {
                deflater = Some(Deflater::new());
            }
            is_begun = true;
            let payload = match &mut deflater {
                Some(deflater) => deflater
                    .add(&piece, is_last)
                    .map_err(|_| ConnectionEnd::Lost)?,
                None => piece,
            };
            // A short piece may remain in the buffer of the compressor.
            if is_last || !payload.is_empty() {
                let is_compressed = deflater.is_some() && opcode != Data::Continue;
                self.feed_frame(payload, opcode, is_last, is_compressed)
                    .await?;
                opcode = Data::Continue;
            }
            self.ping_if_due().await?;
        }
        self.flush().await
    }

    /// Returns whether a message is compressed, from its first piece.
    fn is_large(&self, piece: &Bytes, is_only: bool) -> bool {
        self.is_compressed && (!is_only || piece.len() >= compression::MIN_BYTES)
    }

    async fn feed_frame(
        &mut self,
        payload: Bytes,
        opcode: Data,
        is_last: bool,
        is_compressed: bool,
    ) -> Result<(), ConnectionEnd> {
        // `Message::Text` would check the UTF-8 of the payload again for each receiver.
        let mut frame = Frame::message(payload, OpCode::Data(opcode), is_last);
        frame.header_mut().rsv1 = is_compressed;
        self.sink
            .feed(Message::Frame(frame))
            .await
            .map_err(|error| end_of(&error))
    }

    /// Waits for a future and meanwhile sends the pings that become due.
    pub(crate) async fn ping_while<T>(
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

/// Returns the reason for a failed write.
fn end_of(error: &Error) -> ConnectionEnd {
    match error {
        Error::Io(error) if error.kind() == ErrorKind::TimedOut => ConnectionEnd::Stuck,
        _ => ConnectionEnd::Lost,
    }
}

/// Minimum time between two flushes of a stream.
const COALESCE: Duration = Duration::from_millis(1);
/// Size of the write buffer, in bytes.
const WRITE_BUFFER: usize = 128 << 10;
/// Memory charged for sending a message in pieces, in bytes: the write buffer, the piece in it, and
/// the next one.
pub(crate) const STREAM_BYTES: usize = WRITE_BUFFER + 3 * (64 << 10);
/// Maximum size of a message of a client that only sends requests, in bytes.
const REQUEST_BYTES: usize = 1 << 20;
/// Maximum number of messages that are read ahead while an earlier message waits.
const READ_AHEAD_MESSAGES: usize = 64;
/// Maximum size of the messages that are read ahead, in bytes.
const READ_AHEAD_BYTES: usize = 1 << 20;
/// Time for reading frames that have already arrived before a client is disconnected.
const LAST_LOOK: Duration = Duration::from_millis(100);
/// Time for a client to accept a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
