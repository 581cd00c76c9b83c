//! Metadata grammars of the command line.

use anyhow::{Context, bail};
use serde_json::{Value, json};
use skylib::graph::Metadata;

/// Adds the pairs of `--metadata "k1=v1, k2.k3=v2"` to metadata.
///
/// COMPAT: values are strings, dots in keys separate levels, and spaces around a pair and double
/// quotes around a key or a value are removed. A value cannot contain a comma or an equals sign.
///
/// # Errors
/// Returns an error if a piece is not a pair, or a key leads through a value that is not an object.
pub(super) fn add_pairs(text: &str, metadata: &mut Metadata) -> anyhow::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    for pair in text.split(',') {
        let mut parts = pair.trim().split('=');
        let (Some(key), Some(value), None) = (parts.next(), parts.next(), parts.next()) else {
            bail!("attributes must be defined by pair k=v: {text}");
        };
        let [key, value] = [key, value].map(|part| part.trim_matches('"'));
        if !metadata.set_path(key, value) {
            bail!("attributes must be defined by pair k=v: {text}: {key:?} is not a valid path");
        }
    }
    Ok(())
}

/// Returns the JSON patch of the options `--add k=v` and `--remove k`.
///
/// COMPAT: a value that is not JSON is a string; a slash in a key becomes a dot.
///
/// # Errors
/// Returns an error if a value of `--add` has no `=`.
pub(super) fn patch(added: &[String], removed: &[String]) -> anyhow::Result<Value> {
    let mut operations = Vec::new();
    for text in added {
        let (key, value) = text
            .split_once('=')
            .with_context(|| format!("metadata to add should be of the form k1=v1, got {text}"))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        operations.push(json!({"op": "add", "path": path(key), "value": value}));
    }
    for key in removed {
        operations.push(json!({"op": "remove", "path": path(key)}));
    }
    Ok(Value::Array(operations))
}

/// Returns the JSON pointer (RFC 6901) of a metadata key.
fn path(key: &str) -> String {
    format!("/Metadata/{}", key.replace('~', "~0").replace('/', "."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Result<String, String> {
        let mut metadata = Metadata::new();
        match add_pairs(text, &mut metadata) {
            Ok(()) => Ok(serde_json::to_string(&metadata).unwrap()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn pairs_are_texts_and_dots_nest() {
        for (text, wanted) in [
            ("", "{}"),
            ("a=1", r#"{"a":"1"}"#),
            ("a=1, b=2", r#"{"a":"1","b":"2"}"#),
            (r#""a"="x y",b="""#, r#"{"a":"x y","b":""}"#),
            (
                "Rack.Unit=p1,Rack.Row=3",
                r#"{"Rack":{"Row":"3","Unit":"p1"}}"#,
            ),
            ("a = b", r#"{"a ":" b"}"#),
            ("a=", r#"{"a":""}"#),
            ("a=1,a=2", r#"{"a":"2"}"#),
        ] {
            assert_eq!(pairs(text).as_deref(), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn pieces_that_are_no_pairs_are_refused_with_the_whole_text() {
        for text in ["loose", "a=1,", "a=1,,b=2", "a=b=c", "a=b=c=d", ","] {
            let wanted = format!("attributes must be defined by pair k=v: {text}");
            assert_eq!(pairs(text), Err(wanted));
        }
        assert!(
            pairs("a=1,a.b=2")
                .unwrap_err()
                .contains("\"a.b\" is not a valid path")
        );
    }

    #[test]
    fn patches_have_json_or_text() {
        let text = |items: &[&str]| {
            items
                .iter()
                .map(|item| (*item).to_owned())
                .collect::<Vec<_>>()
        };
        let added = text(&[
            "n=5",
            "l=[1,2]",
            "t=word",
            "o={\"x\":null}",
            "e=",
            "a/b~c.d=x=y",
        ]);
        let patch = patch(&added, &text(&["t", "a/b"])).unwrap();
        let wanted = json!([
            {"op": "add", "path": "/Metadata/n", "value": 5},
            {"op": "add", "path": "/Metadata/l", "value": [1, 2]},
            {"op": "add", "path": "/Metadata/t", "value": "word"},
            {"op": "add", "path": "/Metadata/o", "value": {"x": null}},
            {"op": "add", "path": "/Metadata/e", "value": ""},
            {"op": "add", "path": "/Metadata/a.b~0c.d", "value": "x=y"},
            {"op": "remove", "path": "/Metadata/t"},
            {"op": "remove", "path": "/Metadata/a.b"},
        ]);
        assert_eq!(patch, wanted);
        let error = super::patch(&text(&["word"]), &[]).unwrap_err().to_string();
        assert_eq!(
            error,
            "metadata to add should be of the form k1=v1, got word"
        );
    }
}
