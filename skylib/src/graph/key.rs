//! `ElementKey`: a key of a filter, compiled for lookups on nodes and edges.

use super::element::Element;
use super::{Edge, Metadata, Node};
use crate::filter::{Fields, Filter, Predicate};
use crate::value::{Path, PathMatch, Text, Value};

/// Field of a node or an edge that a filter tests.
///
/// ```
/// use skylib::filter::{Filter, Predicate};
/// use skylib::graph::{ElementKey, Metadata, Node, Origin};
/// use skylib::time::Timestamp;
///
/// let metadata = Metadata::from_iter([("Name", "eth0")]);
/// let origin = Origin::new("agent", "edge-01");
/// let node = Node::new("n", metadata, Timestamp::ZERO).with_origin(origin);
/// let filter = Filter::test("Name", Predicate::Text("eth0".into()))
///     .and(Filter::test("@Host", Predicate::Text("edge-01".into())));
/// assert!(ElementKey::compile(&filter).matches(&node));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ElementKey {
    /// `@ID`
    Id,
    /// `@Host`
    Host,
    /// `@Origin`
    Origin,
    /// `@CreatedAt`, in Unix milliseconds.
    CreatedAt,
    /// `@UpdatedAt`, in Unix milliseconds.
    UpdatedAt,
    /// `@DeletedAt`, in Unix milliseconds; absent while the element exists.
    DeletedAt,
    /// `@Revision`
    Revision,
    /// `Parent`: the id of the parent on an edge, a metadata key on a node.
    Parent(MetadataKey),
    /// `Child`: the id of the child on an edge, a metadata key on a node.
    Child(MetadataKey),
    /// Any other name: a metadata key.
    Metadata(MetadataKey),
}

impl ElementKey {
    /// Parses the name of a field. A name that is not a field is a metadata key, with or without
    /// the prefix `Metadata.`.
    #[must_use]
    pub fn parse(name: &str) -> Self {
        match name {
            "@ID" => Self::Id,
            "@Host" => Self::Host,
            "@Origin" => Self::Origin,
            "@CreatedAt" => Self::CreatedAt,
            "@UpdatedAt" => Self::UpdatedAt,
            "@DeletedAt" => Self::DeletedAt,
            "@Revision" => Self::Revision,
            "Parent" => Self::Parent(MetadataKey::new(name)),
            "Child" => Self::Child(MetadataKey::new(name)),
            _ => Self::Metadata(MetadataKey::new(
                name.strip_prefix("Metadata.").unwrap_or(name),
            )),
        }
    }

    /// Returns the same filter with parsed keys.
    #[must_use]
    pub fn compile(filter: &Filter) -> Filter<Self> {
        filter.compile(&mut |key| Self::parse(key))
    }

    /// Returns the string that a field has in every match of the filter, if the filter requires
    /// one.
    ///
    /// ```
    /// use skylib::filter::{Filter, Predicate};
    /// use skylib::graph::ElementKey;
    ///
    /// let filter = Filter::test("Type", Predicate::Text("bridge".into()))
    ///     .and(Filter::test("@ID", Predicate::Text("br0".into())));
    /// let filter = ElementKey::compile(&filter);
    /// let id = ElementKey::required_text(&filter, |key| matches!(key, ElementKey::Id));
    /// assert_eq!(id.map(|id| id.as_str()), Some("br0"));
    /// ```
    #[must_use]
    pub fn required_text(filter: &Filter<Self>, is_field: fn(&Self) -> bool) -> Option<&Text> {
        match filter {
            Filter::All(filters) => filters
                .iter()
                .find_map(|filter| Self::required_text(filter, is_field)),
            Filter::Test(key, Predicate::Text(text)) if is_field(key) => Some(text),
            _ => None,
        }
    }

    /// Returns the metadata key that a filter on nodes tests; `None` for fields of the node itself.
    #[must_use]
    pub const fn metadata_of_node(&self) -> Option<&MetadataKey> {
        match self {
            Self::Parent(key) | Self::Child(key) | Self::Metadata(key) => Some(key),
            _ => None,
        }
    }
}

impl From<&str> for ElementKey {
    fn from(name: &str) -> Self {
        Self::parse(name)
    }
}

