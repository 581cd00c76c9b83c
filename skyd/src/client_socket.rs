//! A client's socket: counted, and given up when its peer takes nothing any more.

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

/// A connection, HTTP first and perhaps WebSocket later.
#[derive(Debug)]
pub(crate) struct ClientSocket {
    transport: Transport,
    write_timeout: Duration,
    /// Runs while the peer's window is full.
    stalled: Option<Pin<Box<Sleep>>>,
    linger: Linger,
    /// Runs once our side has ended, while the peer still sends.
    lingering: Option<Pin<Box<Sleep>>>,
    _permit: Permit,
}

/// Whether what a peer still sends is taken in when our side ends; clones are the same one.
///
/// To close a socket with bytes unread resets the connection, which may overtake the answer to a
/// request that was refused before its body was there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Linger(Arc<AtomicBool>);

impl Linger {
    /// The last answer was given before everything was read.
    pub(crate) fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl ClientSocket {
    /// Fails writes once the peer has taken no byte for `write_timeout`.
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

    /// Ends when the peer has ended its side, or takes too long to.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let time = self
            .lingering
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        if time.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut rest = [0; 16 << 10];
        for _ in 0..READS_IN_A_ROW {
            let mut rest = ReadBuf::new(&mut rest);
            let read = std::task::ready!(self.bytes().poll_read(cx, &mut rest));
            if read.is_err() || rest.filled().is_empty() {
                return Poll::Ready(());
            }
        }
        // Others have their turn.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Ends our side and takes in what still comes.
    ///
    /// # Errors
    /// When the connection is broken.
    pub(crate) async fn end(&mut self) -> Result<()> {
        self.linger.ask();
        self.shutdown().await
    }

    fn bytes(&mut self) -> Pin<&mut (dyn Bytes + Send)> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream),
            Transport::Tls(stream) => Pin::new(stream.as_mut()),
        }
    }

    fn watch<T>(&mut self, cx: &mut Context<'_>, written: Poll<Result<T>>) -> Poll<Result<T>> {
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
            "the peer takes nothing any more",
        )))
    }
}

impl AsyncRead for ClientSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        self.bytes().poll_read(cx, buffer)
    }
}

impl AsyncWrite for ClientSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        let written = self.bytes().poll_write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let written = self.bytes().poll_write_vectored(cx, slices);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        // What TLS has not got rid of yet waits here.
        let flushed = self.bytes().poll_flush(cx);
        self.watch(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.lingering.is_none() {
            let ended = self.bytes().poll_shutdown(cx);
            std::task::ready!(self.watch(cx, ended))?;
        }
        if self.linger.0.load(Ordering::Relaxed) {
            std::task::ready!(self.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}

/// How long a peer has to take the last words in and end its side.
const LINGER: Duration = Duration::from_secs(2);
/// Reads before others have their turn.
const READS_IN_A_ROW: usize = 16;

/// How bytes come and go.
#[derive(Debug)]
pub(crate) enum Transport {
    /// As they are.
    Plain(TcpStream),
    /// Encrypted.
    Tls(Box<TlsStream<TcpStream>>),
}

trait Bytes: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Bytes for T {}

/// How many connections there are, and how many there may be.
#[derive(Debug)]
pub(crate) struct Connections {
    open: AtomicUsize,
    refused: AtomicUsize,
    limit: usize,
    waiting: Arc<IdleConnections>,
}

impl Connections {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            open: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            limit,
            waiting: Arc::default(),
        })
    }

    /// Counts one more. Where there are as many as there may be, one that waits for a request is
    /// closed for it; if all are at work, there is no place.
    pub(crate) fn admit(self: &Arc<Self>) -> Option<Permit> {
        let open = self.open.fetch_add(1, Ordering::Relaxed);
        if open >= self.limit && !self.waiting.close_one() {
            self.open.fetch_sub(1, Ordering::Relaxed);
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(Permit(Arc::clone(self)))
    }

    /// Connections there are.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Those that wait for a request.
    pub(crate) fn waiting(&self) -> &Arc<IdleConnections> {
        &self.waiting
    }

    /// Connections turned away since the start.
    pub(crate) fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }
}

/// One counted connection.
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
        let waiter = connections.waiting().enter();
        assert!(connections.admit().is_some(), "one that waits makes place");
        drop(waiter);
        drop(first);
        assert!(connections.admit().is_some());
        assert_eq!((connections.open(), connections.refused()), (1, 1));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_peer_that_takes_nothing_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _frozen = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let permit = Connections::new(1).admit().unwrap();
        let patience = Duration::from_millis(50);
        let transport = Transport::Plain(stream);
        let mut socket = ClientSocket::new(transport, patience, Linger::default(), permit);
        let block = vec![0; 1 << 20];
        let error = loop {
            if let Err(error) = socket.write_all(&block).await {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn last_words_reach_a_peer_that_is_still_sending() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = listener.local_addr().unwrap();
        let peer = tokio::task::spawn_blocking(move || {
            let mut peer = std::net::TcpStream::connect(place).unwrap();
            std::io::Write::write_all(&mut peer, &vec![0; 8 << 20]).unwrap();
            let mut heard = String::new();
            std::io::Read::read_to_string(&mut peer, &mut heard).unwrap();
            heard
        });
        let (stream, _) = listener.accept().await.unwrap();
        let permit = Connections::new(1).admit().unwrap();
        let (transport, linger) = (Transport::Plain(stream), Linger::default());
        linger.ask();
        let mut socket = ClientSocket::new(transport, Duration::from_secs(60), linger, permit);
        socket.write_all(b"no").await.unwrap();
        socket.shutdown().await.unwrap();
        drop(socket);
        assert_eq!(peer.await.unwrap(), "no");
    }
}
