//! OpenAPI document of the API, as `/swagger.json` serves it.
//!
//! The operations that all kinds of resources share are generated here; the rest is in `document.json`.
//! A test compares the document with the dispatch table of the router.

use std::sync::LazyLock;

use bytes::Bytes;
use serde_json::{Value, json};

/// Returns the document as JSON.
pub(crate) fn text() -> Bytes {
    static TEXT: LazyLock<Bytes> = LazyLock::new(|| {
        let mut text = document().to_string();
        text.push('\n');
        text.into()
    });
    TEXT.clone()
}

/// Builds the document.
fn document() -> Value {
    // The file is compiled in, and a test ensures that it is valid.
    let mut document: Value =
        serde_json::from_str(include_str!("document.json")).unwrap_or_default();
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    for kind in KINDS {
        document["paths"][format!("/api/{}", kind.name)] = kind.all();
        document["paths"][format!("/api/{}/{{id}}", kind.name)] = kind.one();
    }
    document
}

/// Resource kind.
struct Kind {
    /// Name in paths.
    name: &'static str,
    /// Schema of responses.
    schema: &'static str,
    /// Schema of request bodies.
    input: &'static str,
    /// Name of the member that identifies a resource.
    id: &'static str,
    /// Returns a valid request body.
    example: fn() -> Value,
}

impl Kind {
    /// Returns the methods of `/api/<kind>`.
    fn all(&self) -> Value {
        let mut created = answer(
            "The resource has been created. The body is the stored resource.",
            &self.answered(),
        );
        for what in ["show", "update", "delete"] {
            let id = format!("$response.body#/{}", self.id);
            let link = json!({"operationId": self.operation(what), "parameters": {"id": id}});
            created["links"][what] = link;
        }
        let mut parameters = Vec::new();
        if self.id == "UUID" {
            parameters.push(json!({
                "name": "X-Resource-TTL", "in": "header", "schema": {"type": "string"},
                "description": "Time after which the resource is deleted, such as 30s, 5m, 1h30m, or 2d.",
            }));
        }
        json!({
            "get": {
                "tags": ["Resources"],
                "summary": format!("List all {} resources by id.", self.name),
                "operationId": self.operation("list"),
                "responses": with_errors(json!({
                    "200": answer("All resources of the kind.", &json!({
                        "type": "object", "additionalProperties": self.answered(),
                    })),
                }), &["401", "405"]),
            },
            "post": {
                "tags": ["Resources"],
                "summary": format!("Create a {} resource.", self.name),
                "operationId": self.operation("create"),
                "parameters": parameters,
                "requestBody": {"required": true, "content": {
                    "application/json": {"schema": self.sent(), "example": (self.example)()},
                    "application/yaml": {"schema": self.sent()},
                }},
                "responses": with_errors(json!({"201": created}), &["400", "401", "403", "405", "408", "409", "413", "503"]),
            },
        })
    }

    /// Returns the methods of `/api/<kind>/{id}`.
    fn one(&self) -> Value {
        let found = answer("The resource.", &self.answered());
        let mut patch = json!({
            "application/json": {"schema": {"$ref": "#/components/schemas/Patch"}},
        });
        if self.name == "capture" {
            let description = "JSON Merge Patch (RFC 7396).";
            patch["application/merge-patch+json"] =
                json!({"schema": {"type": "object", "description": description}});
        }
        json!({
            "parameters": [{"$ref": "#/components/parameters/Id"}],
            "get": {
                "tags": ["Resources"],
                "summary": format!("Get a {} resource by id.", self.name),
                "operationId": self.operation("show"),
                "responses": with_errors(json!({"200": found}), &["301", "401", "404", "405"]),
            },
            "patch": {
                "tags": ["Resources"],
                "summary": format!("Change a {} resource, if its kind supports changes.", self.name),
                "operationId": self.operation("update"),
                "requestBody": {"required": true, "content": patch},
                "responses": with_errors(json!({
                    "200": found,
                    "304": {"description": "The patch does not change the resource."},
                    // Without a body, unlike the response of the other methods.
                    "404": {"description": "The resource does not exist; the response has no body."},
                }), &["301", "400", "401", "405", "408", "413", "503"]),
            },
            "delete": {
                "tags": ["Resources"],
                "summary": format!("Delete a {} resource.", self.name),
                "operationId": self.operation("delete"),
                "responses": with_errors(json!({
                    "200": {"description": "Deleted.", "content": {
                        "text/plain": {"schema": {"type": "string", "maxLength": 0}},
                    }},
                }), &["301", "400", "401", "404", "405"]),
            },
        })
    }

    /// Returns the unique id of an operation, such as `capture-create`.
    fn operation(&self, what: &str) -> String {
        format!("{}-{what}", self.name)
    }

    /// Returns the schema of request bodies.
    fn sent(&self) -> Value {
        json!({"$ref": format!("#/components/schemas/{}", self.input)})
    }

    /// Returns the schema of responses, in which the id is required.
    fn answered(&self) -> Value {
        let schema = format!("#/components/schemas/{}", self.schema);
        json!({"allOf": [{"$ref": schema}, {"required": [self.id]}]})
    }
}

/// Returns a response object with a JSON body.
fn answer(description: &str, schema: &Value) -> Value {
    json!({"description": description, "content": {"application/json": {"schema": schema}}})
}

/// Adds the shared error responses for these statuses.
fn with_errors(mut responses: Value, statuses: &[&str]) -> Value {
    for status in statuses {
        let name = match *status {
            "301" => "Moved",
            "400" => "BadRequest",
            "401" => "Unauthorized",
            "403" => "Full",
            "404" => "NotFound",
            "405" => "Forbidden",
            "408" => "TooSlow",
            "409" => "Duplicate",
            "413" => "TooLong",
            _ => "Busy",
        };
        responses[*status] = json!({"$ref": format!("#/components/responses/{name}")});
    }
    responses
}

