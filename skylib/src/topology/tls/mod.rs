//! TLS connections of probes to services.

#[cfg(feature = "engine")]
mod client;
#[cfg(feature = "engine")]
mod https;

use std::path::PathBuf;

#[cfg(feature = "engine")]
pub(super) use https::{CertificateCheck, HttpsOptions};

/// Files for TLS, in PEM format.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsFiles {
    /// Certificates of the authorities that sign the certificate of the server.
    pub authorities: PathBuf,
    /// Certificate of the client, with the intermediate certificates; empty for none.
    pub certificate: PathBuf,
    /// Private key of the client; empty for none.
    pub key: PathBuf,
}

impl TlsFiles {
    /// Returns files without a certificate of the client.
    pub fn new(authorities: impl Into<PathBuf>) -> Self {
        Self {
            authorities: authorities.into(),
            ..Self::default()
        }
    }

    /// Sets the certificate and the private key of the client.
    #[must_use]
    pub fn with_client(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.certificate = certificate.into();
        self.key = key.into();
        self
    }
}
