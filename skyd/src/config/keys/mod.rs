//! Table of the configuration keys: type, default, and help text of each key.
//!
//! Names are those of Skydive, so that its files remain valid. `*` stands for a part that the user
//! chooses. The table also contains keys that only other parts of Skydive read, so that a warning
//! can name them; many of them are trees of type [`ValueType::Free`], whose content is not checked.

mod ignored;
mod supported;

use std::sync::LazyLock;

use self::ignored::IGNORED;
use self::supported::SUPPORTED;
use super::value_type::ValueType;

pub(crate) use self::ignored::RENAMED;

/// Configuration key.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ConfigKey {
    /// Dotted name in lower case, `*` for a part that the user chooses.
    pub name: &'static str,
    /// Type of its values.
    pub value_type: ValueType,
    /// Value if the key is not configured, as a user would write it; empty for none.
    pub default: &'static str,
    /// Meaning of the key: what it sets, and what an empty value means.
    pub help: &'static str,
    /// Whether the daemon reads the key; otherwise a configured value has no effect.
    pub is_read: bool,
}

const fn key(
    name: &'static str,
    value_type: ValueType,
    default: &'static str,
    help: &'static str,
) -> ConfigKey {
    ConfigKey {
        name,
        value_type,
        default,
        help,
        is_read: true,
    }
}

/// Returns all keys: first the keys that the daemon reads, then the keys that have no effect.
pub fn keys() -> impl Iterator<Item = &'static ConfigKey> {
    SUPPORTED.iter().chain(IGNORED)
}

/// Returns the key that a path belongs to, and the number of path segments that its name takes.
///
/// If several keys match, the longest name takes precedence, then a name without `*`.
pub(crate) fn find(path: &[String]) -> Option<(&'static ConfigKey, usize)> {
    let matches = |key: &&ConfigKey| {
        let mut path = path.iter();
        key.name.split('.').all(|segment| {
            path.next()
                .is_some_and(|part| segment == "*" || segment.eq_ignore_ascii_case(part))
        })
    };
    keys()
        .filter(matches)
        .map(|key| (key, key.name.split('.').count()))
        .filter(|(key, segments)| *segments == path.len() || key.value_type == ValueType::Free)
        .max_by_key(|(key, segments)| (*segments, !key.name.contains('*')))
}

/// Returns whether the name of some key begins with this path and has further segments.
pub(crate) fn is_branch(path: &[String]) -> bool {
    let continues = |name: &str| {
        let mut names = name.split('.');
        path.iter().all(|part| {
            names
                .next()
                .is_some_and(|name| name == "*" || name.eq_ignore_ascii_case(part))
        }) && names.next().is_some()
    };
    keys().any(|key| continues(key.name)) || RENAMED.iter().any(|(name, _)| continues(name))
}

/// Returns all key names and old names without `*`, each with its spelling in environment variables
/// after the prefix, such as `ANALYZER_LISTEN`.
pub(crate) fn variable_names() -> &'static [(String, &'static str)] {
    static NAMES: LazyLock<Vec<(String, &'static str)>> = LazyLock::new(|| {
        let names = keys()
            .map(|key| key.name)
            .chain(RENAMED.iter().map(|(name, _)| *name));
        names
            .filter(|name| !name.contains('*'))
            .map(|name| {
                let spelling = name.to_ascii_uppercase().replace(['.', '-'], "_");
                (spelling, name)
            })
            .collect()
    });
    &NAMES
}
