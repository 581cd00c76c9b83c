//! Messages of live queries: requests of clients, answers, and changes.

use std::time::Duration;

use serde::Serialize;

use super::{Encoding, JsonStream, MAX_NAME_BYTES, Message, ProtoError};
use crate::api::go_json::Members;
use crate::gremlin::QueryError;
use crate::gremlin::live::Update;

/// Namespace of messages about live queries, which Skydive does not have.
///
/// The UUID of each message is the name of the query, which the client chooses.
pub const LIVE: &str = "Live";

/// Request of a client about a live query.
///
/// ```
/// use bytes::Bytes;
/// use skylib::proto::{Encoding, LiveRequest, Message};
/// let text = br#"{"Namespace":"Live","Type":"Query","UUID":"q1","Obj":{"GremlinQuery":"G.V()"}}"#;
/// let message = Message::decode(&Bytes::from_static(text), Encoding::Json)?;
/// let LiveRequest::Query { name, text, .. } = LiveRequest::decode(&message)? else { panic!() };
/// assert_eq!((name.as_str(), text.as_str()), ("q1", "G.V()"));
/// # Ok::<(), skylib::proto::ProtoError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LiveRequest {
    /// Starts a live query.
    Query {
        /// Name of the query, chosen by the client.
        name: String,
        /// Gremlin query.
        text: String,
        /// Time between two runs of a query that reads flows or history; `None` for the default.
        interval: Option<Duration>,
    },
    /// Ends a live query.
    Cancel {
        /// Name of the query, chosen by the client.
        name: String,
    },
}

impl LiveRequest {
    /// Decodes a message of the namespace [`LIVE`].
    ///
    /// # Errors
    /// Returns [`ProtoError`] if the name or the query is missing, or the type is unknown.
    pub fn decode(message: &Message) -> Result<Self, ProtoError> {
        let name = message.uuid.clone().unwrap_or_default();
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err(ProtoError::InvalidName);
        }
        match message.kind.as_str() {
            "Query" => {
                let (mut text, mut interval) = (String::new(), None);
                let object = message.object.json()?;
                if object.trim_ascii() != "null" {
                    let members = Members::parse_whole(object)?;
                    members.read("GremlinQuery", &mut text)?;
                    members.read("Interval", &mut interval)?;
                }
                if text.is_empty() {
                    return Err(ProtoError::MissingQuery);
                }
                let interval = interval.map(Duration::from_millis);
                Ok(Self::Query {
                    name,
                    text,
                    interval,
                })
            }
            "Cancel" => Ok(Self::Cancel { name }),
            other => Err(ProtoError::UnknownKind(other.to_owned())),
        }
    }
}

