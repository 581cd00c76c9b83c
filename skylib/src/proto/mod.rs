//! WebSocket messages: the envelope, and the objects of each namespace inside it.
//!
//! A [`Message`] from a client is decoded leniently; the server drops a message that it cannot
//! decode, and the connection continues. A [`BroadcastMessage`] is one event for any number of
//! receivers: each [`Encoding`] is produced once, when the first receiver needs it, and shared.
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
mod json_items;
mod json_stream;
mod live;
mod message;
mod on_demand;
mod protected_keys;
mod table_query;
mod topology;
mod wire_filter;

pub use broadcast_message::{BroadcastMessage, ParseUpdatePolicyError, UpdatePolicy};
pub use filtered_view::{FilteredView, NodeFilter, Selection};
pub use flow::decode_flow_message;
pub use json_stream::JsonStream;
pub use live::{LIVE, LiveRequest, live_error, live_reply, live_update};
pub use message::{Message, Object, write_message};
pub use on_demand::{ON_DEMAND_CAPTURE, ON_DEMAND_INJECTION, OnDemandTask};
pub use table_query::{
    FLOW_TABLE, decode_table_query, decode_table_result, is_exact, table_failure, table_query,
    table_result,
};
pub use topology::{GraphMessage, PartialUpdate, SyncRequest};

use std::str::FromStr;

use crate::api::go_json::JsonError;
use crate::graph::GraphError;

/// Encoding of the messages of a connection.
///
/// ```
/// use skylib::proto::{Encoding, ParseEncodingError};
/// assert_eq!("protobuf".parse::<Encoding>()?, Encoding::Protobuf);
/// assert_eq!("".parse::<Encoding>()?, Encoding::Json);
/// # Ok::<(), ParseEncodingError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// JSON in text frames.
    #[default]
    Json,
    /// Protocol buffers in binary frames.
    Protobuf,
}

impl FromStr for Encoding {
    type Err = ParseEncodingError;

    /// Parses the value of the header `X-Client-Protocol`; an empty value means JSON.
    ///
    /// # Errors
    /// Returns [`ParseEncodingError`] for any value other than `json` and `protobuf`.
    fn from_str(name: &str) -> Result<Self, ParseEncodingError> {
        match name {
            "" | "json" => Ok(Self::Json),
            "protobuf" => Ok(Self::Protobuf),
            _ => Err(ParseEncodingError),
        }
    }
}

/// Error returned if a string is not a valid [`Encoding`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown encoding; expected json or protobuf")]
pub struct ParseEncodingError;

/// Namespace of messages about nodes and edges.
pub const GRAPH: &str = "Graph";
/// Namespace of the flows of all captures; `flow/<capture id>` has the flows of one capture.
pub const FLOW: &str = "flow";
/// Namespace of the statistics of captures.
pub const STATS: &str = "stats";

/// Maximum length of the name of a live query, in bytes.
pub const MAX_NAME_BYTES: usize = 128;

/// Reason why a message was not decoded. The server drops such a message without a reply.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProtoError {
    /// The envelope or its object is not JSON, or a member has the wrong type.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// The envelope is not a protobuf message of its type.
    #[error(transparent)]
    Protobuf(#[from] prost::DecodeError),
    /// The object is not a valid node or edge.
    #[error(transparent)]
    Element(#[from] GraphError),
    /// The object is protobuf, but its type has only JSON objects.
    #[error("the object of this message has no protobuf form")]
    NotJson,
    /// The name of a live query is missing or too long.
    #[error("invalid name of a live query; expected 1 to {MAX_NAME_BYTES} bytes in member UUID")]
    InvalidName,
    /// The request for a live query has no query.
    #[error("GremlinQuery is missing; expected a query")]
    MissingQuery,
    /// The type of a request about a live query is unknown.
    #[error("unknown Type {0:?}; expected Query or Cancel")]
    UnknownKind(String),
    /// The message ends inside a field.
    #[error("the message is truncated")]
    Truncated,
    /// The filter of a flow query is invalid: the key and the reason.
    #[error("invalid filter on {0:?}: {1}")]
    Filter(String, String),
    /// A flow query sorts or deduplicates by a field that flows do not have.
    #[error("flows have no field {0:?}")]
    UnknownField(String),
    /// The peer reports a failure with this status.
    #[error("the peer answered with status {0}")]
    Status(i64),
    /// The message exceeds a limit: the counted item and the limit.
    #[error("more than {1} {0}")]
    LimitExceeded(&'static str, usize),
}
