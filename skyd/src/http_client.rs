//! HTTP client for single requests to Keystone and to webhooks.
//!
//! It uses hyper's connection API with one connection for each request: a pooling client would save
//! handshakes but need a second TLS connector, which is not worth the dependencies.

use std::sync::Arc;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::tls;

/// Address of an HTTP server.
pub(crate) struct Server {
    host: String,
    port: u16,
    /// `host:port` for the `Host` header, as configured.
    authority: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Server {
    /// Returns the server of a URL; `connector` is called for `https`.
    ///
    /// # Errors
    /// Returns an error if the URL has no host or a scheme other than `http` and `https`, or
    /// `connector` fails.
    pub(crate) fn of(
        uri: &Uri,
        connector: impl FnOnce() -> anyhow::Result<TlsConnector>,
    ) -> anyhow::Result<Self> {
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            bail!("expected http://host:port");
        };
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let (default_port, tls) = match scheme {
            "http" => (80, None),
            "https" => {
                let name = ServerName::try_from(host.clone()).context("not a valid server name")?;
                (443, Some((connector()?, name)))
            }
            _ => bail!("URL scheme {scheme:?} is not supported; expected http or https"),
        };
        let port = authority.port_u16();
        let after_user = authority.as_str();
        let after_user = after_user
            .rsplit_once('@')
            .map_or(after_user, |pair| pair.1);
        let after_host = after_user
            .strip_prefix(authority.host())
            .unwrap_or_default();
        if port.is_none() && !matches!(after_host, "" | ":") {
            bail!("{after_host:?} is not a port; expected a number up to 65535");
        }
        Ok(Self {
            port: port.unwrap_or(default_port),
            authority: authority.host().to_owned()
                + &port.map(|port| format!(":{port}")).unwrap_or_default(),
            host,
            tls,
        })
    }

    /// Sends a request on a new connection and reads the response, whose body has a maximum length.
    ///
    /// # Errors
    /// Returns an error if the server cannot be reached, or its response is invalid or too long.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        max_body: usize,
    ) -> anyhow::Result<Response<Bytes>> {
        self.send_and_read(request, Some(max_body)).await
    }

    /// Sends a request on a new connection and returns the status of the response, whose body is
    /// not read.
    ///
    /// # Errors
    /// Returns an error if the server cannot be reached, or the head of its response is invalid.
    pub(crate) async fn send_for_status(
        &self,
        request: Request<Full<Bytes>>,
    ) -> anyhow::Result<StatusCode> {
        Ok(self.send_and_read(request, None).await?.status())
    }

    async fn send_and_read(
        &self,
        mut request: Request<Full<Bytes>>,
        max_body: Option<usize>,
    ) -> anyhow::Result<Response<Bytes>> {
        let host = HeaderValue::from_str(&self.authority)?;
        request.headers_mut().insert(HOST, host);
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        match &self.tls {
            None => exchange(stream, request, max_body).await,
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await?;
                exchange(stream, request, max_body).await
            }
        }
    }
}

/// Sends a request over a stream and reads the response; `None` for a body that is not read.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
    max_body: Option<usize>,
) -> anyhow::Result<Response<Bytes>> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let answer = sender.send_request(request).await?;
        let (head, body) = answer.into_parts();
        let Some(max_body) = max_body else {
            return Ok(Response::from_parts(head, Bytes::new()));
        };
        let body = Limited::new(body, max_body).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
        Ok(Response::from_parts(head, body))
    };
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        // The connection may end at the same time as the response, which is then complete.
        ended = connection => {
            ended?;
            exchange.await
        }
    }
}

/// Returns a TLS connector that trusts the authorities of the system and the given ones.
///
/// # Errors
/// Returns an error if no authority is trusted.
pub(crate) fn connector(authorities: Option<RootCertStore>) -> anyhow::Result<TlsConnector> {
    let mut roots = authorities.unwrap_or_else(RootCertStore::empty);
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        bail!(
            "the system has no trusted certificate authorities; set {}",
            tls::CA_CERT
        );
    }
    let config = ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_a_url_is_a_number() {
        let port = |url: &str| {
            let uri: Uri = url.parse().unwrap();
            let server = Server::of(&uri, || bail!("no TLS"));
            server
                .map(|server| server.port)
                .map_err(|error| error.to_string())
        };
        for (url, expected) in [
            ("http://h/x", 80),
            ("http://h:81", 81),
            ("http://user:1@[::1]:82/", 82),
            ("http://[::1]/", 80),
        ] {
            assert_eq!(port(url), Ok(expected), "{url}");
        }
        for url in [
            "http://h:99999/",
            "http://user:1@h:65536/",
            "http://[::1]:70000/",
        ] {
            let error = port(url).unwrap_err();
            assert!(error.contains("is not a port"), "{url}: {error}");
        }
    }
}
