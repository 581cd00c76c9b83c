//! Connections of probes to services, such as a container engine, a switch, or the API server of
//! Kubernetes.
//!
//! A read waits for data, for the end of the probe, and at most for a timeout, so that a service that
//! does not answer never blocks the end of the daemon.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
#[cfg(feature = "engine")]
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::TlsFiles;
use super::connect::{Attempt, stopped};

/// Address of a service: a Unix socket, or a TCP port with or without TLS.
///
/// ```
/// use skylib::topology::ServerAddress;
///
/// let address: ServerAddress = "unix:///var/run/docker.sock".parse()?;
/// assert_eq!(address.to_string(), "unix:/var/run/docker.sock");
/// assert_eq!("tcp:192.0.2.1:6640".parse::<ServerAddress>()?.to_string(), "tcp:192.0.2.1:6640");
/// assert_eq!("192.0.2.1:6640".parse::<ServerAddress>()?.to_string(), "tcp:192.0.2.1:6640");
/// assert_eq!("ssl:192.0.2.1:6640".parse::<ServerAddress>()?.to_string(), "ssl:192.0.2.1:6640");
/// assert!("192.0.2.1".parse::<ServerAddress>().is_err());
/// # Ok::<(), skylib::topology::ServerAddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerAddress {
    /// Path of a Unix socket.
    Unix(PathBuf),
    /// Host and port.
    Tcp(String),
    /// Host and port of a service that requires TLS.
    Tls {
        /// Host and port.
        service: String,
        /// Certificates and keys.
        files: TlsFiles,
    },
}

impl ServerAddress {
    /// Sets the certificates and keys of an address that requires TLS; changes no other address.
    #[must_use]
    pub fn with_tls(self, files: TlsFiles) -> Self {
        match self {
            Self::Tls { service, .. } => Self::Tls { service, files },
            other => other,
        }
    }
}

/// Error returned for a string that is not the address of a service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an address; expected unix:PATH, tcp:HOST:PORT, ssl:HOST:PORT, or HOST:PORT")]
pub struct ServerAddressError(String);

impl std::str::FromStr for ServerAddress {
    type Err = ServerAddressError;

    fn from_str(text: &str) -> Result<Self, ServerAddressError> {
        let after = |scheme: &str| {
            let rest = text.strip_prefix(scheme)?;
            Some(rest.strip_prefix("//").unwrap_or(rest))
        };
        if let Some(path) = after("unix:") {
            return match path.starts_with('/') {
                true => Ok(Self::Unix(PathBuf::from(path))),
                false => Err(ServerAddressError(text.to_owned())),
            };
        }
        let tls = after("ssl:");
        let service = tls.or_else(|| after("tcp:")).unwrap_or(text);
        let (host, port) = service.rsplit_once(':').unwrap_or_default();
        let is_host = !host.is_empty() && (!host.contains(':') || host.starts_with('['));
        if !is_host || port.parse::<u16>().is_err() {
            return Err(ServerAddressError(text.to_owned()));
        }
        let service = service.to_owned();
        Ok(match tls {
            Some(_) => Self::Tls {
                service,
                files: TlsFiles::default(),
            },
            None => Self::Tcp(service),
        })
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(service) => write!(f, "tcp:{service}"),
            Self::Tls { service, .. } => write!(f, "ssl:{service}"),
        }
    }
}

/// A connection to a service.
#[derive(Debug)]
pub(super) struct Stream<'a> {
    socket: Socket,
    stop: BorrowedFd<'a>,
    /// Maximum time of one read or write; `None` for no limit.
    timeout: Option<Duration>,
}

#[derive(Debug)]
enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
    #[cfg(feature = "engine")]
    Tls(Box<rustls::StreamOwned<rustls::ClientConnection, TcpStream>>),
}

impl<'a> Stream<'a> {
    /// Connects to a service. `stop` becomes readable when the probe has to end, which also ends the
    /// attempt to connect.
    ///
    /// # Errors
    /// Returns the system error, or `NotFound` if a host name has no address.
    pub(super) fn connect(
        address: &ServerAddress,
        stop: BorrowedFd<'a>,
        timeout: Option<Duration>,
    ) -> io::Result<Self> {
        let attempt = Attempt::start(stop)?;
        let socket = match address {
            ServerAddress::Unix(path) => Socket::Unix(attempt.unix(path)?),
            ServerAddress::Tcp(service) => Socket::Tcp(attempt.tcp(service)?),
            ServerAddress::Tls { service, files } => connect_tls(&attempt, service, files)?,
        };
        Ok(Self {
            socket,
            stop,
            timeout,
        })
    }

    /// Connects to a service with TLS. The certificate of the service must be valid for a name.
    ///
    /// # Errors
    /// Returns the error of the system or of TLS.
    #[cfg(feature = "engine")]
    pub(super) fn connect_https(
        service: &str,
        (config, name): (Arc<rustls::ClientConfig>, &str),
        stop: BorrowedFd<'a>,
        timeout: Option<Duration>,
    ) -> io::Result<Self> {
        let name = rustls::pki_types::ServerName::try_from(name.to_owned());
        let name = name.map_err(io::Error::other)?;
        let connection = rustls::ClientConnection::new(config, name);
        let connection = connection.map_err(io::Error::other)?;
        let attempt = Attempt::start(stop)?;
        let stream = rustls::StreamOwned::new(connection, attempt.tcp(service)?);
        Ok(Self {
            socket: finish_handshake(&attempt, stream)?,
            stop,
            timeout,
        })
    }

