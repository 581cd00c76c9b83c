//! What goes over WebSocket: the envelope, and the messages of each namespace inside it.
//!
//! A [`Message`] is what a client sent, decoded leniently: whoever serves it drops what cannot be
//! decoded and goes on. An [`BroadcastMessage`] is one event for any number of receivers; each
//! [`Encoding`] of it is made once, when the first receiver asks, and shared by all.
//!
//! ```
//! use bytes::Bytes;
//! use skylib::proto::{Encoding, Message, SyncRequest};
//! let text = br#"{"namespace":"Graph","Type":"SyncRequest","UUID":"u1","Obj":{"Time":5}}"#;
//! let message = Message::decode(&Bytes::from_static(text), Encoding::Json)?;
//! assert_eq!((message.namespace.as_str(), message.kind.as_str()), ("Graph", "SyncRequest"));
//! let request = SyncRequest::decode(&message.object)?;
//! assert_eq!(request.time_ms, 5);
//! # Ok::<(), skylib::proto::ProtoError>(())
//! ```

mod broadcast_message;
mod envelope;
mod filtered_view;
mod flow;
mod json_stream;
mod live;
mod message;
mod protected_keys;
mod topology;

pub use broadcast_message::{BroadcastMessage, UpdatePolicy};
pub use filtered_view::{FilteredView, NodeFilter};
pub use flow::decode_flow_message;
pub use json_stream::JsonStream;
pub use live::{LIVE, LiveRequest, live_error, live_reply, live_update};
pub use message::{Message, Object, write_message};
pub use topology::{GraphMessage, PartialUpdate, SyncRequest};

use crate::api::go_json::JsonError;
use crate::graph::GraphError;

/// How a client wants its messages. Complete by definition: the protocols of the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// JSON in text frames.
    #[default]
    Json,
    /// Protocol buffers in binary frames.
    Protobuf,
}

impl Encoding {
    /// Reads the value of `X-Client-Protocol`; empty means JSON.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "" | "json" => Some(Self::Json),
            "protobuf" => Some(Self::Protobuf),
            _ => None,
        }
    }
}

/// Messages about nodes and edges.
pub const GRAPH: &str = "Graph";
/// Flows of all captures; `flow/<capture>` holds those of one.
pub const FLOW: &str = "flow";
/// Statistics of captures.
pub const STATS: &str = "stats";

/// Longest name of a live query, in bytes.
pub const MAX_NAME: usize = 128;

/// Why a message was not understood. The sender is not told; the connection goes on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProtoError {
    /// The envelope or the object in it is no such JSON.
    #[error("{0}")]
    Json(#[from] JsonError),
    /// The envelope is no such protobuf message.
    #[error("{0}")]
    Protobuf(#[from] prost::DecodeError),
    /// A node or an edge that cannot be one.
    #[error("{0}")]
    Element(#[from] GraphError),
    /// The object must be JSON, not protobuf.
    #[error("the object of this message has no protobuf form")]
    NotJson,
    /// A request about a live query without a name for it, or with a very long one.
    #[error("a UUID of 1 to {MAX_NAME} bytes expected: it names the live query")]
    NoName,
    /// A request for a live query without a query.
    #[error("GremlinQuery expected, the text of a query")]
    NoQuery,
    /// A request of another kind.
    #[error("unknown Type {0:?}, Query or Cancel expected")]
    UnknownKind(String),
    /// A synchronisation without any list.
    #[error("neither Nodes nor Edges")]
    NoLists,
    /// It ends within a part of it.
    #[error("cut short")]
    Truncated,
    /// It holds more of something than there may be.
    #[error("more than {1} {0}")]
    TooMuch(&'static str, usize),
}
