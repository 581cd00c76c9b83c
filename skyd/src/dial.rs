//! WebSocket connections that the daemon opens: to its analyzers, and to other analyzers.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use skylib::api::address::ServiceAddress;
use skylib::proto::UpdatePolicy;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::config::Config;
use crate::tls::{self, CA_CERT};

/// Bidirectional byte stream, with or without TLS.
pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> ByteStream for S {}

/// WebSocket connection to a server.
pub(crate) type Socket = WebSocketStream<Box<dyn ByteStream>>;

/// Header with which a server announces the form of the updates that it accepts.
pub(crate) const UPDATE_POLICY: HeaderName = HeaderName::from_static("x-update-policy");

/// Opens WebSocket connections with the credentials of this daemon.
pub(crate) struct Dialer {
    tls: Option<TlsConnector>,
    /// Prefix of the keys of the credentials, such as `agent.auth.cluster`.
    prefix: String,
    /// Value of the header `Authorization`; `None` without a configured user name.
    authorization: Option<HeaderValue>,
    /// Value of the header `Cookie`; `None` without configured cookies.
    cookies: Option<HeaderValue>,
    /// Key file of a daemon on this machine (`agent.key`), used if no user name is configured.
    key_file: PathBuf,
    /// Maximum size of a received message, in bytes.
    max_message: usize,
}

/// Server at the other end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    /// Identity of the server.
    pub(crate) host: String,
    /// Role of the server: `analyzer` or `agent`.
    pub(crate) service: String,
    pub(crate) address: SocketAddr,
    /// Form of the updates that the server accepts.
    pub(crate) policy: UpdatePolicy,
}

