//! TLS connections to HTTPS servers, whose names are checked as browsers do.

use std::fs;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// Certificates and keys for HTTPS, in PEM format.
#[derive(Clone, Default)]
pub(in crate::topology) struct HttpsOptions {
    /// Certificates of the authorities that sign the certificate of the server; `None` for those
    /// of the system.
    pub(in crate::topology) authorities: Option<Vec<u8>>,
    /// Certificate of the client, with the intermediate certificates; `None` for none.
    pub(in crate::topology) certificate: Option<Vec<u8>>,
    /// Private key of the client; `None` for none.
    pub(in crate::topology) key: Option<Vec<u8>>,
    pub(in crate::topology) check: CertificateCheck,
}

/// Check of the certificate of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::topology) enum CertificateCheck {
    /// An authority must have signed the certificate, and the certificate must contain the name of
    /// the server.
    #[default]
    AuthorityAndName,
    /// Every certificate is accepted.
    None,
}

impl HttpsOptions {
    /// Returns the settings of connections.
    ///
    /// # Errors
    /// Returns a description of the certificate or key that is invalid, without secrets.
    pub(in crate::topology) fn config(&self) -> Result<ClientConfig, String> {
        let provider = Arc::new(ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match self.check {
            CertificateCheck::None => Arc::new(AcceptAll(Arc::clone(&provider))),
            CertificateCheck::AuthorityAndName => {
                let roots = Arc::new(self.roots()?);
                WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
                    .build()
                    .map_err(|error| format!("invalid CA certificates: {error}"))?
            }
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let (Some(certificate), Some(key)) = (&self.certificate, &self.key) else {
            return match self.certificate.is_some() == self.key.is_some() {
                true => Ok(builder.with_no_client_auth()),
                false => Err("a client needs both a certificate and a key".to_owned()),
            };
        };
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| format!("invalid client key: {error}"))?;
        builder
            .with_client_auth_cert(certificates(certificate)?, key)
            .map_err(|error| format!("invalid client certificate: {error}"))
    }

    fn roots(&self) -> Result<RootCertStore, String> {
        let system;
        let text = match &self.authorities {
            Some(text) => text,
            None => {
                let files = SYSTEM_AUTHORITIES.iter();
                let text = files.filter_map(|path| fs::read(path).ok()).next();
                system = text.ok_or("the system has no CA certificates")?;
                &system
            }
        };
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(certificates(text)?);
        match added {
            0 => Err("there is no valid CA certificate".to_owned()),
            _ => Ok(roots),
        }
    }
}

fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    read.map_err(|error| format!("cannot parse a certificate: {error}"))
}

/// Accepts all certificates: the user has disabled the check.
#[derive(Debug)]
struct AcceptAll(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAll {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Files with the certificates of the authorities that the system trusts, by distribution.
const SYSTEM_AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_text() {
        let with = |authorities: &[u8], certificate: Option<&[u8]>| {
            let options = HttpsOptions {
                authorities: Some(authorities.to_vec()),
                certificate: certificate.map(<[u8]>::to_vec),
                ..HttpsOptions::default()
            };
            options.config().unwrap_err()
        };
        assert_eq!(with(b"", None), "there is no valid CA certificate");
        let options = HttpsOptions {
            check: CertificateCheck::None,
            certificate: Some(Vec::new()),
            ..HttpsOptions::default()
        };
        let error = options.config().unwrap_err();
        assert_eq!(error, "a client needs both a certificate and a key");
    }
}
