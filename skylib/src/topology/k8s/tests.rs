//! The probe with a recorded API server.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value as Json, json};

use super::test_server::ApiServer;
use super::*;
use crate::graph::{Graph, NodeId};
use crate::topology::{ProbeSet, ProbeState, ProbeStatus};

const PODS: &str = "/api/v1/pods";
const SECRETS: &str = "/api/v1/secrets";
const NAMESPACES: &str = "/api/v1/namespaces";

/// A probe of a cluster, and its graph.
struct Lab {
    graph: Arc<Mutex<Graph>>,
    probes: ProbeSet,
    file: PathBuf,
}

impl Lab {
    /// Starts a probe of the pods, secrets, and namespaces of a server.
    fn start(server: &ApiServer) -> Self {
        let cluster = json!({"server": format!("http://{}", server.address)});
        Self::start_with(&cluster, &json!({}))
    }

    fn start_with(cluster: &Json, user: &Json) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let file = format!("skylib-kubeconfig-{}-{number}", std::process::id());
        let file = std::env::temp_dir().join(file);
        write_config(&file, cluster, user);
        let graph = Arc::new(Mutex::new(Graph::new()));
        let parse = |text: &str| serde_json::from_str(text).map_err(|error| error.to_string());
        let (kinds, _) = Kinds::from_names(["pod", "secret", "namespace"]);
        let mut options = KubernetesOptions::new(&file, parse).with_kinds(kinds);
        options.pace = Duration::from_millis(5);
        let origin = Origin::new("analyzer", "ctl-1");
        let mut probes = ProbeSet::new();
        let probe = KubernetesProbe::new(graph.clone(), origin, options);
        probes.start(probe).unwrap();
        Self {
            graph,
            probes,
            file,
        }
    }

    fn status(&self) -> ProbeStatus {
        self.probes.status().swap_remove(0)
    }

    /// Returns the type and the name of all nodes except the cluster.
    fn nodes(&self) -> Vec<String> {
        let graph = self.graph.lock().unwrap();
        let text = |metadata: &crate::graph::Metadata, key: &str| {
            metadata
                .get(key)
                .and_then(|value| value.as_text())
                .unwrap_or_default()
                .to_owned()
        };
        let nodes = graph.nodes().map(|node| {
            format!(
                "{}/{}",
                text(&node.metadata, "Type"),
                text(&node.metadata, "Name")
            )
        });
        let mut nodes: Vec<String> = nodes.filter(|node| node != "cluster/lab").collect();
        nodes.sort();
        nodes
    }

    fn wait(&self, wanted: &[&str]) {
        self.wait_until(|| self.nodes() == wanted);
    }

    fn wait_for_error(&self, part: &str) {
        self.wait_until(|| {
            self.status()
                .error
                .is_some_and(|error| error.contains(part))
        });
    }

    fn wait_until(&self, is_reached: impl Fn() -> bool) {
        for _ in 0..2000 {
            if is_reached() {
                return;
            }
            thread::park_timeout(Duration::from_millis(5));
        }
        panic!("{:?}; {:?}", self.nodes(), self.status());
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.probes.stop();
        drop(fs::remove_file(&self.file));
    }
}

fn write_config(file: &std::path::Path, cluster: &Json, user: &Json) {
    let config = json!({
        "current-context": "main",
        "contexts": [{"name": "main", "context": {"cluster": "lab", "user": "me"}}],
        "clusters": [{"name": "lab", "cluster": cluster}],
        "users": [{"name": "me", "user": user}],
    });
    fs::write(file, config.to_string()).unwrap();
}

