//! `PeerReader` and `PeerWriter`: the halves of a WebSocket that the daemon has opened to another
//! daemon, with limits on the time that the other end may take.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::dial::Socket;
use crate::liveness::Liveness;

/// Receiving half; reading also answers pings.
pub(crate) struct PeerReader {
    stream: SplitStream<Socket>,
    liveness: Liveness,
    /// Name of the other end in reasons, such as `the analyzer`.
    peer: &'static str,
}

/// Sending half.
pub(crate) struct PeerWriter {
    sink: SplitSink<Socket, Message>,
    /// Name of the other end in reasons.
    peer: &'static str,
}

/// Splits a connection. The other end pings regularly; it is lost after the time `silence` without
/// any frame, or a longer time if it pings rarely.
pub(crate) fn split(
    socket: Socket,
    peer: &'static str,
    silence: Duration,
) -> (PeerReader, PeerWriter) {
    let (sink, stream) = socket.split();
    let liveness = Liveness::new(silence);
    let reader = PeerReader {
        stream,
        liveness,
        peer,
    };
    (reader, PeerWriter { sink, peer })
}

impl PeerReader {
    /// Returns the next message, text or binary.
    ///
    /// # Errors
    /// Returns the reason for the end of the connection.
    pub(crate) async fn next(&mut self) -> Result<Bytes, String> {
        loop {
            let limit = self.liveness.limit();
            let frame = timeout(limit, self.stream.next()).await;
            let frame = frame.map_err(|_| format!("no ping of {} within {limit:?}", self.peer))?;
            if let Some(message) = self.message_of(frame)? {
                return Ok(message);
            }
        }
    }

    /// Returns the next message if it has already been received; `None` otherwise.
    pub(crate) fn try_next(&mut self) -> Option<Result<Bytes, String>> {
        loop {
            let frame = self.stream.next().now_or_never()?;
            match self.message_of(frame) {
                Ok(None) => {}
                Ok(Some(message)) => return Some(Ok(message)),
                Err(end) => return Some(Err(end)),
            }
        }
    }

    /// Returns the message of a frame; `None` for control frames.
    fn message_of(
        &mut self,
        frame: Option<Result<Message, Error>>,
    ) -> Result<Option<Bytes>, String> {
        match frame {
            None => Err(format!("{} closed the connection", self.peer)),
            Some(Err(error)) => Err(error.to_string()),
            Some(Ok(Message::Text(text))) => Ok(Some(text.into())),
            Some(Ok(Message::Binary(bytes))) => Ok(Some(bytes)),
            Some(Ok(Message::Ping(_))) => {
                self.liveness.ping(Instant::now());
                Ok(None)
            }
            Some(Ok(Message::Close(Some(close)))) if !close.reason.is_empty() => Err(format!(
                "{} closed the connection: {}",
                self.peer, close.reason
            )),
            Some(Ok(Message::Close(_) | Message::Pong(_) | Message::Frame(_))) => Ok(None),
        }
    }
}

impl PeerWriter {
    /// Sends a message in a binary frame.
    ///
    /// # Errors
    /// Returns the reason if the connection fails, or the other end accepts no data in time.
    pub(crate) async fn send(&mut self, message: Bytes) -> Result<(), String> {
        let sending = self.sink.send(Message::Binary(message));
        outcome(self.peer, timeout(SEND_TIMEOUT, sending).await)
    }

    /// Adds a message to the write buffer, in a binary frame; errors as for [`PeerWriter::send`].
    pub(crate) async fn feed(&mut self, message: Bytes) -> Result<(), String> {
        let feeding = self.sink.feed(Message::Binary(message));
        outcome(self.peer, timeout(SEND_TIMEOUT, feeding).await)
    }

    /// Sends the write buffer; errors as for [`PeerWriter::send`].
    pub(crate) async fn flush(&mut self) -> Result<(), String> {
        outcome(self.peer, timeout(SEND_TIMEOUT, self.sink.flush()).await)
    }

    /// Sends one message as fragments; errors as for [`PeerWriter::send`].
    pub(crate) async fn send_pieces(
        &mut self,
        pieces: impl Iterator<Item = Bytes>,
        kind: Data,
    ) -> Result<(), String> {
        let mut pieces = pieces.peekable();
        let mut opcode = OpCode::Data(kind);
        while let Some(piece) = pieces.next() {
            let frame = Frame::message(piece, opcode, pieces.peek().is_none());
            let sending = self.sink.send(Message::Frame(frame));
            outcome(self.peer, timeout(SEND_TIMEOUT, sending).await)?;
            opcode = OpCode::Data(Data::Continue);
        }
        Ok(())
    }
}

/// Returns the result of sending; the outer error of `sent` is a timeout.
fn outcome(
    peer: &str,
    sent: Result<Result<(), Error>, tokio::time::error::Elapsed>,
) -> Result<(), String> {
    match sent {
        Ok(sent) => sent.map_err(|error| error.to_string()),
        Err(_) => Err(format!("{peer} accepts no data for {SEND_TIMEOUT:?}")),
    }
}

/// Maximum time for the other end to accept data.
const SEND_TIMEOUT: Duration = match cfg!(test) {
    true => Duration::from_millis(100),
    false => Duration::from_secs(10),
};

#[cfg(test)]
mod tests {
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
    use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

    use super::*;

    /// Returns a connection and its other end.
    async fn pair() -> (Socket, WebSocketStream<tokio::io::DuplexStream>) {
        let (near, far) = tokio::io::duplex(4 << 10);
        let near: Box<dyn crate::dial::ByteStream> = Box::new(near);
        let near = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
        (
            near,
            WebSocketStream::from_raw_socket(far, Role::Server, None).await,
        )
    }

    #[tokio::test]
    async fn another_end_that_accepts_nothing_is_lost() {
        let (socket, _far) = pair().await;
        let (_reader, mut writer) = split(socket, "the analyzer", Duration::from_secs(9));
        let large = Bytes::from(vec![0; 1 << 20]);
        let error = writer.send(large).await.unwrap_err();
        assert_eq!(error, "the analyzer accepts no data for 100ms");
    }

    #[tokio::test]
    async fn messages_are_read_and_a_closing_end_is_named() {
        let (socket, mut far) = pair().await;
        let (mut reader, _writer) = split(socket, "the analyzer", Duration::from_secs(9));
        far.send(Message::Ping(Bytes::new())).await.unwrap();
        far.send(Message::text("x")).await.unwrap();
        assert_eq!(reader.next().await, Ok(Bytes::from_static(b"x")));
        assert_eq!(reader.try_next(), None);
        let close = CloseFrame {
            code: CloseCode::Policy,
            reason: "no".into(),
        };
        far.send(Message::Close(Some(close))).await.unwrap();
        let end = reader.next().await;
        assert_eq!(
            end,
            Err("the analyzer closed the connection: no".to_owned())
        );
    }

    #[tokio::test]
    async fn the_pieces_of_a_message_arrive_as_one() {
        let (socket, mut far) = pair().await;
        let (_reader, mut writer) = split(socket, "the analyzer", Duration::from_secs(9));
        let pieces = [&b"a"[..], b"b", b"c"].map(Bytes::from_static);
        writer
            .send_pieces(pieces.into_iter(), Data::Text)
            .await
            .unwrap();
        assert_eq!(far.next().await.unwrap().unwrap(), Message::text("abc"));
    }
}
