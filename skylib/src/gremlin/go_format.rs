//! Go's `%v`, `%s`, and `%q` formats, which error messages of the language contain.
//!
//! COMPAT: clients and their tests match these messages exactly.

use std::fmt::Write as _;

use super::ast::Param;
use crate::flow::SortOrder;
use crate::value::Value;

/// Formats a parameter list as `%v` does: `[a 1 true]`.
pub(super) fn list(params: &[Param]) -> String {
    let words: Vec<String> = params.iter().map(value).collect();
    format!("[{}]", words.join(" "))
}

/// Formats a parameter as `%s` does, including Go's marker for values that are not strings.
pub(super) fn string(param: &Param) -> String {
    match param {
        Param::Int(number) => format!("%!s(int64={number})"),
        Param::Float(number) => format!("%!s(float64={})", float(*number)),
        Param::Bool(bool) => format!("%!s(bool={bool})"),
        other => value(other),
    }
}

fn value(param: &Param) -> String {
    match param {
        Param::Text(text) => text.as_str().to_owned(),
        Param::Float(number) => float(*number),
        // COMPAT: Skydive printed the name of the next keyword in its table.
        Param::Order(SortOrder::Ascending) => "DESC".to_owned(),
        Param::Order(SortOrder::Descending) => "IPV4RANGE".to_owned(),
        Param::Forever => "NOW".to_owned(),
        Param::Now => "AS".to_owned(),
        other => other.to_string(),
    }
}

/// Formats a float with the fewest digits, in scientific notation from 1e21 up and below 1e-4.
fn float(number: f64) -> String {
    let scientific = format!("{number:e}");
    let exponent = scientific
        .split_once('e')
        .and_then(|(m, e)| Some((m, e.parse::<i32>().ok()?)));
    match exponent {
        Some((mantissa, exponent)) if !(-4..21).contains(&exponent) && number != 0.0 => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{mantissa}e{sign}{:02}", exponent.abs())
        }
        _ => format!("{number}"),
    }
}

/// Formats a metadata value as `%v` does: `[a b]`, `map[k:v]`.
pub(super) fn metadata(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(bool) => bool.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => float(*number),
        Value::Text(text) => text.as_str().to_owned(),
        Value::List(list) => {
            let words: Vec<String> = list.iter().map(metadata).collect();
            format!("[{}]", words.join(" "))
        }
        Value::Map(map) => {
            let words: Vec<String> = map
                .iter()
                .map(|(key, value)| format!("{key}:{}", metadata(value)))
                .collect();
            format!("map[{}]", words.join(" "))
        }
    }
}

/// Formats a string as `%q` does: between double quotes, with Go's escapes.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        let escape = match c {
            '"' => "\\\"",
            '\\' => "\\\\",
            '\u{7}' => "\\a",
            '\u{8}' => "\\b",
            '\t' => "\\t",
            '\n' => "\\n",
            '\u{b}' => "\\v",
            '\u{c}' => "\\f",
            '\r' => "\\r",
            c if c.is_ascii_control() => {
                let _infallible = write!(quoted, "\\x{:02x}", u32::from(c));
                continue;
            }
            c if c.is_control() || c == '\u{feff}' => {
                let _infallible = write!(quoted, "\\u{:04x}", u32::from(c));
                continue;
            }
            c => {
                quoted.push(c);
                continue;
            }
        };
        quoted.push_str(escape);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_print_as_in_go() {
        let params = [
            Param::Text("a b".into()),
            Param::Int(-1),
            Param::Float(1.5),
            Param::Bool(true),
            Param::Order(SortOrder::Ascending),
        ];
        assert_eq!(list(&params), "[a b -1 1.5 true DESC]");
        assert_eq!(list(&[]), "[]");
        assert_eq!(string(&params[1]), "%!s(int64=-1)");
        assert_eq!(string(&params[0]), "a b");
    }

    #[test]
    fn floats_print_as_in_go() {
        for (number, text) in [
            (0.0, "0"),
            (2.0, "2"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (0.0001, "0.0001"),
            (0.000_012, "1.2e-05"),
        ] {
            assert_eq!(float(number), text);
        }
    }

    #[test]
    fn quoting_escapes_what_go_escapes() {
        assert_eq!(quoted("\r"), r#""\r""#);
        assert_eq!(quoted("a\"\\é\u{1}\u{85}"), r#""a\"\\é\x01\u0085""#);
    }
}
