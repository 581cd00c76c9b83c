//! WebSocket handshake: the declarations of a client, and the upgrade of the connection.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::{Request, StatusCode, Version};
use skylib::proto::{Encoding, UpdatePolicy};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::compression;
use super::connection::ConnectionEnd;
use crate::clients::ClientIdentity;
use crate::dial::UPDATE_POLICY;
use crate::response::{self, Response};
use crate::urlencoded;

/// Declarations of a client in its upgrade request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// Declared identity.
    pub(crate) identity: ClientIdentity,
    /// Whether the client sent its host ID; otherwise its address is used.
    names_host: bool,
    /// Requested namespaces, sorted for binary search; `None` for all.
    pub(crate) namespaces: Option<Vec<String>>,
    /// Whether the client named any namespace.
    pub(crate) chose_namespaces: bool,
    /// Gremlin expression that selects the part of the graph to send; empty for all.
    pub(crate) filter: String,
    /// Requested update policy, unparsed: `full` or `partial`.
    pub(crate) policy: String,
    /// Fate of the client's elements when the client disconnects, unparsed: `Persistent` or
    /// `DeleteOnDisconnect`.
    pub(crate) persistence: String,
    /// Whether messages may be compressed: the client offers it in a way that is supported.
    pub(crate) is_compressed: bool,
}

impl Hello {
    /// Reads the headers, and for missing headers the query string, because browsers cannot set
    /// headers.
    pub(crate) fn of<B>(request: &Request<B>, peer: SocketAddr) -> Self {
        let headers = request.headers();
        let parameters = urlencoded::pairs(request.uri().query().unwrap_or_default());
        let value = |name: &str| {
            let header = headers.get(name).map(text).filter(|text| !text.is_empty());
            let name = name.to_ascii_lowercase();
            let parameter = || parameters.iter().find(|(key, _)| *key == name);
            header
                .or_else(|| parameter().map(|(_, value)| value.clone()))
                .unwrap_or_default()
        };
        let mut host_id = value("x-host-id");
        let names_host = !host_id.is_empty();
        if !names_host {
            host_id = peer.to_string();
        }
        // COMPAT: namespaces of headers and parameters are combined, and commas do not separate
        // them.
        let mut namespaces: Vec<String> = headers
            .get_all("x-websocket-namespace")
            .iter()
            .map(text)
            .collect();
        let more = parameters
            .iter()
            .filter(|(key, _)| key == "x-websocket-namespace");
        namespaces.extend(more.map(|(_, value)| value.clone()));
        // Sorted because every message is looked up in it.
        namespaces.sort_unstable();
        namespaces.dedup();
        let chose_namespaces = !namespaces.is_empty();
        let all = !chose_namespaces || namespaces.iter().any(|name| name == "*");
        Self {
            identity: ClientIdentity {
                host_id,
                client_type: value("x-client-type"),
                protocol: value("x-client-protocol"),
            },
            names_host,
            namespaces: (!all).then_some(namespaces),
            chose_namespaces,
            filter: value("x-gremlin-filter"),
            policy: value("x-update-policy"),
            persistence: headers
                .get("x-persistence-policy")
                .map(text)
                .unwrap_or_default(),
            is_compressed: compression::is_offered(headers),
        }
    }

    /// Returns the requested encoding.
    ///
    /// # Errors
    /// Returns [`Refusal`] if the encoding is unknown, or if the client sends its host ID but not
    /// its type.
    pub(crate) fn encoding(&self) -> Result<Encoding, Refusal> {
        // COMPAT: Skydive requires the type. Here, only clients that send their host ID have an
        // origin of their own, which includes the type.
        if self.names_host && self.identity.client_type.is_empty() {
            return Err(Refusal::Type);
        }
        let protocol = &self.identity.protocol;
        let refuse = |_| Refusal::Protocol(protocol.clone());
        protocol.parse().map_err(refuse)
    }

    /// Returns the requested update policy.
    ///
    /// # Errors
    /// Returns [`Refusal`] if the policy is unknown.
    pub(crate) fn update_policy(&self) -> Result<UpdatePolicy, Refusal> {
        let refuse = |_| Refusal::Policy(self.policy.clone());
        self.policy.parse().map_err(refuse)
    }

