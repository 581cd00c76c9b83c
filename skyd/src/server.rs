//! Accept loops and HTTP connections, with their limits and timeouts.

use std::borrow::Cow;
use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, HOST, HeaderValue, STRICT_TRANSPORT_SECURITY, TRANSFER_ENCODING,
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
use crate::client_socket::{ClientSocket, Linger, Permit, Transport, WriteLimits};
use crate::compress::{self, Coding};
use crate::cors;
use crate::idle_connections::TrackedConnection;
use crate::response::{self, Response};
use crate::router::route;
use crate::routes;

/// Opens a listening socket. If a host name has several addresses, uses the first one that can be
/// bound.
///
/// # Errors
/// Returns an error if no address can be bound; the error names `key`.
pub(crate) async fn listen(key: &str, address: &ServiceAddress) -> anyhow::Result<TcpListener> {
    bind(address).await.map_err(|error| {
        let advice = listen_advice(&error, key, address);
        anyhow!("{key}: cannot listen on {address}: {error}{advice}")
    })
}

/// Returns advice for an address that cannot be bound, as the end of a sentence; empty if the error
/// needs no explanation.
fn listen_advice(error: &io::Error, key: &str, address: &ServiceAddress) -> String {
    let ServiceAddress { port, .. } = address;
    match error.kind() {
        ErrorKind::AddrInUse => format!(
            "; another program uses the address, such as another skyd or skydive (ss -ltnp 'sport = \
             :{port}' shows the program): stop the program, or set {key} to another address"
        ),
        ErrorKind::AddrNotAvailable => format!(
            "; no interface of this host has the address: set {key} to an address of this host, or to \
             0.0.0.0:{port} for all addresses"
        ),
        ErrorKind::PermissionDenied => format!(
            "; the port is reserved for programs with CAP_NET_BIND_SERVICE: run as root, or set {key} to \
             a port above 1023"
        ),
        _ if error.raw_os_error().is_none() => {
            format!("; set {key} to an address or to a name of this host")
        }
        _ => String::new(),
    }
}

/// API that a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListenerKind {
    /// Whole API, with access control.
    Main,
    /// API of an agent, with access control.
    Agent,
    /// SPP API only, without access control.
    Spp,
}

