//! Who may import whom: reads every `use crate::` and `crate::` path and checks the layers.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules of one layer, whether they may import each other, and extra modules they may not touch.
struct Layer {
    modules: &'static [&'static str],
    imports_own: bool,
}

const LAYERS: &[Layer] = &[
    Layer {
        modules: &[
            "value",
            "filter",
            "time",
            "go_duration",
            "id",
            "packet",
            "error",
        ],
        imports_own: true,
    },
    Layer {
        modules: &["graph", "decode", "pcap_file", "sys"],
        imports_own: false,
    },
    Layer {
        modules: &["flow"],
        imports_own: false,
    },
    Layer {
        modules: &["capture", "topology", "store", "inject"],
        imports_own: false,
    },
    Layer {
        modules: &["gremlin"],
        imports_own: false,
    },
    Layer {
        modules: &["proto", "api"],
        imports_own: true,
    },
    Layer {
        modules: &["engine", "spp", "client"],
        imports_own: true,
    },
];

/// Imports that leave the rule "everything below", each with its reason.
const REFUSED: &[(&str, &str, &str)] = &[
    ("flow", "graph", "flows know nodes by their TID only"),
    ("flow", "pcap_file", "files are opened by capture::file"),
    ("flow", "sys", "the flow table is pure"),
    (
        "gremlin",
        "capture",
        "queries reach packets through FlowSource",
    ),
    (
        "gremlin",
        "topology",
        "queries see the graph, not what fills it",
    ),
    ("gremlin", "sys", "queries are pure"),
];

fn layer_of(module: &str) -> Option<usize> {
    LAYERS
        .iter()
        .position(|layer| layer.modules.contains(&module))
}

fn may_import(from: &str, to: &str) -> bool {
    let (Some(a), Some(b)) = (layer_of(from), layer_of(to)) else {
        return false;
    };
    let allowed = b < a || (a == b && (from == to || LAYERS[a].imports_own));
    allowed && !REFUSED.iter().any(|(f, t, _)| (*f, *t) == (from, to))
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Top-level module names that a source text reaches through `crate::`.
fn imports(source: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in source
        .lines()
        .map(str::trim)
        .filter(|l| !l.starts_with("//"))
    {
        for (at, _) in line.match_indices("crate::") {
            let rest = &line[at + "crate::".len()..];
            let name: String = rest
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || *c == '_')
                .collect();
            if let Some(inside) = rest.strip_prefix('{') {
                let inside = inside.split('}').next().unwrap_or_default();
                for part in inside.split(',') {
                    let name = part.trim().split("::").next().unwrap_or_default();
                    found.insert(name.trim_end_matches("{").to_owned());
                }
            } else if !name.is_empty() {
                found.insert(name);
            }
        }
    }
    found.retain(|name| name.chars().next().is_some_and(|c| c.is_ascii_lowercase()));
    found
}

#[test]
fn modules_import_only_what_their_layer_allows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    let mut checked = 0;
    let mut wrong = Vec::new();
    for file in files {
        let inside = file.strip_prefix(&root).unwrap();
        let top = inside
            .iter()
            .next()
            .unwrap()
            .to_str()
            .unwrap()
            .trim_end_matches(".rs");
        // The crate root and the umbrella error name every layer; nothing imports them.
        if matches!(top, "lib" | "error") {
            continue;
        }
        assert!(
            layer_of(top).is_some(),
            "module `{top}` stands in no layer: add it to LAYERS"
        );
        for import in imports(&fs::read_to_string(&file).unwrap()) {
            checked += 1;
            if !may_import(top, &import) {
                wrong.push(format!("{}: crate::{import}", inside.display()));
            }
        }
    }
    assert!(checked > 0, "found no import at all");
    assert!(
        wrong.is_empty(),
        "imports against the layers:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_rule_refuses_what_it_should() {
    assert!(may_import("flow", "decode"));
    assert!(!may_import("decode", "flow"));
    assert!(!may_import("graph", "decode"));
    assert!(!may_import("gremlin", "capture"));
    assert_eq!(
        imports("use crate::{flow::Flow, graph};\nlet x = crate::time::NOW; // crate::engine"),
        ["engine", "flow", "graph", "time"].map(String::from).into()
    );
}