/// Dotted metadata key with a cache of its positions in key lists ([`Path`]).
#[derive(Clone, Debug)]
pub struct MetadataKey {
    name: Text,
    path: Path,
}

impl MetadataKey {
    fn new(name: &str) -> Self {
        Self {
            name: Text::from(name),
            path: Path::new(name),
        }
    }

    /// Returns the dotted key.
    #[must_use]
    pub const fn name(&self) -> &Text {
        &self.name
    }

    /// Returns the compiled path.
    #[must_use]
    pub const fn path(&self) -> &Path {
        &self.path
    }
}

/// Value of a field.
enum Field<'a> {
    Absent,
    Text(&'a str),
    Int(i64),
    Match(PathMatch<'a>),
}

impl Field<'_> {
    fn test(&self, predicate: &Predicate) -> bool {
        match self {
            Self::Absent => false,
            Self::Text(text) => predicate.matches_text(text),
            Self::Int(number) => predicate.matches_int(*number),
            Self::Match(PathMatch::One(value)) => predicate.matches(value),
            // COMPAT: Gremlin clients: arrays inside arrays are not searched.
            Self::Match(PathMatch::Many(values)) => {
                matches!(predicate, Predicate::Present)
                    || values
                        .iter()
                        .any(|v| !matches!(v, Value::List(_)) && predicate.matches(v))
            }
        }
    }

    fn value(&self) -> Option<Value> {
        match self {
            Self::Absent => None,
            Self::Text(text) => Some(Value::from(*text)),
            Self::Int(number) => Some(Value::Int(*number)),
            Self::Match(PathMatch::One(value)) => Some((*value).clone()),
            Self::Match(PathMatch::Many(values)) => {
                Some(Value::list(values.iter().copied().cloned()))
            }
        }
    }
}

/// Returns whether an element matches a filter. `metadata` is the metadata of the element, which
/// the caller has already loaded.
#[inline]
pub(super) fn matches<E: Element>(
    filter: &Filter<ElementKey>,
    element: &E,
    metadata: &Metadata,
) -> bool {
    let element = WithMetadata(element, metadata);
    match filter {
        // Most scans test one field; this avoids a recursive call for every element.
        Filter::Test(key, predicate) => element.test(key, predicate),
        filter => filter.matches(&element),
    }
}

struct WithMetadata<'a, E>(&'a E, &'a Metadata);

impl<E: Element> Fields<ElementKey> for WithMetadata<'_, E> {
    #[inline]
    fn test(&self, key: &ElementKey, predicate: &Predicate) -> bool {
        // Fast path for metadata keys, the most frequent case.
        if let ElementKey::Metadata(key) = key {
            return match key.path.find(self.1) {
                Some(PathMatch::One(Value::Int(number))) => predicate.matches_int(*number),
                Some(PathMatch::One(value)) => predicate.matches(value),
                Some(found) => Field::Match(found).test(predicate),
                None => false,
            };
        }
        with_field(self.0, key, |field| field.test(predicate))
    }
}