#[test]
fn objects_appear_change_and_disappear_with_events() {
    let server = ApiServer::start(None);
    for name in ["a", "b", "c", "d", "e"] {
        server.set(PODS, name, json!({"status": {"phase": "Pending"}}));
    }
    let lab = Lab::start(&server);
    lab.wait(&["pod/a", "pod/b", "pod/c", "pod/d", "pod/e"]);
    lab.wait_until(|| lab.status().state == ProbeState::Running);
    for name in ["b", "c", "d", "e"] {
        server.delete(PODS, name);
    }
    server.set(NAMESPACES, "shop", json!({}));
    lab.wait(&["namespace/shop", "pod/a"]);
    server.set(
        PODS,
        "a",
        json!({"metadata": {"namespace": "shop"}, "status": {"phase": "Running"}}),
    );
    lab.wait_until(|| {
        let graph = lab.graph.lock().unwrap();
        let node = graph.node(&NodeId::from("a")).unwrap();
        assert_eq!(
            (node.origin.as_str(), node.host.as_str()),
            ("analyzer.ctl-1", "ctl-1")
        );
        let is_up = node.metadata.get("State") == Some(&"UP".into());
        is_up && graph.edge_count() == 2 && graph.edges().all(|edge| edge.host.is_empty())
    });
    assert_eq!(server.lists_of(PODS), 1);
    assert_eq!(lab.status().error, None);
}

#[test]
fn a_watch_continues_after_a_lost_connection() {
    let server = ApiServer::start(None);
    server.set(PODS, "a", json!({}));
    let lab = Lab::start(&server);
    lab.wait(&["pod/a"]);
    lab.wait_until(|| server.watches_of(PODS) == 1);
    for name in ["b", "c", "d"] {
        server.disconnect();
        server.set(PODS, name, json!({}));
    }
    lab.wait(&["pod/a", "pod/b", "pod/c", "pod/d"]);
    assert_eq!(
        server.lists_of(PODS),
        1,
        "no event was lost, so there was no second list"
    );
}

#[test]
fn the_list_is_read_again_if_the_version_is_too_old() {
    let server = ApiServer::start(None);
    server.set(PODS, "a", json!({}));
    server.set(PODS, "b", json!({}));
    let lab = Lab::start(&server);
    lab.wait(&["pod/a", "pod/b"]);
    lab.wait_until(|| server.watches_of(PODS) == 1);
    server.disconnect();
    server.delete(PODS, "a");
    server.compact();
    lab.wait(&["pod/b"]);
    // The server can also report this within a watch.
    lab.wait_until(|| server.watches_of(PODS) >= 1);
    let before = server.lists_of(PODS);
    server.send_raw(
        PODS,
        r#"{"type":"ERROR","object":{"code":410,"message":"too old"}}"#,
    );
    lab.wait_until(|| server.lists_of(PODS) > before);
    // This is usual, and no problem.
    lab.wait_until(|| lab.status().error.is_none());
}

#[test]
fn bookmarks_move_the_version_on() {
    let server = ApiServer::start(None);
    let lab = Lab::start(&server);
    lab.wait_until(|| server.watches_of(PODS) == 1);
    server.send_raw(
        PODS,
        r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"1000"}}}"#,
    );
    server.send_raw(PODS, r#"{"type":"NEWS","object":{}}"#);
    server.send_raw(
        PODS,
        r#"{"type":"ADDED","object":{"metadata":{"uid":"x"}}}"#,
    );
    lab.wait_for_error("1 objects are malformed");
    // The versions below 1000 are not known any more, and this does not matter.
    server.compact();
    server.disconnect();
    lab.wait_until(|| server.watches_of(PODS) == 1);
    assert_eq!(server.lists_of(PODS), 1);
}

#[test]
fn a_malformed_answer_is_reported_and_the_list_read_again() {
    let server = ApiServer::start(None);
    server.set(PODS, "a", json!({}));
    let lab = Lab::start(&server);
    lab.wait(&["pod/a"]);
    lab.wait_until(|| server.watches_of(PODS) == 1);
    server.send_raw(PODS, "<html>");
    lab.wait_until(|| server.lists_of(PODS) == 2);
    lab.wait_until(|| lab.status().error.is_none());
    server.set(PODS, "b", json!({}));
    lab.wait(&["pod/a", "pod/b"]);
}

#[test]
fn a_forbidden_kind_does_not_affect_the_others() {
    let server = ApiServer::start(None);
    server.forbid(SECRETS);
    server.set(PODS, "a", json!({}));
    let lab = Lab::start(&server);
    lab.wait(&["pod/a"]);
    lab.wait_for_error(
        "/api/v1/secrets: the Kubernetes API server answered with status 403: cannot list",
    );
    lab.wait_until(|| lab.status().state == ProbeState::Running);
}