/// Kinds of resources with the shared operations.
const KINDS: &[Kind] = &[
    Kind {
        name: "capture",
        schema: "Capture",
        input: "Capture",
        id: "UUID",
        example: || json!({"GremlinQuery": "G.V().Has('Name', 'eth0')"}),
    },
    Kind {
        name: "injectpacket",
        schema: "Injectpacket",
        input: "Injectpacket",
        id: "UUID",
        example: || {
            let (from, to) = ("G.V().Has('Name', 'eth0')", "G.V().Has('Name', 'eth1')");
            json!({"Src": from, "Dst": to, "Type": "icmp4", "Count": 1})
        },
    },
    Kind {
        name: "alert",
        schema: "Alert",
        input: "Alert",
        id: "UUID",
        example: || {
            let down = "G.V().Has('State', 'DOWN')";
            json!({"Expression": down, "Action": "https://alerts.example", "Trigger": "graph"})
        },
    },
    Kind {
        name: "workflow",
        schema: "Workflow",
        input: "Workflow",
        id: "UUID",
        example: || json!({"Name": "hello", "Source": "function hello() { return 'hello' }"}),
    },
    Kind {
        name: "noderule",
        schema: "Noderule",
        input: "Noderule",
        id: "UUID",
        example: || json!({"Action": "create", "Metadata": {"Name": "tor1", "Type": "switch"}}),
    },
    Kind {
        name: "edgerule",
        schema: "Edgerule",
        input: "Edgerule",
        id: "UUID",
        example: || {
            let (from, to) = ("G.V().Has('Name', 'tor1')", "G.V().Has('Type', 'host')");
            json!({"Src": from, "Dst": to, "Metadata": {"RelationType": "layer2"}})
        },
    },
    Kind {
        name: "node",
        schema: "Node",
        input: "NodeInput",
        id: "ID",
        example: || json!({"ID": "rack-17", "Metadata": {"Name": "rack-17", "Type": "rack"}}),
    },
    Kind {
        name: "edge",
        schema: "Edge",
        input: "EdgeInput",
        id: "ID",
        example: || {
            let metadata = json!({"RelationType": "ownership"});
            json!({"ID": "e1", "Parent": "rack-17", "Child": "host-4", "Metadata": metadata})
        },
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use skylib::api::{AlertSpec, CaptureSpec, EdgeRule, Injection, NodeRule, Resource, Workflow};

    use super::*;
    use crate::router::table;

    /// Returns methods and paths of the document, with `{}` for parameters.
    fn described() -> BTreeSet<(String, String)> {
        let document = document();
        let paths = document["paths"].as_object().unwrap();
        let methods = |path: &Value| -> Vec<String> {
            let names = path.as_object().unwrap().keys();
            names
                .filter(|name| *name != "parameters")
                .map(|name| name.to_uppercase())
                .collect()
        };
        let entries = paths.iter().flat_map(|(path, entry)| {
            let path: String = path
                .split('{')
                .map(|part| match part.split_once('}') {
                    Some((_, rest)) => format!("{{}}{rest}"),
                    None => part.to_owned(),
                })
                .collect();
            methods(entry)
                .into_iter()
                .map(move |method| (method, path.clone()))
        });
        entries.collect()
    }

    #[test]
    fn the_document_has_every_route_and_no_other() {
        let described = described();
        let mut left = described.clone();
        for (method, path) in table() {
            // The routes of SPP are in a separate table, behind one route for each method.
            let within = path.strip_suffix("{}").filter(|start| *start == "/v1/");
            let is_of_route = |(m, p): &&(String, String)| match within {
                Some(start) => p.starts_with(start),
                None => *p == path && method.is_none_or(|method| m == method),
            };
            let of_route: Vec<_> = described.iter().filter(is_of_route).cloned().collect();
            assert!(!of_route.is_empty(), "{method:?} {path} is not described");
            for entry in of_route {
                left.remove(&entry);
            }
        }
        assert_eq!(left, BTreeSet::new(), "described, and not in the table");
        for (method, path) in described
            .iter()
            .filter(|(_, path)| path.starts_with("/v1/"))
        {
            let of_one = path.replace("{}", "1");
            assert!(crate::routes::spp::has(method, &of_one), "{method} {path}");
        }
    }

    #[test]
    fn resource_schemas_have_the_members_of_their_kind() {
        fn check<R: Resource>() {
            let kind = KINDS.iter().find(|kind| kind.name == R::KIND).unwrap();
            let pointer = format!("/components/schemas/{}/properties", kind.schema);
            let document = document();
            let schema = document.pointer(&pointer).unwrap().as_object().unwrap();
            let described: BTreeSet<&str> = schema.keys().map(String::as_str).collect();
            assert_eq!(described, R::MEMBERS.iter().copied().collect(), "{pointer}");
        }
        check::<CaptureSpec>();
        check::<Injection>();
        check::<AlertSpec>();
        check::<Workflow>();
        check::<NodeRule>();
        check::<EdgeRule>();
    }

    #[test]
    fn references_have_targets() {
        fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
            match value {
                Value::Object(members) => {
                    found.extend(members.get("$ref").and_then(Value::as_str));
                    members
                        .values()
                        .for_each(|member| references(member, found));
                }
                Value::Array(items) => items.iter().for_each(|item| references(item, found)),
                _ => {}
            }
        }
        let document = document();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(found.len() > 10);
        for reference in found {
            let place = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(place).is_some(), "{reference}");
        }
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }
}
