//! `JsonPatch`: changes of a document as RFC 6902 writes them, bounded.

use json_patch::PatchOperation;
use json_patch::jsonptr::Pointer;
use serde_json::Value;

/// A list of operations on a JSON document.
///
/// What a hostile patch could grow is bounded: the number of operations, the values that they copy
/// and move, and the depth they nest to.
///
/// ```
/// use serde_json::json;
/// use skylib::api::JsonPatch;
/// let patch = JsonPatch::parse(r#"[{"op":"add","path":"/Metadata/a","value":1}]"#)?;
/// let mut document = json!({"Metadata": {}});
/// patch.apply(&mut document)?;
/// assert_eq!(document, json!({"Metadata": {"a": 1}}));
/// # Ok::<(), skylib::api::JsonPatchError>(())
/// ```
#[derive(Clone, Debug)]
pub struct JsonPatch(Vec<PatchOperation>);

impl JsonPatch {
    /// Reads the operations; `value` where none belongs is ignored (COMPAT: the Go client).
    ///
    /// # Errors
    /// When the text is no list of operations, or of more than [`MAX_OPERATIONS`].
    pub fn parse(text: &str) -> Result<Self, JsonPatchError> {
        let operations: Vec<PatchOperation> = serde_json::from_str(text)?;
        if operations.len() > MAX_OPERATIONS {
            return Err(JsonPatchError::TooMany);
        }
        Ok(Self(operations))
    }

    /// Applies the operations one after another. After an error the document is spoilt.
    ///
    /// # Errors
    /// The first operation that fails: a place that is not there, a value that fails its test, or
    /// more than may be.
    pub fn apply(&self, document: &mut Value) -> Result<(), JsonPatchError> {
        let mut budget = Budget::default();
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

/// What all operations of a patch may put into a document.
struct Budget {
    values: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            values: MAX_PATCHED_VALUES,
        }
    }
}

impl Budget {
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
        value.map_or(Ok(()), |value| self.take(value, depth))
    }

    fn take(&mut self, value: &Value, depth: usize) -> Result<(), JsonPatchError> {
        let depth = depth.checked_sub(1).ok_or(JsonPatchError::TooDeep)?;
        self.values = self.values.checked_sub(1).ok_or(JsonPatchError::TooLarge)?;
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| self.take(item, depth)),
            Value::Object(members) => members.values().try_for_each(|item| self.take(item, depth)),
            _ => Ok(()),
        }
    }
}

/// Operations of one patch.
pub const MAX_OPERATIONS: usize = 1_000;

/// Values that the operations of one patch may add, copy and move together.
const MAX_PATCHED_VALUES: usize = 1_000_000;

/// How deep a patched document may nest; a text that is read may nest to 128.
const MAX_DEPTH: usize = 100;

/// Why a patch was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JsonPatchError {
    /// No list of operations, with line and column.
    #[error("{0}")]
    Syntax(#[from] serde_json::Error),
    /// Too many operations.
    #[error("more than {MAX_OPERATIONS} operations")]
    TooMany,
    /// Adding and copying beyond all bounds.
    #[error("more than {MAX_PATCHED_VALUES} values added, copied and moved")]
    TooLarge,
    /// Nesting beyond all bounds.
    #[error("values nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// An operation that cannot be done.
    #[error("operation {number} at path {path:?}: {reason}")]
    Operation {
        /// Which one, from 0.
        number: usize,
        /// Where.
        path: String,
        /// Why.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patched(document: Value, patch: &Value) -> Result<Value, String> {
        let mut document = document;
        let patch = JsonPatch::parse(&patch.to_string()).map_err(|error| error.to_string())?;
        patch
            .apply(&mut document)
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
    fn what_cannot_be_done_says_which_and_why() {
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
    fn doubling_again_and_again_comes_to_an_end() {
        let copy = json!({"op": "copy", "from": "/a", "path": "/a/-"});
        let error = patched(json!({"a": [1, 2, 3]}), &Value::Array(vec![copy; 60])).unwrap_err();
        assert_eq!(error, "more than 1000000 values added, copied and moved");
    }

    #[test]
    fn nesting_comes_to_an_end() {
        let wrap = [
            json!({"op": "add", "path": "/b", "value": {}}),
            json!({"op": "move", "from": "/a", "path": "/b/a"}),
            json!({"op": "move", "from": "/b", "path": "/a"}),
        ];
        let patch: Vec<Value> = wrap.iter().cycle().take(600).cloned().collect();
        let error = patched(json!({"a": 1}), &Value::Array(patch)).unwrap_err();
        assert_eq!(error, "values nested deeper than 100");
        let deep = "/a".repeat(200);
        let error = patched(json!({}), &json!([{"op": "add", "path": deep, "value": 1}]));
        assert_eq!(error.unwrap_err(), "values nested deeper than 100");
    }

    #[test]
    fn the_number_of_operations_is_bounded() {
        let test = json!({"op": "test", "path": "", "value": {}});
        let error = patched(json!({}), &Value::Array(vec![test; MAX_OPERATIONS + 1]));
        assert_eq!(error.unwrap_err(), "more than 1000 operations");
    }
}
