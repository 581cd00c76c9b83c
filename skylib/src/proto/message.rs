//! `Message`: the envelope of every WebSocket message, in JSON or protobuf.

use std::borrow::Cow;

use bytes::Bytes;
use prost::Message as _;
use serde::Serialize;

use super::envelope::{Envelope, FORMAT_JSON, FORMAT_PROTOBUF};
use super::{Encoding, ProtoError};
use crate::api::go_json::Members;
use crate::api::json_text;

/// A message that a client sent.
///
/// ```
/// use bytes::Bytes;
/// use skylib::proto::{Encoding, Message};
/// let frame = Bytes::from_static(br#"{"Namespace":"Graph","Type":"SyncRequest","UUID":"u1"}"#);
/// let message = Message::decode(&frame, Encoding::Json)?;
/// assert_eq!(message.kind, "SyncRequest");
/// assert_eq!(message.uuid.as_deref(), Some("u1"));
/// assert_eq!(message.object.json()?, "null");
/// # Ok::<(), skylib::proto::ProtoError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Message {
    /// Namespace that the message belongs to, such as `Graph`; case-sensitive.
    pub namespace: String,
    /// Type of the message, such as `SyncRequest`; case-sensitive.
    pub kind: String,
    /// Identifier that the reply repeats: any string; `None` if absent or empty.
    pub uuid: Option<String>,
    /// Status code with the meaning of HTTP; 0 if absent.
    pub status: i64,
    /// Content of the message.
    pub object: Object,
}

/// The undecoded object of a [`Message`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Object {
    /// JSON; `null` if the message has no object.
    Json(Bytes),
    /// A protobuf message, whose type follows from the type of the envelope.
    Protobuf(Bytes),
}

impl Message {
    /// Returns a message without an identifier or a status.
    #[must_use]
    pub fn new(namespace: impl Into<String>, kind: impl Into<String>, object: Object) -> Self {
        Self {
            namespace: namespace.into(),
            kind: kind.into(),
            uuid: None,
            status: 0,
            object,
        }
    }

    /// Sets the identifier that the reply repeats.
    #[must_use]
    pub fn with_uuid(mut self, uuid: impl Into<String>) -> Self {
        self.uuid = Some(uuid.into());
        self
    }

    /// Sets the status code.
    #[must_use]
    pub const fn with_status(mut self, status: i64) -> Self {
        self.status = status;
        self
    }

    /// Returns the encoded message. A JSON connection can carry no object in protobuf, so such an
    /// object is replaced by `null` there.
    #[must_use]
    pub fn encode(&self, encoding: Encoding) -> Vec<u8> {
        let uuid = self.uuid.as_deref().unwrap_or_default();
        let (namespace, kind, status) = (&self.namespace, &self.kind, self.status);
        match (&self.object, encoding) {
            (Object::Protobuf(object), Encoding::Protobuf) => {
                write_protobuf(namespace, kind, uuid, status, object.clone())
            }
            (Object::Protobuf(_), Encoding::Json) => {
                write_message(encoding, namespace, kind, uuid, status, |out| {
                    out.extend_from_slice(b"null");
                })
            }
            (Object::Json(json), _) => {
                write_message(encoding, namespace, kind, uuid, status, |out| {
                    out.extend_from_slice(json);
                })
            }
        }
    }

    /// Decodes a frame in the encoding that the client declared; the opcode of the frame is
    /// irrelevant.
    ///
    /// JSON keys are case-insensitive. Unknown keys and `Format` are ignored. Invalid strings of
    /// JSON are repaired (see [`json_text`]).
    ///
    /// # Errors
    /// Returns [`ProtoError`] if the frame is not exactly one envelope.
    pub fn decode(frame: &Bytes, encoding: Encoding) -> Result<Self, ProtoError> {
        match encoding {
            Encoding::Json => match json_text(frame) {
                Cow::Borrowed(text) => Self::decode_json(text, frame),
                Cow::Owned(repaired) => {
                    let frame = Bytes::from(repaired);
                    let text = std::str::from_utf8(&frame).unwrap_or_default();
                    Self::decode_json(text, &frame)
                }
            },
            Encoding::Protobuf => Self::decode_protobuf(frame),
        }
    }

