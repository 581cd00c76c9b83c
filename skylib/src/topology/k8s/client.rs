//! `ApiClient`: requests to the API server, each with its own connection.

use std::io::{self, BufRead, Read};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::access::ClusterAccess;
use super::event::ApiStatus;
use crate::topology::http::{self, Body};
use crate::topology::stream::{ServerAddress, Stream};

/// A client of the API server of a cluster.
#[derive(Debug)]
pub(super) struct ApiClient(ClusterAccess);

/// Reason why a request or a watch has failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// The probe has to end.
    #[error("the probe has to stop")]
    Stopped,
    /// The version or the token of a list is too old; the list must be read again.
    #[error("the Kubernetes API server no longer has the changes since the requested version")]
    Expired,
    /// The server rejected the credentials.
    #[error("the Kubernetes API server rejects the credentials{0}")]
    Unauthorized(String),
    /// The server rejected the request, or failed to process it.
    #[error("the Kubernetes API server answered with status {code}{message}")]
    Status {
        code: u16,
        /// Description by the server after a colon; empty if there is none.
        message: String,
    },
    /// The response is not a message of the Kubernetes API.
    #[error("the answer of the Kubernetes API server is malformed: {0}")]
    Malformed(String),
    /// The connection failed.
    #[error("{0}")]
    Connection(String),
}

impl ApiError {
    /// Returns the error for a status of a response or of a watch.
    pub(super) fn of_status(code: u16, message: &str) -> Self {
        let message = match message {
            "" => String::new(),
            message => format!(": {message}"),
        };
        match code {
            410 => Self::Expired,
            401 => Self::Unauthorized(message),
            code => Self::Status { code, message },
        }
    }
}

impl From<io::Error> for ApiError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionAborted => Self::Stopped,
            _ if error
                .get_ref()
                .is_some_and(|inner| inner.is::<rustls::Error>()) =>
            {
                Self::Connection(error.to_string())
            }
            io::ErrorKind::InvalidData => Self::Malformed(error.to_string()),
            io::ErrorKind::TimedOut => Self::Connection("the server does not answer".to_owned()),
            io::ErrorKind::UnexpectedEof => {
                Self::Connection("the server has closed the connection".to_owned())
            }
            _ => Self::Connection(error.to_string()),
        }
    }
}

impl ApiClient {
    pub(super) const fn new(access: ClusterAccess) -> Self {
        Self(access)
    }

    /// Returns the address of the server, for messages.
    pub(super) fn address(&self) -> String {
        let scheme = if self.0.tls.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}{}", self.0.service, self.0.prefix)
    }

    /// Sends a request, and returns the body of the response. `timeout` is the maximum time to wait
    /// for the next data from the server.
    ///
    /// # Errors
    /// Returns an error unless the response has the status 200.
    pub(super) fn get<'a>(
        &self,
        path: &str,
        stop: BorrowedFd<'a>,
        timeout: Duration,
    ) -> Result<Body<impl BufRead + use<'a>>, ApiError> {
        let authorization = self.0.authorization().map_err(ApiError::Connection)?;
        let service = &self.0.service;
        let stream = match &self.0.tls {
            None => {
                let address = ServerAddress::Tcp(service.clone());
                Stream::connect(&address, stop, Some(timeout))
            }
            Some(tls) => {
                let config = (tls.config.clone(), tls.server_name.as_str());
                Stream::connect_https(service, config, stop, Some(timeout))
            }
        };
        // An error of TLS has the kind of malformed data, and concerns the connection.
        let stream = stream.map_err(|error| ApiError::Connection(error.to_string()))?;
        let header = authorization
            .as_deref()
            .map(|value| ("Authorization", value));
        let path = format!("{}{path}", self.0.prefix);
        let response = http::send(stream, service, &path, header.as_slice())?;
        if response.status == 200 {
            return Ok(response.body);
        }
        let mut body = Vec::new();
        // Without a description, the status alone is reported.
        let _read = response.body.take(MAX_STATUS_BYTES).read_to_end(&mut body);
        let status = ApiStatus::parse(&body);
        Err(ApiError::of_status(response.status, &status.message))
    }
}

/// Maximum size of the description of an error, in bytes.
const MAX_STATUS_BYTES: u64 = 64 << 10;
