//! Connections to the server, with or without TLS.

use std::io;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls;

use super::target::{Security, Target};

/// Bidirectional byte stream.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Socket for S {}

/// Opens a connection.
///
/// # Errors
/// Returns an error if the server cannot be reached, or the TLS handshake fails.
pub(super) async fn connect(target: &Target) -> anyhow::Result<Box<dyn Socket>> {
    match &target.security {
        Security::Plain => Ok(Box::new(open(target).await?)),
        Security::Tls(connector) => encrypt(target, connector).await,
        Security::IfAvailable(connector) => match encrypt(target, connector).await {
            Err(error) if is_not_tls(&error) => Ok(Box::new(open(target).await?)),
            result => result,
        },
    }
}

async fn open(target: &Target) -> anyhow::Result<TcpStream> {
    let address = &target.address;
    let connecting = TcpStream::connect((address.host.as_str(), address.port));
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, connecting)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .with_context(|| format!("cannot connect to {address}{}", address_source(target)))?;
    stream
        .set_nodelay(true)
        .context("cannot set TCP_NODELAY on the connection")?;
    Ok(stream)
}

/// Returns the setting from which the address is, as a part of an error message; empty for the option
/// of the command line, which the user sees.
fn address_source(target: &Target) -> String {
    match target.address_source {
        "--analyzer" => String::new(),
        source => format!(" (address from {source})"),
    }
}

async fn encrypt(target: &Target, connector: &TlsConnector) -> anyhow::Result<Box<dyn Socket>> {
    let stream = open(target).await?;
    let handshake = connector.connect(target.server_name()?, stream);
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, handshake)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .with_context(|| format!("cannot connect to {} with TLS", target.address))?;
    Ok(Box::new(stream))
}

/// Returns whether a server answered a TLS handshake with another protocol.
fn is_not_tls(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let inner = cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        let inner = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
        matches!(inner, Some(rustls::Error::InvalidMessage(_)))
    })
}

/// Maximum time for opening a connection, and for its TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