fn with_field<E: Element, R>(
    element: &E,
    key: &ElementKey,
    then: impl FnOnce(Field<'_>) -> R,
) -> R {
    let fields = element.fields();
    let end = match (key, fields.ends) {
        (ElementKey::Parent(_), Some((parent, _))) => Some(parent),
        (ElementKey::Child(_), Some((_, child))) => Some(child),
        _ => None,
    };
    if let Some(end) = end {
        return end.as_id().with_text(|id| then(Field::Text(id)));
    }
    match key {
        ElementKey::Id => fields.id.with_text(|id| then(Field::Text(id))),
        ElementKey::Host => then(Field::Text(fields.host)),
        ElementKey::Origin => then(Field::Text(fields.origin)),
        ElementKey::CreatedAt => then(Field::Int(fields.created_at.as_ms())),
        ElementKey::UpdatedAt => then(Field::Int(fields.updated_at.as_ms())),
        ElementKey::DeletedAt => then(
            fields
                .deleted_at
                .map_or(Field::Absent, |time| Field::Int(time.as_ms())),
        ),
        ElementKey::Revision => then(Field::Int(fields.revision)),
        ElementKey::Parent(key) | ElementKey::Child(key) | ElementKey::Metadata(key) => then(
            key.path
                .find(element.metadata())
                .map_or(Field::Absent, Field::Match),
        ),
    }
}

macro_rules! fields {
    ($name:ident) => {
        impl $name {
            /// Returns the value of a field. If the path leads through an array, the values found in
            /// its elements are returned as a list.
            #[must_use]
            pub fn value(&self, key: &ElementKey) -> Option<Value> {
                with_field(self, key, |field| field.value())
            }
        }

        impl Fields<ElementKey> for $name {
            fn test(&self, key: &ElementKey, predicate: &Predicate) -> bool {
                WithMetadata(self, &self.metadata).test(key, predicate)
            }
        }
    };
}

fields!(Node);
fields!(Edge);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Pattern;
    use crate::time::Timestamp;

    fn element<E: serde::de::DeserializeOwned>(metadata: &str) -> E {
        let json = format!(
            r#"{{"ID":"i","Host":"h","Origin":"agent.h","CreatedAt":1,"UpdatedAt":2,"Revision":3,
            "Parent":"p","Child":"c","Metadata":{metadata}}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    fn has<E: Fields<ElementKey>>(element: &E, key: &str, predicate: Predicate) -> bool {
        Filter::test(key, predicate)
            .map_keys(&mut |key| ElementKey::parse(key))
            .matches(element)
    }

    fn text(text: &str) -> Predicate {
        Predicate::Text(text.into())
    }

    #[test]
    fn fields_of_the_element_itself() {
        let node: Node = element("{}");
        assert!(has(&node, "@ID", text("i")));
        assert!(has(
            &node,
            "@Origin",
            Predicate::Regex(Pattern::new("agent.*").unwrap())
        ));
        assert!(has(&node, "@CreatedAt", Predicate::Gt(0)));
        assert!(has(&node, "@UpdatedAt", Predicate::Int(2)));
        assert!(has(&node, "@Revision", Predicate::Int(3)));
        assert!(
            !has(&node, "@Revision", text("3")),
            "text matches only text"
        );
        assert!(
            !has(&node, "@DeletedAt", Predicate::Present),
            "absent while the node exists"
        );
        assert!(
            !has(&node, "ID", Predicate::Present),
            "a metadata key without the sign"
        );
        let deleted = Node {
            deleted_at: Some(Timestamp::from_ms(9)),
            ..node
        };
        assert!(has(&deleted, "@DeletedAt", Predicate::Int(9)));
        assert_eq!(deleted.value(&ElementKey::parse("@Host")), Some("h".into()));
    }

    #[test]
    fn ends_are_fields_of_edges_and_metadata_of_nodes() {
        let edge: Edge = element(r#"{"Parent":"x"}"#);
        assert!(has(&edge, "Parent", text("p")) && has(&edge, "Child", text("c")));
        assert!(has(&edge, "Parent", Predicate::Present));
        let node: Node = element(r#"{"Parent":"x"}"#);
        assert!(has(&node, "Parent", text("x")) && !has(&node, "Child", Predicate::Present));
    }

    #[test]
    fn metadata_by_dotted_keys() {
        let json = r#"{"A":{"B":1},"Ifs":[{"N":1,"T":["a"]},{"N":"2"}],"@x":true,"L":["q"]}"#;
        let (node, edge): (Node, Edge) = (element(json), element(json));
        assert!(has(&node, "Metadata.A.B", Predicate::Int(1)));
        assert!(has(&node, "Ifs.N", Predicate::Int(2)));
        assert!(
            !has(&node, "Ifs.T", text("a")),
            "arrays of arrays are not flattened"
        );
        assert!(
            has(&node, "Ifs.Zzz", Predicate::Present),
            "present through an array"
        );
        assert!(has(&node, "@x", Predicate::Bool(true)));
        assert!(
            has(&edge, "L", text("q")),
            "edges' arrays match like nodes'"
        );
        assert_eq!(
            node.value(&ElementKey::parse("Ifs.N")),
            Some(vec![1.into(), Value::from("2")].into())
        );
        assert_eq!(node.value(&ElementKey::parse("A.X")), None);
    }
}
