//! Checks of message envelopes in protobuf.

use prost::bytes::Bytes;
use skylib::proto::{Encoding, GraphMessage, Message, Object, SyncRequest, write_message};

/// Panics if parsing panics, or if an envelope changes when it is written and read again.
pub(crate) fn check(input: &[u8]) {
    let frame = Bytes::copy_from_slice(input);
    let Ok(message) = Message::decode(&frame, Encoding::Protobuf) else {
        return;
    };
    drop(GraphMessage::decode(&message));
    drop(SyncRequest::decode(&message.object));
    let Object::Json(object) = &message.object else {
        assert!(message.object.json().is_err());
        return;
    };
    let uuid = message.uuid.as_deref().unwrap_or_default();
    let write = |encoding| {
        write_message(
            encoding,
            &message.namespace,
            &message.kind,
            uuid,
            message.status,
            |out| {
                out.extend_from_slice(object);
            },
        )
    };
    let again = Message::decode(&write(Encoding::Protobuf).into(), Encoding::Protobuf);
    assert_eq!(again.expect("own output is valid"), message);
    // An envelope in JSON can contain only an object of valid JSON.
    if serde_json::from_slice::<serde::de::IgnoredAny>(object).is_ok() {
        let again = Message::decode(&write(Encoding::Json).into(), Encoding::Json);
        let again = again.expect("own output is valid");
        assert_eq!(
            (again.namespace, again.kind),
            (message.namespace, message.kind)
        );
        assert_eq!((again.uuid, again.status), (message.uuid, message.status));
    }
}
