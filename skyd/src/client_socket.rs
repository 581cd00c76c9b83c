//! Sockets of clients: counted, with a write timeout and a lingering close.

use std::collections::HashMap;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_rustls::server::TlsStream;

use crate::fair_slots::{ClientKey, address_key};
use crate::idle_connections::IdleConnections;

/// Socket of a client: HTTP first, WebSocket after an upgrade.
#[derive(Debug)]
pub(crate) struct ClientSocket {
    transport: Transport,
    limits: WriteLimits,
    /// Timer of the write timeout; `Some` while the peer's receive window is full.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Start of the current wait for the peer.
    waiting_since: Option<Instant>,
    /// Total of the waits for the peer, until it reaches the write timeout.
    waited: Duration,
    /// Number of bytes that the peer accepted during `waited`.
    accepted: u64,
    linger: Linger,
    /// Timer of the lingering close; `Some` after the sending direction was shut down, until the
    /// peer stops sending.
    lingering: Option<Pin<Box<Sleep>>>,
    _permit: Permit,
}

/// Limits on a peer that does not read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriteLimits {
    /// Maximum time in which the peer accepts no byte.
    pub(crate) timeout: Duration,
    /// Minimum average rate, in bytes per second of waiting; 0 for no minimum.
    pub(crate) rate: u64,
}

/// Flag that requests a lingering close: data that the peer still sends is read and discarded.
/// Clones share the flag.
///
/// If a socket with unread data is closed, the kernel resets the connection, and the reset can
/// overtake the response to a request that was rejected before its body had arrived.
#[derive(Clone, Debug, Default)]
pub(crate) struct Linger(Arc<AtomicBool>);

