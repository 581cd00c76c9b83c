//! `JsonPatch`: RFC 6902 patches of JSON documents, with limits on their cost.

use std::str::FromStr;

use json_patch::PatchOperation;
use json_patch::jsonptr::Pointer;
use serde_json::Value;

use crate::memory::{MemoryCharge, MemoryExhausted};

/// List of operations on a JSON document (RFC 6902).
///
/// The cost of a malicious patch is limited by the number of operations, the number of bytes that
/// they add, copy, and move, and the nesting depth.
///
/// ```
/// use serde_json::json;
/// use skylib::api::JsonPatch;
/// use skylib::memory::{MemoryBudget, MemoryUse};
/// let patch: JsonPatch = r#"[{"op":"add","path":"/Metadata/a","value":1}]"#.parse()?;
/// let mut document = json!({"Metadata": {}});
/// patch.apply(&mut document, &MemoryBudget::unlimited().charge(MemoryUse::Patches))?;
/// assert_eq!(document, json!({"Metadata": {"a": 1}}));
/// # Ok::<(), skylib::api::JsonPatchError>(())
/// ```
#[derive(Clone, Debug)]
pub struct JsonPatch(Vec<PatchOperation>);

impl FromStr for JsonPatch {
    type Err = JsonPatchError;

    /// Parses a JSON list of operations.
    ///
    /// COMPAT: the Go client sends a `value` with every operation; it is ignored for operations
    /// that use none.
    ///
    /// # Errors
    /// Returns [`JsonPatchError`] if the string is not such a list, or has more than
    /// [`MAX_OPERATIONS`].
    fn from_str(text: &str) -> Result<Self, JsonPatchError> {
        let operations: Vec<PatchOperation> = serde_json::from_str(text)?;
        if operations.len() > MAX_OPERATIONS {
            return Err(JsonPatchError::TooMany);
        }
        Ok(Self(operations))
    }
}

impl JsonPatch {
    /// Applies the operations in order; `memory` grows by the size of the added data. An error
    /// leaves the document partially patched.
    ///
    /// # Errors
    /// Returns the [`JsonPatchError`] of the first operation that fails because its path does not
    /// exist, its test does not match, or it exceeds a limit.
    pub fn apply(&self, document: &mut Value, memory: &MemoryCharge) -> Result<(), JsonPatchError> {
        let mut budget = Budget {
            bytes: MAX_PATCHED_BYTES,
            memory,
        };
        for (number, operation) in self.0.iter().enumerate() {
            budget.charge(operation, document)?;
            let one = std::slice::from_ref(operation);
            json_patch::patch_unsafe(document, one).map_err(|error| JsonPatchError::Operation {
                number,
                path: error.path.to_string(),
                reason: error.kind.to_string(),
            })?;
        }
        Ok(())
    }
}

/// Applies a merge patch (RFC 7396) to the document of a resource. Names of members are
/// case-insensitive, as in requests.
pub(super) fn merge(
    document: &mut Value,
    patch: &str,
    members: &[&'static str],
) -> Result<(), JsonPatchError> {
    let patch: serde_json::Map<String, Value> = serde_json::from_str(patch)?;
    let named = patch.into_iter().map(|(key, value)| {
        let member = members.iter().find(|name| name.eq_ignore_ascii_case(&key));
        (member.map_or(key, |name| (*name).to_owned()), value)
    });
    json_patch::merge(document, &Value::Object(named.collect()));
    Ok(())
}

/// Limits on the data that the remaining operations of a patch may add to a document.
struct Budget<'a> {
    /// Number of bytes left, at most [`MAX_PATCHED_BYTES`]; only decreases.
    bytes: usize,
    /// Charge that grows by the size of the data that the operations add.
    memory: &'a MemoryCharge,
}

