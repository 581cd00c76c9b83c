//! The accept loop: sockets in, answers out, each connection within its limits.

use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, HOST, HeaderValue, ORIGIN, STRICT_TRANSPORT_SECURITY,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use skylib::api::address::ServiceAddress;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::app::App;
use crate::compress::{self, Coding};
use crate::cors;
use crate::idle::Waiter;
use crate::respond::{self, Response};
use crate::router::route;
use crate::routes;
use crate::socket::{ClientSocket, Linger, Permit, Transport};

/// Opens the socket to listen on; a name stands for the first of its addresses that works.
///
/// # Errors
/// When it cannot, with the key that names the address.
pub(crate) async fn listen(key: &str, address: &ServiceAddress) -> anyhow::Result<TcpListener> {
    bind(address)
        .await
        .with_context(|| format!("{key}: cannot listen on {address}"))
}

/// What is behind a listener. Complete by definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// Everything.
    Main,
    /// SPP's API, for everybody who can connect.
    Spp,
}

/// As [`TcpListener::bind`] does it, but with room for more connections that wait to be accepted.
async fn bind(address: &ServiceAddress) -> io::Result<TcpListener> {
    let mut failed = None;
    for place in lookup_host((address.host.as_str(), address.port)).await? {
        match bind_to(place) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.unwrap_or_else(|| ErrorKind::AddrNotAvailable.into()))
}

fn bind_to(place: SocketAddr) -> io::Result<TcpListener> {
    let socket = match place {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(place)?;
    socket.listen(BACKLOG)
}

/// Serves until `stop` says so. Connections go on for a moment to finish their answers.
pub(crate) async fn serve(
    listener: TcpListener,
    door: Door,
    app: Arc<App>,
    stop: watch::Receiver<bool>,
) {
    let mut stopping = stop.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stopping) => return,
        };
        match accepted {
            Ok((stream, peer)) => accept(stream, peer, door, &app, &stop),
            Err(error) if is_of_one_client(error.kind()) => {}
            Err(error) => {
                // Out of descriptors or memory: nothing is gained by trying in a tight loop.
                tracing::error!(%error, "cannot accept connections");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn accept(
    stream: TcpStream,
    peer: SocketAddr,
    door: Door,
    app: &Arc<App>,
    stop: &watch::Receiver<bool>,
) {
    match app.connections.admit() {
        Some(permit) => {
            // Small messages must not wait for the acknowledgement of others.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%peer, %error, "TCP_NODELAY");
            }
            let waiter = app.connections.waiting().enter();
            let (app, stop) = (Arc::clone(app), stop.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = connection(stream, peer, door, permit, &waiter, app, stop) => {}
                    () = waiter.closed() => tracing::debug!(%peer, "closed to make place"),
                }
            });
        }
        None => {
            tokio::spawn(turn_away(stream));
        }
    }
}

/// One connection from its first byte to its last as HTTP.
async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    door: Door,
    permit: Permit,
    waiter: &Arc<Waiter>,
    app: Arc<App>,
    mut stop: watch::Receiver<bool>,
) {
    // SPP's clients know of no TLS.
    let tls = app.tls.as_ref().filter(|_| door == Door::Main);
    let transport = match tls {
        None => Transport::Plain(stream),
        Some(tls) => {
            let handshake = handshake(stream, tls.acceptor());
            match tokio::time::timeout(app.limits.header_timeout, handshake).await {
                Ok(Ok(transport)) => transport,
                Ok(Err(error)) => return tracing::debug!(%peer, %error, "no TLS"),
                Err(_) => return tracing::debug!(%peer, "no TLS in time"),
            }
        }
    };
    let linger = Linger::default();
    let patience = app.limits.write_timeout;
    let socket = ClientSocket::new(transport, patience, linger.clone(), permit);
    let limits = &app.limits;
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_header_size(limits.header_bytes)
        .max_buf_size(limits.header_bytes.max(MIN_BUFFER));
    let service = service_fn(|request| {
        let working = waiter.work();
        let answering = answer(Arc::clone(&app), request, peer, door);
        let linger = &linger;
        async move {
            let mut response = answering.await;
            if respond::is_last(response.headers()) {
                linger.ask();
            }
            response.body_mut().keep(working);
            Ok::<_, Infallible>(response)
        }
    });
    let served = http
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    let mut served = std::pin::pin!(served);
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = stopped(&mut stop) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, error = respond::with_causes(&error), "connection ended");
    }
}

