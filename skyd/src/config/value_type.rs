//! Types of configuration values and their notations.

use std::time::Duration as Time;

use serde_json::Value;
use skylib::api::address::ServiceAddress;
use skylib::go_duration;

/// Type of the values of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ValueType {
    /// Any string.
    Text,
    /// String that is never shown.
    Secret,
    /// True or false.
    Flag,
    /// Integer.
    Count {
        /// Minimum value.
        min: i64,
        /// Maximum value.
        max: i64,
    },
    /// Duration: seconds, or `90s`, `5m`, `24h`.
    Duration,
    /// Duration greater than zero.
    Interval,
    /// Size: bytes, or `64KiB`, `512MiB`, `2GiB`.
    Bytes,
    /// Host and port.
    Address,
    /// List of strings.
    List,
    /// One of these strings, in upper or lower case.
    Choice(&'static [&'static str]),
    /// Any tree; the code that reads the tree checks its content.
    Free,
}

impl ValueType {
    /// Parses a value given as a string: in the environment, on the command line, or as a default.
    pub(crate) fn parse(self, text: &str) -> Result<Value, String> {
        match self {
            Self::Free => super::yaml(text),
            Self::List if !text.trim_start().starts_with('[') => {
                Ok(text.split_whitespace().map(Value::from).collect())
            }
            Self::List => super::yaml(text),
            _ => Ok(Value::from(text)),
        }
    }

    /// Checks a value. Returns a description of the allowed values if this type does not accept it.
    pub(crate) fn check(self, value: &Value) -> Result<(), String> {
        let good = match self {
            Self::Text | Self::Secret => text(value).is_some(),
            Self::Flag => flag(value).is_some(),
            Self::Count { .. } => self.count(value).is_some(),
            Self::Duration => time(value).is_some(),
            Self::Interval => time(value).is_some_and(|time| !time.is_zero()),
            Self::Bytes => bytes(value).is_some(),
            Self::Address => address(value).is_some(),
            Self::List => list(value).is_some(),
            Self::Choice(names) => choice(names, value).is_some(),
            Self::Free => true,
        };
        if good { Ok(()) } else { Err(self.allowed()) }
    }

    /// Describes the allowed values for an error message.
    fn allowed(self) -> String {
        match self {
            Self::Text | Self::Secret => "a text".to_owned(),
            Self::Flag => "true or false".to_owned(),
            Self::Count { min, max } => format!("an integer from {min} to {max}"),
            Self::Duration => "a duration: seconds, or 90s, 5m, 24h, 7d".to_owned(),
            Self::Interval => {
                "a duration greater than zero: seconds, or 90s, 5m, 24h, 7d".to_owned()
            }
            Self::Bytes => "a size: bytes, or 64KiB, 512MiB, 2GiB".to_owned(),
            Self::Address => "an address: host:port, [v6]:port, :port or port".to_owned(),
            Self::List => "a list of strings".to_owned(),
            Self::Choice(names) => format!("one of {}", names.join(", ")),
            Self::Free => "a tree".to_owned(),
        }
    }

    /// Returns the name of the type in lists of keys, without the range of values.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Secret => "secret text",
            Self::Flag => "boolean",
            Self::Count { .. } => "integer",
            Self::Duration | Self::Interval => "duration",
            Self::Bytes => "size",
            Self::Address => "address",
            Self::List => "list",
            Self::Choice(_) => "choice",
            Self::Free => "tree",
        }
    }

    /// Returns the name of the type with the range of its values.
    #[must_use]
    pub fn description(self) -> String {
        match self {
            Self::Count { min, max } if max == 1 << 40 => format!("integer, {min} or more"),
            Self::Count { min, max } => format!("integer from {min} to {max}"),
            Self::Interval => "duration greater than zero".to_owned(),
            Self::Choice(names) => format!("one of {}", names.join(", ")),
            other => other.name().to_owned(),
        }
    }

    /// Reads an integer within the range; `None` for other types and values.
    pub(super) fn count(self, value: &Value) -> Option<i64> {
        let Self::Count { min, max } = self else {
            return None;
        };
        let number = match value {
            Value::Number(number) => number.as_i64()?,
            Value::String(text) => text.trim().parse().ok()?,
            _ => return None,
        };
        (min..=max).contains(&number).then_some(number)
    }
}

/// Reads a string, even if YAML parsed it as a number or a boolean.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// Reads a boolean in any notation that YAML, JSON, or users may use.
pub(super) fn flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => match number.as_i64()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        },
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Some(true),
            "false" | "no" | "off" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// Reads a duration: a number of seconds, or a string with units.
pub(super) fn time(value: &Value) -> Option<Time> {
    match value {
        Value::Number(number) => Time::try_from_secs_f64(number.as_f64()?).ok(),
        Value::String(text) => match text.trim().parse::<f64>() {
            Ok(seconds) => Time::try_from_secs_f64(seconds).ok(),
            Err(_) => go_duration::parse(text.trim()).ok(),
        },
        _ => None,
    }
}

