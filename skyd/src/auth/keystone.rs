//! The backend `keystone`: OpenStack's identity service knows the users and makes the tokens.
//!
//! A token is shown to Keystone with every request and counts in one project only.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderValue};
use hyper::http::request::Builder;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::login::{Denied, Login};
use super::policy::User;
use crate::tls;
use crate::urlencoded::path_segment;

/// A project of an identity service.
pub(crate) struct Keystone {
    service: Service,
    project: String,
    /// Without a domain, version 2 of the interface is spoken.
    domain: Option<String>,
    default_role: String,
    turns: Arc<Semaphore>,
}

impl Keystone {
    /// Speaks to the service at an address, `http://host:5000`, with or without the version.
    ///
    /// # Errors
    /// When the address is none. `authorities` are trusted beside the system's, over `https`.
    pub(crate) fn new(
        address: &str,
        project: String,
        domain: String,
        default_role: String,
        authorities: Option<RootCertStore>,
    ) -> anyhow::Result<Self> {
        let domain = Some(domain).filter(|domain| !domain.is_empty());
        let version = if domain.is_some() { "v3" } else { "v2.0" };
        Ok(Self {
            service: Service::new(address, version, authorities)?,
            project,
            domain,
            default_role,
            turns: Arc::new(Semaphore::new(REQUESTS_AT_A_TIME)),
        })
    }

    /// Gets a token.
    ///
    /// # Errors
    /// [`Denied`] when the service refuses, or does not answer as it should.
    pub(crate) async fn login(&self, name: &str, password: &str) -> Result<Login, Denied> {
        let (path, body) = match &self.domain {
            Some(domain) => (
                "auth/tokens",
                v3_credentials(name, password, &self.project, domain),
            ),
            None => (
                "tokens",
                json!({"auth": {
                    "tenantName": self.project,
                    "passwordCredentials": {"username": name, "password": password},
                }}),
            ),
        };
        let request = Request::builder().method(Method::POST);
        let answer = self.ask(request, path, body.to_string()).await?;
        let token = match &self.domain {
            Some(_) => answer
                .headers()
                .get("x-subject-token")
                .and_then(|v| v.to_str().ok()),
            None => answer
                .body()
                .pointer("/access/token/id")
                .and_then(Value::as_str),
        };
        let token = token.ok_or_else(nonsense)?.to_owned();
        let user = self.user(answer.body())?;
        Ok(Login { user, token })
    }

    /// Whose token this is.
    ///
    /// # Errors
    /// [`Denied`] when the service does not know it, or it is of another project.
    pub(crate) async fn verify(&self, token: &str) -> Result<User, Denied> {
        let secret = HeaderValue::from_str(token).map_err(|_| Denied::Credentials)?;
        if token.is_empty() {
            return Err(Denied::Credentials);
        }
        let request = Request::builder().header("x-auth-token", &secret);
        let (request, path) = match &self.domain {
            Some(_) => (
                request.header("x-subject-token", &secret),
                "auth/tokens".to_owned(),
            ),
            None => (request, format!("tokens/{}", path_segment(token))),
        };
        let answer = self.ask(request, &path, String::new()).await?;
        self.user(answer.body())
    }

    /// Who a good answer is about; it must be about the right project.
    fn user(&self, body: &Value) -> Result<User, Denied> {
        let text = |path: &str| body.pointer(path).and_then(Value::as_str);
        let (name, is_ours) = match &self.domain {
            Some(domain) => (
                text("/token/user/name"),
                text("/token/project/name") == Some(&self.project)
                    && text("/token/project/domain/name") == Some(domain),
            ),
            None => (
                text("/access/user/username").or_else(|| text("/access/user/name")),
                text("/access/token/tenant/name") == Some(&self.project),
            ),
        };
        if !is_ours {
            return Err(Denied::Backend(
                "the token is of another project or domain".to_owned(),
            ));
        }
        Ok(User {
            name: name.ok_or_else(nonsense)?.to_owned(),
            default_role: self.default_role.clone(),
        })
    }