    /// Decodes `text`, which is the content of `frame`; the object is a slice of the frame.
    fn decode_json(text: &str, frame: &Bytes) -> Result<Self, ProtoError> {
        let members = Members::parse_whole(text)?;
        let (mut namespace, mut kind, mut uuid) = (String::new(), String::new(), String::new());
        let mut status = 0;
        members.read("Namespace", &mut namespace)?;
        members.read("Type", &mut kind)?;
        members.read("UUID", &mut uuid)?;
        members.read("Status", &mut status)?;
        let object = match members.get("Obj") {
            Some(value) => frame.slice_ref(value.get().as_bytes()),
            None => Bytes::from_static(b"null"),
        };
        let uuid = Some(uuid).filter(|uuid| !uuid.is_empty());
        Ok(Self {
            namespace,
            kind,
            uuid,
            status,
            object: Object::Json(object),
        })
    }

    fn decode_protobuf(frame: &Bytes) -> Result<Self, ProtoError> {
        let envelope = Envelope::decode(frame.clone())?;
        // Some clients declare the wrong format, but the first byte identifies JSON: as protobuf
        // tags, `{` and `[` would be a group and a fixed 32-bit field 11.
        let looks_like_json = matches!(envelope.object.first(), None | Some(b'{' | b'['));
        let object = if envelope.format == FORMAT_PROTOBUF && !looks_like_json {
            Object::Protobuf(envelope.object)
        } else if envelope.object.is_empty() {
            Object::Json(Bytes::from_static(b"null"))
        } else {
            Object::Json(match json_text(&envelope.object) {
                Cow::Owned(repaired) => repaired.into(),
                Cow::Borrowed(_) => envelope.object,
            })
        };
        let uuid = Some(envelope.uuid).filter(|uuid| !uuid.is_empty());
        let Envelope {
            namespace,
            kind,
            status,
            ..
        } = envelope;
        Ok(Self {
            namespace,
            kind,
            uuid,
            status,
            object,
        })
    }
}

impl Object {
    /// Returns the object as JSON.
    ///
    /// # Errors
    /// Returns [`ProtoError::NotJson`] if the object is protobuf, or not UTF-8.
    pub fn json(&self) -> Result<&str, ProtoError> {
        match self {
            Self::Json(text) => std::str::from_utf8(text).map_err(|_| ProtoError::NotJson),
            Self::Protobuf(_) => Err(ProtoError::NotJson),
        }
    }
}

/// Returns an encoded message; `object` appends the JSON of its object.
///
/// An empty `uuid` and a zero `status` are omitted; `Obj` is always present.
///
/// ```
/// use skylib::proto::{Encoding, write_message};
/// let bytes = write_message(Encoding::Json, "Graph", "SyncReply", "u1", 400, |out| {
///     out.extend_from_slice(b"null");
/// });
/// assert_eq!(
///     bytes,
///     br#"{"Namespace":"Graph","Type":"SyncReply","UUID":"u1","Status":400,"Obj":null}"#,
/// );
/// ```
#[must_use]
pub fn write_message(
    encoding: Encoding,
    namespace: &str,
    kind: &str,
    uuid: &str,
    status: i64,
    object: impl FnOnce(&mut Vec<u8>),
) -> Vec<u8> {
    let mut out = Vec::with_capacity(TYPICAL_BYTES);
    match encoding {
        Encoding::Json => {
            write_json_head(&mut out, namespace, kind, uuid, status);
            object(&mut out);
            out.push(b'}');
            out
        }
        Encoding::Protobuf => {
            object(&mut out);
            Envelope {
                namespace: namespace.to_owned(),
                kind: kind.to_owned(),
                uuid: uuid.to_owned(),
                status,
                format: FORMAT_JSON,
                object: out.into(),
            }
            .encode_to_vec()
        }
    }
}

