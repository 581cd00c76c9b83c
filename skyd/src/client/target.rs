//! Server of the client commands: address, TLS, and credentials.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::header::HeaderValue;
use skylib::api::address::ServiceAddress;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    self, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use super::args::ConnectionArgs;
use crate::config::{self, Config, Sources};
use crate::tls;

/// Server, with the settings of connections to it.
pub(super) struct Target {
    /// Host and port.
    pub(super) address: ServiceAddress,
    /// Setting that determines the address, such as `--analyzer`.
    pub(super) address_source: &'static str,
    /// TLS settings.
    pub(super) security: Security,
    /// Value of the header `Authorization`; `None` without a user name.
    pub(super) authorization: Option<HeaderValue>,
}

/// Use of TLS by connections.
pub(super) enum Security {
    /// Never.
    Plain,
    /// Always.
    Tls(TlsConnector),
    /// Only if the server uses TLS.
    IfAvailable(TlsConnector),
}

impl Target {
    /// Determines the server from options, environment, and configuration, in this order of
    /// precedence.
    ///
    /// # Errors
    /// Returns an error if an address is invalid, a file cannot be read, or options are incomplete.
    pub(super) fn new(args: &ConnectionArgs, environment: &Environment) -> anyhow::Result<Self> {
        let config = configuration(args, environment)?;
        let in_config = || config.list("analyzers").into_iter().next();
        let (chosen, address_source) = None
            .or_else(|| Some((args.analyzer.clone()?, "--analyzer")))
            .or_else(|| Some((environment.value("SKYDIVE_ANALYZER")?, "SKYDIVE_ANALYZER")))
            .or_else(|| Some((environment.value("SKYD_ANALYZER")?, "SKYD_ANALYZER")))
            .or_else(|| Some((in_config()?, "analyzers in the configuration file")))
            .unwrap_or_else(|| (DEFAULT_ADDRESS.to_owned(), "the default"));
        let address = chosen.parse().context(address_source)?;
        let username = args
            .username
            .clone()
            .or_else(|| environment.value_of_either("USERNAME"));
        let password = args
            .password
            .clone()
            .or_else(|| environment.value_of_either("PASSWORD"));
        Ok(Self {
            address,
            address_source,
            security: security(args)?,
            authorization: username
                .map(|name| basic(&name, &password.unwrap_or_default()))
                .transpose()?,
        })
    }

    /// Returns the name that the certificate of the server must have.
    ///
    /// # Errors
    /// Returns an error if the host is not a valid name.
    pub(super) fn server_name(&self) -> anyhow::Result<ServerName<'static>> {
        let host = self.address.host.clone();
        ServerName::try_from(host.clone())
            .with_context(|| format!("{host:?} cannot be the name in a certificate"))
    }
}

/// Environment variables.
pub(super) struct Environment(Vec<(String, String)>);

impl Environment {
    /// Returns the environment variables that configure this process.
    pub(super) fn of_process() -> Self {
        Self(config::environment())
    }

    /// Returns the value of `SKYDIVE_<name>`, or else of `SKYD_<name>`.
    fn value_of_either(&self, name: &str) -> Option<String> {
        let prefixes = ["SKYDIVE_", "SKYD_"].iter();
        prefixes
            .map(|prefix| format!("{prefix}{name}"))
            .find_map(|variable| self.value(&variable))
    }

    /// Returns the value of a variable; an empty value counts as unset.
    fn value(&self, variable: &str) -> Option<String> {
        let (_, value) = self.0.iter().find(|(key, _)| *key == variable)?;
        Some(value.clone()).filter(|value| !value.is_empty())
    }
}

/// Reads the configuration. Errors in files that are not named on the command line are ignored.
fn configuration(args: &ConnectionArgs, environment: &Environment) -> anyhow::Result<Config> {
    if let Some(backend) = args
        .config_backend
        .as_deref()
        .filter(|name| *name != "file")
    {
        bail!("Failed to initialize config: backend {backend:?} is not supported; expected file");
    }
    let (config, errors) = Config::check(&Sources {
        files: args.files.clone(),
        environment: environment.0.clone(),
        ..Sources::default()
    });
    match errors.into_iter().next() {
        Some(error) if !args.files.is_empty() => {
            Err(anyhow::Error::from(error).context("Failed to initialize config"))
        }
        _ => Ok(config),
    }
}

/// Returns the value of a header with a user name and a password.
fn basic(username: &str, password: &str) -> anyhow::Result<HeaderValue> {
    let text = format!("Basic {}", BASE64.encode(format!("{username}:{password}")));
    let mut value = HeaderValue::from_str(&text).context("--username")?;
    value.set_sensitive(true);
    Ok(value)
}

