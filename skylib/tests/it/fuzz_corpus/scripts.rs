//! Workflows and their arguments.

use super::replay;

#[path = "../../../../fuzz/checks/script.rs"]
mod script;

#[test]
fn workflows_and_arguments() {
    let deep = format!(
        "{}1{}\nfunction(x) {{ return x }}",
        "[".repeat(100),
        "]".repeat(100)
    );
    let seeds: Vec<(&'static str, Vec<u8>)> = SEEDS
        .iter()
        .map(|(name, text)| (*name, text.as_bytes().to_vec()))
        .chain([("deep", deep.into_bytes())])
        .collect();
    replay("script", script::check, &seeds);
}

/// An argument, a line feed, and the source of a workflow.
const SEEDS: &[(&str, &str)] = &[
    (
        "values",
        "{\"b\":[1,-0.5,1e300,null,true,\"x\"],\"a\":{\"\":{}},\"\u{1f600}\":1}\nfunction(x) { return x.b }",
    ),
    (
        "proto",
        "{\"__proto__\":{\"x\":1},\"constructor\":2,\"toJSON\":3}\nfunction(x) { return Object.keys(x) }",
    ),
    (
        "surrogates",
        "\"\\u0000 \u{fffd} \u{10ffff}\"\nfunction(x) { return ['\\ud800' + x, '\\udc00\\ud800'] }",
    ),
    (
        "builder",
        "\"n\"\nfunction(x) { return client.G.V().Has('Name', x, 'a\"b', GT(1)).Out().result() }",
    ),
    (
        "gremlin",
        "1\nfunction() { return [Gremlin('G.V().Has(\"Name\", Within(\"n\", 1))'), Gremlin(), Gremlin('\\0')] }",
    ),
    (
        "request",
        "1\nfunction() { return ['node', 'edge', 'x', ''].map(k => ['GET', 'POST', 'PATCH', 'DELETE', ''].map(m => String(request('/api/' + k + '/n', m, '[]')))) }",
    ),
    (
        "create",
        "1\nfunction() { var a = client.alerts.create({Expression: '1'}); client.alerts.delete(a.UUID); return client.alerts.list() }",
    ),
    (
        "promise",
        "1\nasync function() { await new Promise(f => setTimeout(f, 1)); throw new TypeError('x') }",
    ),
    (
        "proxy",
        "1\nfunction() { return new Proxy({}, {get() { throw 1 }, ownKeys() { return ['a'] }}) }",
    ),
    (
        "getter",
        "1\nfunction() { return {get a() { return this }, toJSON() { throw 1 }} }",
    ),
    ("loop", "1\nfunction() { for (;;); }"),
    (
        "memory",
        "1\nfunction() { var a = []; for (;;) a.push(new Array(1000).fill('x')) }",
    ),
    ("syntax", "1\nfunction( {"),
    (
        "uuid",
        "1\nfunction() { return [1, 3, 4, 5].map(v => String(new UUID(v, 'ns:OID', 'x')).length) }",
    ),
    (
        "console",
        "1\nfunction() { console.log({a: [1]}, Symbol(), () => 1, '\\u001b[31m'); console.error(); return sleep(-1) }",
    ),
];
