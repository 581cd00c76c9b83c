//! The envelope as a protobuf message, derived by hand so that nobody needs `protoc`.

use bytes::Bytes;

/// `websocket.StructMessage`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Envelope {
    #[prost(string, tag = "1")]
    pub(super) namespace: String,
    #[prost(string, tag = "2")]
    pub(super) kind: String,
    #[prost(string, tag = "3")]
    pub(super) uuid: String,
    #[prost(int64, tag = "4")]
    pub(super) status: i64,
    #[prost(int32, tag = "5")]
    pub(super) format: i32,
    #[prost(bytes = "bytes", tag = "6")]
    pub(super) object: Bytes,
}

/// The object is JSON text.
pub(super) const FORMAT_JSON: i32 = 0;
/// The object is a protobuf message.
pub(super) const FORMAT_PROTOBUF: i32 = 1;