impl Linger {
    /// Requests a lingering close.
    pub(crate) fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl ClientSocket {
    /// Creates a socket whose writes fail once the peer exceeds a limit.
    pub(crate) fn new(
        transport: Transport,
        limits: WriteLimits,
        linger: Linger,
        permit: Permit,
    ) -> Self {
        Self {
            transport,
            limits,
            stalled: None,
            waiting_since: None,
            waited: Duration::ZERO,
            accepted: 0,
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

    /// Shuts down the sending direction and discards what the peer still sends.
    ///
    /// # Errors
    /// Returns an error if the connection is broken.
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
            return match self.is_too_slow() {
                true => Poll::Ready(Err(Error::new(
                    ErrorKind::TimedOut,
                    "the peer accepts data more slowly than http.limits.transfer_rate",
                ))),
                false => written,
            };
        }
        self.waiting_since.get_or_insert_with(Instant::now);
        let timeout = self.limits.timeout;
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

impl ClientSocket {
    /// Ends a wait for the peer. Each time the total of the waits reaches the write timeout, checks
    /// the rate and returns whether the peer was too slow. Time in which there is nothing to write
    /// does not count.
    fn is_too_slow(&mut self) -> bool {
        if let Some(since) = self.waiting_since.take() {
            self.waited += since.elapsed();
        }
        if self.waited < self.limits.timeout {
            return false;
        }
        let waited = std::mem::take(&mut self.waited).as_millis();
        let accepted = u128::from(std::mem::take(&mut self.accepted));
        accepted * 1000 < u128::from(self.limits.rate) * waited
    }

    /// Counts the bytes that the peer accepted.
    fn count(&mut self, written: &Poll<Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = written {
            self.accepted = self.accepted.saturating_add(*bytes as u64);
        }
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
        self.count(&written);
        self.check_stall(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let written = self.stream().poll_write_vectored(cx, slices);
        self.count(&written);
        self.check_stall(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        // TLS buffers encrypted records, so a full window may become visible only here.
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

/// Time for a peer to read the last response and shut down its side.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// Number of reads of a lingering close before it yields to other tasks.
const READS_IN_A_ROW: usize = 16;

/// Transport of a client connection: TCP with or without TLS.
#[derive(Debug)]
pub(crate) enum Transport {
    /// TCP without encryption.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Stream that can be read and written.
trait ByteStream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> ByteStream for T {}

/// Counter of client connections with a limit; each address may use a share of the limit.
#[derive(Debug)]
pub(crate) struct Connections {
    open: AtomicUsize,
    refused: AtomicUsize,
    /// Maximum number of open connections; `open` may exceed it by the connections that are being
    /// closed as idle.
    limit: usize,
    /// Number of connections of each address other than the loopback addresses, which all local
    /// clients and all clients behind a local proxy share.
    by_address: Mutex<HashMap<ClientKey, usize>>,
    websockets: AtomicUsize,
    idle: Arc<IdleConnections>,
}

impl Connections {
    /// Creates a counter without connections.
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            open: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            limit,
            by_address: Mutex::default(),
            websockets: AtomicUsize::new(0),
            idle: Arc::default(),
        })
    }

    /// Counts a new connection. At the limit, closes the connection that has been idle longest in
    /// its favor; returns `None` if all are busy. The same applies to the connections of one
    /// address, which may use three quarters of the limit.
    pub(crate) fn admit(self: &Arc<Self>, peer: IpAddr) -> Option<Permit> {
        let open = self.open.fetch_add(1, Ordering::Relaxed);
        let address = (!peer.to_canonical().is_loopback()).then(|| address_key(peer));
        let permit = Permit {
            connections: Arc::clone(self),
            address,
        };
        let of_address = permit.address.as_ref().map_or(0, |address| {
            let mut by_address = self.by_address();
            let count = by_address.entry(Arc::clone(address)).or_default();
            *count += 1;
            *count
        });
        let share = self.limit - self.limit / 4;
        let has_room = of_address <= share || self.idle.close_oldest_of(permit.address.as_ref());
        if has_room && (open < self.limit || self.idle.close_oldest_of(None)) {
            return Some(permit);
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// Counts a connection that becomes a WebSocket; returns `None` if only the connections
    /// reserved for requests, an eighth of the limit, are left.
    pub(crate) fn admit_websocket(self: &Arc<Self>) -> Option<WebSocketPermit> {
        let permit = WebSocketPermit(Arc::clone(self));
        let others = self.websockets.fetch_add(1, Ordering::Relaxed);
        (others < self.limit - self.limit / 8).then_some(permit)
    }

    fn by_address(&self) -> MutexGuard<'_, HashMap<ClientKey, usize>> {
        self.by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the connection that has been idle longest. Returns `false` if none is idle.
    pub(crate) fn close_idle(&self) -> bool {
        self.idle.close_oldest_of(None)
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
pub(crate) struct Permit {
    connections: Arc<Connections>,
    /// Key of its address; `None` for the loopback interface.
    address: Option<ClientKey>,
}

impl Permit {
    /// Returns the key of the address; `None` for the loopback interface.
    pub(crate) fn address(&self) -> Option<ClientKey> {
        self.address.clone()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.connections.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(address) = &self.address {
            let mut by_address = self.connections.by_address();
            if let Some(count) = by_address.get_mut(address) {
                *count -= 1;
                if *count == 0 {
                    by_address.remove(address);
                }
            }
        }
    }
}

/// Guard of a counted WebSocket.
#[derive(Debug)]
pub(crate) struct WebSocketPermit(Arc<Connections>);

impl Drop for WebSocketPermit {
    fn drop(&mut self) {
        self.0.websockets.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn connections_are_counted_and_limited() {
        let connections = Connections::new(2);
        let first = connections.admit(LOCAL).unwrap();
        let _second = connections.admit(LOCAL).unwrap();
        assert!(connections.admit(LOCAL).is_none());
        let idle = connections.idle().register(None);
        assert!(
            connections.admit(LOCAL).is_some(),
            "an idle one is closed for it"
        );
        drop(idle);
        drop(first);
        assert!(connections.admit(LOCAL).is_some());
        assert_eq!((connections.open(), connections.refused()), (1, 1));
    }

    #[test]
    fn an_address_has_a_share_and_requests_have_one() {
        let connections = Connections::new(8);
        let (one, other) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let mut held: Vec<Permit> = (0..8).filter_map(|_| connections.admit(one)).collect();
        assert_eq!(held.len(), 6);
        held.push(connections.admit(other).unwrap());
        assert_eq!((connections.open(), connections.refused()), (7, 2));
        let idle = connections.idle().register(Some(address_key(one)));
        assert!(
            connections.admit(one).is_some(),
            "its own idle one is closed"
        );
        drop(idle);
        held.clear();
        assert!(connections.by_address().is_empty());
        let local: Vec<_> = (0..8).filter_map(|_| connections.admit(LOCAL)).collect();
        assert_eq!(local.len(), 8, "the loopback interface has no share");
        let sockets: Vec<_> = (0..8)
            .filter_map(|_| connections.admit_websocket())
            .collect();
        assert_eq!(sockets.len(), 7);
        drop(sockets);
        assert!(connections.admit_websocket().is_some());
    }

    const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    /// Longer than any test.
    const PATIENT: WriteLimits = WriteLimits {
        timeout: Duration::from_secs(60),
        rate: 0,
    };

    #[tokio::test(flavor = "current_thread")]
    async fn a_peer_that_accepts_data_too_slowly_is_disconnected() {
        let (mut writer, reader) = pair(WriteLimits {
            // On a busy machine, the reader may be late.
            timeout: Duration::from_secs(2),
            rate: 1 << 40,
        })
        .await;
        let reading = tokio::spawn(async move {
            let mut reader = reader;
            let mut block = vec![0; 64 << 10];
            // Each wait is shorter than the timeout, so only the rate is too low.
            while tokio::io::AsyncReadExt::read(&mut reader, &mut block)
                .await
                .is_ok_and(|n| n > 0)
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let block = vec![0; 1 << 20];
        let error = loop {
            if let Err(error) = writer.write_all(&block).await {
                break error;
            }
        };
        assert!(
            error.to_string().contains("http.limits.transfer_rate"),
            "{error}"
        );
        drop(writer);
        reading.await.unwrap();
    }

    /// Returns a connected socket of a client and the client's end.
    async fn pair(limits: WriteLimits) -> (ClientSocket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let permit = Connections::new(1).admit(LOCAL).unwrap();
        let transport = Transport::Plain(stream);
        (
            ClientSocket::new(transport, limits, Linger::default(), permit),
            client,
        )
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_peer_that_accepts_no_data_is_disconnected() {
        let timeout = Duration::from_millis(50);
        let (mut socket, _frozen) = pair(WriteLimits { timeout, rate: 0 }).await;
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
        let permit = Connections::new(1).admit(LOCAL).unwrap();
        let (transport, linger) = (Transport::Plain(stream), Linger::default());
        linger.request();
        let mut socket = ClientSocket::new(transport, PATIENT, linger, permit);
        socket.write_all(b"no").await.unwrap();
        socket.shutdown().await.unwrap();
        drop(socket);
        assert_eq!(peer.await.unwrap(), "no");
    }
}
