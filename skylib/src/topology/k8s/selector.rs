//! `Selector`: a condition on the labels of an object.

use std::collections::BTreeMap;

use serde_json::Value as Json;

/// Labels of an object.
pub(super) type Labels = BTreeMap<String, String>;

/// A condition on labels; all its requirements must hold. Without requirements, it selects all
/// objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selector {
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    /// The label has one of the values.
    In(String, Vec<String>),
    /// The label is missing or has none of the values.
    NotIn(String, Vec<String>),
    Exists(String),
    DoesNotExist(String),
    /// An operator that the API does not define: nothing is selected.
    Never,
}

impl Selector {
    /// Returns the selector of labels with exact values, such as the selector of a service.
    pub(super) fn of_map(json: &Json) -> Self {
        let labels = json.as_object().into_iter().flatten();
        let requirements = labels.map(|(key, value)| match value.as_str() {
            Some(value) => Requirement::In(key.clone(), vec![value.to_owned()]),
            None => Requirement::Never,
        });
        Self {
            requirements: requirements.collect(),
        }
    }

    /// Returns the selector of a `LabelSelector` object: `matchLabels` and `matchExpressions`.
    pub(super) fn of_object(json: &Json) -> Self {
        let mut selector = Self::of_map(&json["matchLabels"]);
        let expressions = json["matchExpressions"].as_array().into_iter().flatten();
        selector.requirements.extend(expressions.map(requirement));
        selector
    }

    /// Returns whether the selector has no requirements.
    pub(super) fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Returns a label that every selected object has, with its value; `None` if there is none.
    pub(super) fn exact_label(&self) -> Option<(&str, &str)> {
        self.requirements
            .iter()
            .find_map(|requirement| match requirement {
                Requirement::In(key, values) => match &values[..] {
                    [value] => Some((key.as_str(), value.as_str())),
                    _ => None,
                },
                _ => None,
            })
    }

    /// Returns whether the selector selects an object with these labels.
    pub(super) fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|requirement| {
            let has = |key: &String, values: &[String]| {
                labels.get(key).is_some_and(|value| values.contains(value))
            };
            match requirement {
                Requirement::In(key, values) => has(key, values),
                Requirement::NotIn(key, values) => !has(key, values),
                Requirement::Exists(key) => labels.contains_key(key),
                Requirement::DoesNotExist(key) => !labels.contains_key(key),
                Requirement::Never => false,
            }
        })
    }
}

fn requirement(json: &Json) -> Requirement {
    let Some(key) = json["key"].as_str().map(str::to_owned) else {
        return Requirement::Never;
    };
    let values = json["values"].as_array().into_iter().flatten();
    let values = values.filter_map(|value| value.as_str().map(str::to_owned));
    match json["operator"].as_str() {
        Some("In") => Requirement::In(key, values.collect()),
        Some("NotIn") => Requirement::NotIn(key, values.collect()),
        Some("Exists") => Requirement::Exists(key),
        Some("DoesNotExist") => Requirement::DoesNotExist(key),
        _ => Requirement::Never,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        let owned = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        owned.collect()
    }

    #[test]
    fn every_requirement_must_hold() {
        let selector = Selector::of_object(&json!({
            "matchLabels": {"app": "web"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["front", "back"]},
                {"key": "env", "operator": "NotIn", "values": ["test"]},
                {"key": "team", "operator": "Exists"},
                {"key": "legacy", "operator": "DoesNotExist"},
            ]
        }));
        let good = labels(&[("app", "web"), ("tier", "back"), ("team", "x")]);
        assert!(selector.matches(&good));
        for (key, value) in [
            ("app", "db"),
            ("tier", "x"),
            ("env", "test"),
            ("legacy", ""),
        ] {
            let mut bad = good.clone();
            bad.insert(key.to_owned(), value.to_owned());
            assert!(!selector.matches(&bad), "{key}={value}");
        }
        let mut bad = good;
        bad.remove("team");
        assert!(!selector.matches(&bad));
    }

    #[test]
    fn without_requirements_everything_is_selected_and_errors_select_nothing() {
        let all = Selector::of_object(&json!({}));
        assert!(all.is_empty() && all.matches(&Labels::new()));
        for broken in [
            json!({"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]}),
            json!({"matchExpressions": [{"operator": "Exists"}]}),
            json!({"matchLabels": {"a": 1}}),
        ] {
            assert!(!Selector::of_object(&broken).matches(&labels(&[("a", "1")])));
        }
    }
}
