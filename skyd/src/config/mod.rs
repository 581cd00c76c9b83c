//! Configuration: defaults, files, environment variables, and `--set`; each source overrides the
//! sources before it.
//!
//! Files are YAML with the key names of Skydive, in upper or lower case. An unknown key, or a key
//! without effect, is a warning. A value that its key does not accept is an error that names the
//! key, the value, and the allowed values.

mod file;
mod keys;
mod redact;
mod reference;
mod value_type;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use serde_saphyr::{DuplicateKeyPolicy, Error as YamlError};
use skylib::api::address::ServiceAddress;
use skylib::nearest::nearest;

use self::file::{FileContent, read_file};
use self::keys::RENAMED;

pub use self::keys::{ConfigKey, keys};
pub use self::reference::reference;
pub use self::value_type::ValueType;

/// Sources of values in addition to the defaults.
#[derive(Debug, Default)]
pub struct Sources {
    /// YAML files, `-` for standard input; if empty, Skydive's default file is read if it exists.
    pub files: Vec<PathBuf>,
    /// Environment variables. Those whose name, after the prefix `SKYD_` or `SKYDIVE_`, resembles a
    /// key cause a warning; other unknown names are ignored.
    pub environment: Vec<(String, String)>,
    /// `key=value` settings of the command line.
    pub settings: Vec<String>,
}

/// Checked values of all keys.
#[derive(Clone, Debug)]
pub struct Config {
    /// Configured values by dotted key in lower case, without defaults.
    values: BTreeMap<String, Value>,
    /// Values configured under an old name, with their source; empty once all sources are read.
    renamed: BTreeMap<&'static str, (String, Value)>,
    /// Warnings for the user, to be logged once the log is set up.
    pub warnings: Vec<String>,
}

/// Configuration whose sources are being read, with all errors so far.
struct Loader {
    config: Config,
    errors: Vec<ConfigError>,
}

impl Config {
    /// Parses a YAML document without any other source; `source` is its name in errors and
    /// warnings.
    ///
    /// ```
    /// use skyd::config::Config;
    /// let config = Config::parse("skydive.yml", "flow: {update: 5m}")?;
    /// assert_eq!(config.duration("flow.update").as_secs(), 300);
    /// let error = Config::parse("skydive.yml", "flow: {update: never}").unwrap_err();
    /// assert!(error.to_string().starts_with("skydive.yml: flow.update: \"never\" is not allowed"));
    /// # Ok::<(), skyd::config::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if the document is not valid YAML, or a key does not accept its value.
    pub fn parse(source: &str, text: &str) -> Result<Self, ConfigError> {
        let mut loader = Loader::new();
        match yaml(text) {
            Ok(tree) => loader.add_tree(source, &mut Vec::new(), tree),
            Err(reason) => loader.errors.push(ConfigError::Yaml {
                location: source.to_owned(),
                reason,
            }),
        }
        loader.finish().into_result()
    }

