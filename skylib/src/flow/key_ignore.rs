//! `KeyIgnore`: parts of the flow key that a table ignores.

use std::fmt;
use std::str::FromStr;

use super::field::UnknownNameError;

/// Parts of the key that do not distinguish flows. Useful for networks in which the two directions
/// of a flow have different tags or pass different capture points.
///
/// ```
/// use skylib::flow::KeyIgnore;
/// let ignored: KeyIgnore = "vlan,mpls".parse()?;
/// assert!(ignored.contains(KeyIgnore::VLAN) && !ignored.contains(KeyIgnore::INTERFACE));
/// assert_eq!(ignored.to_string(), "vlan,mpls");
/// let error = "vxlan".parse::<KeyIgnore>().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "unknown part of a flow key \"vxlan\"; expected vlan, mpls, or interface"
/// );
/// # Ok::<(), skylib::flow::UnknownNameError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyIgnore(u8);

impl KeyIgnore {
    /// No part is ignored.
    pub const NONE: Self = Self(0);
    /// VLAN tags are ignored.
    pub const VLAN: Self = Self(1);
    /// MPLS labels are ignored.
    pub const MPLS: Self = Self(2);
    /// The capture point (interface) is ignored.
    pub const INTERFACE: Self = Self(4);

    /// Returns the union of both sets.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns whether all parts of `other` are ignored.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns whether no part is ignored.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Returns the names of the ignored parts.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES
            .iter()
            .filter(move |(part, _)| self.contains(*part))
            .map(|(_, name)| *name)
    }
}

/// Parts and their names.
const NAMES: [(KeyIgnore, &str); 3] = [
    (KeyIgnore::VLAN, "vlan"),
    (KeyIgnore::MPLS, "mpls"),
    (KeyIgnore::INTERFACE, "interface"),
];

impl FromStr for KeyIgnore {
    type Err = UnknownNameError;

    /// Parses names separated by commas; an empty string is the empty set.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let names = text
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty());
        names.into_iter().try_fold(Self::NONE, |all, name| {
            let part = NAMES.iter().find(|(_, known)| *known == name);
            part.map(|(part, _)| all.with(*part)).ok_or_else(|| {
                UnknownNameError::new(
                    "part of a flow key",
                    name,
                    "expected vlan, mpls, or interface",
                )
            })
        })
    }
}

impl fmt::Display for KeyIgnore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.names().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}
