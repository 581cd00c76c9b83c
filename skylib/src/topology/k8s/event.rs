//! The messages of the Kubernetes API: pages of lists, and events of watches. Performs no I/O.

use serde::Deserialize;
use serde_json::value::RawValue;

/// A page of the list of the objects of a kind.
#[derive(Debug)]
#[non_exhaustive]
pub struct ListPage<'a> {
    /// Version of the list; a watch begins there.
    pub version: String,
    /// Token of the next page; empty for the last page.
    pub next: String,
    /// Texts of the objects.
    pub objects: Vec<&'a [u8]>,
}

impl<'a> ListPage<'a> {
    /// Parses a page.
    ///
    /// # Errors
    /// Returns the error of the JSON parser.
    pub fn parse(json: &'a [u8]) -> Result<Self, serde_json::Error> {
        let wire: WireList<'a> = serde_json::from_slice(json)?;
        // Old versions send `null` for an empty list.
        let objects: Option<Vec<&RawValue>> = serde_json::from_str(wire.items.get())?;
        let objects = objects.unwrap_or_default();
        Ok(Self {
            version: wire.metadata.resource_version,
            next: wire.metadata.next,
            objects: objects.iter().map(|raw| raw.get().as_bytes()).collect(),
        })
    }
}

/// An event of a watch.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchEvent<'a> {
    /// An object was added or changed; the text of the object.
    Set(&'a [u8]),
    /// An object was deleted; the text of its last version.
    Deleted(&'a [u8]),
    /// Nothing has changed up to a version.
    Bookmark(String),
    /// The watch ends with an error.
    Failed {
        /// HTTP status.
        code: u16,
        /// Description of the error.
        message: String,
    },
}

impl<'a> WatchEvent<'a> {
    /// Parses an event; `None` for an unknown type of event.
    ///
    /// # Errors
    /// Returns the error of the JSON parser.
    pub fn parse(json: &'a [u8]) -> Result<Option<Self>, serde_json::Error> {
        let wire: WireEvent<'a> = serde_json::from_slice(json)?;
        let object = wire.object.get().as_bytes();
        Ok(Some(match wire.r#type.as_str() {
            "ADDED" | "MODIFIED" => Self::Set(object),
            "DELETED" => Self::Deleted(object),
            "BOOKMARK" => {
                let object: WireObject = serde_json::from_slice(object)?;
                Self::Bookmark(object.metadata.resource_version)
            }
            "ERROR" => {
                let status = ApiStatus::parse(object);
                Self::Failed {
                    code: status.code,
                    message: status.message,
                }
            }
            _ => return Ok(None),
        }))
    }
}

/// Description of a failed request.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ApiStatus {
    pub(super) message: String,
    pub(super) code: u16,
}

impl ApiStatus {
    /// Parses the body of a response; returns an empty description if it is something else.
    pub(super) fn parse(json: &[u8]) -> Self {
        let mut status: Self = serde_json::from_slice(json).unwrap_or_default();
        if let Some((end, _)) = status.message.char_indices().nth(MAX_MESSAGE_CHARS) {
            status.message.truncate(end);
        }
        status
    }
}

/// A list. Both keys are required, so that no other document counts as an empty list.
#[derive(Deserialize)]
struct WireList<'a> {
    metadata: WireMetadata,
    #[serde(borrow)]
    items: &'a RawValue,
}

#[derive(Deserialize)]
struct WireEvent<'a> {
    r#type: String,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct WireObject {
    metadata: WireMetadata,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireMetadata {
    resource_version: String,
    #[serde(rename = "continue")]
    next: String,
}

/// Maximum length of the description of an error, in characters.
const MAX_MESSAGE_CHARS: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_a_version_a_successor_and_objects() {
        let json = br#"{"kind":"PodList","metadata":{"resourceVersion":"7","continue":"c"},
            "items":[{"a":1}, {"b":2}]}"#;
        let page = ListPage::parse(json).unwrap();
        assert_eq!((page.version.as_str(), page.next.as_str()), ("7", "c"));
        assert_eq!(page.objects, [&br#"{"a":1}"#[..], &br#"{"b":2}"#[..]]);
        let empty = ListPage::parse(br#"{"metadata":{},"items":null}"#).unwrap();
        assert!(empty.objects.is_empty() && empty.next.is_empty());
        for other in [
            "[]",
            "{}",
            r#"{"metadata":{}}"#,
            r#"{"items":[]}"#,
            r#"{"metadata":{},"items":{}}"#,
        ] {
            assert!(ListPage::parse(other.as_bytes()).is_err(), "{other}");
        }
    }

    #[test]
    fn events_have_a_type_and_an_object() {
        let parse = |json: &'static str| WatchEvent::parse(json.as_bytes());
        let set = parse(r#"{"type":"ADDED","object":{"a":1}}"#).unwrap();
        assert_eq!(set, Some(WatchEvent::Set(br#"{"a":1}"#)));
        let set = parse(r#"{"type":"MODIFIED","object":{}}"#).unwrap();
        assert_eq!(set, Some(WatchEvent::Set(b"{}")));
        let deleted = parse(r#"{"object":{},"type":"DELETED"}"#).unwrap();
        assert_eq!(deleted, Some(WatchEvent::Deleted(b"{}")));
        let json = r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9"}}}"#;
        assert_eq!(
            parse(json).unwrap(),
            Some(WatchEvent::Bookmark("9".to_owned()))
        );
        let json = r#"{"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old"}}"#;
        let failed = WatchEvent::Failed {
            code: 410,
            message: "too old".to_owned(),
        };
        assert_eq!(parse(json).unwrap(), Some(failed));
        assert_eq!(parse(r#"{"type":"NEW","object":{}}"#).unwrap(), None);
        assert!(parse(r#"{"type":"BOOKMARK","object":{}}"#).is_err());
        assert!(parse(r#"{"type":"ADDED"}"#).is_err());
    }

    #[test]
    fn the_description_of_an_error_is_short() {
        let json = format!(r#"{{"message":"{}","code":403}}"#, "é".repeat(10_000));
        let status = ApiStatus::parse(json.as_bytes());
        assert_eq!((status.code, status.message.chars().count()), (403, 300));
        assert_eq!(ApiStatus::parse(b"<html>").code, 0);
    }
}
