//! Checks of JSON patches of large documents. The first byte selects the document; the rest is a
//! patch.

use serde_json::{Value, json};
use skylib::api::JsonPatch;
use skylib::memory::{MemoryBudget, MemoryUse};

/// Panics if parsing or patching panics, or if a patch adds more to a document than it was charged
/// for.
pub(crate) fn check(input: &[u8]) {
    let Some((kind, patch)) = input.split_first() else {
        return;
    };
    let Ok(patch) = String::from_utf8_lossy(patch).parse::<JsonPatch>() else {
        return;
    };
    let mut document = document(*kind);
    let before = bytes(&document);
    let memory = MemoryBudget::new(LIMIT).charge(MemoryUse::Patches);
    drop(patch.apply(&mut document, &memory));
    let after = bytes(&document);
    assert!(
        after <= before + memory.bytes() && memory.bytes() <= LIMIT,
        "{before} bytes became {after}, charged {}",
        memory.bytes()
    );
}

/// Returns a document: wide, deep, long, or with long texts.
fn document(kind: u8) -> Value {
    let list = |count: usize| (0..count).map(Value::from).collect::<Value>();
    match kind % 4 {
        0 => {
            let member = |i: usize| (format!("k{i}"), json!({"a": i, "b": [i, null, "x"]}));
            json!({"ID": "n", "Metadata": (0..2_000).map(member).collect::<serde_json::Map<_, _>>()})
        }
        1 => (0..90).fold(
            json!({"leaf": 1}),
            |inner, _| json!({"a": inner, "b": [1, 2]}),
        ),
        2 => json!({"ID": "n", "Metadata": {"L": list(20_000), "M": [list(100), list(100)]}}),
        _ => json!({"ID": "n", "Metadata": {"A": "x".repeat(1 << 20), "B": "\u{e9}".repeat(1000)}}),
    }
}

/// Returns the size of a value: the bytes of all strings and keys, and one for each value.
fn bytes(value: &Value) -> usize {
    1 + match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(bytes).sum(),
        Value::Object(members) => members
            .iter()
            .map(|(key, item)| key.len() + bytes(item))
            .sum(),
        _ => 0,
    }
}

/// Limit of the memory that patches may use, in bytes.
const LIMIT: usize = 64 << 20;
