//! Sockets of clients: counted, with a write timeout and a lingering close.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;

use crate::idle_connections::IdleConnections;

/// Socket of a client: HTTP first, WebSocket after an upgrade.
#[derive(Debug)]
pub(crate) struct ClientSocket {
    transport: Transport,
    write_timeout: Duration,
    /// Timer of the write timeout; `Some` while the peer's receive window is full.
    stalled: Option<Pin<Box<Sleep>>>,
    linger: Linger,
    /// Timer of the lingering close; `Some` once our side is shut down while the peer still sends.
    lingering: Option<Pin<Box<Sleep>>>,
    _permit: Permit,
}

/// Flag that requests a lingering close: data that the peer still sends is read and discarded.
/// Clones share the flag.
///
/// Closing a socket with unread data makes the kernel reset the connection, and the reset can
/// overtake the response to a request that was refused before its body had arrived.
#[derive(Clone, Debug, Default)]
pub(crate) struct Linger(Arc<AtomicBool>);

impl Linger {
    /// Requests a lingering close.
    pub(crate) fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl ClientSocket {
    /// Creates a socket whose writes fail once the peer has accepted no byte for `write_timeout`.
    pub(crate) fn new(
        transport: Transport,
        write_timeout: Duration,
        linger: Linger,
        permit: Permit,
    ) -> Self {
        Self {
            transport,
            write_timeout,
            stalled: None,
            linger,
            lingering: None,
            _permit: permit,
        }
    }

    /// Discards input until the peer shuts down its side or the linger time is over.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let time = self
            .lingering
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER_TIMEOUT)));
        if time.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut rest = [0; 16 << 10];
        for _ in 0..READS_IN_A_ROW {
            let mut rest = ReadBuf::new(&mut rest);
            let read = std::task::ready!(self.stream().poll_read(cx, &mut rest));
            if read.is_err() || rest.filled().is_empty() {
                return Poll::Ready(());
            }
        }
        // Yields to other tasks of the thread.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Shuts down our side and discards what the peer still sends.
    ///
    /// # Errors
    /// If the connection is broken.
    pub(crate) async fn close(&mut self) -> Result<()> {
        self.linger.request();
        self.shutdown().await
    }

    fn stream(&mut self) -> Pin<&mut (dyn ByteStream + Send)> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream),
            Transport::Tls(stream) => Pin::new(stream.as_mut()),
        }
    }

    /// Fails a pending write once the write timeout is over.
    fn check_stall<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<Result<T>>,
    ) -> Poll<Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let timeout = self.write_timeout;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        std::task::ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(Error::new(
            ErrorKind::TimedOut,
            "the peer accepted no data within http.limits.write_timeout",
        )))
    }
}

impl AsyncRead for ClientSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        self.stream().poll_read(cx, buffer)
    }
}

impl AsyncWrite for ClientSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        let written = self.stream().poll_write(cx, bytes);
        self.check_stall(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let written = self.stream().poll_write_vectored(cx, slices);
        self.check_stall(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        // TLS buffers encrypted records, so a full window may only show here.
        let flushed = self.stream().poll_flush(cx);
        self.check_stall(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.lingering.is_none() {
            let ended = self.stream().poll_shutdown(cx);
            std::task::ready!(self.check_stall(cx, ended))?;
        }
        if self.linger.0.load(Ordering::Relaxed) {
            std::task::ready!(self.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}

/// Time in which a peer can read the last response and shut down its side.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// Reads of a lingering close before it yields to other tasks.
const READS_IN_A_ROW: usize = 16;

/// Byte stream under a client socket. Complete by definition.
#[derive(Debug)]
pub(crate) enum Transport {
    /// TCP without encryption.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
}

/// A stream that can be read and written.
trait ByteStream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> ByteStream for T {}

/// Counter of client connections with a limit.
#[derive(Debug)]
pub(crate) struct Connections {
    open: AtomicUsize,
    refused: AtomicUsize,
    /// Most open connections; `open` may exceed it by those that are being closed as idle.
    limit: usize,
    idle: Arc<IdleConnections>,
}

impl Connections {
    /// Creates a counter without connections.
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            open: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            limit,
            idle: Arc::default(),
        })
    }

    /// Counts a new connection. At the limit, the longest idle connection is closed in its favor;
    /// returns `None` if all are busy.
    pub(crate) fn admit(self: &Arc<Self>) -> Option<Permit> {
        let open = self.open.fetch_add(1, Ordering::Relaxed);
        if open >= self.limit && !self.idle.close_oldest() {
            self.open.fetch_sub(1, Ordering::Relaxed);
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(Permit(Arc::clone(self)))
    }

    /// Returns the number of open connections.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Returns the registry of idle connections.
    pub(crate) fn idle(&self) -> &Arc<IdleConnections> {
        &self.idle
    }

    /// Returns the number of connections rejected since the start.
    pub(crate) fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }
}

/// Guard of a counted connection.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Connections>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn connections_are_counted_and_limited() {
        let connections = Connections::new(2);
        let first = connections.admit().unwrap();
        let _second = connections.admit().unwrap();
        assert!(connections.admit().is_none());
        let idle = connections.idle().register();
        assert!(
            connections.admit().is_some(),
            "an idle one is closed for it"
        );
        drop(idle);
        drop(first);
        assert!(connections.admit().is_some());
        assert_eq!((connections.open(), connections.refused()), (1, 1));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_peer_that_accepts_no_data_is_disconnected() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _frozen = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let permit = Connections::new(1).admit().unwrap();
        let timeout = Duration::from_millis(50);
        let transport = Transport::Plain(stream);
        let mut socket = ClientSocket::new(transport, timeout, Linger::default(), permit);
        let block = vec![0; 1 << 20];
        let error = loop {
            if let Err(error) = socket.write_all(&block).await {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_last_response_reaches_a_peer_that_is_still_sending() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let peer = tokio::task::spawn_blocking(move || {
            let mut peer = std::net::TcpStream::connect(address).unwrap();
            std::io::Write::write_all(&mut peer, &vec![0; 8 << 20]).unwrap();
            let mut received = String::new();
            std::io::Read::read_to_string(&mut peer, &mut received).unwrap();
            received
        });
        let (stream, _) = listener.accept().await.unwrap();
        let permit = Connections::new(1).admit().unwrap();
        let (transport, linger) = (Transport::Plain(stream), Linger::default());
        linger.request();
        let mut socket = ClientSocket::new(transport, Duration::from_secs(60), linger, permit);
        socket.write_all(b"no").await.unwrap();
        socket.shutdown().await.unwrap();
        drop(socket);
        assert_eq!(peer.await.unwrap(), "no");
    }
}