    /// Reads all sources.
    ///
    /// # Errors
    /// Returns the first error: a file cannot be read or is not YAML, or a key does not accept its
    /// value.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        Loader::load(sources).into_result()
    }

    /// Reads all sources and returns the configuration with all errors. The configuration does not
    /// contain values with errors.
    #[must_use]
    pub fn check(sources: &Sources) -> (Self, Vec<ConfigError>) {
        let Loader { config, errors } = Loader::load(sources);
        (config, errors)
    }

    /// Returns the value of a key as a string; empty if nothing is configured and there is no
    /// default.
    pub fn text(&self, name: &str) -> String {
        self.read(name, |_, value| value_type::text(value))
            .unwrap_or_default()
    }

    /// Returns the value of a key as an integer; 0 if nothing is configured and there is no
    /// default.
    pub fn count(&self, name: &str) -> usize {
        let number = self.read(name, ValueType::count).unwrap_or_default();
        usize::try_from(number).unwrap_or_default()
    }

    /// Returns the value of a key as a duration; zero if nothing is configured and there is no
    /// default.
    pub fn duration(&self, name: &str) -> Duration {
        self.read(name, |_, value| value_type::time(value))
            .unwrap_or_default()
    }

    /// Returns the value of a key as a boolean; `false` if nothing is configured and there is no
    /// default.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        self.read(name, |_, value| value_type::flag(value))
            .unwrap_or_default()
    }

    /// Returns the value of a key as a size in bytes; 0 if nothing is configured and there is no
    /// default.
    pub fn bytes(&self, name: &str) -> usize {
        let bytes = self
            .read(name, |_, value| value_type::bytes(value))
            .unwrap_or_default();
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// Reads a size in bytes within a tree: a number, or a string with a unit such as `8MiB`.
    pub fn size_of(value: &Value) -> Option<usize> {
        value_type::bytes(value).and_then(|bytes| usize::try_from(bytes).ok())
    }

    /// Returns the value of a key as host and port; `None` if nothing is configured and there is no
    /// default.
    pub fn address(&self, name: &str) -> Option<ServiceAddress> {
        self.read(name, |_, value| value_type::address(value))
    }

    /// Returns the value of a key as a list of strings; empty if nothing is configured and there is
    /// no default.
    pub fn list(&self, name: &str) -> Vec<String> {
        self.read(name, |_, value| value_type::list(value))
            .unwrap_or_default()
    }

    /// Returns the value of a key as the configured tree; `None` if the key is not configured.
    pub fn tree(&self, name: &str) -> Option<&Value> {
        self.values.get(&name.to_ascii_lowercase())
    }

    /// Returns the names that the user chose for the part after a prefix, such as `analyzer.peers`.
    pub fn names_below(&self, prefix: &str) -> Vec<String> {
        let rest = self.values.keys().filter_map(|name| {
            let rest = name.strip_prefix(prefix)?.strip_prefix('.')?;
            rest.split('.').next().map(str::to_owned)
        });
        let mut names: Vec<String> = rest.collect();
        // Removes all duplicates, because keys are sorted.
        names.dedup();
        names
    }

    /// Returns whether any source configures a key.
    pub fn is_set(&self, name: &str) -> bool {
        self.values.contains_key(&name.to_ascii_lowercase())
    }

    /// Returns the type of an authentication backend: its `type`, or its name if no type is
    /// configured.
    pub fn backend_type(&self, key: &str) -> String {
        let name = self.text(key);
        let configured = self.text(&format!("auth.{name}.type"));
        if configured.is_empty() {
            name
        } else {
            configured
        }
    }

    /// Returns the configured value of a key, or its default if the key is not configured; `None`
    /// if the key is unknown, has no value, or its value is rejected by `read`.
    fn read<T>(&self, name: &str, read: impl Fn(ValueType, &Value) -> Option<T>) -> Option<T> {
        let name = name.to_ascii_lowercase();
        let path: Vec<String> = name.split('.').map(str::to_owned).collect();
        let (key, _) = keys::find(&path)?;
        if let Some(value) = self.values.get(&name) {
            return read(key.value_type, value);
        }
        match key.default {
            "" => None,
            text => read(key.value_type, &key.value_type.parse(text).ok()?),
        }
    }
}

impl Loader {
    const fn new() -> Self {
        Self {
            config: Config {
                values: BTreeMap::new(),
                renamed: BTreeMap::new(),
                warnings: Vec::new(),
            },
            errors: Vec::new(),
        }
    }

    fn load(sources: &Sources) -> Self {
        let mut loader = Self::new();
        let default_file = Path::new(DEFAULT_FILE);
        if sources.files.is_empty() && default_file.exists() {
            match read_file(default_file) {
                Ok(file) => loader.add_file(DEFAULT_FILE, file),
                Err(error) => {
                    let cause = std::error::Error::source(&error);
                    let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
                    loader.warn(format!("{error}{cause}; continuing without this file"));
                }
            }
        }
        for file in &sources.files {
            match read_file(file) {
                Ok(content) => loader.add_file(&file.display().to_string(), content),
                Err(error) => loader.errors.push(error),
            }
        }
        for (name, text) in &sources.environment {
            loader.add_variable(name, text);
        }
        for setting in &sources.settings {
            match setting.split_once('=') {
                Some((name, text)) => loader.add_text("--set", name.trim(), text),
                None => loader.errors.push(ConfigError::NoValue(setting.clone())),
            }
        }
        loader.finish()
    }

    fn finish(mut self) -> Self {
        self.apply_renamed();
        self.warn_of_ignored();
        self
    }

    /// Returns the first error, if there is one.
    fn into_result(self) -> Result<Config, ConfigError> {
        match self.errors.into_iter().next() {
            Some(error) => Err(error),
            None => Ok(self.config),
        }
    }

    fn warn(&mut self, warning: String) {
        self.config.warnings.push(warning);
    }