/// Begins TLS. Who speaks HTTP instead is told so, as browsers and scripts show nothing else.
async fn handshake(mut stream: TcpStream, acceptor: TlsAcceptor) -> io::Result<Transport> {
    let mut first = [0];
    stream.peek(&mut first).await?;
    if first[0].is_ascii_alphabetic() {
        stream.write_all(NO_TLS).await?;
        return Err(ErrorKind::InvalidData.into());
    }
    Ok(Transport::Tls(Box::new(acceptor.accept(stream).await?)))
}

const NO_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 31\r\n\r\n\
    https is spoken here, not http\n";

/// Waits until the daemon ends.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error says that nobody is left who could tell: the end, too.
    drop(stop.wait_for(|stop| *stop).await);
}

/// Compression outermost, then what other servers' pages may see, then the route.
async fn answer(
    app: Arc<App>,
    request: Request<Incoming>,
    peer: SocketAddr,
    door: Door,
) -> Response {
    if door == Door::Spp {
        return routes::spp::answer(app, request).await;
    }
    let is_encrypted = app.tls.is_some();
    let coding = Coding::of(request.headers());
    let method = request.method().clone();
    let counted = Arc::clone(&app);
    let mut response = if !names_one_host(&request) {
        let mut refusal =
            respond::error_text(StatusCode::BAD_REQUEST, "exactly one Host header expected");
        respond::close(refusal.headers_mut());
        refusal
    } else if request.method() == Method::OPTIONS {
        cors::preflight(request.headers())
    } else {
        let from_elsewhere = request.headers().contains_key(ORIGIN);
        let mut response = guarded(app, request, peer).await;
        if from_elsewhere && !response.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
            cors::allow(&mut response);
        }
        response
    };
    compress::apply(&mut response, coding);
    if is_encrypted {
        let always = HeaderValue::from_static("max-age=63072000; includeSubDomains");
        let headers = response.headers_mut();
        headers.insert(STRICT_TRANSPORT_SECURITY, always);
    }
    counted.requests.count(&method, response.status());
    response
}

/// RFC 9112, 3.2: servers before this one must not disagree about whom a request is for.
fn names_one_host(request: &Request<Incoming>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    request.version() < Version::HTTP_11 || hosts.next().is_some() && hosts.next().is_none()
}

/// A fault in one handler is this request's alone.
async fn guarded(app: Arc<App>, request: Request<Incoming>, peer: SocketAddr) -> Response {
    let place = format!("{} {}", request.method(), request.uri().path());
    let answer = AssertUnwindSafe(route(app, request, peer))
        .catch_unwind()
        .await;
    answer.unwrap_or_else(|_| {
        tracing::error!(request = place, "the handler panicked");
        respond::error_text(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
    })
}

/// There are too many already.
async fn turn_away(mut stream: TcpStream) {
    let answer =
        b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let sent = tokio::time::timeout(Duration::from_secs(1), stream.write_all(answer));
    if let Ok(Err(error)) = sent.await {
        tracing::debug!(%error, "a connection was turned away");
    }
}

fn is_of_one_client(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused
    )
}

/// Connections that may wait to be accepted, as far as the system allows
/// (`net.core.somaxconn`): a fleet that comes back after a restart comes at once.
const BACKLOG: u32 = 4096;
/// hyper's own lower bound.
const MIN_BUFFER: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn many_connections_may_wait_to_be_accepted() {
        let allowed = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
        let many = allowed.trim().parse::<usize>().unwrap().min(400);
        let address = "127.0.0.1:0".parse::<ServiceAddress>().unwrap();
        let listener = listen("analyzer.listen", &address).await.unwrap();
        let place = listener.local_addr().unwrap();
        let connect = |_| std::net::TcpStream::connect_timeout(&place, Duration::from_secs(1));
        let waiting: Result<Vec<_>, _> = (0..many).map(connect).collect();
        assert_eq!(waiting.unwrap().len(), many);
    }
}
