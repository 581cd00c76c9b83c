//! `ClusterAccess`: how to reach the API server of a cluster, and with which credentials.
//!
//! The first of these that exists is used: the configured file, the service account of the pod that
//! this program runs in, the file in `$KUBECONFIG`, and `~/.kube/config`. Programs that supply
//! credentials (`exec`, `auth-provider`) are not run.

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value as Json;

use crate::topology::metadata_files::{FileParser, read_limited};
use crate::topology::tls::{CertificateCheck, HttpsOptions};

/// Address and credentials of an API server.
pub(super) struct ClusterAccess {
    /// Name of the cluster in the file; empty if there is none.
    pub(super) cluster_name: String,
    /// Host and port.
    pub(super) service: String,
    /// Prefix of all paths of the API; without a slash at the end.
    pub(super) prefix: String,
    /// Settings of TLS; `None` for plain HTTP.
    pub(super) tls: Option<Tls>,
    pub(super) credentials: Credentials,
}

/// Settings of a TLS connection.
pub(super) struct Tls {
    pub(super) config: Arc<rustls::ClientConfig>,
    /// Name that the certificate of the server must contain.
    pub(super) server_name: String,
}

/// Credentials that are sent with each request.
pub(super) enum Credentials {
    /// None, or the certificate of the client.
    None,
    Token(String),
    /// File with a token, which is read for each request because tokens are replaced.
    TokenFile(PathBuf),
    /// Name and password, encoded.
    Basic(String),
}

/// Does not show secrets.
impl fmt::Debug for ClusterAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterAccess")
            .field("cluster_name", &self.cluster_name)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

impl ClusterAccess {
    /// Finds the settings of the cluster.
    ///
    /// # Errors
    /// Returns a description of the file or the key that is missing or invalid; it contains no
    /// secrets.
    pub(super) fn find(config_file: &Path, parser: FileParser) -> Result<Self, String> {
        if config_file.exists() {
            return Self::read(config_file, parser);
        }
        if let Some(access) = Self::in_cluster(Path::new(SERVICE_ACCOUNT))? {
            return Ok(access);
        }
        let files = env::var_os("KUBECONFIG").unwrap_or_default();
        let files = env::split_paths(&files).filter(|path| !path.as_os_str().is_empty());
        let home = env::var_os("HOME").map(|home| Path::new(&home).join(".kube/config"));
        match files.chain(home).find(|path| path.exists()) {
            Some(path) => Self::read(&path, parser),
            None => Err(format!(
                "{} does not exist, this program does not run in a pod, and there is no other \
                 configuration",
                config_file.display()
            )),
        }
    }

    /// Returns the settings of the pod that this program runs in; `None` outside of a cluster.
    fn in_cluster(folder: &Path) -> Result<Option<Self>, String> {
        let variable = |name: &str| env::var(name).ok().filter(|text| !text.is_empty());
        let host = variable("KUBERNETES_SERVICE_HOST");
        let (Some(host), token) = (host, folder.join("token")) else {
            return Ok(None);
        };
        if !token.exists() {
            return Ok(None);
        }
        let port = variable("KUBERNETES_SERVICE_PORT").unwrap_or_else(|| "443".to_owned());
        let host = match host.contains(':') {
            true => format!("[{host}]"),
            false => host,
        };
        let authority = read_file(&folder.join("ca.crt"))?;
        Self::new(&format!("https://{host}:{port}"), "", |options| {
            options.authorities = Some(authority);
        })
        .map(|access| Some(access.with_credentials(Credentials::TokenFile(token))))
    }

