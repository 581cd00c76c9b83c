//! The envelope as a protobuf message, written by hand so that the build does not need `protoc`.

use bytes::Bytes;

/// The message `websocket.StructMessage` of the original.
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

/// Value of `format` for JSON text.
pub(super) const FORMAT_JSON: i32 = 0;
/// Value of `format` for a protobuf message.
pub(super) const FORMAT_PROTOBUF: i32 = 1;
