//! Common parts of nodes and edges: ids, times, revisions, and metadata.

use std::fmt;
use std::hash::Hash;

use super::{Edge, Metadata, Node};
use crate::id::Id;
use crate::time::Timestamp;
use crate::value::Text;

/// Declares an id type: any string, stored in 16 bytes if it is a UUID.
macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(Id);

        impl $name {
            /// Returns a random id (UUID version 4).
            #[must_use]
            pub fn random() -> Self {
                Self(Id::random())
            }

            /// Returns the id derived from a string (UUID version 5 in the OID namespace).
            #[must_use]
            pub fn derived(text: &str) -> Self {
                Self(Id::derived(text))
            }

            /// Returns whether the id is the empty string, which an element of a graph must not
            /// have.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.0.is_empty()
            }

            /// Returns the untyped id.
            #[must_use]
            pub const fn as_id(&self) -> &Id {
                &self.0
            }
        }

        impl From<Id> for $name {
            fn from(id: Id) -> Self {
                Self(id)
            }
        }

        impl From<&Self> for $name {
            fn from(id: &Self) -> Self {
                id.clone()
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(Id::from(text))
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(Id::from(text))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

id_type! {
    /// Identifier of a node.
    ///
    /// ```
    /// use skylib::graph::NodeId;
    /// let host = NodeId::derived("edge-01");
    /// assert_eq!(host.to_string(), "276ec92a-884b-5251-af04-080c9c22b304");
    /// assert_eq!(NodeId::from("eth0").to_string(), "eth0");
    /// ```
    NodeId
}

id_type! {
    /// Identifier of an edge.
    EdgeId
}

impl EdgeId {
    /// Returns the id of an edge without an explicit id, which is derived from the ids of its two
    /// ends.
    ///
    /// ```
    /// use skylib::graph::{EdgeId, NodeId};
    /// let id = EdgeId::between(&NodeId::from("a"), &NodeId::from("b"));
    /// assert_eq!(id, EdgeId::derived("ab"));
    /// ```
    #[must_use]
    pub fn between(parent: &NodeId, child: &NodeId) -> Self {
        Self::derived(&format!("{parent}{child}"))
    }
}

/// Node or edge, for code that is the same for both.
pub(super) trait Element: Clone + 'static {
    type Id: Clone + Eq + Hash;
    fn id(&self) -> &Self::Id;
    fn metadata(&self) -> &Metadata;
    fn fields(&self) -> Fields<'_>;
    /// Returns the element with other metadata.
    fn revised(&self, metadata: Metadata, revision: i64, updated_at: Timestamp) -> Self;
    /// Returns the element with a time of deletion.
    fn deleted(&self, now: Timestamp) -> Self;
}

/// Fields of an element other than its metadata.
pub(super) struct Fields<'a> {
    pub(super) id: &'a Id,
    pub(super) host: &'a Text,
    pub(super) origin: &'a Text,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
    pub(super) deleted_at: Option<Timestamp>,
    pub(super) revision: i64,
    /// Parent and child of an edge; `None` for a node.
    pub(super) ends: Option<(&'a NodeId, &'a NodeId)>,
}

/// Returns the size of an element in bytes; parts shared with other elements count as if owned.
pub(super) fn size<E: Element>(element: &E) -> usize {
    let fields = element.fields();
    let ends = fields.ends.map_or(0, |(parent, child)| {
        parent.as_id().heap_bytes() + child.as_id().heap_bytes()
    });
    let texts = fields.id.heap_bytes() + fields.host.heap_bytes() + fields.origin.heap_bytes();
    size_of::<E>() + element.metadata().heap_bytes() + texts + ends
}

macro_rules! element {
    ($name:ident, $id:ident, |$this:ident| $ends:expr) => {
        impl Element for $name {
            type Id = $id;

            fn id(&self) -> &$id {
                &self.id
            }

            fn metadata(&self) -> &Metadata {
                &self.metadata
            }

            fn fields(&self) -> Fields<'_> {
                let $this = self;
                Fields {
                    id: self.id.as_id(),
                    host: &self.host,
                    origin: &self.origin,
                    created_at: self.created_at,
                    updated_at: self.updated_at,
                    deleted_at: self.deleted_at,
                    revision: self.revision,
                    ends: $ends,
                }
            }

            fn revised(&self, metadata: Metadata, revision: i64, updated_at: Timestamp) -> Self {
                Self {
                    metadata,
                    revision,
                    updated_at,
                    ..self.clone()
                }
            }

            fn deleted(&self, now: Timestamp) -> Self {
                Self {
                    deleted_at: Some(now),
                    ..self.clone()
                }
            }
        }
    };
}

element!(Node, NodeId, |_node| None);
element!(Edge, EdgeId, |edge| Some((&edge.parent, &edge.child)));