    /// Adds the settings of a file.
    fn add_file(&mut self, location: &str, content: FileContent) {
        if let Some(duplicate) = content.duplicate_key {
            self.warn(format!("{location}: {duplicate}"));
        }
        self.add_tree(location, &mut Vec::new(), content.tree);
    }

    /// Adds the settings in `value` recursively. `path` is the key path of `value`; `location`
    /// names the source in errors and warnings.
    fn add_tree(&mut self, location: &str, path: &mut Vec<String>, value: Value) {
        if value.is_null() {
            return;
        }
        if path.len() > MAX_DEPTH {
            return self.errors.push(ConfigError::TooDeep {
                location: location.to_owned(),
                key: path[..3].join("."),
            });
        }
        if let Some((name, _)) = RENAMED.iter().find(|(name, _)| *name == joined(path)) {
            self.config
                .renamed
                .insert(name, (location.to_owned(), value));
            return;
        }
        // A free tree may contain keys with their own types, so trees are descended into first.
        if !(value.is_object() && keys::is_branch(path)) {
            if let Some((key, segments)) = keys::find(path) {
                return self.add(location, key, &path[..segments], &path[segments..], value);
            }
            if !keys::is_branch(path) {
                return self.warn(format!("{location}: {}", unknown(&path.join("."))));
            }
        }
        let Value::Object(members) = value else {
            return self.errors.push(ConfigError::NoTree {
                location: location.to_owned(),
                key: path.join("."),
            });
        };
        for (name, value) in members {
            let depth = path.len();
            path.extend(name.split('.').map(str::to_owned));
            self.add_tree(location, path, value);
            path.truncate(depth);
        }
    }

    /// Adds one value of a key; `below` is the rest of the path inside a free tree.
    fn add(
        &mut self,
        location: &str,
        key: &ConfigKey,
        path: &[String],
        below: &[String],
        value: Value,
    ) {
        if let Err(allowed) = key.value_type.check(&value) {
            return self.errors.push(ConfigError::Value {
                location: location.to_owned(),
                key: path.join("."),
                value: redact::shown(path, &value),
                allowed,
            });
        }
        let slot = self
            .config
            .values
            .entry(joined(path))
            .or_insert(Value::Null);
        let value = below.iter().rev().fold(value, |inner, name| {
            Value::Object([(name.clone(), inner)].into_iter().collect())
        });
        merge(slot, value);
    }

    /// Adds a value that is given as a string.
    fn add_text(&mut self, location: &str, name: &str, text: &str) {
        let mut path: Vec<String> = name.split('.').map(str::to_owned).collect();
        let value = match keys::find(&path) {
            Some((key, _)) => key.value_type.parse(text),
            None => Ok(Value::from(text)),
        };
        match value {
            Ok(value) => self.add_tree(location, &mut path, value),
            Err(reason) => self.errors.push(ConfigError::Yaml {
                location: format!("{location} {name}"),
                reason,
            }),
        }
    }

    /// Adds `SKYDIVE_ANALYZER_LISTEN` or `SKYD_ANALYZER_LISTEN`; ignores other variables.
    fn add_variable(&mut self, name: &str, text: &str) {
        let Some(rest) = name
            .strip_prefix("SKYDIVE_")
            .or_else(|| name.strip_prefix("SKYD_"))
        else {
            return;
        };
        let mut names = keys::variable_names().iter();
        if let Some((_, key)) = names.find(|(spelling, _)| spelling == rest) {
            self.add_text(name, key, text);
            return;
        }
        // `skyd client` reads these.
        if matches!(rest, "ANALYZER" | "USERNAME" | "PASSWORD") {
            return;
        }
        // Other programs may have variables with these prefixes: only likely misspellings are named.
        let spellings = keys::variable_names()
            .iter()
            .map(|(spelling, _)| &**spelling);
        if let Some(near) = nearest(rest, spellings) {
            let prefix = name.strip_suffix(rest).unwrap_or_default();
            self.warn(format!(
                "unknown environment variable {name}; did you mean {prefix}{near}?"
            ));
        }
    }

    /// Adds a warning for each configured key that has no effect; files written for Skydive contain
    /// such keys.
    fn warn_of_ignored(&mut self) {
        let is_ignored = |name: &&String| {
            let path: Vec<String> = name.split('.').map(str::to_owned).collect();
            keys::find(&path).is_some_and(|(key, _)| !key.is_read)
        };
        let names = self.config.values.keys().filter(is_ignored);
        let warnings: Vec<String> = names
            .map(|name| format!("{name} has no effect: skyd does not support this key"))
            .collect();
        self.config.warnings.extend(warnings);
    }

