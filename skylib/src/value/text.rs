//! `Text`: a string in 16 bytes, stored inline or shared.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

use arcstr::ArcStr;

/// Immutable string in 16 bytes: up to 14 bytes are stored inline, longer strings are shared by
/// reference count.
///
/// Most metadata values are short words (`veth`, `UP`, `eth0`), which therefore need no allocation,
/// and no global interning table that malicious input could fill.
///
/// ```
/// use skylib::value::Text;
/// assert_eq!(Text::from("eth0").as_str(), "eth0");
/// assert_eq!(std::mem::size_of::<Text>(), 16);
/// ```
#[derive(Clone)]
pub struct Text(Repr);

#[derive(Clone)]
enum Repr {
    Inline { len: u8, bytes: [u8; INLINE] },
    Shared(ArcStr),
}

/// Maximum length of an inline string, in bytes.
const INLINE: usize = 14;

impl Text {
    /// Returns the string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Inline { len, bytes } => {
                std::str::from_utf8(&bytes[..usize::from(*len)]).unwrap_or_default()
            }
            Repr::Shared(text) => text,
        }
    }

    /// Returns whether the string is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the length of the string in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Inline { len, .. } => usize::from(*len),
            Repr::Shared(text) => text.len(),
        }
    }

    /// Returns the UTF-8 bytes of the string, without checking them again.
    fn as_utf8(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Repr::Shared(text) => text.as_bytes(),
        }
    }

    /// Returns an inline string as its buffer, padded with spaces, and its length; `None` if it is
    /// shared.
    pub(super) const fn inline(&self) -> Option<(&[u8; INLINE], usize)> {
        match &self.0 {
            Repr::Inline { len, bytes } => Some((bytes, *len as usize)),
            Repr::Shared(_) => None,
        }
    }

    /// Returns the heap size in bytes, which all clones share.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Repr::Inline { .. } => 0,
            Repr::Shared(text) => text.len() + 2 * size_of::<usize>(),
        }
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::from("")
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        let mut bytes = [b' '; INLINE];
        match bytes.get_mut(..text.len()) {
            Some(slot) => {
                slot.copy_from_slice(text.as_bytes());
                let len = u8::try_from(text.len()).unwrap_or_default();
                Self(Repr::Inline { len, bytes })
            }
            None => Self(Repr::Shared(ArcStr::from(text))),
        }
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<ArcStr> for Text {
    fn from(text: ArcStr) -> Self {
        if text.len() <= INLINE {
            Self::from(text.as_str())
        } else {
            Self(Repr::Shared(text))
        }
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Repr::Inline { len: a, bytes: x }, Repr::Inline { len: b, bytes: y }) => {
                a == b && x == y
            }
            (Repr::Shared(a), Repr::Shared(b)) => ArcStr::ptr_eq(a, b) || a == b,
            _ => false,
        }
    }
}

impl Eq for Text {}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // The order of UTF-8 bytes is that of `str`.
        self.as_utf8().cmp(other.as_utf8())
    }
}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The hash must equal that of `str`, which `Borrow<str>` requires: its bytes and one byte that
        // UTF-8 does not contain.
        state.write(self.as_utf8());
        state.write_u8(0xff);
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl serde::Serialize for Text {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> serde::Deserialize<'de> for Text {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text::from(text))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn inline_and_shared_text_compare_by_content() {
        let long = "a string of more than fourteen bytes";
        for text in ["", "x", "fourteen bytes", "fifteen bytes!!", long] {
            assert_eq!(Text::from(text), Text::from(ArcStr::from(text)), "{text}");
            assert_eq!(Text::from(text).as_str(), text);
            assert_eq!(
                (Text::from(text).len(), Text::from(text).is_empty()),
                (text.len(), text.is_empty())
            );
        }
        assert_ne!(Text::from("a"), Text::from("b"));
        let hasher = std::collections::hash_map::RandomState::new();
        for text in ["", "ä", "fourteen bytes", long] {
            assert_eq!(hasher.hash_one(Text::from(text)), hasher.hash_one(text));
            let quick = hashbrown::DefaultHashBuilder::default();
            assert_eq!(quick.hash_one(Text::from(text)), quick.hash_one(text));
        }
        assert!(Text::from("a").as_str() < long && [Text::from("a"), Text::from(long)].is_sorted());
    }
}