/// Returns the message for an update of a live query: `Answer`, `Changes`, or `Failed`.
///
/// ```
/// use skylib::gremlin::{Answer, live::Update};
/// use skylib::proto::{Encoding, live_update};
/// let update = Update::Answer { answer: Answer::Number(7), sequence: 3 };
/// let text = live_update(Encoding::Json, "q1", update).into_bytes();
/// let wanted = concat!(r#"{"Namespace":"Live","Type":"Answer","UUID":"q1","Status":200,"#,
///                      r#""Obj":{"Kind":"number","Sequence":3,"Answer":7}}"#);
/// assert_eq!(text, wanted.as_bytes());
/// ```
#[must_use]
pub fn live_update(encoding: Encoding, name: &str, update: Update) -> JsonStream {
    match update {
        Update::Answer { answer, sequence } => {
            let kind = answer.kind();
            let before = format!(r#"{{"Kind":"{kind}","Sequence":{sequence},"Answer":"#);
            let object = JsonStream::answer(answer).between(&before, "}");
            object.enveloped(encoding, LIVE, "Answer", name, OK)
        }
        Update::Changes { changes, sequence } => {
            let before = format!(r#"{{"Sequence":{sequence},"Changes":"#);
            let object = JsonStream::changes(changes).between(&before, "}");
            object.enveloped(encoding, LIVE, "Changes", name, OK)
        }
        Update::Failed(error) => live_error(encoding, name, "Failed", BAD_REQUEST, &error),
    }
}

/// Returns the message for an error of a live query.
///
/// `kind` is `Failed` for a query that continues, and `Error` for a query that ends.
#[must_use]
pub fn live_error(
    encoding: Encoding,
    name: &str,
    kind: &str,
    status: i64,
    error: &QueryError,
) -> JsonStream {
    let object = ErrorObject {
        error: error.to_string(),
        offset: error.offset(),
    };
    JsonStream::object(&object).enveloped(encoding, LIVE, kind, name, status)
}

/// Returns the reply to a request; `error` is the reason why the request was rejected.
#[must_use]
pub fn live_reply(
    encoding: Encoding,
    name: &str,
    kind: &str,
    status: i64,
    error: Option<String>,
) -> JsonStream {
    let object = match error {
        None => JsonStream::from_text(b"null".to_vec()),
        Some(error) => JsonStream::object(&ErrorObject {
            error,
            offset: None,
        }),
    };
    object.enveloped(encoding, LIVE, kind, name, status)
}

/// Object of a message about an error.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ErrorObject {
    error: String,
    /// Byte offset of the error in the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<usize>,
}

const OK: i64 = 200;
const BAD_REQUEST: i64 = 400;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::graph::{Metadata, Node};
    use crate::gremlin::{Answer, Query};
    use crate::time::Timestamp;

    fn request(text: &str) -> Result<LiveRequest, ProtoError> {
        let frame = Bytes::copy_from_slice(text.as_bytes());
        LiveRequest::decode(&Message::decode(&frame, Encoding::Json).unwrap())
    }

    #[test]
    fn errors_of_requests_name_the_problem() {
        let wrong = |text: &str| request(text).unwrap_err().to_string();
        let name = "invalid name of a live query; expected 1 to 128 bytes in member UUID";
        assert_eq!(
            wrong(r#"{"Type":"Query","Obj":{"GremlinQuery":"G"}}"#),
            name
        );
        let long = "x".repeat(129);
        assert_eq!(
            wrong(&format!(r#"{{"Type":"Cancel","UUID":"{long}"}}"#)),
            name
        );
        let query = "GremlinQuery is missing; expected a query";
        assert_eq!(wrong(r#"{"Type":"Query","UUID":"a"}"#), query);
        assert_eq!(
            wrong(r#"{"Type":"Query","UUID":"a","Obj":{"GremlinQuery":""}}"#),
            query
        );
        assert!(request(r#"{"Type":"Query","UUID":"a","Obj":{"GremlinQuery":5}}"#).is_err());
        assert!(request(r#"{"Type":"Query","UUID":"a","Obj":[]}"#).is_err());
        assert!(
            request(r#"{"Type":"Query","UUID":"a","Obj":{"GremlinQuery":"G","Interval":-1}}"#)
                .is_err()
        );
        let unknown = "unknown Type \"query\"; expected Query or Cancel";
        assert_eq!(wrong(r#"{"Type":"query","UUID":"a"}"#), unknown);
        let cancel = LiveRequest::Cancel {
            name: "a".to_owned(),
        };
        assert_eq!(
            request(r#"{"Type":"Cancel","UUID":"a","Obj":{"x":1}}"#).unwrap(),
            cancel
        );
    }

    #[test]
    fn a_query_may_have_an_interval_in_milliseconds() {
        let interval = |more: &str| {
            let text =
                format!(r#"{{"Type":"Query","UUID":"a","Obj":{{"GremlinQuery":"G"{more}}}}}"#);
            match request(&text).unwrap() {
                LiveRequest::Query { interval, .. } => interval,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(interval(""), None);
        assert_eq!(
            interval(r#","Interval":1500"#),
            Some(Duration::from_millis(1500))
        );
    }

    #[test]
    fn updates_are_equal_in_both_encodings() {
        let node = Arc::new(Node::new("n", Metadata::new(), Timestamp::ZERO));
        let error = Query::parse("G.V().Hass()").unwrap_err();
        for update in [
            Update::Answer {
                answer: Answer::Nodes(vec![node]),
                sequence: 4,
            },
            Update::Changes {
                changes: Vec::new(),
                sequence: 5,
            },
            Update::Failed(error),
        ] {
            let decode = |encoding| {
                let bytes = live_update(encoding, "q\"1", update.clone()).into_bytes();
                let message = Message::decode(&bytes.into(), encoding).unwrap();
                assert_eq!(message.uuid.as_deref(), Some("q\"1"));
                let object: Json = serde_json::from_str(message.object.json().unwrap()).unwrap();
                (message.namespace, message.kind, message.status, object)
            };
            let (namespace, kind, status, object) = decode(Encoding::Json);
            assert_eq!(namespace, "Live");
            match kind.as_str() {
                "Answer" => assert_eq!(object["Answer"][0]["ID"], "n"),
                "Changes" => assert_eq!(object, json!({"Sequence": 5, "Changes": []})),
                _ => assert_eq!((status, &object["Offset"]), (400, &json!(6))),
            }
            assert_eq!(
                decode(Encoding::Protobuf),
                (namespace, kind, status, object)
            );
        }
    }
}
