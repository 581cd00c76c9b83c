//! The envelope as a protobuf message, written by hand so that the build does not need `protoc`.

use bytes::Bytes;
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};

/// The message `websocket.StructMessage` of Skydive.
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

impl Envelope {
    /// Returns the part of the message before its JSON object; `object_len` is the length of the
    /// object, in bytes.
    pub(super) fn head(
        namespace: &str,
        kind: &str,
        uuid: &str,
        status: i64,
        object_len: u64,
    ) -> Vec<u8> {
        let envelope = Self {
            namespace: namespace.to_owned(),
            kind: kind.to_owned(),
            uuid: uuid.to_owned(),
            status,
            format: FORMAT_JSON,
            object: Bytes::new(),
        };
        let mut head = envelope.encode_to_vec();
        // The object has the highest tag, so it is the last field.
        encode_key(6, WireType::LengthDelimited, &mut head);
        encode_varint(object_len, &mut head);
        head
    }
}

/// Value of `format` for JSON.
pub(super) const FORMAT_JSON: i32 = 0;
/// Value of `format` for a protobuf message.
pub(super) const FORMAT_PROTOBUF: i32 = 1;
