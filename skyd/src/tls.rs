//! TLS: the certificate that the daemon shows, and those it asks its clients for.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use crate::config::Config;
use anyhow::{Context, bail};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// TLS of the listener, from files that can be read again.
pub(crate) struct Tls {
    files: Files,
    current: RwLock<Arc<ServerConfig>>,
}

struct Files {
    certificate: PathBuf,
    key: PathBuf,
    /// Whose certificates clients must show; `None` where they need none.
    client_authorities: Option<PathBuf>,
}

impl Tls {
    /// What the configuration asks for; `None` for no TLS.
    ///
    /// # Errors
    /// A setting that is missing beside another, or a file that cannot be used, with its key.
    pub(crate) fn from_config(config: &Config) -> anyhow::Result<Option<Self>> {
        let path = |key: &str| Some(config.text(key)).filter(|text| !text.is_empty());
        let authorities = path(CA_CERT);
        let is_client = [CLIENT_CERT, CLIENT_KEY]
            .iter()
            .all(|key| path(key).is_some());
        let (certificate, key) = match (path(SERVER_CERT), path(SERVER_KEY)) {
            (Some(certificate), Some(key)) => (certificate, key),
            (Some(_), None) => bail!("{SERVER_KEY}: the key of {SERVER_CERT} expected"),
            (None, Some(_)) => bail!("{SERVER_CERT}: the certificate of {SERVER_KEY} expected"),
            // The original counts this as TLS, too, and then has nothing to serve it with.
            (None, None) if is_client && authorities.is_some() => {
                bail!("{SERVER_CERT}, {SERVER_KEY}: expected beside {CLIENT_CERT}")
            }
            (None, None) if config.flag(REQUIRE) => {
                bail!("{REQUIRE}: {SERVER_CERT} and {SERVER_KEY} expected")
            }
            (None, None) => return Ok(None),
        };
        let client_authorities = match (config.flag(REQUIRE), authorities) {
            (false, _) => None,
            (true, Some(path)) => Some(path.into()),
            (true, None) => bail!("{REQUIRE}: {CA_CERT} expected"),
        };
        let files = Files {
            certificate: certificate.into(),
            key: key.into(),
            client_authorities,
        };
        let current = RwLock::new(Arc::new(files.read()?));
        Ok(Some(Self { files, current }))
    }

    /// What makes a TLS connection of the next one.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&current))
    }

    /// Reads the files again, for connections from now on.
    ///
    /// # Errors
    /// A file that cannot be used: everything stays as it is.
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
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .with_context(|| format!("{SERVER_KEY}: {}", self.key.display()))?;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .context("TLS")?;
        let builder = match &self.client_authorities {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let place = || format!("{CA_CERT}: {}", path.display());
                let roots = Arc::new(roots(path).with_context(place)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
                builder.with_client_cert_verifier(verifier.build().with_context(place)?)
            }
        };
        let mut config = builder
            .with_single_cert(certificates, key)
            .with_context(|| format!("{SERVER_CERT}, {SERVER_KEY}"))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// The certificates of a file, as those one trusts.
pub(crate) fn roots(path: &PathBuf) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .context("not a certificate that can be trusted")?;
    }
    Ok(roots)
}

fn certificates(path: &PathBuf) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)?.collect();
    let all = all?;
    if all.is_empty() {
        bail!("there is no certificate in it");
    }
    Ok(all)
}

/// The cryptography of every TLS connection, in and out.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The certificates of authorities.
pub(crate) const CA_CERT: &str = "tls.ca_cert";
const CLIENT_CERT: &str = "tls.client_cert";
const CLIENT_KEY: &str = "tls.client_key";
const SERVER_CERT: &str = "tls.server_cert";
const SERVER_KEY: &str = "tls.server_key";
const REQUIRE: &str = "tls.require_client_cert";