/// Reads a size; units are powers of 1024.
pub(super) fn bytes(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => {
            let text = text.trim();
            let end = text
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(text.len());
            let (number, unit) = text.split_at(end);
            let shift = match unit.trim_start().to_ascii_lowercase().as_str() {
                "" | "b" => 0,
                "k" | "kb" | "kib" => 10,
                "m" | "mb" | "mib" => 20,
                "g" | "gb" | "gib" => 30,
                "t" | "tb" | "tib" => 40,
                _ => return None,
            };
            number.parse::<u64>().ok()?.checked_mul(1 << shift)
        }
        _ => None,
    }
}

/// Reads host and port; the port may be the name of a service.
pub(super) fn address(value: &Value) -> Option<ServiceAddress> {
    let text = text(value)?;
    text.parse::<ServiceAddress>().ok().or_else(|| {
        let (host, name) = text.rsplit_once(':').unwrap_or(("", &text));
        format!("{host}:{}", port_named(name)?).parse().ok()
    })
}

/// Returns the TCP port of a service name in `/etc/services`.
fn port_named(name: &str) -> Option<u16> {
    let services = std::fs::read_to_string("/etc/services").ok()?;
    services.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let (first, port) = (words.next()?, words.next()?.strip_suffix("/tcp")?);
        let is_known = first == name || words.any(|alias| alias == name);
        if is_known { port.parse().ok() } else { None }
    })
}

/// Reads a list of strings, or one string that is split at spaces.
pub(super) fn list(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(items) => items.iter().map(text).collect(),
        // COMPAT: Skydive accepts a string instead of a list.
        Value::String(text) => Some(text.split_whitespace().map(str::to_owned).collect()),
        _ => None,
    }
}

/// Returns the name that equals a value, compared case-insensitively.
pub(super) fn choice(names: &[&'static str], value: &Value) -> Option<&'static str> {
    let text = text(value)?;
    names
        .iter()
        .copied()
        .find(|name| name.eq_ignore_ascii_case(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn sizes_and_times_have_units() {
        for (text, number) in [
            ("512", 512),
            ("\"512\"", 512),
            ("\"64KiB\"", 65_536),
            ("\"2 GB\"", 2 << 30),
            ("\"1t\"", 1 << 40),
        ] {
            assert_eq!(bytes(&json(text)), Some(number), "{text}");
        }
        for text in [
            "-1",
            "1.5",
            "\"x\"",
            "\"5XB\"",
            "\"\"",
            "[]",
            "\"99999999999999999999\"",
        ] {
            assert_eq!(bytes(&json(text)), None, "{text}");
        }
        for (text, ms) in [
            ("2", 2000),
            ("0.5", 500),
            ("\"90s\"", 90_000),
            ("\"1.5\"", 1500),
        ] {
            assert_eq!(time(&json(text)), Some(Time::from_millis(ms)), "{text}");
        }
        for text in [
            "-1", "\"-1s\"", "\"x\"", "true", "1e300", "\"NaN\"", "\"inf\"",
        ] {
            assert_eq!(time(&json(text)), None, "{text}");
        }
    }

    #[test]
    fn flags_and_lists_are_read_as_people_write_them() {
        for (text, wanted) in [
            ("true", true),
            ("\"Yes\"", true),
            ("\"off\"", false),
            ("0", false),
        ] {
            assert_eq!(flag(&json(text)), Some(wanted), "{text}");
        }
        assert_eq!(flag(&json("2")), None);
        assert_eq!(flag(&json("\"maybe\"")), None);
        let two = Some(vec!["a:1".to_owned(), "b:2".to_owned()]);
        assert_eq!(list(&json(r#"["a:1","b:2"]"#)), two);
        assert_eq!(list(&json(r#""a:1 b:2""#)), two);
        assert_eq!(list(&json(r#"{"a":1}"#)), None);
    }

    #[test]
    fn a_port_may_have_a_name() {
        let found = address(&json("\"127.0.0.1:http\""));
        if std::path::Path::new("/etc/services").exists() {
            assert_eq!(found.unwrap().port, 80);
        }
        assert_eq!(address(&json("\"h:no-such-service\"")), None);
        assert_eq!(
            address(&json("8082")).unwrap().to_string(),
            "localhost:8082"
        );
    }

    #[test]
    fn what_is_allowed_is_said() {
        let check = |value_type: ValueType, text: &str| value_type.check(&json(text)).unwrap_err();
        assert_eq!(
            check(ValueType::Count { min: 1, max: 9 }, "0"),
            "an integer from 1 to 9"
        );
        assert_eq!(
            check(ValueType::Choice(&["udp", "websocket"]), "\"tcp\""),
            "one of udp, websocket"
        );
        assert!(check(ValueType::Interval, "0").contains("greater than zero"));
        assert!(ValueType::Duration.check(&json("0")).is_ok());
    }
}
