//! `Resource`: an object that clients create, list, and delete under an id.

use std::net::IpAddr;
use std::sync::Arc;

use super::go_json::{JsonError, Members};
use super::{CaptureType, JsonObject, ResourceError, ValidationError};
use crate::flow::LayerKeyMode;
use crate::graph::Node;
use crate::gremlin::next_hop;
use crate::time::Timestamp;

/// Kind of resource that clients create, list, and delete under an id.
///
/// ```
/// use skylib::api::{Defaults, NodeRule, Resource};
/// let text = r#"{"Action": "update", "query": "G.V()", "Metadata": {"Rack": 17}}"#;
/// let mut rule = NodeRule::read(text, &Defaults::default())?;
/// rule.set_id("r1".to_owned());
/// assert_eq!((NodeRule::KIND, rule.id(), rule.query.as_str()), ("noderule", "r1", "G.V()"));
/// # Ok::<(), skylib::api::go_json::JsonError>(())
/// ```
pub trait Resource: Clone + Default + PartialEq + JsonObject + Send + Sync + 'static {
    /// Path segment in the API and kind in the document store, such as `capture`.
    const KIND: &'static str;

    /// Whether clients may change a resource after its creation by a JSON patch (RFC 6902).
    const IS_UPDATABLE: bool = false;

    /// Whether clients may change a resource after its creation by a merge patch (RFC 7396).
    const IS_MERGEABLE: bool = false;

    /// WebSocket namespace in which creations and deletions are announced; `None` for no
    /// announcement.
    const NAMESPACE: Option<&'static str> = None;

    /// Returns the identifier; empty until the store assigns it.
    fn id(&self) -> &str;

    /// Sets the identifier.
    fn set_id(&mut self, id: String);

    /// Returns the name shown to users; empty if the resource has none.
    fn name(&self) -> &str {
        ""
    }

    /// Returns the resource whose fields are the defaults for absent members.
    #[must_use]
    fn initial(_defaults: &Defaults) -> Self {
        Self::default()
    }

    /// Parses a client's JSON, or a serialized resource.
    ///
    /// # Errors
    /// Returns [`JsonError`] if the string is not a JSON object, or a member has the wrong type.
    fn read(text: &str, defaults: &Defaults) -> Result<Self, JsonError> {
        let members = Members::parse_first(text)?;
        let mut resource = Self::initial(defaults);
        resource.read_members(&members)?;
        Ok(resource)
    }

    /// Parses the JSON of a request, which may be checked more strictly than a stored resource.
    ///
    /// # Errors
    /// Returns the errors of [`Resource::read`], and [`JsonError::UnknownMember`] if the kind does not
    /// allow unknown members.
    fn read_request(text: &str, defaults: &Defaults) -> Result<Self, JsonError> {
        Self::read(text, defaults)
    }

    /// Returns whether the resource exists only until the process ends.
    fn is_ephemeral(&self) -> bool {
        false
    }

    /// Checks every field, and that the fields are consistent.
    ///
    /// # Errors
    /// Returns the first violated rule, with the message of Skydive.
    fn validate(&self, expressions: &dyn ExpressionChecker) -> Result<(), ResourceError>;

    /// Checks that the graph contains the nodes to which the resource refers.
    ///
    /// # Errors
    /// Returns an error for the first missing item, with the message of Skydive.
    fn check_nodes(&self, _nodes: &dyn NodeFinder) -> Result<(), ResourceError> {
        Ok(())
    }

    /// Returns the reason why this resource cannot coexist with another one; `None` if both can
    /// exist.
    fn conflict_with(&self, _other: &Self) -> Option<ResourceError> {
        None
    }
}

/// Values of the members that a client omits.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Defaults {
    /// Current time.
    pub now: Timestamp,
    /// Layers by which a capture identifies flows.
    pub layer_key_mode: LayerKeyMode,
}

impl Defaults {
    /// Sets the current time.
    #[must_use]
    pub const fn with_now(self, now: Timestamp) -> Self {
        Self { now, ..self }
    }

    /// Sets the layers by which a capture identifies flows.
    #[must_use]
    pub const fn with_layer_key_mode(self, layer_key_mode: LayerKeyMode) -> Self {
        Self {
            layer_key_mode,
            ..self
        }
    }
}

/// Checker of expressions that this layer cannot parse; implemented by the engine.
pub trait ExpressionChecker {
    /// Checks that a Gremlin query can be parsed.
    ///
    /// # Errors
    /// Returns the reason, with the position of the error, if the query cannot be parsed.
    fn check_gremlin(&self, query: &str) -> Result<(), String>;

    /// Checks that JavaScript can be compiled, without running it. By default, everything is
    /// accepted, because only an engine with scripts has a compiler.
    ///
    /// # Errors
    /// Returns the reason if the source cannot be compiled.
    fn check_script(&self, _source: &str) -> Result<(), String> {
        Ok(())
    }

    /// Checks that a packet filter can be compiled.
    ///
    /// # Errors
    /// Returns the reason if the filter cannot be compiled.
    fn check_bpf(&self, filter: &str) -> Result<(), String>;

    /// Returns whether captures of a type can run.
    fn supports_capture_type(&self, _capture_type: CaptureType) -> bool {
        true
    }

    /// Returns whether alerts may run programs on the server.
    fn allows_alert_scripts(&self) -> bool {
        true
    }

    /// Checks that a field is a Gremlin query.
    ///
    /// # Errors
    /// Returns a [`ValidationError`] for the field, with the message of Skydive, if the query is
    /// invalid.
    fn check_query(&self, field: &'static str, query: &str) -> Result<(), ValidationError> {
        self.check_gremlin(query).map_err(|reason| {
            ValidationError::of_field(field, format!("Not a valid Gremlin expression: {reason}"))
        })
    }
}

/// Access to the nodes of the graph by query; implemented by the engine.
pub trait NodeFinder {
    /// Returns the first node of a query; `None` if it finds none, is invalid, or begins at a node
    /// that does not exist.
    ///
    /// # Errors
    /// Returns the reason if the query fails otherwise, for example because it takes too long.
    fn first_node(&self, query: &str) -> Result<Option<Arc<Node>>, String>;

    /// Returns the MAC address of the next hop of a node for a destination address; `None` if it is
    /// unknown. By default, only the routing tables of the node itself are considered.
    fn next_hop_mac(&self, node: &Node, destination: IpAddr) -> Option<String> {
        let hop = next_hop(&node.metadata, destination)?;
        let mac = hop.as_map()?.get("MAC")?.as_text()?;
        Some(mac.to_owned())
    }
}