    /// Reads a file in the format of `kubectl`.
    pub(super) fn read(path: &Path, parser: FileParser) -> Result<Self, String> {
        let text = read_limited(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        let access = parser(&text).and_then(|tree| Self::from_tree(&tree, folder));
        access.map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Returns the settings of the current context of a configuration. Relative paths begin at
    /// `folder`.
    fn from_tree(tree: &Json, folder: &Path) -> Result<Self, String> {
        let current = tree["current-context"].as_str().unwrap_or_default();
        let context = entry(tree, "contexts", "context", current)?;
        let name = |key: &str| context[key].as_str().unwrap_or_default();
        let cluster = entry(tree, "clusters", "cluster", name("cluster"))?;
        let user = match name("user") {
            "" => &Json::Null,
            user => entry(tree, "users", "user", user)?,
        };
        for key in ["exec", "auth-provider"] {
            if !user[key].is_null() {
                return Err(format!(
                    "user {:?} has {key:?}, which is not supported; use a token or a certificate",
                    name("user")
                ));
            }
        }
        if !cluster["proxy-url"].is_null() {
            return Err("proxy-url is not supported".to_owned());
        }
        let server = cluster["server"].as_str().unwrap_or_default();
        let server_name = cluster["tls-server-name"].as_str().unwrap_or_default();
        let authorities = content(cluster, "certificate-authority", folder)?;
        let certificate = content(user, "client-certificate", folder)?;
        let key = content(user, "client-key", folder)?;
        let is_insecure = cluster["insecure-skip-tls-verify"] == true;
        let access = Self::new(server, server_name, |options| {
            options.authorities = authorities;
            options.certificate = certificate;
            options.key = key;
            if is_insecure {
                options.check = CertificateCheck::None;
            }
        })?;
        let access = access.with_credentials(credentials(user, folder)?);
        Ok(Self {
            cluster_name: name("cluster").to_owned(),
            ..access
        })
    }

    /// Returns the settings of a server, such as `https://192.0.2.1:6443/prefix`.
    fn new(
        server: &str,
        server_name: &str,
        set: impl FnOnce(&mut HttpsOptions),
    ) -> Result<Self, String> {
        let invalid = || format!("server {server:?} is not a URL such as https://192.0.2.1:6443");
        let (scheme, rest) = server.split_once("://").ok_or_else(invalid)?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let is_printable = server.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_printable || authority.is_empty() || authority.contains('@') {
            return Err(invalid());
        }
        let port = match scheme {
            "https" => 443,
            "http" => 80,
            _ => return Err(invalid()),
        };
        let has_port = authority.rsplit_once(':').is_some_and(|(host, port)| {
            (!host.contains(':') || host.ends_with(']')) && port.parse::<u16>().is_ok()
        });
        let service = match has_port {
            true => authority.to_owned(),
            false => format!("{authority}:{port}"),
        };
        let host = service.rsplit_once(':').map_or("", |(host, _)| host);
        let name = match server_name {
            "" => host.trim_matches(['[', ']']),
            name => name,
        };
        let tls = match scheme {
            "https" => {
                let mut options = HttpsOptions::default();
                set(&mut options);
                Some(Tls {
                    config: Arc::new(options.config()?),
                    server_name: name.to_owned(),
                })
            }
            _ => None,
        };
        let path = path.trim_end_matches('/');
        Ok(Self {
            cluster_name: String::new(),
            prefix: match path {
                "" => String::new(),
                path => format!("/{path}"),
            },
            service,
            tls,
            credentials: Credentials::None,
        })
    }

    fn with_credentials(self, credentials: Credentials) -> Self {
        Self {
            credentials,
            ..self
        }
    }

    /// Returns the value of the header `Authorization`; `None` without credentials.
    ///
    /// # Errors
    /// Returns a description if the file of the token cannot be read.
    pub(super) fn authorization(&self) -> Result<Option<String>, String> {
        let token = match &self.credentials {
            Credentials::None => return Ok(None),
            Credentials::Basic(encoded) => return Ok(Some(format!("Basic {encoded}"))),
            Credentials::Token(token) => token.clone(),
            Credentials::TokenFile(path) => {
                let text = read_limited(path);
                let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
                text.trim().to_owned()
            }
        };
        match token.bytes().all(|byte| byte.is_ascii_graphic()) && !token.is_empty() {
            true => Ok(Some(format!("Bearer {token}"))),
            false => Err("the token is empty or contains blanks".to_owned()),
        }
    }
}

/// Returns the credentials of a user.
fn credentials(user: &Json, folder: &Path) -> Result<Credentials, String> {
    let text = |key: &str| user[key].as_str().filter(|text| !text.is_empty());
    if let Some(path) = text("tokenFile") {
        return Ok(Credentials::TokenFile(folder.join(path)));
    }
    if let Some(token) = text("token") {
        return Ok(Credentials::Token(token.to_owned()));
    }
    Ok(match text("username") {
        None => Credentials::None,
        Some(name) => {
            let password = text("password").unwrap_or_default();
            Credentials::Basic(BASE64.encode(format!("{name}:{password}")))
        }
    })
}

/// Returns the entry with a name in one of the lists of the configuration.
fn entry<'a>(tree: &'a Json, list: &str, key: &str, name: &str) -> Result<&'a Json, String> {
    let entries = tree[list].as_array().into_iter().flatten();
    let mut entries = entries.filter(|entry| entry["name"] == name);
    let found = entries.next().map(|entry| &entry[key]);
    found.ok_or_else(|| format!("{list} has no entry {name:?}"))
}

