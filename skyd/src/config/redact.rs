//! What of the configuration a client may see: everything but secrets.

use serde_json::{Map, Value};

use super::value_type::{self, ValueType};
use super::{Config, KEYS, keys};

impl Config {
    /// The value or tree of a dotted key in any case, as `GET /api/config/{key}` shows it; none
    /// where nothing is written and there is no default.
    ///
    /// Names with dots in them are shown as trees. What may be a secret is replaced by
    /// `"(hidden)"`: passwords and the like wherever they stand, the values of `auth.*.users` and
    /// of `http.cookie`, and the password in an address.
    ///
    /// ```
    /// use crate::config::Config;
    /// let config = Config::parse("skydive.yml", "auth: {mine: {users: {operator: s3cret}}}")?;
    /// assert_eq!(config.shown("auth.mine.users.operator").unwrap(), "(hidden)");
    /// assert_eq!(config.shown("Flow.Update").unwrap(), 60);
    /// assert_eq!(config.shown("no.such"), None);
    /// # Ok::<(), skyd::config::ConfigError>(())
    /// ```
    #[must_use]
    pub fn shown(&self, key: &str) -> Option<Value> {
        let mut place = &self.whole();
        let mut path = Vec::new();
        for part in key.split('.') {
            let members = place.as_object()?;
            let (name, value) = match members.get_key_value(part) {
                Some(exactly) => exactly,
                None => members
                    .iter()
                    .find(|(name, _)| name.eq_ignore_ascii_case(part))?,
            };
            path.push(name.clone());
            place = value;
        }
        let mut shown = place.clone();
        hide(&mut path, &mut shown);
        Some(shown)
    }

    /// Everything as one tree, secrets included.
    fn whole(&self) -> Value {
        let mut whole = Value::Object(Map::new());
        for key in KEYS.iter().filter(|key| !key.default.is_empty()) {
            if let Ok(value) = key.value_type.value_of(key.default) {
                insert(
                    &mut whole,
                    key.name.split('.'),
                    as_meant(key.value_type, value),
                );
            }
        }
        for (name, value) in &self.values {
            let path: Vec<String> = name.split('.').map(str::to_owned).collect();
            let kind = keys::find(&path).map_or(ValueType::Free, |(key, _)| key.value_type);
            insert(
                &mut whole,
                name.split('.'),
                as_meant(kind, expanded(value.clone())),
            );
        }
        whole
    }
}

/// Puts a value at its place; a tree is laid over the one that is there.
fn insert<'a>(tree: &mut Value, path: impl Iterator<Item = &'a str>, value: Value) {
    let mut place = tree;
    for name in path {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let Value::Object(members) = place else {
            return;
        };
        place = members.entry(name).or_insert(Value::Null);
    }
    super::merge(place, value);
}

/// A value from the environment or the command line, as a file would have it.
fn as_meant(kind: ValueType, value: Value) -> Value {
    let number = |value: &Value| {
        let number = value.as_str()?.trim().parse::<i64>().ok()?;
        Some(Value::from(number))
    };
    let meant = match kind {
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
    meant.unwrap_or(value)
}

/// Names with dots in them become trees.
fn expanded(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut tree = Value::Object(Map::new());
            for (name, value) in members {
                let value = expanded(value);
                match name.matches('.').count() {
                    0..super::DEEPEST => insert(&mut tree, name.split('.'), value),
                    _ => insert(&mut tree, [name.as_str()].into_iter(), value),
                }
            }
            tree
        }
        other => other,
    }
}

/// Replaces what may be a secret at `path` and below.
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

/// Hides values and leaves the names of a tree.
fn hide_all(value: &mut Value) {
    match value {
        Value::Object(members) => members.values_mut().for_each(hide_all),
        Value::Null => {}
        Value::String(text) if text.is_empty() => {}
        other => *other = Value::from(HIDDEN),
    }
}

fn is_secret(path: &[String]) -> bool {
    let lower: Vec<String> = path.iter().map(|name| name.to_ascii_lowercase()).collect();
    let names: Vec<&str> = lower.iter().map(String::as_str).collect();
    let told_by_name = |name: &&str| SECRETS.iter().any(|secret| name.contains(secret));
    // Anything below such a name is as secret as the name says.
    names.iter().any(told_by_name)
        || matches!(names[..], ["auth", _, "users", ..] | ["http", "cookie", ..])
        || keys::find(&lower).is_some_and(|(key, _)| key.value_type == ValueType::Secret)
}

/// `http://user:password@host` without the password; none where there is none.
fn without_password(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (user, _) = rest[..end].rsplit_once('@')?;
    let (user, _) = user.split_once(':')?;
    let host = &rest[user.len()..];
    let host = &host[host[..end - user.len()].rfind('@')?..];
    Some(format!("{scheme}://{user}:{HIDDEN}{host}"))
}

/// What names of secrets contain.
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
            assert_eq!(config.shown(key), Some(wanted), "{key}");
        }
        for key in ["", ".", "ui.", "no", "ui.theme.x", "analyzer..listen", "*"] {
            assert_eq!(config.shown(key), None, "{key}");
        }
    }

    #[test]
    fn secrets_are_hidden_wherever_they_stand() {
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
            assert_eq!(config.shown(key), Some(wanted), "{key}");
        }
        for key in ["auth", "analyzer", "storage", "http", "agent"] {
            let text = config.shown(key).unwrap().to_string();
            assert!(!text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn text_from_the_command_line_is_shown_as_what_it_means() {
        let sources = super::super::Sources {
            settings: ["flow.update=7", "analyzers=a:1 b:2", "http.rest.debug=yes"]
                .map(str::to_owned)
                .into(),
            ..super::super::Sources::default()
        };
        let config = Config::load(&sources).unwrap();
        assert_eq!(config.shown("flow.update"), Some(json!(7)));
        assert_eq!(config.shown("analyzers"), Some(json!(["a:1", "b:2"])));
        assert_eq!(config.shown("http.rest.debug"), Some(json!(true)));
    }
}