impl Budget<'_> {
    /// Subtracts the size of the data that an operation adds.
    fn charge(
        &mut self,
        operation: &PatchOperation,
        document: &Value,
    ) -> Result<(), JsonPatchError> {
        let at = |from: &Pointer| document.pointer(from.as_str());
        let (path, value) = match operation {
            PatchOperation::Add(add) => (&add.path, Some(&add.value)),
            PatchOperation::Replace(replace) => (&replace.path, Some(&replace.value)),
            PatchOperation::Move(moved) => (&moved.path, at(&moved.from)),
            PatchOperation::Copy(copy) => (&copy.path, at(&copy.from)),
            PatchOperation::Remove(_) | PatchOperation::Test(_) => return Ok(()),
        };
        let depth = MAX_DEPTH
            .checked_sub(path.count())
            .ok_or(JsonPatchError::TooDeep)?;
        let before = self.bytes;
        value.map_or(Ok(()), |value| self.take(value, depth))?;
        self.memory.add(before - self.bytes)?;
        Ok(())
    }

    /// Subtracts a value and everything nested in it.
    fn take(&mut self, value: &Value, depth: usize) -> Result<(), JsonPatchError> {
        let depth = depth.checked_sub(1).ok_or(JsonPatchError::TooDeep)?;
        self.subtract(VALUE_BYTES)?;
        match value {
            Value::String(text) => self.subtract(text.len()),
            Value::Array(items) => items.iter().try_for_each(|item| self.take(item, depth)),
            Value::Object(members) => members.iter().try_for_each(|(key, item)| {
                self.subtract(key.len())?;
                self.take(item, depth)
            }),
            _ => Ok(()),
        }
    }

    fn subtract(&mut self, bytes: usize) -> Result<(), JsonPatchError> {
        let left = self.bytes.checked_sub(bytes);
        self.bytes = left.ok_or(JsonPatchError::TooLarge)?;
        Ok(())
    }
}

/// Maximum number of operations in one patch.
pub const MAX_OPERATIONS: usize = 1_000;

/// Maximum number of bytes that the operations of one patch add, copy, and move in total.
const MAX_PATCHED_BYTES: usize = 16 << 20;

/// Memory of one value without its string, in bytes, approximately; members of objects need the
/// most.
const VALUE_BYTES: usize = 96;

/// Maximum nesting depth of a patched document, below the 128 levels that the JSON parser accepts.
const MAX_DEPTH: usize = 100;