    async fn ask(
        &self,
        request: Builder,
        path: &str,
        body: String,
    ) -> Result<Response<Value>, Denied> {
        let answer = async {
            let _turn = self.turns.acquire().await?;
            self.service.ask(request, path, body).await
        };
        let answer = match tokio::time::timeout(LONGEST_ANSWER, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                tracing::warn!(error = format!("{error:#}"), "Keystone cannot be asked");
                return Err(Denied::Backend("Keystone cannot be asked".to_owned()));
            }
            Err(_) => {
                tracing::warn!("Keystone does not answer in time");
                return Err(Denied::Backend(
                    "Keystone does not answer in time".to_owned(),
                ));
            }
        };
        match answer.status() {
            status if status.is_success() => Ok(answer),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
                Err(Denied::Credentials)
            }
            status => Err(Denied::Backend(format!(
                "Keystone answered {}",
                status.as_u16()
            ))),
        }
    }
}

fn v3_credentials(name: &str, password: &str, project: &str, domain: &str) -> Value {
    json!({"auth": {
        "identity": {
            "methods": ["password"],
            "password": {
                "user": {"name": name, "password": password, "domain": {"name": domain}},
            },
        },
        "scope": {"project": {"name": project, "domain": {"name": domain}}},
    }})
}

fn nonsense() -> Denied {
    Denied::Backend("Keystone's answer cannot be understood".to_owned())
}

/// Where the service is.
struct Service {
    host: String,
    port: u16,
    /// `host:port` as it was written.
    authority: String,
    /// What stands before every path, with a slash at both ends.
    base: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Service {
    fn new(
        address: &str,
        version: &str,
        authorities: Option<RootCertStore>,
    ) -> anyhow::Result<Self> {
        let uri: Uri = address.parse().context("http://host:port expected")?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            bail!("http://host:port expected");
        };
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let (usual, tls) = match scheme {
            "http" => (80, None),
            "https" => {
                let name = ServerName::try_from(host.clone()).context("not a server's name")?;
                (443, Some((connector(authorities)?, name)))
            }
            _ => bail!("http or https expected"),
        };
        // The version may be written or not, and for the other one.
        let path = uri.path().trim_end_matches('/');
        let path = path
            .strip_suffix("/v3")
            .or(path.strip_suffix("/v2.0"))
            .unwrap_or(path);
        Ok(Self {
            port: authority.port_u16().unwrap_or(usual),
            authority: authority.host().to_owned()
                + &authority
                    .port_u16()
                    .map(|port| format!(":{port}"))
                    .unwrap_or_default(),
            host,
            base: format!("{path}/{version}/"),
            tls,
        })
    }

    /// Sends a request on a connection of its own; the path goes on from the base.
    async fn ask(
        &self,
        request: Builder,
        path: &str,
        body: String,
    ) -> anyhow::Result<Response<Value>> {
        let request = request
            .uri(format!("{}{path}", self.base))
            .header(HOST, &self.authority)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))?;
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        match &self.tls {
            None => exchange(stream, request).await,
            Some((connector, name)) => {
                exchange(connector.connect(name.clone(), stream).await?, request).await
            }
        }
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> anyhow::Result<Response<Value>> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let answer = sender.send_request(request).await?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, LONGEST_BODY).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
        // Errors need not be JSON, and tell nothing that is passed on.
        let body = serde_json::from_slice(&body).unwrap_or_default();
        Ok(Response::from_parts(head, body))
    };
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        // It may end with the last byte of the answer.
        ended = connection => {
            ended?;
            exchange.await
        }
    }
}

fn connector(authorities: Option<RootCertStore>) -> anyhow::Result<TlsConnector> {
    let mut roots = authorities.unwrap_or_else(RootCertStore::empty);
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        bail!(
            "the system trusts no certificate authority, and {} is not set",
            tls::CA_CERT
        );
    }
    let config = ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// A token is checked with every request: a service that hangs must not hold them up for long.
const LONGEST_ANSWER: Duration = Duration::from_secs(10);
/// The catalogue of a large cloud is some hundred kilobytes.
const LONGEST_BODY: usize = 4 << 20;
const REQUESTS_AT_A_TIME: usize = 32;
