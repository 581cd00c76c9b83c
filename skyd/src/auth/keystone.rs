//! The backend `keystone`: OpenStack's identity service authenticates users and issues tokens.
//!
//! Keystone verifies the token of every client request; a token is valid in one project only.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use hyper::http::request::Builder;
use hyper::{Method, Request, Response, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_rustls::rustls::RootCertStore;

use super::login::{Denied, Login};
use super::policy::User;
use crate::http_client::{self, Server};
use crate::urlencoded::path_segment;

/// Project of an identity service, in which tokens must be valid.
pub(crate) struct Keystone {
    service: Service,
    project: String,
    /// Domain of users and project; `None` selects version 2 of the API.
    domain: Option<String>,
    default_role: String,
    request_slots: Arc<Semaphore>,
}

impl Keystone {
    /// Creates a client of the service at `address`: `http://host:5000`, with or without a version.
    /// Over `https`, the client trusts `authorities` in addition to the authorities of the system.
    ///
    /// # Errors
    /// Returns an error if the address is invalid, or no authority is trusted.
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
            request_slots: Arc::new(Semaphore::new(REQUESTS_AT_A_TIME)),
        })
    }

    /// Obtains a token for a name and a password.
    ///
    /// # Errors
    /// Returns [`Denied`] if the service rejects the credentials, cannot be reached, or sends an
    /// invalid response.
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
        let answer = self.send(request, path, body.to_string()).await?;
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
        let token = token.ok_or_else(invalid_response)?.to_owned();
        let user = self.user(answer.body())?;
        Ok(Login { user, token })
    }

    /// Returns the user of a token.
    ///
    /// # Errors
    /// Returns [`Denied`] if the service does not accept the token, or the token belongs to another
    /// project.
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
        let answer = self.send(request, &path, String::new()).await?;
        self.user(answer.body())
    }

    /// Returns the user in a successful response. Fails if the project or domain differs from the
    /// configured one.
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
                "the token belongs to another project or domain".to_owned(),
            ));
        }
        Ok(User {
            name: name.ok_or_else(invalid_response)?.to_owned(),
            default_role: self.default_role.clone(),
        })
    }

    /// Sends a request, subject to the timeout and the limit on concurrent requests; maps failures
    /// to [`Denied`].
    async fn send(
        &self,
        request: Builder,
        path: &str,
        body: String,
    ) -> Result<Response<Value>, Denied> {
        let response = async {
            let _slot = self.request_slots.acquire().await?;
            self.service.send(request, path, body).await
        };
        let answer = match tokio::time::timeout(RESPONSE_TIMEOUT, response).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "cannot reach Keystone; check auth.<name>.auth_url"
                );
                return Err(Denied::Backend("cannot reach Keystone".to_owned()));
            }
            Err(_) => {
                tracing::warn!("Keystone did not answer within {RESPONSE_TIMEOUT:?}");
                return Err(Denied::Backend(
                    "Keystone did not answer in time".to_owned(),
                ));
            }
        };
        match answer.status() {
            status if status.is_success() => Ok(answer),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
                Err(Denied::Credentials)
            }
            status => Err(Denied::Backend(format!(
                "Keystone answered with status {}",
                status.as_u16()
            ))),
        }
    }
}

/// Returns the JSON body of a login request of the Keystone API, version 3.
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

/// Returns the error for a response without the expected members.
fn invalid_response() -> Denied {
    Denied::Backend("Keystone sent an invalid response".to_owned())
}

/// Address of the service.
struct Service {
    server: Server,
    /// Prefix of all paths, with a slash at both ends.
    base: String,
}

impl Service {
    /// Parses the URL of the service; a version in its path is replaced by `version`.
    fn new(
        address: &str,
        version: &str,
        authorities: Option<RootCertStore>,
    ) -> anyhow::Result<Self> {
        let uri: Uri = address.parse().context("expected http://host:port")?;
        let server = Server::of(&uri, || http_client::connector(authorities))?;
        // The configured URL may contain a version, even the other one.
        let path = uri.path().trim_end_matches('/');
        let path = path
            .strip_suffix("/v3")
            .or(path.strip_suffix("/v2.0"))
            .unwrap_or(path);
        Ok(Self {
            server,
            base: format!("{path}/{version}/"),
        })
    }

    /// Sends a request to `path` below the base on a new connection.
    async fn send(
        &self,
        request: Builder,
        path: &str,
        body: String,
    ) -> anyhow::Result<Response<Value>> {
        let request = request
            .uri(format!("{}{path}", self.base))
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))?;
        let answer = self.server.send(request, MAX_RESPONSE_BYTES).await?;
        // Error responses need not be JSON, and are not passed on to clients.
        Ok(answer.map(|body| serde_json::from_slice(&body).unwrap_or_default()))
    }
}

/// Timeout of a response: tokens are verified with every request, which an unresponsive service
/// would block.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum size of a response, in bytes. The service catalog of a large cloud has several hundred
/// kilobytes.
const MAX_RESPONSE_BYTES: usize = 4 << 20;
/// Maximum number of requests in progress.
const REQUESTS_AT_A_TIME: usize = 32;
