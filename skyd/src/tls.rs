//! TLS of the main listener: server certificate, client certificates, reloading.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use crate::config::Config;
use anyhow::{Context, anyhow, bail};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{self, InconsistentKeys, RootCertStore, ServerConfig};

/// TLS settings of the main listener, from files that can be reloaded.
pub(crate) struct Tls {
    files: Files,
    current: RwLock<Arc<ServerConfig>>,
}

/// Paths of the files.
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    /// File of the authorities that must have signed client certificates; `None` if clients need no
    /// certificate.
    client_authorities: Option<PathBuf>,
}

impl Tls {
    /// Reads the files that the configuration names; `None` if TLS is not configured. An agent may
    /// use TLS for its analyzers only.
    ///
    /// # Errors
    /// Returns an error if a key is missing that another key requires, or a file is invalid; the
    /// error names the key.
    pub(crate) fn from_config(config: &Config, is_agent: bool) -> anyhow::Result<Option<Self>> {
        let path = |key: &str| Some(config.text(key)).filter(|text| !text.is_empty());
        let authorities = path(CA_CERT);
        let is_client = [CLIENT_CERT, CLIENT_KEY]
            .iter()
            .all(|key| path(key).is_some());
        let (certificate, key) = match (path(SERVER_CERT), path(SERVER_KEY)) {
            (Some(certificate), Some(key)) => (certificate, key),
            (Some(_), None) => {
                bail!("{SERVER_KEY}: not set, but {SERVER_CERT} requires its private key")
            }
            (None, Some(_)) => {
                bail!("{SERVER_CERT}: not set, but {SERVER_KEY} requires its certificate")
            }
            // Skydive also treats this as a request for TLS, but cannot serve it without a
            // certificate.
            (None, None) if is_client && authorities.is_some() && !is_agent => {
                bail!(
                    "{SERVER_CERT}, {SERVER_KEY}: not set, but {CLIENT_CERT} and {CA_CERT} require them"
                )
            }
            (None, None) if config.flag(REQUIRE) => {
                bail!("{REQUIRE}: requires {SERVER_CERT} and {SERVER_KEY}")
            }
            (None, None) => return Ok(None),
        };
        let client_authorities = match (config.flag(REQUIRE), authorities) {
            (false, _) => None,
            (true, Some(path)) => Some(path.into()),
            (true, None) => bail!("{REQUIRE}: requires {CA_CERT}"),
        };
        let files = Files {
            certificate: certificate.into(),
            key: key.into(),
            client_authorities,
        };
        let current = RwLock::new(Arc::new(files.read()?));
        Ok(Some(Self { files, current }))
    }

    /// Returns the acceptor for the next connection.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&current))
    }

    /// Reloads the files; later connections use them.
    ///
    /// # Errors
    /// Returns an error if a file is invalid. The old certificates then remain in use.
    pub(crate) fn reload(&self) -> anyhow::Result<()> {
        let new = Arc::new(self.files.read()?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }
}

impl Files {
    fn read(&self) -> anyhow::Result<ServerConfig> {
        let certificates = certificates(&self.certificate)
            .with_context(|| format!("{SERVER_CERT}: {}", self.certificate.display()))?;
        let key = private_key(&self.key)
            .with_context(|| format!("{SERVER_KEY}: {}", self.key.display()))?;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .context("cannot set up TLS")?;
        let builder = match &self.client_authorities {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let context = || format!("{CA_CERT}: {}", path.display());
                let roots = Arc::new(roots(path).with_context(context)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
                builder.with_client_cert_verifier(verifier.build().with_context(context)?)
            }
        };
        let mut config = builder
            .with_single_cert(certificates, key)
            .map_err(pair_error)
            .with_context(|| {
                let (certificate, key) = (self.certificate.display(), self.key.display());
                format!("{SERVER_CERT}, {SERVER_KEY}: {certificate}, {key}")
            })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// Reads the configured file of trusted authorities; `None` if no file is configured.
///
/// # Errors
/// Returns the errors of [`roots`], with the name of the key.
pub(crate) fn configured_roots(config: &Config) -> anyhow::Result<Option<RootCertStore>> {
    match config.text(CA_CERT) {
        path if path.is_empty() => Ok(None),
        path => {
            let context = format!("{CA_CERT}: {path}");
            Ok(Some(roots(&path.into()).context(context)?))
        }
    }
}

/// Reads a file with the certificates of trusted authorities.
///
/// # Errors
/// Returns an error if the file cannot be read, is empty, or contains an unsuitable certificate.
pub(crate) fn roots(path: &PathBuf) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .context("the file contains a certificate that is not a valid CA certificate")?;
    }
    Ok(roots)
}

/// Reads the certificates of a PEM file.
///
/// # Errors
/// Returns an error if the file cannot be read or contains no certificate.
pub(crate) fn certificates(path: &PathBuf) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(pem_error)?
        .collect();
    let all = all.map_err(pem_error)?;
    if all.is_empty() {
        bail!("the file contains no certificate in PEM format");
    }
    Ok(all)
}

/// Reads the private key of a PEM file.
///
/// # Errors
/// Returns an error if the file cannot be read or contains no private key.
pub(crate) fn private_key(path: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            anyhow!("the file contains no private key in PEM format, or an encrypted one")
        }
        error => pem_error(error),
    })
}

/// Returns the reason why a PEM file cannot be read.
fn pem_error(error: pem::Error) -> anyhow::Error {
    match error {
        pem::Error::Io(error) => error.into(),
        error => anyhow::Error::from(error).context("the file is not in PEM format"),
    }
}

/// Returns the reason why a certificate and a private key cannot be used together.
pub(crate) fn pair_error(error: rustls::Error) -> anyhow::Error {
    match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            anyhow!("the private key does not belong to the first certificate of the file")
        }
        error => error.into(),
    }
}

/// Returns the cryptographic provider of all TLS connections.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Configuration key of the file with trusted authorities.
pub(crate) const CA_CERT: &str = "tls.ca_cert";
const CLIENT_CERT: &str = "tls.client_cert";
const CLIENT_KEY: &str = "tls.client_key";
const SERVER_CERT: &str = "tls.server_cert";
const SERVER_KEY: &str = "tls.server_key";
const REQUIRE: &str = "tls.require_client_cert";