impl Dialer {
    /// Reads the credentials `<prefix>.username` and `<prefix>.password` and the TLS settings.
    ///
    /// # Errors
    /// Returns an error if a setting is invalid; the error names the key.
    pub(crate) fn from_config(
        config: &Config,
        prefix: &str,
        key_file: PathBuf,
    ) -> anyhow::Result<Self> {
        let (name_key, password_key) = (format!("{prefix}.username"), format!("{prefix}.password"));
        let name = config.text(&name_key);
        let authorization = match name.as_str() {
            "" => None,
            name => {
                let pair = format!("{name}:{}", config.text(&password_key));
                let text = format!("Basic {}", BASE64.encode(pair));
                let mut value = HeaderValue::from_str(&text).context(name_key)?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Ok(Self {
            tls: connector(config)?,
            prefix: prefix.to_owned(),
            authorization,
            cookies: cookies(config)?,
            key_file,
            max_message: config.bytes("http.limits.ws_message_bytes"),
        })
    }

    /// Opens a WebSocket.
    ///
    /// # Errors
    /// Returns an error if the server cannot be reached, rejects the connection, or does not
    /// introduce itself as Skydive servers do.
    pub(crate) async fn open(
        &self,
        address: &ServiceAddress,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> anyhow::Result<(Socket, Server)> {
        let opening = self.open_untimed(address, path, headers);
        tokio::time::timeout(OPEN_TIMEOUT, opening)
            .await
            .unwrap_or_else(|_| bail!("no answer from {address} within {OPEN_TIMEOUT:?}"))
    }

    async fn open_untimed(
        &self,
        address: &ServiceAddress,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> anyhow::Result<(Socket, Server)> {
        let (stream, peer) = self.connect(address).await?;
        let mut request = format!("ws://{address}{path}").into_client_request()?;
        for (name, value) in headers {
            let value =
                HeaderValue::from_str(value).with_context(|| format!("{name}: {value:?}"))?;
            request
                .headers_mut()
                .append(HeaderName::from_static(name), value);
        }
        self.authenticate(request.headers_mut(), peer);
        let config = WebSocketConfig::default()
            .max_message_size(Some(self.max_message))
            .max_frame_size(Some(self.max_message));
        let opened = tokio_tungstenite::client_async_with_config(request, stream, Some(config));
        let (socket, response) = opened.await.map_err(|error| match error {
            Error::Http(response) => {
                let own_id = headers.iter().find(|(name, _)| *name == "x-host-id");
                let own_id = own_id.map_or("", |(_, id)| id);
                let body = response.body().as_deref().unwrap_or_default();
                let body = String::from_utf8_lossy(body);
                anyhow!(self.refusal(response.status(), &body, path, own_id))
            }
            error => anyhow::Error::from(error).context("cannot open the WebSocket"),
        })?;
        let header = |name: &str| {
            let value = response
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok());
            value.map(str::to_owned)
        };
        // COMPAT: Skydive also rejects servers that do not send both headers.
        let (Some(host), Some(service)) = (header("x-host-id"), header("x-service-type")) else {
            bail!("{address} is not an analyzer: no X-Host-ID or X-Service-Type in its response");
        };
        let server = Server {
            host,
            service,
            address: peer,
            policy: header(UPDATE_POLICY.as_str())
                .and_then(|policy| policy.parse().ok())
                .unwrap_or_default(),
        };
        Ok((socket, server))
    }

    /// Opens a TCP connection, and TLS on it if configured.
    async fn connect(
        &self,
        address: &ServiceAddress,
    ) -> anyhow::Result<(Box<dyn ByteStream>, SocketAddr)> {
        let connecting = TcpStream::connect((address.host.as_str(), address.port));
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, connecting)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        let peer = stream.peer_addr()?;
        let Some(connector) = &self.tls else {
            return Ok((Box::new(stream), peer));
        };
        let name = ServerName::try_from(address.host.clone())
            .with_context(|| format!("{:?} cannot be the name in a certificate", address.host))?;
        let stream = connector.connect(name, stream).await;
        let stream = stream.with_context(|| format!("cannot connect to {address} with TLS"))?;
        Ok((Box::new(stream), peer))
    }

    /// Describes why a server rejected the connection, and suggests a remedy.
    fn refusal(&self, status: StatusCode, body: &str, path: &str, own_id: &str) -> String {
        let reason: String = body.chars().take(MAX_REASON).collect();
        let prefix = &self.prefix;
        let advice = match status {
            StatusCode::UNAUTHORIZED => {
                let mut text =
                    format!("set {prefix}.username and {prefix}.password to a user of the server");
                if !self.key_file.as_os_str().is_empty() {
                    text.push_str(&format!(
                        ", or, if the server is on this machine, make its key readable in {}",
                        self.key_file.display()
                    ));
                }
                text
            }
            StatusCode::FORBIDDEN if reason.is_empty() => {
                format!("the role of the user in {prefix}.username does not allow {path}")
            }
            StatusCode::CONFLICT => format!(
                "a host with the same host_id {own_id:?} is connected: set host_id to another value on one \
                 of the hosts; after a restart, the server accepts the connection once it has noticed \
                 the end of the old one"
            ),
            StatusCode::NOT_FOUND => {
                format!("the server has no {path}: use the address of an analyzer")
            }
            StatusCode::BAD_REQUEST if self.tls.is_none() && reason.contains("https") => {
                format!("set {CA_CERT} to the file of the server's certificate authority")
            }
            _ => String::new(),
        };
        let parts = [reason.trim(), &advice];
        let parts = parts.into_iter().filter(|part| !part.is_empty());
        let mut text = format!("the server rejects the connection: {status}");
        for part in parts {
            text.push_str("; ");
            text.push_str(part);
        }
        text
    }

    /// Adds the credentials.
    fn authenticate(&self, headers: &mut HeaderMap, peer: SocketAddr) {
        // COMPAT: Skydive's clients always send the header, possibly empty.
        let none = HeaderValue::from_static("");
        headers.insert(COOKIE, self.cookies.clone().unwrap_or(none));
        if let Some(value) = &self.authorization {
            headers.insert(AUTHORIZATION, value.clone());
            return;
        }
        // Only a daemon on this machine accepts the key; it must not be sent to another machine.
        if peer.ip().to_canonical().is_loopback()
            && let Ok(key) = std::fs::read_to_string(&self.key_file)
            && let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {}", key.trim()))
        {
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
    }
}

/// Returns the value of the header `Cookie` with the configured cookies, which proxies may require;
/// `None` without cookies.
///
/// # Errors
/// Returns an error that names the key if a cookie is invalid.
pub(crate) fn cookies(config: &Config) -> anyhow::Result<Option<HeaderValue>> {
    let cookies = match config.tree(COOKIES) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(cookies)) => cookies,
        Some(_) => bail!("{COOKIES}: expected a map of names and values"),
    };
    let mut pairs = Vec::with_capacity(cookies.len());
    for (name, value) in cookies {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            _ => bail!("{COOKIES}.{name}: expected a string"),
        };
        let is_plain = |text: &str, separators: &[u8]| {
            let is_allowed = |byte: u8| byte.is_ascii_graphic() && !separators.contains(&byte);
            text.bytes().all(is_allowed)
        };
        // RFC 6265, section 4.1.1; the value is not shown, because it is a secret.
        if name.is_empty() || !is_plain(name, b"=;,") || !is_plain(&value, b";,") {
            bail!(
                "{COOKIES}.{name}: the name or value contains a blank, `;`, `,`, or a control character"
            );
        }
        pairs.push(format!("{name}={value}"));
    }
    if pairs.is_empty() {
        return Ok(None);
    }
    let mut header = HeaderValue::from_str(&pairs.join("; ")).context(COOKIES)?;
    header.set_sensitive(true);
    Ok(Some(header))
}