    /// Logs why the client is rejected, and returns the reason for the end of its connection.
    pub(crate) fn refuse(&self, refusal: &Refusal) -> ConnectionEnd {
        tracing::info!(client = self.identity.host_id, %refusal, "WebSocket rejected");
        ConnectionEnd::Refuse(self.close_code(refusal), refusal.to_string())
    }

    /// Returns the close code of a refusal.
    const fn close_code(&self, refusal: &Refusal) -> CloseCode {
        let is_plain = !self.names_host && self.identity.client_type.is_empty();
        match refusal {
            // COMPAT: Skydive rejects its clients with a normal closure.
            Refusal::Type | Refusal::Protocol(_) | Refusal::Policy(_) | Refusal::Filter(_)
                if !is_plain =>
            {
                CloseCode::Normal
            }
            _ => CloseCode::Policy,
        }
    }

    /// Returns whether the client requested messages of a namespace.
    pub(crate) fn wants(&self, namespace: &str) -> bool {
        self.namespaces.as_ref().is_none_or(|names| {
            names
                .binary_search_by(|name| name.as_str().cmp(namespace))
                .is_ok()
        })
    }

    /// Returns the origin of the elements that the client publishes.
    pub(crate) fn origin(&self) -> String {
        format!("{}.{}", self.identity.client_type, self.identity.host_id)
    }
}

/// Reason to close the connection right after the handshake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The client sends its host ID, but not its type.
    #[error("X-Client-Type is missing; clients that send X-Host-ID must also send X-Client-Type")]
    Type,
    /// The requested encoding is unknown.
    #[error("X-Client-Protocol {0:?} is not supported; expected json or protobuf")]
    Protocol(String),
    /// The requested update policy is unknown.
    #[error("X-Update-Policy {0:?} is not supported; expected full or partial")]
    Policy(String),
    /// The client would write with an origin that is reserved for the probes of a host.
    #[error("the origin {0} is reserved for probes; choose another X-Client-Type or X-Host-ID")]
    Origin(String),
    /// The filter is not a valid query for a graph.
    #[error("X-Gremlin-Filter: {0}")]
    Filter(String),
}

/// Returns the accept key for a valid upgrade request; `None` for any other request.
pub(crate) fn accept_key<B>(request: &Request<B>) -> Option<String> {
    let headers = request.headers();
    let has = |name: HeaderName, token: &str| {
        let lists = headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok());
        lists
            .flat_map(|list| list.split(','))
            .any(|item| item.trim().eq_ignore_ascii_case(token))
    };
    let key = headers.get(SEC_WEBSOCKET_KEY)?;
    let is_upgrade = request.method() == hyper::Method::GET
        && request.version() == Version::HTTP_11
        && has(CONNECTION, "upgrade")
        && has(UPGRADE, "websocket")
        && headers
            .get(SEC_WEBSOCKET_VERSION)
            .is_some_and(|version| version == "13")
        && STANDARD
            .decode(key.as_bytes())
            .is_ok_and(|bytes| bytes.len() == 16);
    is_upgrade.then(|| derive_accept_key(key.as_bytes()))
}

/// Returns the response that switches the connection to WebSocket.
pub(crate) fn switching(
    accept_key: &str,
    server_id: &str,
    service_type: &str,
    is_compressed: bool,
) -> Response {
    let mut response = response::bare(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    insert_text(headers, SEC_WEBSOCKET_ACCEPT, accept_key);
    if is_compressed {
        let accepted = HeaderValue::from_static(compression::ACCEPTED);
        headers.insert(SEC_WEBSOCKET_EXTENSIONS, accepted);
    }
    // COMPAT: Go clients disconnect if one of these headers is missing.
    insert_text(headers, HeaderName::from_static("x-host-id"), server_id);
    insert_text(
        headers,
        HeaderName::from_static("x-service-type"),
        service_type,
    );
    response
}

/// Announces to an agent or another analyzer that this analyzer accepts partial updates. Without
/// the announcement, they send whole elements, because Skydive before v0.27 ignores partial updates.
pub(crate) fn accept_partial_updates(response: &mut Response) {
    let value = HeaderValue::from_static("partial");
    response.headers_mut().insert(UPDATE_POLICY, value);
}

/// Inserts a header; an invalid value becomes `unknown`.
fn insert_text(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    let value = HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("unknown"));
    headers.insert(name, value);
}