/// Returns a message in protobuf whose object is also protobuf.
pub(super) fn write_protobuf(
    namespace: &str,
    kind: &str,
    uuid: &str,
    status: i64,
    object: Bytes,
) -> Vec<u8> {
    Envelope {
        namespace: namespace.to_owned(),
        kind: kind.to_owned(),
        uuid: uuid.to_owned(),
        status,
        format: FORMAT_PROTOBUF,
        object,
    }
    .encode_to_vec()
}

/// Appends the envelope up to and including `"Obj":`.
pub(super) fn write_json_head(
    out: &mut Vec<u8>,
    namespace: &str,
    kind: &str,
    uuid: &str,
    status: i64,
) {
    out.extend_from_slice(b"{\"Namespace\":");
    write_json(out, namespace);
    out.extend_from_slice(b",\"Type\":");
    write_json(out, kind);
    if !uuid.is_empty() {
        out.extend_from_slice(b",\"UUID\":");
        write_json(out, uuid);
    }
    if status != 0 {
        out.extend_from_slice(b",\"Status\":");
        write_json(out, &status);
    }
    out.extend_from_slice(b",\"Obj\":");
}

/// Appends the JSON of plain data, whose serialization into memory cannot fail.
pub(super) fn write_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, object: &T) {
    drop(serde_json::to_writer(out, object));
}