/// Returns the TLS connector; `None` if no client TLS is configured.
fn connector(config: &Config) -> anyhow::Result<Option<TlsConnector>> {
    let path =
        |key: &str| Some(PathBuf::from(config.text(key))).filter(|p| !p.as_os_str().is_empty());
    let identity = match (path(CLIENT_CERT), path(CLIENT_KEY)) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        _ => bail!("{CLIENT_CERT}, {CLIENT_KEY}: set both or neither"),
    };
    let roots = tls::configured_roots(config)?;
    if identity.is_none() && roots.is_none() {
        return Ok(None);
    }
    let roots = roots.unwrap_or_else(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots
    });
    let builder = ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .context("cannot set up TLS")?
        .with_root_certificates(roots);
    let client = match identity {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let certificates = tls::certificates(&cert)
                .with_context(|| format!("{CLIENT_CERT}: {}", cert.display()))?;
            let key = tls::private_key(&key)
                .with_context(|| format!("{CLIENT_KEY}: {}", key.display()))?;
            builder
                .with_client_auth_cert(certificates, key)
                .map_err(tls::pair_error)
                .with_context(|| format!("{CLIENT_CERT}, {CLIENT_KEY}"))?
        }
    };
    Ok(Some(TlsConnector::from(Arc::new(client))))
}

const COOKIES: &str = "http.cookie";
const CLIENT_CERT: &str = "tls.client_cert";
const CLIENT_KEY: &str = "tls.client_key";
/// Maximum time for the TCP connection: after a network outage, a new attempt succeeds sooner than
/// the kernel's retries, whose intervals grow.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum time until a server has accepted a WebSocket.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum length of the server's reason in an error, in characters.
const MAX_REASON: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &str) -> anyhow::Result<Option<String>> {
        let cookies = cookies(&Config::parse("test", text)?)?;
        Ok(cookies.map(|value| value.to_str().unwrap().to_owned()))
    }

    #[test]
    fn configured_cookies_are_sent() {
        for (text, value) in [
            ("", None),
            ("http: {cookie: {}}", None),
            ("http: {cookie: {session: abc=}}", Some("session=abc=")),
            (
                "http: {cookie: {a: '1', b: 2, c: true}}",
                Some("a=1; b=2; c=true"),
            ),
        ] {
            assert_eq!(header(text).unwrap().as_deref(), value, "{text}");
        }
    }

    #[test]
    fn an_invalid_cookie_is_an_error_that_names_the_key_and_not_the_value() {
        for (text, name) in [
            ("http: {cookie: text}", "http.cookie:"),
            ("http: {cookie: {a: [1]}}", "http.cookie.a:"),
            ("http: {cookie: {a: 'x;hidden'}}", "http.cookie.a:"),
            ("http: {cookie: {a: 'x hidden'}}", "http.cookie.a:"),
            (r#"http: {cookie: {a: "x\r\nhidden: y"}}"#, "http.cookie.a:"),
        ] {
            let error = header(text).unwrap_err().to_string();
            assert!(
                error.starts_with(name) && !error.contains("hidden"),
                "{error}"
            );
        }
    }

    #[test]
    fn rejections_name_the_key_that_solves_them() {
        let dialer = Dialer {
            tls: None,
            prefix: "agent.auth.cluster".to_owned(),
            authorization: None,
            cookies: None,
            key_file: "/var/lib/skyd/agent.key".into(),
            max_message: 1,
        };
        let text = |status: u16, body: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            dialer.refusal(status, body, "/ws/agent/topology", "edge-01")
        };
        for (status, body, wanted) in [
            (401, "Wrong credentials", "agent.auth.cluster.username"),
            (401, "", "/var/lib/skyd/agent.key"),
            (403, "", "agent.auth.cluster.username does not allow"),
            (409, "", "host_id \"edge-01\" is connected: set host_id"),
            (
                404,
                "404 page not found\n",
                "use the address of an analyzer",
            ),
            (400, "this port requires https\n", "set tls.ca_cert"),
        ] {
            let text = text(status, body);
            assert!(text.contains(wanted), "{status}: {text}");
            assert!(text.contains(body.trim()), "{status}: {text}");
        }
        assert_eq!(
            text(503, "busy"),
            "the server rejects the connection: 503 Service Unavailable; busy"
        );
    }
}
