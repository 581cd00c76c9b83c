//! Redaction of the secrets in the configuration that clients can read.

use serde_json::{Map, Value};

use super::value_type::{self, ValueType};
use super::{Config, keys};

impl Config {
    /// Returns the value or tree of a dotted, case-insensitive key, as `GET /api/config/{key}`
    /// shows it; `None` if nothing is configured and there is no default.
    ///
    /// Names that contain dots become trees. Secrets are replaced by `"(hidden)"`: values of keys
    /// whose names contain `password`, `passwd`, `secret`, `token`, or `credential`, the values of
    /// `auth.*.users` and `http.cookie`, and passwords in URLs.
    ///
    /// ```
    /// use skyd::config::Config;
    /// let config = Config::parse("skydive.yml", "auth: {mine: {users: {operator: s3cret}}}")?;
    /// assert_eq!(config.redacted("auth.mine.users.operator").unwrap(), "(hidden)");
    /// assert_eq!(config.redacted("Flow.Update").unwrap(), 60);
    /// assert_eq!(config.redacted("no.such"), None);
    /// # Ok::<(), skyd::config::ConfigError>(())
    /// ```
    #[must_use]
    pub fn redacted(&self, key: &str) -> Option<Value> {
        let mut found = &self.with_secrets();
        let mut path = Vec::new();
        for part in key.split('.') {
            let members = found.as_object()?;
            let (name, value) = match members.get_key_value(part) {
                Some(exactly) => exactly,
                None => members
                    .iter()
                    .find(|(name, _)| name.eq_ignore_ascii_case(part))?,
            };
            path.push(name.clone());
            found = value;
        }
        let mut redacted = found.clone();
        hide(&mut path, &mut redacted);
        Some(redacted)
    }

    /// Returns all values and defaults as one tree, secrets included.
    fn with_secrets(&self) -> Value {
        let mut whole = Value::Object(Map::new());
        for key in keys().filter(|key| !key.default.is_empty()) {
            if let Ok(value) = key.value_type.parse(key.default) {
                insert(
                    &mut whole,
                    key.name.split('.'),
                    typed(key.value_type, value),
                );
            }
        }
        for (name, value) in &self.values {
            let path: Vec<String> = name.split('.').map(str::to_owned).collect();
            let value_type = keys::find(&path).map_or(ValueType::Free, |(key, _)| key.value_type);
            insert(
                &mut whole,
                name.split('.'),
                typed(value_type, expanded(value.clone())),
            );
        }
        whole
    }
}

/// Returns the JSON text of a value at a path, without its secrets, for an error.
pub(super) fn shown(path: &[String], value: &Value) -> String {
    let mut value = value.clone();
    hide(&mut path.to_vec(), &mut value);
    value.to_string()
}

/// Inserts a value at a path; a tree is merged with an existing one.
fn insert<'a>(tree: &mut Value, path: impl Iterator<Item = &'a str>, value: Value) {
    let mut slot = tree;
    for name in path {
        if !slot.is_object() {
            *slot = Value::Object(Map::new());
        }
        let Value::Object(members) = slot else {
            return;
        };
        slot = members.entry(name).or_insert(Value::Null);
    }
    super::merge(slot, value);
}

/// Converts a value from the environment or the command line to the JSON type that it would have in
/// a file.
fn typed(value_type: ValueType, value: Value) -> Value {
    let number = |value: &Value| {
        let number = value.as_str()?.trim().parse::<i64>().ok()?;
        Some(Value::from(number))
    };
    let typed = match value_type {
        ValueType::Flag => value_type::flag(&value).map(Value::from),
        ValueType::Count { .. } | ValueType::Duration | ValueType::Interval | ValueType::Bytes => {
            number(&value)
        }
        ValueType::List => value_type::list(&value).map(Value::from),
        ValueType::Text
        | ValueType::Secret
        | ValueType::Address
        | ValueType::Choice(_)
        | ValueType::Free => None,
    };
    typed.unwrap_or(value)
}

/// Turns members whose names contain dots into trees.
fn expanded(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut tree = Value::Object(Map::new());
            for (name, value) in members {
                let value = expanded(value);
                match name.matches('.').count() {
                    0..super::MAX_DEPTH => insert(&mut tree, name.split('.'), value),
                    _ => insert(&mut tree, [name.as_str()].into_iter(), value),
                }
            }
            tree
        }
        other => other,
    }
}