#[test]
fn values_of_secrets_never_reach_the_graph() {
    let server = ApiServer::start(None);
    let data = json!({"type": "Opaque", "data": {"k": "aHVudGVyMg=="}});
    server.set(SECRETS, "login", data.clone());
    let lab = Lab::start(&server);
    lab.wait(&["secret/login"]);
    server.set(SECRETS, "other", data);
    lab.wait(&["secret/login", "secret/other"]);
    let graph = lab.graph.lock().unwrap();
    for node in graph.nodes() {
        let text = serde_json::to_string(&node.metadata).unwrap();
        assert!(!text.contains("aHVudGVyMg"), "{text}");
    }
}

#[test]
fn replaced_credentials_are_read_again() {
    let server = ApiServer::start(None);
    server.require_token("new");
    server.set(PODS, "a", json!({}));
    let cluster = json!({"server": format!("http://{}", server.address)});
    let lab = Lab::start_with(&cluster, &json!({"token": "old"}));
    lab.wait_for_error("rejects the credentials: who?");
    write_config(&lab.file, &cluster, &json!({"token": "new"}));
    lab.wait(&["pod/a"]);
}

#[test]
fn a_missing_server_is_reported_with_the_key_to_check() {
    let cluster = json!({"server": "http://127.0.0.1:1"});
    let lab = Lab::start_with(&cluster, &json!({}));
    lab.wait_for_error("check analyzer.topology.k8s.config_file");
    assert_eq!(lab.status().state, ProbeState::Starting);
}

/// An authority, with a certificate and a key for a name.
struct Identity {
    authority: String,
    certificate: String,
    key: String,
}

impl Identity {
    fn of(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        Self {
            authority,
            certificate: params.signed_by(&key, &issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

/// Returns the settings of a server with a certificate, which requires a certificate of clients.
fn server_config(server: &Identity, client: &Identity) -> Arc<rustls::ServerConfig> {
    let certificates = |text: &str| {
        let read = rustls::pki_types::CertificateDer::pem_slice_iter(text.as_bytes());
        read.collect::<Result<Vec<_>, _>>().unwrap()
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(certificates(&client.authority));
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots),
        Arc::clone(&provider),
    );
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            certificates(&server.certificate),
            PrivateKeyDer::from_pem_slice(server.key.as_bytes()).unwrap(),
        );
    Arc::new(config.unwrap())
}

#[test]
fn servers_and_clients_prove_their_identity() {
    let (own, client, foreign) = (
        Identity::of("127.0.0.1"),
        Identity::of("me"),
        Identity::of("127.0.0.1"),
    );
    let server = ApiServer::start(Some(server_config(&own, &client)));
    server.set(PODS, "a", json!({}));
    let url = format!("https://{}", server.address);
    let encoded = |text: &str| BASE64.encode(text);
    let user = json!({"client-certificate-data": encoded(&client.certificate),
        "client-key-data": encoded(&client.key)});
    let cluster = json!({"server": url, "certificate-authority-data": encoded(&own.authority)});
    let lab = Lab::start_with(&cluster, &user);
    lab.wait(&["pod/a"]);
    lab.wait_until(|| server.watches_of(PODS) == 1);
    server.set(PODS, "b", json!({}));
    lab.wait(&["pod/a", "pod/b"]);
    let wrong = json!({"server": url, "certificate-authority-data": encoded(&foreign.authority)});
    let lab = Lab::start_with(&wrong, &user);
    lab.wait_for_error("invalid peer certificate");
    let mut name = cluster.clone();
    name["tls-server-name"] = json!("other");
    let lab = Lab::start_with(&name, &user);
    lab.wait_for_error("invalid peer certificate");
    name["insecure-skip-tls-verify"] = json!(true);
    let lab = Lab::start_with(&name, &user);
    lab.wait(&["pod/a", "pod/b"]);
    let lab = Lab::start_with(&cluster, &json!({}));
    lab.wait_for_error("cannot watch Kubernetes");
}