/// Returns a header value as a string; bytes that are not UTF-8 become U+FFFD.
fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    fn declared(uri: &str, headers: &[(&str, &str)]) -> Hello {
        Hello::of(&request(uri, headers), "127.0.0.1:5000".parse().unwrap())
    }

    #[test]
    fn headers_beat_parameters_and_both_have_defaults() {
        let uri = "/ws/subscriber?x-client-type=webui&x-host-id=tab%201&x-update-policy=partial\
                   &x-gremlin-filter=G.V%28%29.Has%28%27a%27%2C+%27b%27%29&X-Client-Protocol=xml";
        let hello = declared(uri, &[("X-Host-ID", "mine"), ("X-Update-Policy", "")]);
        assert_eq!(
            (
                hello.identity.host_id.as_str(),
                hello.identity.client_type.as_str()
            ),
            ("mine", "webui")
        );
        assert_eq!(hello.filter, "G.V().Has('a', 'b')");
        assert_eq!(
            hello.update_policy(),
            Ok(UpdatePolicy::Partial),
            "an empty header is none"
        );
        assert_eq!(
            hello.encoding(),
            Ok(Encoding::Json),
            "parameter names have a case"
        );
        assert_eq!(hello.origin(), "webui.mine");
        let hello = declared("/", &[]);
        assert_eq!(hello.identity.host_id, "127.0.0.1:5000");
        assert_eq!(hello.encoding(), Ok(Encoding::Json), "the type is optional");
        assert_eq!(hello.origin(), ".127.0.0.1:5000");
        let named = declared("/?x-host-id=mine", &[]);
        assert_eq!(named.encoding(), Err(Refusal::Type));
        assert_eq!(hello.persistence, "");
    }

    #[test]
    fn namespaces_add_up_and_star_is_all() {
        let two = [
            ("X-Websocket-Namespace", "Alert"),
            ("X-Websocket-Namespace", "Graph"),
        ];
        let hello = declared("/?x-websocket-namespace=flow", &two);
        assert!(hello.wants("Alert") && hello.wants("Graph") && hello.wants("flow"));
        assert!(!hello.wants("stats") && !hello.wants("graph"));
        let hello = declared("/", &[("X-Websocket-Namespace", "Graph,Alert")]);
        assert!(!hello.wants("Graph"), "commas do not separate");
        let hello = declared("/", &[("X-Websocket-Namespace", "*")]);
        assert!(hello.wants("Graph") && hello.chose_namespaces);
        assert!(declared("/", &[]).wants("anything"));
        assert!(
            !declared("/?x-websocket-namespace=", &[]).wants("Graph"),
            "the namespace \"\""
        );
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let with = |name, value| declared("/", &[("X-Client-Type", "t"), (name, value)]);
        assert!(with("X-Client-Protocol", "xml").encoding().is_err());
        assert_eq!(
            with("X-Client-Protocol", "protobuf").encoding(),
            Ok(Encoding::Protobuf)
        );
        assert!(
            with("X-Update-Policy", "sometimes")
                .update_policy()
                .is_err()
        );
        assert_eq!(with("X-Persistence-Policy", "any").persistence, "any");
    }

    #[test]
    fn only_a_proper_upgrade_is_accepted() {
        let proper = [
            ("Upgrade", "websocket"),
            ("Connection", "keep-alive, Upgrade"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("Sec-WebSocket-Version", "13"),
        ];
        let key = accept_key(&request("/", &proper));
        assert_eq!(
            key.as_deref(),
            Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            "RFC 6455, 1.3"
        );
        for missing in 0..proper.len() {
            let mut headers = proper.to_vec();
            headers.remove(missing);
            assert_eq!(
                accept_key(&request("/", &headers)),
                None,
                "without {:?}",
                proper[missing]
            );
        }
        for (at, value) in [(1, "close"), (2, "c2hvcnQ="), (2, "not base64"), (3, "8")] {
            let mut headers = proper;
            headers[at].1 = value;
            assert_eq!(accept_key(&request("/", &headers)), None, "{value}");
        }
    }
}
