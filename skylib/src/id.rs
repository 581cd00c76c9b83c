//! Identifiers of graph elements: random, derived, or given by a client.

use std::fmt;

use arcstr::ArcStr;
use uuid::Uuid;

/// An identifier: any non-empty text, held in 16 bytes when it is a UUID in its usual spelling.
///
/// ```
/// use skylib::id::Id;
/// let id = Id::derived("276ec92a-884b-5251-af04-080c9c22b304/var/run/netns/bluenetns");
/// assert_eq!(id.to_string(), "244b8e78-8653-5ef8-839b-dc0efa1201a0");
/// assert_eq!(Id::from("eth0").to_string(), "eth0");
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(Repr);

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Repr {
    Uuid(Uuid),
    Text(ArcStr),
}

impl Id {
    /// A random identifier (UUID version 4).
    #[must_use]
    pub fn random() -> Self {
        Self(Repr::Uuid(Uuid::new_v4()))
    }

    /// The identifier that follows from a text: UUID version 5 in the OID namespace.
    #[must_use]
    pub fn derived(text: &str) -> Self {
        Self(Repr::Uuid(Uuid::new_v5(
            &Uuid::NAMESPACE_OID,
            text.as_bytes(),
        )))
    }

    /// Whether the text is empty, which no element may have.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(&self.0, Repr::Text(text) if text.is_empty())
    }

    /// Lends the text, made on the stack where it is not held.
    pub fn with_text<R>(&self, then: impl FnOnce(&str) -> R) -> R {
        match &self.0 {
            Repr::Uuid(uuid) => then(uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer())),
            Repr::Text(text) => then(text),
        }
    }
}

impl From<&str> for Id {
    fn from(text: &str) -> Self {
        // Only the exact spelling that Display gives back may take the short form.
        if text.len() == 36 && !text.bytes().any(|b| b.is_ascii_uppercase()) {
            if let Ok(uuid) = Uuid::try_parse(text) {
                return Self(Repr::Uuid(uuid));
            }
        }
        Self(Repr::Text(ArcStr::from(text)))
    }
}

impl From<String> for Id {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Uuid(uuid) => fmt::Display::fmt(uuid, f),
            Repr::Text(text) => f.pad(text),
        }
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl serde::Serialize for Id {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Repr::Uuid(uuid) => {
                serializer.serialize_str(uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
            }
            Repr::Text(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Id {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Ok(Self::from(text.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_comes_back_as_it_was() {
        for text in [
            "276ec92a-884b-5251-af04-080c9c22b304",
            "276EC92A-884B-5251-AF04-080C9C22B304",
            "276ec92a884b5251af04080c9c22b304",
            "",
            "x",
        ] {
            assert_eq!(Id::from(text).to_string(), text);
        }
    }

    #[test]
    fn derived_ids_match_the_recorded_vectors() {
        assert_eq!(
            Id::derived("edge-01").to_string(),
            "276ec92a-884b-5251-af04-080c9c22b304"
        );
    }
}