/// Binds like [`TcpListener::bind`], but with a longer backlog.
async fn bind(address: &ServiceAddress) -> io::Result<TcpListener> {
    let mut failed = None;
    for address in lookup_host((address.host.as_str(), address.port)).await? {
        match bind_to(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.unwrap_or_else(|| ErrorKind::AddrNotAvailable.into()))
}

fn bind_to(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts connections until `stop` is set. Open connections then complete their responses.
pub(crate) async fn serve(
    listener: TcpListener,
    listener_kind: ListenerKind,
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
            Ok((stream, peer)) => accept(stream, peer, listener_kind, &app, &stop),
            Err(error) if is_of_one_client(error.kind()) => {}
            Err(error) if is_out_of_descriptors(&error) && app.connections.close_idle() => {
                // The closed connection needs a moment to release its descriptor.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Err(error) => {
                // Out of descriptors or memory: retrying immediately would only waste CPU time.
                tracing::error!(%error, "cannot accept connections; retrying in 100 ms");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Serves an accepted connection in a task, or rejects it at the connection limit.
fn accept(
    stream: TcpStream,
    peer: SocketAddr,
    listener_kind: ListenerKind,
    app: &Arc<App>,
    stop: &watch::Receiver<bool>,
) {
    match app.connections.admit(peer.ip()) {
        Some(permit) => {
            // Without TCP_NODELAY, Nagle's algorithm delays small messages until earlier ones are
            // acknowledged.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
            }
            let tracked = app.connections.idle().register(permit.address());
            let (app, stop) = (Arc::clone(app), stop.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = connection(stream, peer, listener_kind, permit, &tracked, app, stop) => {}
                    () = tracked.closed() => {
                        tracing::debug!(%peer, "closed an idle connection in favor of a new one");
                    }
                }
            });
        }
        None => {
            tokio::spawn(reject(stream));
        }
    }
}

/// Serves one connection until it ends or is upgraded to WebSocket.
async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    listener_kind: ListenerKind,
    permit: Permit,
    tracked: &Arc<TrackedConnection>,
    app: Arc<App>,
    mut stop: watch::Receiver<bool>,
) {
    let Some(transport) = transport(stream, peer, listener_kind, &app).await else {
        return;
    };
    let linger = Linger::default();
    let limits = &app.limits;
    let write_limits = WriteLimits {
        timeout: limits.write_timeout,
        rate: limits.transfer_rate,
    };
    let socket = ClientSocket::new(transport, write_limits, linger.clone(), permit);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_header_size(limits.header_bytes)
        .max_buf_size(limits.header_bytes.max(MIN_BUFFER));
    let service = service_fn(|request| {
        let busy = tracked.begin_request();
        let answering = answer(Arc::clone(&app), request, peer, listener_kind);
        let linger = &linger;
        async move {
            let mut response = answering.await;
            if response::is_last(response.headers()) {
                linger.request();
            }
            response.body_mut().hold(busy);
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
        tracing::debug!(%peer, error = response::with_causes(&error), "connection ended");
    }
}

/// Returns the transport of a connection, after its TLS handshake if the listener uses TLS; `None`
/// if the handshake fails.
async fn transport(
    stream: TcpStream,
    peer: SocketAddr,
    listener_kind: ListenerKind,
    app: &App,
) -> Option<Transport> {
    // Clients of SPP do not support TLS.
    let tls = app.tls.as_ref();
    let Some(tls) = tls.filter(|_| listener_kind != ListenerKind::Spp) else {
        return Some(Transport::Plain(stream));
    };
    let handshake = handshake(stream, tls.acceptor());
    match tokio::time::timeout(app.limits.header_timeout, handshake).await {
        Ok(Ok(transport)) => Some(transport),
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "TLS handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!(%peer, "TLS handshake timed out");
            None
        }
    }
}

/// Performs the TLS handshake. A client that sends plain HTTP receives a readable response, because
/// browsers and scripts would otherwise show only a broken connection.
async fn handshake(mut stream: TcpStream, acceptor: TlsAcceptor) -> io::Result<Transport> {
    let mut first = [0];
    stream.peek(&mut first).await?;
    if first[0].is_ascii_alphabetic() {
        stream.write_all(NO_TLS).await?;
        return Err(ErrorKind::InvalidData.into());
    }
    Ok(Transport::Tls(Box::new(acceptor.accept(stream).await?)))
}

/// Response to plain HTTP on a TLS port; `Content-Length` is the length of its last line.
const NO_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 25\r\n\r\n\
    this port requires https\n";

/// Waits until the daemon shuts down.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender was dropped, which also means shutdown.
    drop(stop.wait_for(|stop| *stop).await);
}

