//! HTTP and WebSocket over TLS, with certificates of a test authority.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::client::Connection;
use crate::command_line;
use crate::daemon::{Daemon, Folder, TIMEOUT, refused};

/// Certificate authority with signed certificates in files.
struct Authority {
    folder: Folder,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        let folder = Folder::new();
        std::fs::write(folder.0.join("ca.pem"), certificate.pem()).unwrap();
        let issuer = Issuer::new(parameters, key);
        Self { folder, issuer }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.0.join(name)
    }

    /// Writes `NAME.pem` and `NAME.key`.
    fn sign(&self, name: &str) {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let parameters = CertificateParams::new(names).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    /// Returns the settings of a daemon with the certificate `server`, and further ones.
    fn settings(&self, others: &[&str]) -> Vec<String> {
        let server = ["pem", "key"].map(|kind| self.path(&format!("server.{kind}")));
        let mut settings = vec![
            format!("tls.server_cert={}", server[0].display()),
            format!("tls.server_key={}", server[1].display()),
            format!("tls.ca_cert={}", self.path("ca.pem").display()),
        ];
        settings.extend(others.iter().map(|setting| (*setting).to_owned()));
        settings
    }

    fn daemon(&self, others: &[&str]) -> Daemon {
        let settings = self.settings(others);
        Daemon::with(&settings.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Returns a client that trusts this authority and may present a certificate.
    fn client(&self, certificate: Option<(&Self, &str)>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(self.path("ca.pem")).unwrap();
        roots.add(ca).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match certificate {
            None => builder.with_no_client_auth(),
            Some((authority, name)) => {
                let path = |kind: &str| authority.path(&format!("{name}.{kind}"));
                let certificate = CertificateDer::from_pem_file(path("pem")).unwrap();
                let key = PrivateKeyDer::from_pem_file(path("key")).unwrap();
                builder
                    .with_client_auth_cert(vec![certificate], key)
                    .unwrap()
            }
        })
    }
}

type Encrypted = StreamOwned<ClientConnection, TcpStream>;

fn connect(daemon: &Daemon, client: &Arc<ClientConfig>) -> Encrypted {
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = TcpStream::connect(daemon.address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    StreamOwned::new(
        ClientConnection::new(Arc::clone(client), name).unwrap(),
        stream,
    )
}

/// Returns the response to a request, or the error.
fn send_request(
    daemon: &Daemon,
    client: &Arc<ClientConfig>,
    headers: &str,
) -> std::io::Result<String> {
    let mut stream = connect(daemon, client);
    let request =
        format!("GET /api HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Returns the certificate that the daemon presents.
fn shown(daemon: &Daemon, client: &Arc<ClientConfig>) -> Vec<u8> {
    let mut stream = connect(daemon, client);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).unwrap();
    }
    stream.conn.peer_certificates().unwrap()[0].to_vec()
}

#[test]
fn requests_and_websockets_are_served_over_tls() {
    let authority = Authority::new();
    authority.sign("server");
    let daemon = authority.daemon(&[
        "auth.basic.users={ann: one}",
        "analyzer.auth.api.backend=basic",
    ]);
    let client = authority.client(None);
    let answer = send_request(&daemon, &client, "Authorization: Basic YW5uOm9uZQ==\r\n").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(
        answer.contains("strict-transport-security: max-age=63072000; includeSubDomains"),
        "{answer}"
    );
    assert!(
        send_request(&daemon, &client, "")
            .unwrap()
            .ends_with("\r\n\r\nWrong credentials")
    );
    // A WebSocket: the response, then the first ping.
    let mut socket = connect(&daemon, &client);
    socket
        .write_all(
            b"GET /ws/subscriber HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
              X-Client-Type: test\r\nX-Auth-Token: YW5uOm9uZQ==\r\n\r\n",
        )
        .unwrap();
    let mut received = Vec::new();
    while !received.windows(6).any(|end| end == b"\r\n\r\n\x89\x00") {
        let mut block = [0; 4096];
        let length = socket.read(&mut block).unwrap();
        assert_ne!(length, 0, "{:?}", String::from_utf8_lossy(&received));
        received.extend(&block[..length]);
    }
    assert!(received.starts_with(b"HTTP/1.1 101 "));
    // A client that trusts another authority or expects another name aborts the handshake.
    let other = Authority::new();
    assert!(send_request(&daemon, &other.client(None), "").is_err());
}

#[test]
fn a_tls_port_answers_plain_http_with_an_error_and_closes_other_connections() {
    let authority = Authority::new();
    authority.sign("server");
    let daemon = authority.daemon(&["http.limits.header_timeout=0.3"]);
    let mut plain = Connection::open(&daemon);
    plain.send("GET /api HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let answer = plain.answer().unwrap();
    let expected = "this port requires https\n";
    assert_eq!((answer.status, answer.text().as_str()), (400, expected));
    for start in [
        &b""[..],
        b"\x16",
        b"\x16\x03\x01\x02\x00\x01",
        b"\0\0\0\0",
        &[0x16; 4000],
    ] {
        let mut connection = Connection::open(&daemon);
        connection.send(start);
        let mut rest = Vec::new();
        // At most a TLS alert, then the end of the stream.
        drop(connection.stream.read_to_end(&mut rest));
        assert!(rest.is_empty() || rest[0] == 0x15, "{rest:?}");
    }
    assert!(send_request(&daemon, &authority.client(None), "").is_ok());
}

#[test]
fn client_certificates_are_required_if_configured() {
    let authority = Authority::new();
    let other = Authority::new();
    for name in ["server", "client"] {
        authority.sign(name);
        other.sign(name);
    }
    let daemon = authority.daemon(&["tls.require_client_cert=true"]);
    let good = authority.client(Some((&authority, "client")));
    assert!(
        send_request(&daemon, &good, "")
            .unwrap()
            .starts_with("HTTP/1.1 200 ")
    );
    for certificate in [None, Some((&other, "client"))] {
        let client = authority.client(certificate);
        let answer = send_request(&daemon, &client, "");
        assert!(answer.is_err(), "{answer:?}");
    }
}

#[test]
fn a_signal_reloads_certificates_and_invalid_ones_are_ignored() {
    let authority = Authority::new();
    authority.sign("server");
    let daemon = authority.daemon(&[]);
    let client = authority.client(None);
    let first = shown(&daemon, &client);
    authority.sign("server");
    assert_eq!(
        shown(&daemon, &client),
        first,
        "not reloaded before the signal"
    );
    daemon.hang_up("reloaded the TLS certificates");
    let second = shown(&daemon, &client);
    assert_ne!(first, second);
    // An invalid certificate, then one of another key.
    let old_key = std::fs::read(authority.path("server.key")).unwrap();
    std::fs::write(authority.path("server.pem"), "torn").unwrap();
    daemon.hang_up("cannot reload the TLS certificates");
    assert!(
        daemon.log().contains("tls.server_cert: "),
        "{}",
        daemon.log()
    );
    authority.sign("server");
    std::fs::write(authority.path("server.key"), old_key).unwrap();
    daemon.hang_up("cannot reload the TLS certificates");
    assert_eq!(shown(&daemon, &client), second);
}

#[test]
fn the_command_line_client_uses_tls_as_its_options_say() {
    let (authority, other) = (Authority::new(), Authority::new());
    for name in ["server", "client"] {
        authority.sign(name);
    }
    let file = |authority: &Authority, name: &str| authority.path(name).display().to_string();
    let (ca, wrong) = (file(&authority, "ca.pem"), file(&other, "ca.pem"));
    let (cert, key) = (
        file(&authority, "client.pem"),
        file(&authority, "client.key"),
    );
    let identity = ["--cert", cert.as_str(), "--key", key.as_str()];
    let daemon = authority.daemon(&[]);
    let plain = Daemon::start();
    let run = |daemon: &Daemon, options: &[&str]| {
        let output = command_line::run(daemon, &[&["query", "G.V().Count()"], options].concat());
        (output.stdout, output.stderr)
    };
    for options in [&["--cacert", ca.as_str()][..], &["--insecure"]] {
        assert_eq!(
            run(&daemon, options).0,
            "0\n",
            "{options:?}: {:?}",
            run(&daemon, options)
        );
    }
    assert_eq!(run(&plain, &["--insecure"]).0, "0\n");
    for (daemon, options, advice) in [
        (&daemon, &[][..], "The server requires TLS"),
        (&daemon, &["--cacert", wrong.as_str()], "--cacert FILE"),
        (&daemon, &identity, "--cacert FILE"),
        (&plain, &["--cacert", ca.as_str()], "does not use TLS"),
    ] {
        let (stdout, stderr) = run(daemon, options);
        assert_eq!(stdout, "", "{options:?}");
        assert!(stderr.contains(advice), "{options:?}: {stderr}");
    }
    let strict = authority.daemon(&["tls.require_client_cert=true"]);
    let trusting = [&identity[..], &["--cacert", ca.as_str()]].concat();
    assert_eq!(
        run(&strict, &trusting).0,
        "0\n",
        "{:?}",
        run(&strict, &trusting)
    );
    assert_eq!(run(&strict, &["--cacert", ca.as_str()]).0, "");
    // An import through a WebSocket over TLS.
    let graph = authority.path("graph.json");
    std::fs::write(
        &graph,
        r#"[{"Nodes":[{"ID":"n","Metadata":{"Name":"n","Type":"t"}}]}]"#,
    )
    .unwrap();
    let import = [
        "topology",
        "import",
        "--file",
        graph.to_str().unwrap(),
        "--cacert",
        &ca,
    ];
    let output = command_line::run(&daemon, &import);
    assert_eq!(output.stderr, "");
    assert_eq!(run(&daemon, &["--cacert", ca.as_str()]).0, "1\n");
}

#[test]
fn unusable_files_prevent_the_start() {
    let authority = Authority::new();
    authority.sign("server");
    let settings = authority.settings(&[]);
    let (certificate, key, ca) = (&settings[0], &settings[1], &settings[2]);
    std::fs::write(authority.path("empty"), "").unwrap();
    let empty = format!("tls.server_cert={}", authority.path("empty").display());
    let wrong_key = key.replace("server.key", "ca.pem");
    authority.sign("other");
    let other_key = key.replace("server.key", "other.key");
    for (settings, expected) in [
        (vec![certificate.as_str()], "tls.server_key: not set"),
        (vec![key], "tls.server_cert: not set"),
        (
            vec![certificate, key, "tls.require_client_cert=yes"],
            "requires tls.ca_cert",
        ),
        (
            vec!["tls.require_client_cert=yes"],
            "requires tls.server_cert and tls.server_key",
        ),
        (
            vec![ca, "tls.client_cert=a", "tls.client_key=b"],
            "not set, but tls.client_cert",
        ),
        (vec![&empty, key], "the file contains no certificate"),
        (
            vec![certificate, &wrong_key],
            "the file contains no private key",
        ),
        (
            vec![certificate, &other_key],
            "the private key does not belong to the first certificate",
        ),
        (
            vec!["tls.server_cert=/nowhere", key],
            "tls.server_cert: /nowhere: ",
        ),
    ] {
        let said = refused("analyzer", &settings, None);
        assert!(said.contains(expected), "{settings:?}: {said}");
    }
}