/// Typical length of a message about one element, in bytes.
const TYPICAL_BYTES: usize = 768;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(text: &str) -> Result<Message, ProtoError> {
        Message::decode(&Bytes::copy_from_slice(text.as_bytes()), Encoding::Json)
    }

    fn object(message: &Message) -> &str {
        message.object.json().unwrap()
    }

    #[test]
    fn keys_match_in_any_case_and_values_do_not() {
        let text = r#"{"namespace":"Graph","TYPE":"SyncRequest","uuid":"u1","obj":{"a":1},
                       "Comment":"ignored","Format":7}"#;
        let message = json(text).unwrap();
        assert_eq!(
            (message.namespace.as_str(), message.kind.as_str()),
            ("Graph", "SyncRequest")
        );
        assert_eq!((message.uuid.as_deref(), message.status), (Some("u1"), 0));
        assert_eq!(object(&message), r#"{"a":1}"#);
        assert_ne!(json(r#"{"Namespace":"graph"}"#).unwrap().namespace, "Graph");
    }

    #[test]
    fn absence_and_null_are_defaults() {
        let message = json("{}").unwrap();
        assert_eq!((message.uuid, message.status), (None, 0));
        assert_eq!(object(&json("{}").unwrap()), "null");
        let message = json(r#"{"Namespace":null,"UUID":"","Status":null,"Obj":null}"#).unwrap();
        assert_eq!((message.namespace.as_str(), message.uuid), ("", None));
    }

    #[test]
    fn anything_but_one_envelope_is_an_error() {
        for text in [
            "",
            "not json",
            "[]",
            "5",
            "null",
            "\"x\"",
            r#"{"Namespace":"Graph"} x"#,
            r#"{"Namespace":"Graph"}{}"#,
            r#"{"UUID":5}"#,
            r#"{"Status":"200"}"#,
            r#"{"Status":1.5}"#,
            r#"{"Type":["SyncRequest"]}"#,
            r#"{"Namespace":"Graph""#,
        ] {
            assert!(json(text).is_err(), "{text}");
        }
        let deep = format!(r#"{{"Namespace":{}"#, "[".repeat(1 << 20));
        assert!(json(&deep).is_err());
    }

    #[test]
    fn bytes_that_are_not_utf8_are_replaced() {
        let message = Message::decode(
            &Bytes::from_static(b"{\"UUID\":\"a\xffb\"}"),
            Encoding::Json,
        )
        .unwrap();
        assert_eq!(message.uuid.as_deref(), Some("a\u{fffd}b"));
    }

    #[test]
    fn single_surrogates_are_replaced_in_both_encodings() {
        let message = json(r#"{"UUID":"\ud800","Obj":{"Name":"a\udc80"}}"#).unwrap();
        assert_eq!(message.uuid.as_deref(), Some("\u{fffd}"));
        assert_eq!(object(&message), r#"{"Name":"a\ufffd"}"#);
        for (bytes, text) in [
            (&br#"{"Name":"a\udc80"}"#[..], r#"{"Name":"a\ufffd"}"#),
            (&b"{\"Name\":\"a\x80\"}"[..], "{\"Name\":\"a\u{fffd}\"}"),
        ] {
            let frame = write_message(Encoding::Protobuf, "Graph", "NodeAdded", "", 0, |out| {
                out.extend_from_slice(bytes);
            });
            let message = Message::decode(&frame.into(), Encoding::Protobuf).unwrap();
            assert_eq!(object(&message), text);
        }
    }

    #[test]
    fn a_protobuf_object_is_recognized_by_its_format_and_first_byte() {
        let decode = |format, object: &'static [u8]| {
            let envelope = Envelope {
                format,
                object: object.into(),
                ..Envelope::default()
            };
            let bytes = Bytes::from(envelope.encode_to_vec());
            Message::decode(&bytes, Encoding::Protobuf).unwrap().object
        };
        assert_eq!(decode(FORMAT_JSON, b"{}"), Object::Json("{}".into()));
        assert_eq!(decode(FORMAT_PROTOBUF, b"{}"), Object::Json("{}".into()));
        assert_eq!(decode(FORMAT_PROTOBUF, b"[1]"), Object::Json("[1]".into()));
        assert_eq!(
            decode(FORMAT_PROTOBUF, b"\x0a\x01x"),
            Object::Protobuf(b"\x0a\x01x"[..].into())
        );
        assert_eq!(decode(FORMAT_JSON, b""), Object::Json("null".into()));
        assert!(decode(FORMAT_PROTOBUF, b"\x0a\x01x").json().is_err());
    }

    #[test]
    fn broken_protobuf_is_an_error() {
        for bytes in [
            &b"\x0a\xff"[..],
            b"\x0a\x05abc",
            b"\x0a\x01\xff",
            b"{\"Namespace\":\"Graph\"}",
        ] {
            let frame = Bytes::copy_from_slice(bytes);
            assert!(
                Message::decode(&frame, Encoding::Protobuf).is_err(),
                "{bytes:x?}"
            );
        }
        // Unknown fields are skipped.
        let frame = Bytes::from_static(b"\x78\x05\x12\x01T\xf2\x01\x02xy");
        assert_eq!(
            Message::decode(&frame, Encoding::Protobuf).unwrap().kind,
            "T"
        );
    }

    proptest! {
        #[test]
        fn written_messages_decode_to_the_same(
            namespace in ".{0,20}", kind in ".{0,20}", uuid in ".{0,40}", status in any::<i64>(),
        ) {
            for encoding in [Encoding::Json, Encoding::Protobuf] {
                let bytes = write_message(encoding, &namespace, &kind, &uuid, status, |out| {
                    out.extend_from_slice(b"{\"x\":[1]}");
                });
                let message = Message::decode(&bytes.into(), encoding).unwrap();
                prop_assert_eq!(&message.namespace, &namespace);
                prop_assert_eq!(&message.kind, &kind);
                prop_assert_eq!(message.uuid.as_deref().unwrap_or_default(), &uuid);
                prop_assert_eq!(message.status, status);
                prop_assert_eq!(message.object, Object::Json("{\"x\":[1]}".into()));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let frame = Bytes::from(bytes);
            for encoding in [Encoding::Json, Encoding::Protobuf] {
                drop(Message::decode(&frame, encoding));
            }
        }
    }
}