/// Determines from the options whether to use TLS.
fn security(args: &ConnectionArgs) -> anyhow::Result<Security> {
    let identity = match (&args.cert, &args.key) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        (Some(_), None) => bail!("--cert requires --key"),
        (None, Some(_)) => bail!("--key requires --cert"),
    };
    if identity.is_none() && args.cacert.is_none() && !args.insecure {
        return Ok(Security::Plain);
    }
    let builder = ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .context("cannot set up TLS")?;
    let builder = if args.insecure {
        let verifier = Arc::new(NoCheck(tls::provider()));
        builder
            .dangerous()
            .with_custom_certificate_verifier(verifier)
    } else {
        builder.with_root_certificates(trusted(args.cacert.as_ref())?)
    };
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let certificates =
                tls::certificates(cert).with_context(|| format!("--cert: {}", cert.display()))?;
            let key = tls::private_key(key).with_context(|| format!("--key: {}", key.display()))?;
            builder
                .with_client_auth_cert(certificates, key)
                .map_err(tls::pair_error)
                .context("--cert, --key")?
        }
    };
    let connector = TlsConnector::from(Arc::new(config));
    Ok(if identity.is_none() && args.cacert.is_none() {
        Security::IfAvailable(connector)
    } else {
        Security::Tls(connector)
    })
}

/// Returns the authorities of a file, or the authorities of the system without a file.
fn trusted(cacert: Option<&PathBuf>) -> anyhow::Result<RootCertStore> {
    if let Some(path) = cacert {
        return tls::roots(path).with_context(|| format!("--cacert: {}", path.display()));
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        bail!("the system has no trusted certificate authorities; set --cacert");
    }
    Ok(roots)
}

/// Verifier for `--insecure`: accepts every certificate whose private key the server has.
#[derive(Debug)]
struct NoCheck(Arc<CryptoProvider>);

impl ServerCertVerifier for NoCheck {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Address of an analyzer with default settings.
const DEFAULT_ADDRESS: &str = "127.0.0.1:8082";

#[cfg(test)]
mod tests {
    use super::*;

    fn target(args: &ConnectionArgs, variables: &[(&str, &str)]) -> anyhow::Result<Target> {
        let variables = variables
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Target::new(args, &Environment(variables.collect()))
    }

    #[test]
    fn the_address_is_from_option_environment_configuration_or_default() {
        let folder = std::env::temp_dir().join(format!("skyd-client-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("c.yml");
        std::fs::write(&file, "analyzers: ['conf:1', 'other:2']").unwrap();
        let environment = [("SKYD_ANALYZER", "own:4"), ("SKYDIVE_ANALYZER", "env:3")];
        let with = |analyzer: Option<&str>, files: &[&PathBuf], variables: &[(&str, &str)]| {
            let args = ConnectionArgs {
                analyzer: analyzer.map(str::to_owned),
                files: files.iter().map(|file| (*file).clone()).collect(),
                ..ConnectionArgs::default()
            };
            let target = target(&args, variables).unwrap();
            (target.address.to_string(), target.address_source)
        };
        let is = |address: &str, source| (address.to_owned(), source);
        let given = with(Some("5"), &[&file], &environment);
        assert_eq!(given, is("localhost:5", "--analyzer"));
        let set = with(None, &[&file], &environment);
        assert_eq!(set, is("env:3", "SKYDIVE_ANALYZER"));
        let own = with(None, &[&file], &environment[..1]);
        assert_eq!(own, is("own:4", "SKYD_ANALYZER"));
        let configured = with(None, &[&file], &[("SKYDIVE_ANALYZER", "")]);
        assert_eq!(
            configured,
            is("conf:1", "analyzers in the configuration file")
        );
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn credentials_are_from_options_or_environment() {
        let environment = [("SKYDIVE_USERNAME", "admin"), ("SKYDIVE_PASSWORD", "pass")];
        let of = |args: &ConnectionArgs, variables: &[(&str, &str)]| {
            let found = target(args, variables).unwrap().authorization;
            found.map(|value| value.to_str().unwrap().to_owned())
        };
        let none = ConnectionArgs::default();
        assert_eq!(of(&none, &[]), None);
        let encoded = |text: &str| Some(format!("Basic {}", BASE64.encode(text)));
        assert_eq!(of(&none, &environment), encoded("admin:pass"));
        let wrong = ConnectionArgs {
            password: Some("wrong".to_owned()),
            ..ConnectionArgs::default()
        };
        assert_eq!(of(&wrong, &environment), encoded("admin:wrong"));
    }

    #[test]
    fn wrong_options_are_errors_that_name_them() {
        let error = |args: ConnectionArgs| format!("{:#}", target(&args, &[]).err().unwrap());
        let analyzer = |text: &str| ConnectionArgs {
            analyzer: Some(text.to_owned()),
            ..ConnectionArgs::default()
        };
        assert!(error(analyzer("one:two:three")).contains("one:two:three"));
        let missing = ConnectionArgs {
            files: vec!["/nonexistent.yml".into()],
            ..ConnectionArgs::default()
        };
        assert!(error(missing).starts_with("Failed to initialize config: "));
        let etcd = ConnectionArgs {
            config_backend: Some("etcd".to_owned()),
            ..ConnectionArgs::default()
        };
        assert!(error(etcd).starts_with("Failed to initialize config: "));
        let half = ConnectionArgs {
            cert: Some("c.pem".into()),
            ..ConnectionArgs::default()
        };
        assert_eq!(error(half), "--cert requires --key");
        let unreadable = ConnectionArgs {
            cacert: Some("/nonexistent.pem".into()),
            ..ConnectionArgs::default()
        };
        assert!(error(unreadable).starts_with("--cacert: /nonexistent.pem"));
    }
}
