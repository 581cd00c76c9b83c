//! The configuration: defaults, then files, then the environment, then `--set`, the later wins.
//!
//! Files are YAML with the original's key names, in any case. A key that is unknown, or known and
//! without effect, is a warning; a value that its key does not take ends the start with the key,
//! the value and what is allowed.

mod file;
mod keys;
mod redact;
mod value_type;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use skylib::api::address::ServiceAddress;

use self::file::read_file;
use self::keys::{ConfigKey, KEYS, RENAMED};
use self::value_type::ValueType;

/// Where values come from besides the defaults.
#[derive(Debug, Default)]
pub struct Sources {
    /// Files, `-` for the standard input; without any, the original's default file if it is there.
    pub files: Vec<PathBuf>,
    /// Variables of the environment.
    pub environment: Vec<(String, String)>,
    /// `key=value` of the command line.
    pub settings: Vec<String>,
}

/// The values of all keys, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// By dotted key in lower case; only what some source wrote.
    values: BTreeMap<String, Value>,
    /// What was written by an old name, and where; empty once all is read.
    renamed: BTreeMap<&'static str, (String, Value)>,
    /// What the user should know, to be logged once there is a log.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads one YAML text; `place` is what errors call it. Nothing else is looked at.
    ///
    /// ```
    /// use crate::config::Config;
    /// let config = Config::parse("skydive.yml", "flow: {update: 5m}")?;
    /// assert_eq!(config.duration("flow.update").as_secs(), 300);
    /// let error = Config::parse("skydive.yml", "flow: {update: never}").unwrap_err();
    /// assert!(error.to_string().starts_with("skydive.yml: flow.update: \"never\" is not allowed"));
    /// # Ok::<(), skyd::config::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// When it is no YAML, or a value is none that its key takes.
    pub fn parse(place: &str, text: &str) -> Result<Self, ConfigError> {
        let mut config = Self::empty();
        let tree = yaml(text).map_err(|reason| ConfigError::Yaml {
            place: place.to_owned(),
            reason,
        })?;
        config.add_tree(place, &mut Vec::new(), tree)?;
        config.finish()
    }

    const fn empty() -> Self {
        Self {
            values: BTreeMap::new(),
            renamed: BTreeMap::new(),
            warnings: Vec::new(),
        }
    }

    fn finish(mut self) -> Result<Self, ConfigError> {
        self.apply_renamed()?;
        self.warn_of_unread();
        Ok(self)
    }

    /// Reads all sources.
    ///
    /// # Errors
    /// When a file cannot be read, or a value is none that its key takes.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let mut config = Self::empty();
        let default_file = Path::new(DEFAULT_FILE);
        if sources.files.is_empty() && default_file.exists() {
            match read_file(default_file) {
                Ok(tree) => config.add_tree(DEFAULT_FILE, &mut Vec::new(), tree)?,
                Err(error) => config
                    .warnings
                    .push(format!("{error}; going on without it")),
            }
        }
        for file in &sources.files {
            let place = file.display().to_string();
            config.add_tree(&place, &mut Vec::new(), read_file(file)?)?;
        }
        for (name, text) in &sources.environment {
            config.add_variable(name, text)?;
        }
        for setting in &sources.settings {
            let Some((name, text)) = setting.split_once('=') else {
                return Err(ConfigError::NoValue(setting.clone()));
            };
            config.add_text("--set", name.trim(), text)?;
        }
        config.finish()
    }

    /// Text; empty where nothing is written and there is no default.
    pub fn text(&self, name: &str) -> String {
        self.read(name, |_, value| value_type::text(value))
            .unwrap_or_default()
    }

    /// A whole number.
    pub fn count(&self, name: &str) -> usize {
        let number = self.read(name, ValueType::count).unwrap_or_default();
        usize::try_from(number).unwrap_or_default()
    }

    /// A length of time.
    pub fn duration(&self, name: &str) -> Duration {
        self.read(name, |_, value| value_type::time(value))
            .unwrap_or_default()
    }

    /// True or false; false where nothing is written and there is no default.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        self.read(name, |_, value| value_type::flag(value))
            .unwrap_or_default()
    }

    /// A size in bytes.
    pub fn bytes(&self, name: &str) -> usize {
        let bytes = self
            .read(name, |_, value| value_type::bytes(value))
            .unwrap_or_default();
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// Host and port; `None` where nothing is written and there is no default.
    pub fn address(&self, name: &str) -> Option<ServiceAddress> {
        self.read(name, |_, value| value_type::address(value))
    }

    /// A tree, as it was written.
    pub fn tree(&self, name: &str) -> Option<&Value> {
        self.values.get(&name.to_ascii_lowercase())
    }

    /// Whether some source wrote a value.
    pub fn is_written(&self, name: &str) -> bool {
        self.values.contains_key(&name.to_ascii_lowercase())
    }

    /// The kind of an authentication backend: its `type`, else its own name.
    pub fn backend_type(&self, key: &str) -> String {
        let name = self.text(key);
        let written = self.text(&format!("auth.{name}.type"));
        if written.is_empty() { name } else { written }
    }

    /// What is written, else the default, as its reader wants it.
    fn read<T>(&self, name: &str, read: impl Fn(ValueType, &Value) -> Option<T>) -> Option<T> {
        let name = name.to_ascii_lowercase();
        let path: Vec<String> = name.split('.').map(str::to_owned).collect();
        let (key, _) = keys::find(&path)?;
        if let Some(value) = self.values.get(&name) {
            return read(key.value_type, value);
        }
        match key.default {
            "" => None,
            text => read(key.value_type, &key.value_type.value_of(text).ok()?),
        }
    }

    /// Adds what a file says below `path`.
    fn add_tree(
        &mut self,
        place: &str,
        path: &mut Vec<String>,
        value: Value,
    ) -> Result<(), ConfigError> {
        if value.is_null() {
            return Ok(());
        }
        if path.len() > DEEPEST {
            return Err(ConfigError::TooDeep {
                place: place.to_owned(),
                key: path[..3].join("."),
            });
        }
        if let Some((name, _)) = RENAMED.iter().find(|(name, _)| *name == joined(path)) {
            self.renamed.insert(name, (place.to_owned(), value));
            return Ok(());
        }
        // A free tree may hold keys that have a kind: those are looked for first.
        if !(value.is_object() && keys::is_branch(path)) {
            if let Some((key, parts)) = keys::find(path) {
                return self.add(place, key, &path[..parts], &path[parts..], value);
            }
            if !keys::is_branch(path) {
                self.warnings
                    .push(format!("{place}: unknown key {}", path.join(".")));
                return Ok(());
            }
        }
        let Value::Object(members) = value else {
            return Err(ConfigError::NoTree {
                place: place.to_owned(),
                key: path.join("."),
            });
        };
        for (name, value) in members {
            let depth = path.len();
            path.extend(name.split('.').map(str::to_owned));
            self.add_tree(place, path, value)?;
            path.truncate(depth);
        }
        Ok(())
    }

    /// Adds one value of a key; `below` is the rest of the path inside a free tree.
    fn add(
        &mut self,
        place: &str,
        key: &ConfigKey,
        path: &[String],
        below: &[String],
        value: Value,
    ) -> Result<(), ConfigError> {
        key.value_type
            .check(&value)
            .map_err(|allowed| ConfigError::Value {
                place: place.to_owned(),
                key: path.join("."),
                value: if key.value_type == ValueType::Secret {
                    "(hidden)".to_owned()
                } else {
                    value.to_string()
                },
                allowed,
            })?;
        let slot = self.values.entry(joined(path)).or_insert(Value::Null);
        let value = below.iter().rev().fold(value, |inner, name| {
            Value::Object([(name.clone(), inner)].into_iter().collect())
        });
        merge(slot, value);
        Ok(())
    }

    /// Adds a value that came as text.
    fn add_text(&mut self, place: &str, name: &str, text: &str) -> Result<(), ConfigError> {
        let mut path: Vec<String> = name.split('.').map(str::to_owned).collect();
        let value = match keys::find(&path) {
            Some((key, _)) => {
                key.value_type
                    .value_of(text)
                    .map_err(|reason| ConfigError::Yaml {
                        place: format!("{place} {name}"),
                        reason,
                    })?
            }
            None => Value::from(text),
        };
        self.add_tree(place, &mut path, value)
    }

    /// Adds `SKYDIVE_ANALYZER_LISTEN` or `SKYD_ANALYZER_LISTEN`; others are not ours.
    fn add_variable(&mut self, name: &str, text: &str) -> Result<(), ConfigError> {
        let Some(rest) = name
            .strip_prefix("SKYDIVE_")
            .or_else(|| name.strip_prefix("SKYD_"))
        else {
            return Ok(());
        };
        let spelled = |key: &str| key.to_ascii_uppercase().replace(['.', '-'], "_") == rest;
        let names = KEYS
            .iter()
            .map(|key| key.name)
            .chain(RENAMED.iter().map(|(name, _)| *name));
        match names
            .filter(|name| !name.contains('*'))
            .find(|name| spelled(name))
        {
            Some(key) => self.add_text(name, key, text),
            None => Ok(()),
        }
    }

    /// Names each key that is written and has no effect: configurations of the original have some.
    fn warn_of_unread(&mut self) {
        let is_unread = |name: &&String| {
            let path: Vec<String> = name.split('.').map(str::to_owned).collect();
            keys::find(&path).is_some_and(|(key, _)| !key.is_read)
        };
        let names = self.values.keys().filter(is_unread);
        let warnings: Vec<String> = names
            .map(|name| format!("{name} is written and has no effect here"))
            .collect();
        self.warnings.extend(warnings);
    }

    fn apply_renamed(&mut self) -> Result<(), ConfigError> {
        for (old, new_names) in RENAMED {
            let Some((place, value)) = self.renamed.remove(old) else {
                continue;
            };
            let place = format!("{place}: {old}");
            self.warnings.push(format!(
                "{old} is an old name, use {}",
                new_names.join(", ")
            ));
            for name in *new_names {
                if !self.values.contains_key(*name) {
                    let mut path = name.split('.').map(str::to_owned).collect();
                    self.add_tree(&place, &mut path, value.clone())?;
                }
            }
        }
        Ok(())
    }
}