/// Reason why a patch was rejected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JsonPatchError {
    /// The string is not a list of operations; the error contains the line and column.
    #[error(transparent)]
    Syntax(#[from] serde_json::Error),
    /// The patch has more than [`MAX_OPERATIONS`] operations.
    #[error("the patch has more than {MAX_OPERATIONS} operations; split it")]
    TooMany,
    /// The operations add, copy, and move too many bytes.
    #[error("the patch adds, copies, and moves more than {MAX_PATCHED_BYTES} bytes; split it")]
    TooLarge,
    /// The memory for clients is currently insufficient for the patched document.
    #[error(transparent)]
    Memory(#[from] MemoryExhausted),
    /// The patched document would be nested too deeply.
    #[error("the patched document is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// An operation failed.
    #[error("operation {number} at path {path:?}: {reason}")]
    Operation {
        /// Index of the operation, from 0.
        number: usize,
        /// JSON pointer of the operation.
        path: String,
        /// Reason for the failure.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::memory::{MemoryBudget, MemoryUse};

    fn patched(document: Value, patch: &Value) -> Result<Value, String> {
        let mut document = document;
        let patch = JsonPatch::from_str(&patch.to_string()).map_err(|error| error.to_string())?;
        let memory = MemoryBudget::unlimited().charge(MemoryUse::Patches);
        patch
            .apply(&mut document, &memory)
            .map_err(|error| error.to_string())?;
        Ok(document)
    }

    #[test]
    fn all_operations_work() {
        let patch = json!([
            {"op": "test", "path": "/a", "value": 1},
            {"op": "add", "path": "/list/-", "value": 3},
            {"op": "add", "path": "/list/0", "value": 0},
            {"op": "remove", "path": "/a", "value": null},
            {"op": "replace", "path": "/b", "value": {"c": 1}},
            {"op": "copy", "from": "/b", "path": "/d"},
            {"op": "move", "from": "/d/c", "path": "/slash~1tilde~0"},
        ]);
        let document = patched(json!({"a": 1, "b": 2, "list": [1, 2]}), &patch).unwrap();
        let wanted = json!({"b": {"c": 1}, "d": {}, "list": [0, 1, 2, 3], "slash/tilde~": 1});
        assert_eq!(document, wanted);
    }

    #[test]
    fn errors_name_the_operation_and_the_reason() {
        for (patch, reason) in [
            (
                json!([{"op": "remove", "path": "/x"}]),
                "operation 0 at path \"/x\": path is invalid",
            ),
            (
                json!([{"op": "replace", "path": "/x/y", "value": 1}]),
                "operation 0",
            ),
            (
                json!([{"op": "add", "path": "/x/y", "value": 1}]),
                "operation 0",
            ),
            (
                json!([{"op": "add", "path": "/list/7", "value": 1}]),
                "operation 0",
            ),
            (
                json!([{"op": "move", "from": "/list", "path": "/list/0"}]),
                "operation 0",
            ),
            (
                json!([{"op": "add", "path": "/y", "value": 1}, {"op": "test", "path": "/y", "value": 2}]),
                "operation 1 at path \"/y\": value did not match",
            ),
            (
                json!([{"op": "add", "path": "/x"}]),
                "missing field `value`",
            ),
            (
                json!([{"op": "fly", "path": "/x"}]),
                "unknown variant `fly`",
            ),
            (json!([{"op": "remove", "path": "x"}]), "at line 1"),
            (json!({"op": "remove", "path": "/x"}), "expected a sequence"),
            (json!(null), "expected a sequence"),
        ] {
            let error = patched(json!({"list": [1]}), &patch).unwrap_err();
            assert!(error.contains(reason), "{patch}: {error}");
        }
    }

    #[test]
    fn repeated_doubling_is_limited() {
        let copy = json!({"op": "copy", "from": "/a", "path": "/a/-"});
        let error = patched(json!({"a": [1, 2, 3]}), &Value::Array(vec![copy; 60])).unwrap_err();
        assert_eq!(
            error,
            "the patch adds, copies, and moves more than 16777216 bytes; split it"
        );
    }

    #[test]
    fn long_texts_count_by_their_length() {
        let copies = (0..1_000).map(|i| {
            let path = format!("/b{i}");
            json!({"op": "copy", "from": "/a", "path": path})
        });
        let document = json!({"a": "x".repeat(100_000)});
        let error = patched(document, &Value::Array(copies.collect())).unwrap_err();
        assert_eq!(
            error,
            "the patch adds, copies, and moves more than 16777216 bytes; split it"
        );
    }

    #[test]
    fn a_patch_is_charged_and_ends_when_the_memory_is_exhausted() {
        let copy = json!([{"op": "copy", "from": "/a", "path": "/b"}]);
        let patch = JsonPatch::from_str(&copy.to_string()).unwrap();
        let document = json!({"a": "x".repeat(10_000)});
        let budget = MemoryBudget::new(30_000);
        let memory = budget.charge(MemoryUse::Patches);
        for _ in 0..2 {
            patch.apply(&mut document.clone(), &memory).unwrap();
        }
        assert!(memory.bytes() > 20_000);
        let error = patch.apply(&mut document.clone(), &memory).unwrap_err();
        assert!(matches!(error, JsonPatchError::Memory(_)), "{error}");
    }

    #[test]
    fn nesting_is_limited() {
        let wrap = [
            json!({"op": "add", "path": "/b", "value": {}}),
            json!({"op": "move", "from": "/a", "path": "/b/a"}),
            json!({"op": "move", "from": "/b", "path": "/a"}),
        ];
        let patch: Vec<Value> = wrap.iter().cycle().take(600).cloned().collect();
        let error = patched(json!({"a": 1}), &Value::Array(patch)).unwrap_err();
        assert_eq!(
            error,
            "the patched document is nested deeper than 100 levels"
        );
        let deep = "/a".repeat(200);
        let error = patched(json!({}), &json!([{"op": "add", "path": deep, "value": 1}]));
        assert_eq!(
            error.unwrap_err(),
            "the patched document is nested deeper than 100 levels"
        );
    }

    #[test]
    fn the_number_of_operations_is_bounded() {
        let test = json!({"op": "test", "path": "", "value": {}});
        let error = patched(json!({}), &Value::Array(vec![test; MAX_OPERATIONS + 1]));
        assert_eq!(
            error.unwrap_err(),
            "the patch has more than 1000 operations; split it"
        );
    }
}
