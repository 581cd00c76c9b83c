//! Identifiers of graph elements: random, derived from a string, or chosen by a client.

use std::cmp::Ordering;
use std::convert::Infallible;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU8;
use std::str::FromStr;

use arcstr::ArcStr;
use uuid::Uuid;

/// Identifier: any non-empty string, stored in 16 bytes if it is a UUID in lowercase hyphenated
/// form.
///
/// ```
/// use skylib::id::Id;
/// let id = Id::derived("276ec92a-884b-5251-af04-080c9c22b304/var/run/netns/bluenetns");
/// assert_eq!(id.to_string(), "244b8e78-8653-5ef8-839b-dc0efa1201a0");
/// assert_eq!(Id::from("eth0").to_string(), "eth0");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Id(Repr);

#[derive(Clone, PartialEq, Eq)]
enum Repr {
    Uuid(Packed),
    Text(ArcStr),
}

/// UUID with its version and variant nibbles in the first byte, which is therefore never zero. This
/// leaves a niche for [`Repr::Text`] in the same 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Packed {
    nibbles: NonZeroU8,
    rest: [u8; 15],
}

// A node has one identifier, and an edge has three.
const _: () = assert!(size_of::<Id>() == 16);

impl Packed {
    /// Packs a UUID; `None` if both nibbles are zero.
    fn new(uuid: Uuid) -> Option<Self> {
        let [a, b, c, d, e, f, version, g, variant, h, i, j, k, l, m, n] = uuid.into_bytes();
        let nibbles = NonZeroU8::new((version & 0xf0) | (variant >> 4))?;
        let low = (version << 4) | (variant & 0x0f);
        Some(Self {
            nibbles,
            rest: [a, b, c, d, e, f, low, g, h, i, j, k, l, m, n],
        })
    }

    /// Returns the UUID.
    const fn uuid(self) -> Uuid {
        let [a, b, c, d, e, f, low, g, h, i, j, k, l, m, n] = self.rest;
        let nibbles = self.nibbles.get();
        let version = (nibbles & 0xf0) | (low >> 4);
        let variant = (nibbles << 4) | (low & 0x0f);
        Uuid::from_bytes([a, b, c, d, e, f, version, g, variant, h, i, j, k, l, m, n])
    }
}

impl Id {
    /// Returns a random identifier (UUID version 4).
    #[must_use]
    pub fn random() -> Self {
        Self::from(Uuid::new_v4())
    }

    /// Returns the identifier derived from a string (UUID version 5 in the OID namespace).
    #[must_use]
    pub fn derived(text: &str) -> Self {
        Self::from(Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes()))
    }

    /// Returns whether the identifier is empty; the identifier of an element must not be empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(&self.0, Repr::Text(text) if text.is_empty())
    }

    /// Returns the size of the identifier's heap memory, in bytes; 0 for a UUID.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Repr::Uuid(_) => 0,
            Repr::Text(text) => text.len() + 2 * size_of::<usize>(),
        }
    }

    /// Returns the identifier as a UUID; `None` if it is stored as a string.
    pub(crate) const fn as_uuid(&self) -> Option<Uuid> {
        match self.0 {
            Repr::Uuid(packed) => Some(packed.uuid()),
            Repr::Text(_) => None,
        }
    }

    /// Calls `then` with the identifier as a string, which is formatted on the stack if it is not
    /// stored, and returns the result.
    pub fn with_text<R>(&self, then: impl FnOnce(&str) -> R) -> R {
        match &self.0 {
            Repr::Uuid(packed) => then(
                packed
                    .uuid()
                    .hyphenated()
                    .encode_lower(&mut Uuid::encode_buffer()),
            ),
            Repr::Text(text) => then(text),
        }
    }
}

impl From<Uuid> for Id {
    fn from(uuid: Uuid) -> Self {
        match Packed::new(uuid) {
            Some(packed) => Self(Repr::Uuid(packed)),
            None => Self(Repr::Text(ArcStr::from(uuid.to_string()))),
        }
    }
}

impl FromStr for Id {
    type Err = Infallible;

    /// Converts a string to an identifier; never fails.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::from(text))
    }
}

impl From<&str> for Id {
    fn from(text: &str) -> Self {
        // Only the form that `Display` writes may be packed, so that the string round-trips.
        if text.len() == 36
            && !text.bytes().any(|b| b.is_ascii_uppercase())
            && let Ok(uuid) = Uuid::try_parse(text)
        {
            return Self::from(uuid);
        }
        Self(Repr::Text(ArcStr::from(text)))
    }
}

impl From<String> for Id {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl PartialOrd for Id {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Id {
    /// Compares the string forms.
    fn cmp(&self, other: &Self) -> Ordering {
        self.with_text(|a| other.with_text(|b| a.cmp(b)))
    }
}

impl Hash for Id {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match &self.0 {
            Repr::Uuid(Packed {
                nibbles,
                rest: [a, b, c, d, e, f, g, tail @ ..],
            }) => {
                state.write_u64(u64::from_le_bytes([
                    nibbles.get(),
                    *a,
                    *b,
                    *c,
                    *d,
                    *e,
                    *f,
                    *g,
                ]));
                state.write_u64(u64::from_le_bytes(*tail));
            }
            Repr::Text(text) => text.as_str().hash(state),
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_text(|text| f.pad(text))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl serde::Serialize for Id {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.with_text(|text| serializer.serialize_str(text))
    }
}

impl<'de> serde::Deserialize<'de> for Id {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Id;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E>(self, text: &str) -> Result<Id, E> {
                Ok(Id::from(text))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_round_trips() {
        for text in [
            "276ec92a-884b-5251-af04-080c9c22b304",
            "276EC92A-884B-5251-AF04-080C9C22B304",
            "276ec92a884b5251af04080c9c22b304",
            "276ec92a-884b-0251-0f04-080c9c22b304",
            "276ec92a-884b-0251-cf04-080c9c22b304",
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "",
            "x",
        ] {
            assert_eq!(Id::from(text).to_string(), text);
            let json = serde_json::to_string(text).unwrap();
            assert_eq!(serde_json::from_str::<Id>(&json).unwrap(), Id::from(text));
            assert_eq!(serde_json::to_string(&Id::from(text)).unwrap(), json);
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
