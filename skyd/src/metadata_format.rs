//! Formats of the files in `agent.metadata_config.files`.

use serde_json::Value;
use skylib::topology::metadata_files::{FileParser, parse_properties};

use crate::config;

/// Names of the formats.
pub(crate) const NAMES: [&str; 8] = [
    "json",
    "toml",
    "ini",
    "yaml",
    "yml",
    "properties",
    "props",
    "prop",
];

/// Returns the parser of a format; `None` for an unknown name.
///
/// COMPAT: existing configuration files; `ini` is read as TOML.
pub(crate) fn parser(name: &str) -> Option<FileParser> {
    match name {
        "json" => Some(json),
        "toml" | "ini" => Some(toml),
        "yaml" | "yml" => Some(config::yaml),
        "properties" | "props" | "prop" => Some(parse_properties),
        _ => None,
    }
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn toml(text: &str) -> Result<Value, String> {
    // The message of the error alone: its display quotes the file, which may contain passwords.
    toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_is_parsed() {
        let wanted = serde_json::json!({"a": {"b": "x"}});
        for name in NAMES {
            let text = match name {
                "json" => r#"{"a":{"b":"x"}}"#,
                "toml" | "ini" => "[a]\nb = \"x\"\n",
                "yaml" | "yml" => "a:\n  b: x\n",
                _ => "a.b=x\n",
            };
            assert_eq!(parser(name).unwrap()(text), Ok(wanted.clone()), "{name}");
            if !name.starts_with('p') {
                let error = parser(name).unwrap()("{secret = ").unwrap_err();
                assert!(!error.contains("secret"), "{name}: {error}");
            }
        }
        assert!(parser("xml").is_none());
    }
}