    /// Moves the values of old names to the new names that are not configured.
    fn apply_renamed(&mut self) {
        for (old, new_names) in RENAMED {
            let Some((location, value)) = self.config.renamed.remove(old) else {
                continue;
            };
            let location = format!("{location}: {old}");
            self.warn(format!(
                "{old} is an old name; use {}",
                new_names.join(", ")
            ));
            for name in *new_names {
                if !self.config.is_set(name) {
                    let mut path = name.split('.').map(str::to_owned).collect();
                    self.add_tree(&location, &mut path, value.clone());
                }
            }
        }
    }
}

/// Returns the environment variables of the process, except variables whose names are not UTF-8.
/// Invalid bytes in values become U+FFFD, which no key accepts.
#[must_use]
pub fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| {
            let value = value.to_string_lossy().into_owned();
            Some((name.into_string().ok()?, value))
        })
        .collect()
}

/// Parses a YAML document; an empty document is null.
///
/// # Errors
/// Returns a description of the error with line and column. The description never quotes the
/// document, which may contain passwords.
pub fn yaml(text: &str) -> Result<Value, String> {
    parse_yaml(text, DuplicateKeyPolicy::LastWins).map_err(|error| error.to_string())
}

/// Returns a description of the first key of a valid YAML document that an object contains twice.
fn duplicate_key(text: &str) -> Option<String> {
    match parse_yaml(text, DuplicateKeyPolicy::Error).err()? {
        YamlError::DuplicateMappingKey { key, location } => Some(format!(
            "line {}, column {}: the key {} occurs twice in the same object; only the last value is \
             used: merge both values or delete one",
            location.line(),
            location.column(),
            key.unwrap_or_default(),
        )),
        other => Some(other.to_string()),
    }
}

fn parse_yaml(text: &str, duplicate_keys: DuplicateKeyPolicy) -> Result<Value, YamlError> {
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    let options = serde_saphyr::options! { with_snippet: false, duplicate_keys: duplicate_keys };
    serde_saphyr::from_str_with_options(text, options)
}

/// Returns the dotted name of a path in lower case.
fn joined(path: &[String]) -> String {
    path.join(".").to_ascii_lowercase()
}

/// Merges objects member by member; replaces anything else.
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

/// Maximum number of segments of a key path: values are built and read by recursion over the path.
const MAX_DEPTH: usize = 64;

/// Path of the file that is read if no file is given.
const DEFAULT_FILE: &str = "/etc/skydive/skydive.yml";

/// Error in a source of the configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    File {
        /// Path of the configuration file.
        path: String,
        /// Error of the operating system.
        source: io::Error,
    },
    /// A document or value is not valid YAML.
    #[error("{location}: {reason}")]
    Yaml {
        /// File, or source and name of the setting.
        location: String,
        /// Description with line and column.
        reason: String,
    },
    /// A key has more segments than allowed.
    #[error("{location}: {key}...: the key has more than {MAX_DEPTH} segments")]
    TooDeep {
        /// File, environment variable, or option that sets the key.
        location: String,
        /// First segments of the key.
        key: String,
    },
    /// `--set` has no equals sign.
    #[error("--set {0}: expected key=value, such as flow.update=30s")]
    NoValue(String),
    /// A key that only groups other keys has a value.
    #[error("{location}: {key}: expected keys below it, not a value")]
    NoTree {
        /// File, environment variable, or option that sets the key.
        location: String,
        /// Name of the configuration key.
        key: String,
    },
    /// A key does not accept its value.
    #[error("{location}: {key}: {value} is not allowed; expected {allowed}")]
    Value {
        /// File, environment variable, or option that sets the key.
        location: String,
        /// Name of the configuration key.
        key: String,
        /// Configured value, as JSON.
        value: String,
        /// Description of the allowed values.
        allowed: String,
    },
}

/// Returns the warning about an unknown key, with the nearest known one.
fn unknown(name: &str) -> String {
    let known = keys().map(|key| key.name);
    match nearest(&name.to_ascii_lowercase(), known) {
        Some(near) => format!("unknown key {name}; did you mean {near}?"),
        None => format!("unknown key {name}; `skyd config keys` lists all keys"),
    }
}

#[cfg(test)]
mod tests;