    /// Waits until the socket is ready.
    fn wait(&self, flags: PollFlags) -> io::Result<()> {
        let timeout = self
            .timeout
            .and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut fds = [
            PollFd::from_borrowed_fd(self.stop, PollFlags::IN),
            PollFd::from_borrowed_fd(self.as_fd(), flags),
        ];
        loop {
            match poll(&mut fds, timeout.as_ref()) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) if !fds[0].revents().is_empty() => return Err(stopped()),
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads the bytes that have arrived; returns `WouldBlock` if there are none.
    pub(super) fn read_ready(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.socket {
            Socket::Unix(socket) => socket.read(buffer),
            Socket::Tcp(socket) => socket.read(buffer),
            #[cfg(feature = "engine")]
            Socket::Tls(stream) => stream.read(buffer),
        }
    }
}

#[cfg(feature = "engine")]
fn connect_tls(attempt: &Attempt<'_>, service: &str, files: &TlsFiles) -> io::Result<Socket> {
    let (host, _) = service.rsplit_once(':').unwrap_or((service, ""));
    finish_handshake(attempt, files.start(host, attempt.tcp(service)?)?)
}

#[cfg(feature = "engine")]
fn finish_handshake(
    attempt: &Attempt<'_>,
    mut stream: rustls::StreamOwned<rustls::ClientConnection, TcpStream>,
) -> io::Result<Socket> {
    while stream.conn.is_handshaking() {
        match stream.conn.complete_io(&mut stream.sock) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let flags = match stream.conn.wants_write() {
                    true => PollFlags::OUT,
                    false => PollFlags::IN,
                };
                attempt.wait(stream.sock.as_fd(), flags)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Socket::Tls(Box::new(stream)))
}

#[cfg(not(feature = "engine"))]
fn connect_tls(_: &Attempt<'_>, _service: &str, _files: &TlsFiles) -> io::Result<Socket> {
    let text = "this program is built without TLS";
    Err(io::Error::new(io::ErrorKind::Unsupported, text))
}

impl AsFd for Stream<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Unix(socket) => socket.as_fd(),
            Socket::Tcp(socket) => socket.as_fd(),
            #[cfg(feature = "engine")]
            Socket::Tls(stream) => stream.sock.as_fd(),
        }
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.read_ready(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(PollFlags::IN)?;
                }
                result => return result,
            }
        }
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let result = match &mut self.socket {
                Socket::Unix(socket) => socket.write(bytes),
                Socket::Tcp(socket) => socket.write(bytes),
                #[cfg(feature = "engine")]
                Socket::Tls(stream) => stream.write(bytes),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(PollFlags::OUT)?;
                }
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        #[cfg(feature = "engine")]
        if let Socket::Tls(stream) = &mut self.socket {
            return match stream.flush() {
                // The rest is sent before the next read.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
                result => result,
            };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::sys::eventfd::EventFd;

    #[test]
    fn addresses_are_unix_paths_or_tcp_ports() {
        let parse = |text: &str| text.parse::<ServerAddress>().map(|a| a.to_string());
        assert_eq!(parse("unix:/run/x.sock").unwrap(), "unix:/run/x.sock");
        assert_eq!(parse("tcp://[::1]:6640").unwrap(), "tcp:[::1]:6640");
        assert_eq!(parse("db.example:6640").unwrap(), "tcp:db.example:6640");
        assert_eq!(parse("ssl://[::1]:6640").unwrap(), "ssl:[::1]:6640");
        for wrong in [
            "",
            "unix:",
            "unix:relative",
            "host",
            "host:",
            ":6640",
            "a:70000",
            "ssl:a",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_silent_service_ends_with_a_timeout_or_with_the_probe() {
        let path = std::env::temp_dir().join(format!("skylib-stream-{}", std::process::id()));
        drop(std::fs::remove_file(&path));
        let _listener = UnixListener::bind(&path).unwrap();
        let stop = EventFd::new().unwrap();
        let address = ServerAddress::Unix(path.clone());
        let timeout = Some(Duration::from_millis(10));
        let mut stream = Stream::connect(&address, stop.as_fd(), timeout).unwrap();
        let error = stream.read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        stop.raise();
        let mut stream = Stream::connect(&address, stop.as_fd(), None).unwrap();
        let error = stream.read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        std::fs::remove_file(&path).unwrap();
    }

    #[cfg(feature = "engine")]
    #[test]
    fn a_silent_handshake_ends_with_the_probe() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let service = listener.local_addr().unwrap().to_string();
        let roots = rustls::RootCertStore::empty();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stop = EventFd::new().unwrap();
        let ended = std::thread::scope(|scope| {
            let connecting = scope.spawn(|| {
                let config = (Arc::new(config), "server.example");
                Stream::connect_https(&service, config, stop.as_fd(), None).err()
            });
            // The first bytes of the handshake have arrived, and nothing answers.
            let (mut accepted, _) = listener.accept().unwrap();
            accepted.read_exact(&mut [0; 8]).unwrap();
            stop.raise();
            connecting.join().unwrap().unwrap()
        });
        assert_eq!(ended.kind(), io::ErrorKind::ConnectionAborted);
    }
}
