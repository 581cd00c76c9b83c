//! `Origin`: the service and the host that a graph element comes from.

use std::fmt;

use crate::value::Text;

/// Origin of a node or an edge: the service that added it, and the host it belongs to.
///
/// The wire format has two fields for it: `Origin`, which is `<service>.<host>`, and `Host`. An
/// element without an origin (the default) has neither.
///
/// ```
/// use skylib::graph::{Metadata, Node, Origin};
/// use skylib::time::Timestamp;
///
/// let origin = Origin::new("agent", "edge-01");
/// assert_eq!((origin.as_str(), origin.host()), ("agent.edge-01", "edge-01"));
/// let node = Node::new("eth0", Metadata::new(), Timestamp::ZERO).with_origin(origin);
/// assert_eq!((&*node.origin, &*node.host), ("agent.edge-01", "edge-01"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Origin {
    text: Text,
    host: Text,
}

impl Origin {
    /// Returns the origin of a service that runs on a host.
    pub fn new(service: &str, host: impl Into<Text>) -> Self {
        let host = host.into();
        Self {
            text: Text::from(format!("{service}.{host}")),
            host,
        }
    }

    /// Returns an origin with this value of the wire's `Origin` field, without a host.
    pub fn from_text(text: impl Into<Text>) -> Self {
        Self {
            text: text.into(),
            host: Text::default(),
        }
    }

    /// Returns the same origin with another host.
    #[must_use]
    pub fn with_host(self, host: impl Into<Text>) -> Self {
        Self {
            host: host.into(),
            ..self
        }
    }

    /// Returns the value of the wire's `Origin` field: `<service>.<host>`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the host that the element belongs to.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the values of the wire's `Origin` and `Host` fields.
    pub(super) fn into_parts(self) -> (Text, Text) {
        (self.text, self.host)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}