/// Returns the environment of the process. Variables whose names are not UTF-8 are left out;
/// invalid bytes in values become U+FFFD, which no key accepts.
#[must_use]
pub fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| {
            let value = value.to_string_lossy().into_owned();
            Some((name.into_string().ok()?, value))
        })
        .collect()
}

/// Reads a YAML text.
///
/// # Errors
/// What is wrong and where; it never quotes the text, which may hold passwords.
pub fn yaml(text: &str) -> Result<Value, String> {
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    let options = serde_saphyr::options! {
        with_snippet: false,
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())
}

fn joined(path: &[String]) -> String {
    path.join(".").to_ascii_lowercase()
}

/// Objects are merged member by member, anything else is replaced.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// Parts of a key at most: what is made of it is walked through part by part.
const DEEPEST: usize = 64;

const DEFAULT_FILE: &str = "/etc/skydive/skydive.yml";

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// A text is not YAML.
    #[error("{place}: {reason}")]
    Yaml {
        /// The file or setting.
        place: String,
        /// What is wrong, with line and column.
        reason: String,
    },
    /// A key of more parts than any has.
    #[error("{place}: {key}...: a key of more than {DEEPEST} parts")]
    TooDeep {
        /// Where it is written.
        place: String,
        /// Its first parts.
        key: String,
    },
    /// `--set` without an equals sign.
    #[error("--set {0}: key=value expected")]
    NoValue(String),
    /// A value where keys are expected.
    #[error("{place}: {key}: keys expected below it, not a value")]
    NoTree {
        /// Where it is written.
        place: String,
        /// The key.
        key: String,
    },
    /// A value that its key does not take.
    #[error("{place}: {key}: {value} is not allowed, {allowed} expected")]
    Value {
        /// Where it is written.
        place: String,
        /// The key.
        key: String,
        /// What is written.
        value: String,
        /// What is allowed.
        allowed: String,
    },
}

#[cfg(test)]
mod tests;