/// Replaces the secrets at `path` and below.
fn hide(path: &mut Vec<String>, value: &mut Value) {
    if is_secret(path) {
        hide_all(value);
        return;
    }
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                path.push(name.clone());
                hide(path, value);
                path.pop();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| hide(path, item)),
        Value::String(text) => {
            if let Some(without) = without_password(text) {
                *text = without;
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Replaces all values of a tree; its names remain.
fn hide_all(value: &mut Value) {
    match value {
        Value::Object(members) => members.values_mut().for_each(hide_all),
        Value::Null => {}
        Value::String(text) if text.is_empty() => {}
        other => *other = Value::from(HIDDEN),
    }
}

/// Returns whether the value at a path is a secret, according to its name or the name of a parent.
fn is_secret(path: &[String]) -> bool {
    let lower: Vec<String> = path.iter().map(|name| name.to_ascii_lowercase()).collect();
    let names: Vec<&str> = lower.iter().map(String::as_str).collect();
    let is_secret_name = |name: &&str| SECRETS.iter().any(|secret| name.contains(secret));
    names.iter().any(is_secret_name)
        || matches!(names[..], ["auth", _, "users", ..] | ["http", "cookie", ..])
        || keys::find(&lower).is_some_and(|(key, _)| key.value_type == ValueType::Secret)
}

/// Returns `http://user:password@host`, or an address without a scheme, without the password; `None`
/// if it contains none.
fn without_password(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_at(text.find("://").map_or(0, |colon| colon + 3));
    if scheme.is_empty() && rest.contains(char::is_whitespace) {
        return None;
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (user, _) = rest[..end].rsplit_once('@')?;
    let (user, _) = user.split_once(':')?;
    let host = &rest[user.len()..];
    let host = &host[host[..end - user.len()].rfind('@')?..];
    Some(format!("{scheme}{user}:{HIDDEN}{host}"))
}

/// Substrings of the names of keys whose values are secret.
const SECRETS: &[&str] = &["password", "passwd", "secret", "token", "credential"];
const HIDDEN: &str = "(hidden)";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(text: &str) -> Config {
        Config::parse("skydive.yml", text).unwrap()
    }

    #[test]
    fn values_trees_and_defaults_are_shown() {
        let config = config(
            "analyzer: {listen: 10.0.0.1:80, topology: {fabric: [a --> b]}}\n\
             ui: {topology: {favorites: {a.b: G.V()}}, theme: light}\n\
             http: {ws: {ping_delay: 5s, enable_write_compression: no}}\n",
        );
        for (key, wanted) in [
            ("analyzer.listen", json!("10.0.0.1:80")),
            ("ANALYZER.Topology.fabric", json!(["a --> b"])),
            ("analyzer.auth.api", json!({"backend": "noauth"})),
            ("ui.topology", json!({"favorites": {"a": {"b": "G.V()"}}})),
            ("ui.topology.favorites.a.b", json!("G.V()")),
            ("http.ws.ping_delay", json!("5s")),
            ("http.ws.pong_timeout", json!(5)),
            ("http.ws.enable_write_compression", json!(false)),
            ("agent.topology.probes", json!(["ovsdb"])),
            ("flow.max_entries", json!(500_000)),
        ] {
            assert_eq!(config.redacted(key), Some(wanted), "{key}");
        }
        for key in ["", ".", "ui.", "no", "ui.theme.x", "analyzer..listen", "*"] {
            assert_eq!(config.redacted(key), None, "{key}");
        }
    }

    #[test]
    fn secrets_are_hidden_at_every_position() {
        let config = config(
            "auth: {mine: {type: basic, users: {admin: hunter2, b: [hunter2]}}}\n\
             analyzer: {auth: {cluster: {password: hunter2, username: u}}}\n\
             storage: {es: {driver: elasticsearch, auth: {password: hunter2},\n\
               hosts: ['http://me:hunter2@h:1/p?q@x', 'http://h:2']}}\n\
             http: {cookie: {session: hunter2}}\n\
             agent: {topology: {neutron: {password: hunter2}}, metadata: {ApiToken: {a: hunter2}}}\n",
        );
        for (key, wanted) in [
            (
                "auth.mine.users",
                json!({"admin": "(hidden)", "b": "(hidden)"}),
            ),
            ("auth.mine.users.admin", json!("(hidden)")),
            (
                "analyzer.auth.cluster",
                json!({"backend": "noauth", "password": "(hidden)", "username": "u"}),
            ),
            (
                "storage.es.hosts",
                json!(["http://me:(hidden)@h:1/p?q@x", "http://h:2"]),
            ),
            ("http.cookie.session", json!("(hidden)")),
            ("agent.metadata.apitoken.a", json!("(hidden)")),
        ] {
            assert_eq!(config.redacted(key), Some(wanted), "{key}");
        }
        for key in ["auth", "analyzer", "storage", "http", "agent"] {
            let text = config.redacted(key).unwrap().to_string();
            assert!(!text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn text_from_the_command_line_is_shown_with_its_type() {
        let sources = super::super::Sources {
            settings: ["flow.update=7", "analyzers=a:1 b:2", "http.rest.debug=yes"]
                .map(str::to_owned)
                .into(),
            ..super::super::Sources::default()
        };
        let config = Config::load(&sources).unwrap();
        assert_eq!(config.redacted("flow.update"), Some(json!(7)));
        assert_eq!(config.redacted("analyzers"), Some(json!(["a:1", "b:2"])));
        assert_eq!(config.redacted("http.rest.debug"), Some(json!(true)));
    }
}