/// Answers a request through the middleware: compression, then CORS, then the route.
async fn answer(
    app: Arc<App>,
    request: Request<Incoming>,
    peer: SocketAddr,
    listener_kind: ListenerKind,
) -> Response {
    let origin = match admitted(&app, &request, listener_kind) {
        Ok(origin) => origin,
        Err((status, text)) => {
            let mut refusal = response::error_text(status, &text);
            app.requests.count(request.method(), status);
            response::close(refusal.headers_mut());
            return refusal;
        }
    };
    if listener_kind == ListenerKind::Spp {
        return routes::spp::answer(app, request).await;
    }
    let is_encrypted = app.tls.is_some();
    let coding = Coding::of(request.headers());
    let method = request.method().clone();
    let counted = Arc::clone(&app);
    let mut response = if request.method() == Method::OPTIONS {
        cors::preflight(request.headers(), origin.as_ref())
    } else {
        let mut response = guarded(app, request, peer, listener_kind).await;
        if let Some(origin) = &origin
            && !response.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN)
        {
            cors::allow(&mut response, origin);
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

/// Checks the requirements of all routes. Returns the web origin that may read the response.
///
/// # Errors
/// Returns the status and the message of the response if the request is rejected.
fn admitted(
    app: &App,
    request: &Request<Incoming>,
    listener_kind: ListenerKind,
) -> Result<Option<HeaderValue>, (StatusCode, Cow<'static, str>)> {
    let refuse = |status, text: &'static str| Err((status, text.into()));
    if !names_one_host(request) {
        return refuse(StatusCode::BAD_REQUEST, "expected exactly one Host header");
    }
    if request.method() == Method::CONNECT {
        return refuse(StatusCode::NOT_IMPLEMENTED, "this server is not a proxy");
    }
    if !is_plainly_framed(request) {
        let text = "no transfer coding except chunked is supported";
        return refuse(StatusCode::NOT_IMPLEMENTED, text);
    }
    let has_password = listener_kind != ListenerKind::Spp && !app.auth.is_open();
    app.web_origins
        .check(request, has_password)
        .map_err(|foreign| {
            tracing::debug!("{foreign}");
            (StatusCode::FORBIDDEN, foreign.to_string().into())
        })
}

/// Returns whether the body has no transfer coding except `chunked` (RFC 9112, 6.1): the HTTP
/// library would pass on a body with other codings without decoding it.
fn is_plainly_framed(request: &Request<Incoming>) -> bool {
    let mut codings = request.headers().get_all(TRANSFER_ENCODING).iter();
    codings.next().is_none_or(|coding| {
        let is_chunked = coding
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"chunked");
        is_chunked && codings.next().is_none()
    })
}

/// Returns whether a request names exactly one host (RFC 9112, 3.2): a proxy in front of the daemon
/// must not choose a different host than the daemon does.
fn names_one_host(request: &Request<Incoming>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    request.version() < Version::HTTP_11 || hosts.next().is_some() && hosts.next().is_none()
}

/// Runs the handler; a panic becomes status 500 for this request only.
async fn guarded(
    app: Arc<App>,
    request: Request<Incoming>,
    peer: SocketAddr,
    listener_kind: ListenerKind,
) -> Response {
    let request_line = format!("{} {}", request.method(), request.uri().path());
    let memory = app.memory.clone();
    let answer = AssertUnwindSafe(route(
        app,
        request,
        peer,
        listener_kind == ListenerKind::Agent,
    ))
    .catch_unwind()
    .await;
    let answer = answer.map(|mut response| match response.body_mut().charge(&memory) {
        Ok(()) => response,
        Err(exhausted) => response::memory_exhausted(exhausted),
    });
    answer.unwrap_or_else(|_| {
        tracing::error!(request = request_line, "the handler panicked");
        response::error_text(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
    })
}

/// Sends status 503 to a connection above the connection limit.
async fn reject(mut stream: TcpStream) {
    let answer =
        b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let sent = tokio::time::timeout(Duration::from_secs(1), stream.write_all(answer));
    if let Ok(Err(error)) = sent.await {
        tracing::debug!(%error, "cannot send status 503 to a rejected connection");
    }
}

/// Returns whether an accept error concerns only the connection that failed.
fn is_of_one_client(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused
    )
}

/// Returns whether an accept error means that the process or the system has no descriptor left.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE))
}

/// Maximum number of connections that wait to be accepted, also limited by `net.core.somaxconn`:
/// after a restart, all clients reconnect at the same time.
const BACKLOG: u32 = 4096;
/// Minimum buffer size that hyper accepts, in bytes.
const MIN_BUFFER: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn many_connections_may_wait_to_be_accepted() {
        let allowed = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
        let count = allowed.trim().parse::<usize>().unwrap().min(400);
        let address = "127.0.0.1:0".parse::<ServiceAddress>().unwrap();
        let listener = listen("analyzer.listen", &address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let connect = |_| std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1));
        let waiting: Result<Vec<_>, _> = (0..count).map(connect).collect();
        assert_eq!(waiting.unwrap().len(), count);
    }

    #[test]
    fn addresses_that_cannot_be_bound_have_advice() {
        let address: ServiceAddress = "127.0.0.1:8082".parse().unwrap();
        let advice = |error: io::Error| listen_advice(&error, "analyzer.listen", &address);
        let in_use = advice(ErrorKind::AddrInUse.into());
        assert!(in_use.contains("sport = :8082"), "{in_use}");
        assert!(in_use.contains("set analyzer.listen"), "{in_use}");
        let foreign = advice(ErrorKind::AddrNotAvailable.into());
        assert!(foreign.contains("0.0.0.0:8082"), "{foreign}");
        let reserved = advice(ErrorKind::PermissionDenied.into());
        assert!(reserved.contains("CAP_NET_BIND_SERVICE"), "{reserved}");
        let name = advice(io::Error::other("failed to lookup address information"));
        assert!(name.contains("a name of this host"), "{name}");
        let too_many_files = io::Error::from_raw_os_error(24);
        assert_eq!(advice(too_many_files), "");
    }
}