/// Returns the text of `<key>-data`, or of the file `<key>`; `None` if neither is set.
fn content(tree: &Json, key: &str, folder: &Path) -> Result<Option<Vec<u8>>, String> {
    if let Some(data) = tree[format!("{key}-data")]
        .as_str()
        .filter(|data| !data.is_empty())
    {
        let decoded = BASE64.decode(data.trim());
        return decoded
            .map(Some)
            .map_err(|_| format!("{key}-data is not base64"));
    }
    match tree[key].as_str().filter(|path| !path.is_empty()) {
        None => Ok(None),
        Some(path) => read_file(&folder.join(path)).map(Some),
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Folder with the credentials of the service account of a pod.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tree(cluster: &Json, user: &Json) -> Json {
        json!({
            "current-context": "main",
            "contexts": [{"name": "main", "context": {"cluster": "lab", "user": "me"}}],
            "clusters": [{"name": "other", "cluster": {}}, {"name": "lab", "cluster": cluster}],
            "users": [{"name": "me", "user": user}],
        })
    }

    fn access(cluster: &Json, user: &Json) -> Result<ClusterAccess, String> {
        ClusterAccess::from_tree(&tree(cluster, user), Path::new("/nowhere"))
    }

    #[test]
    fn the_current_context_selects_server_and_user() {
        let found = access(
            &json!({"server": "http://192.0.2.1:8001/k8s/c1/"}),
            &json!({"token": "t"}),
        );
        let found = found.unwrap();
        assert_eq!(found.cluster_name, "lab");
        assert_eq!(
            (found.service.as_str(), found.prefix.as_str()),
            ("192.0.2.1:8001", "/k8s/c1")
        );
        assert!(found.tls.is_none());
        assert_eq!(found.authorization().unwrap().as_deref(), Some("Bearer t"));
        assert!(!format!("{found:?}").contains("Bearer"));
    }

    #[test]
    fn tls_has_a_name_and_a_port() {
        let insecure = |server: &str, name: &str| {
            let cluster = json!({"server": server, "tls-server-name": name,
                "insecure-skip-tls-verify": true});
            let found = access(&cluster, &json!({"username": "a", "password": "b"})).unwrap();
            assert_eq!(
                found.authorization().unwrap().as_deref(),
                Some("Basic YTpi")
            );
            (found.service, found.tls.unwrap().server_name)
        };
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            insecure("https://k8s.example", ""),
            pair("k8s.example:443", "k8s.example")
        );
        assert_eq!(
            insecure("https://[2001:db8::1]:6443", ""),
            pair("[2001:db8::1]:6443", "2001:db8::1")
        );
        assert_eq!(
            insecure("https://192.0.2.1", "api"),
            pair("192.0.2.1:443", "api")
        );
    }

    #[test]
    fn errors_name_the_key() {
        let error = |cluster: Json, user: Json| access(&cluster, &user).unwrap_err();
        let http = || json!({"server": "http://a"});
        assert!(error(json!({}), json!({})).contains("is not a URL"));
        assert!(error(json!({"server": "ftp://a"}), json!({})).contains("is not a URL"));
        assert!(error(json!({"server": "http://a b"}), json!({})).contains("is not a URL"));
        assert!(error(http(), json!({"exec": {"command": "x"}})).contains("\"exec\""));
        let proxy = json!({"server": "http://a", "proxy-url": "socks5://b"});
        assert!(error(proxy, json!({})).contains("proxy-url"));
        let data = json!({"server": "https://a", "certificate-authority-data": "***"});
        assert_eq!(
            error(data, json!({})),
            "certificate-authority-data is not base64"
        );
        let file = json!({"server": "https://a", "certificate-authority": "ca.pem"});
        assert!(error(file, json!({})).starts_with("/nowhere/ca.pem: "));
        let other = json!({"current-context": "absent"});
        let error = ClusterAccess::from_tree(&other, Path::new("/")).unwrap_err();
        assert_eq!(error, "contexts has no entry \"absent\"");
    }

    #[test]
    fn a_token_is_a_header_and_cannot_add_another_one() {
        let found = access(
            &json!({"server": "http://a"}),
            &json!({"token": "a\r\nX: b"}),
        )
        .unwrap();
        assert!(found.authorization().is_err());
        let path = env::temp_dir().join(format!("skylib-token-{}", std::process::id()));
        fs::write(&path, "abc\n").unwrap();
        let user = json!({"tokenFile": path.to_str().unwrap()});
        let found = access(&json!({"server": "http://a"}), &user).unwrap();
        assert_eq!(
            found.authorization().unwrap().as_deref(),
            Some("Bearer abc")
        );
        fs::remove_file(&path).unwrap();
        assert!(found.authorization().unwrap_err().contains("skylib-token"));
    }

    #[test]
    fn nothing_is_found_outside_of_a_cluster() {
        assert!(
            ClusterAccess::in_cluster(Path::new("/nowhere"))
                .unwrap()
                .is_none()
        );
    }
}
