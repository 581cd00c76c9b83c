//! Checks that modules of the daemon import only modules of lower layers.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Top-level modules from the lowest layer up. A module may import itself and all lower layers.
const LAYERS: &[&[&str]] = &[
    &["config", "machine_memory"],
    &["collectors", "metadata_format"],
    &["past_stores"],
    &[
        "clients",
        "engine_options",
        "fair_slots",
        "flow_transport",
        "graph_dump",
        "limits",
        "liveness",
        "log",
        "openapi",
        "multipart",
        "outgoing",
        "packet_args",
        "allocator",
        "printable",
        "process_stats",
        "process_tuning",
        "prometheus",
        "request_counters",
        "signal",
        "tls",
        "trusted_senders",
        "urlencoded",
        "web_origin",
    ],
    &["dial", "http_client", "idle_connections", "privileges"],
    &["peer_socket"],
    &["auth", "client_socket", "compress", "response", "webhooks"],
    &["cors", "queries", "upload"],
    &["selections"],
    &["app"],
    &["agent_udp", "body", "handler", "peer_feed"],
    &["access"],
    &["agent", "peering", "replication", "routes", "ws"],
    &["router"],
    &["server"],
    &["spp_setup"],
    &["client", "commands"],
    &["cli"],
    &["daemon"],
    &["main"],
];

/// Pairs of modules in one layer that import each other: a type and its encoder.
const KNOTS: &[(&str, &str)] = &[("compress", "response")];

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn may_import(from: &str, to: &str) -> bool {
    let (Some(importer), Some(imported)) = (layer_of(from), layer_of(to)) else {
        return false;
    };
    from == to
        || imported < importer
        || KNOTS
            .iter()
            .any(|(a, b)| (*a, *b) == (from, to) || (*b, *a) == (from, to))
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

/// Returns the top-level modules that a source file names after `crate::`, except in comments and
/// in the unit tests at its end.
fn imports(source: &str) -> BTreeSet<String> {
    let code = source.split("#[cfg(test)]\nmod tests").next().unwrap();
    let code: String = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    let mut found = BTreeSet::new();
    for (at, prefix) in code.match_indices("crate::") {
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(group) => {
                // Nested braces hold items of a module, not modules.
                let mut depth = 1;
                let mut names = String::new();
                for letter in group.chars() {
                    match letter {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        letter if depth == 1 => names.push(letter),
                        _ => {}
                    }
                    if depth == 0 {
                        break;
                    }
                }
                found.extend(names.split(',').map(first_segment));
            }
            None => {
                found.insert(first_segment(rest));
            }
        }
    }
    found.retain(|name| name.starts_with(|first: char| first.is_ascii_lowercase()));
    found
}

fn first_segment(path: &str) -> String {
    path.trim()
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect()
}

#[test]
fn modules_import_only_lower_layers() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    let (mut checked, mut seen, mut wrong) = (0, BTreeSet::new(), Vec::new());
    for file in files {
        let inside = file.strip_prefix(&root).unwrap();
        let top = inside.iter().next().unwrap().to_str().unwrap();
        let top = top.trim_end_matches(".rs");
        // The library half of the package only declares `config`.
        if top == "lib" {
            continue;
        }
        assert!(
            layer_of(top).is_some(),
            "module `{top}` is in no layer: add it to LAYERS"
        );
        seen.insert(top.to_owned());
        for import in imports(&fs::read_to_string(&file).unwrap()) {
            checked += 1;
            if !may_import(top, &import) {
                wrong.push(format!("{}: crate::{import}", inside.display()));
            }
        }
    }
    assert!(checked > 100, "found only {checked} imports");
    let unknown: Vec<_> = LAYERS
        .iter()
        .copied()
        .flatten()
        .filter(|module| !seen.contains(**module))
        .collect();
    assert!(unknown.is_empty(), "no such modules: {unknown:?}");
    assert!(
        wrong.is_empty(),
        "imports of modules that are not in a lower layer:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn imports_and_layers_are_recognized() {
    assert!(may_import("routes", "app") && !may_import("app", "routes"));
    assert!(may_import("compress", "response") && !may_import("routes", "ws"));
    assert_eq!(
        imports(
            "use crate::{app::{App, x}, auth};\nlet x = crate::body::read(); // crate::ws\n\
             // use crate::server;\n#[cfg(test)]\nmod tests { use crate::router; }"
        ),
        ["app", "auth", "body", "ws"].map(String::from).into()
    );
}
