//! Checks the dependency rules of the library: resolves every `crate::`, `super::` and `self::` path
//! of every source file and compares it with the layer tables below.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Layers of the crate's top-level modules, lowest first. Tests inside the modules obey them, too.
const LIBRARY: Rules = Rules {
    layers: &[
        Layer::cyclic(&[
            "back_off",
            "error_chain",
            "file_use",
            "filter",
            "go_duration",
            "nearest",
            "id",
            "memory",
            "packet",
            "time",
            "value",
        ]),
        Layer::new(&["graph", "decode", "export", "pcap_file", "sys"]),
        Layer::new(&["flow"]),
        Layer::new(&["capture", "inject", "topology", "store"]),
        Layer::new(&["gremlin"]),
        Layer::cyclic(&["proto", "api"]),
        Layer::cyclic(&["engine", "spp"]),
        // The umbrella error names every layer; nothing below may name it.
        Layer::new(&["error"]),
        // `lib.rs` re-exports; inside the library every item is imported from its module.
        Layer::new(&["lib", "mod"]),
    ],
    refused: &[
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
    ],
};

/// Layers inside `engine`, lowest first. Its tests may start a whole engine and are exempt.
const ENGINE: Rules = Rules {
    layers: &[
        Layer::cyclic(&["bus", "monotonic", "probe_options"]),
        Layer::new(&["fleet", "graph"]),
        Layer::new(&["flow", "replication"]),
        Layer::new(&["query"]),
        Layer::new(&["live", "resource"]),
        Layer::new(&["collector"]),
        Layer::new(&["alert", "capture", "injection", "rule"]),
        Layer::new(&["agent", "script"]),
        Layer::new(&["housekeeping"]),
        Layer::new(&["options", "status"]),
        Layer::new(&["privileges"]),
        Layer::new(&["inner"]),
        // `engine/mod.rs` connects the parts; they do not import it.
        Layer::new(&["mod"]),
        // Methods of `Engine` in a file of their own.
        Layer::new(&["startup"]),
    ],
    refused: &[],
};

/// A layer: modules that may import everything below.
struct Layer {
    modules: &'static [&'static str],
    /// Whether the modules may also import each other.
    is_cyclic: bool,
}

impl Layer {
    const fn new(modules: &'static [&'static str]) -> Self {
        Self {
            modules,
            is_cyclic: false,
        }
    }

    const fn cyclic(modules: &'static [&'static str]) -> Self {
        Self {
            modules,
            is_cyclic: true,
        }
    }
}

/// Layers of one folder of modules, and imports rejected although the layers allow them.
struct Rules {
    layers: &'static [Layer],
    /// Importing module, imported module, reason.
    refused: &'static [(&'static str, &'static str, &'static str)],
}

impl Rules {
    fn layer_of(&self, module: &str) -> Option<usize> {
        self.layers
            .iter()
            .position(|layer| layer.modules.contains(&module))
    }

    fn allow(&self, from: &str, to: &str) -> bool {
        let (Some(a), Some(b)) = (self.layer_of(from), self.layer_of(to)) else {
            return false;
        };
        let allowed = from == to || b < a || (a == b && self.layers[a].is_cyclic);
        allowed && !self.refused.iter().any(|(f, t, _)| (*f, *t) == (from, to))
    }
}

/// A path in the source, resolved: segments below the crate root.
type ModulePath = Vec<String>;

/// A source file.
struct Source {
    file: PathBuf,
    module: ModulePath,
    text: String,
}

impl Source {
    /// Returns every source file of the library.
    fn all() -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut files = Vec::new();
        rust_files(&root, &mut files);
        files
            .into_iter()
            .map(|path| {
                let file = path.strip_prefix(&root).unwrap().to_owned();
                let mut module: ModulePath = file
                    .with_extension("")
                    .iter()
                    .map(|part| part.to_str().unwrap().to_owned())
                    .collect();
                if module.last().is_some_and(|name| name == "mod") {
                    module.pop();
                }
                Self {
                    text: fs::read_to_string(&path).unwrap(),
                    file,
                    module,
                }
            })
            .collect()
    }
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

/// Returns the paths in the source code of a module that begin with `crate`, `super` or `self`,
/// including imports in groups and over several lines.
fn paths(text: &str, module: &ModulePath) -> BTreeSet<ModulePath> {
    let mut found = BTreeSet::new();
    // Inline modules around the current line, each with its indentation. Formatted code closes a
    // block at the indentation of the line that opened it.
    let mut inline: Vec<(usize, String)> = Vec::new();
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let start = offset;
        offset += line.len();
        let code = line.trim();
        let indentation = line.len() - line.trim_start().len();
        if code.starts_with("//") {
            continue;
        }
        if code == "}"
            && inline
                .last()
                .is_some_and(|(opened, _)| *opened == indentation)
        {
            inline.pop();
        }
        if let Some((_, name)) = code
            .strip_suffix(" {")
            .and_then(|code| code.rsplit_once("mod "))
            .filter(|(before, name)| {
                (before.is_empty() || before.starts_with("pub"))
                    && name.chars().all(|c| c.is_alphanumeric() || c == '_')
            })
        {
            inline.push((indentation, name.to_owned()));
            continue;
        }
        for root in ["crate::", "super::", "self::"] {
            for (at, _) in line.match_indices(root) {
                // A later part of a path: `super::super::`, `path::self`.
                let before = line[..at].chars().next_back();
                if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                    continue;
                }
                let mut base = module.clone();
                base.extend(inline.iter().map(|(_, name)| name.clone()));
                tree(&mut &text[start + at..], base, &mut found);
            }
        }
    }
    found
}

/// Reads one path, or one group of paths, and adds them resolved.
fn tree(text: &mut &str, mut path: ModulePath, found: &mut BTreeSet<ModulePath>) {
    loop {
        *text = text.trim_start();
        if let Some(rest) = text.strip_prefix('{') {
            *text = rest;
            loop {
                tree(text, path.clone(), found);
                *text = text.trim_start();
                match text.strip_prefix(',') {
                    Some(rest) => *text = rest,
                    None => break,
                }
            }
            *text = text.strip_prefix('}').unwrap_or(text);
            return;
        }
        let end = text
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        match name {
            // After the last comma of a group.
            "" => return,
            "crate" => path.clear(),
            "super" => drop(path.pop()),
            "self" => {}
            name => path.push(name.to_owned()),
        }
        match rest.strip_prefix("::") {
            Some(rest) => *text = rest,
            None => {
                *text = rest;
                break;
            }
        }
    }
    if let Some(alias) = text.strip_prefix(" as ") {
        *text = alias.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_');
    }
    found.insert(path);
}

/// Returns whether a name is the name of a module, judging by its case.
fn is_module_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
}

/// Returns the imports of a module's submodules that its rules forbid. `depth` is the number of
/// segments in the module's own path.
fn violations(rules: &Rules, sources: &[Source], depth: usize) -> Vec<String> {
    let mut checked = 0;
    let mut wrong = Vec::new();
    for source in sources {
        // The module's own file, `mod.rs`, is above its submodules.
        let from = source.module.get(depth).map_or("mod", String::as_str);
        assert!(
            rules.layer_of(from).is_some(),
            "module `{from}` is in no layer: add it to the table"
        );
        for path in paths(&source.text, &source.module) {
            if path.len() < depth || path[..depth] != source.module[..depth] {
                continue;
            }
            let to = match path.get(depth) {
                Some(name) if name == "*" || is_module_name(name) => name.as_str(),
                // An item of the module's own file.
                Some(_) => "mod",
                // The module itself, as in `pub(in crate::engine)`.
                None => continue,
            };
            checked += 1;
            if !rules.allow(from, to) {
                wrong.push(format!("{}: {}", source.file.display(), path.join("::")));
            }
        }
    }
    assert!(checked > 50, "found only {checked} imports");
    wrong
}

#[test]
fn modules_import_only_what_their_layer_allows() {
    let wrong = violations(&LIBRARY, &Source::all(), 0);
    assert!(
        wrong.is_empty(),
        "imports against the layers:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn parts_of_the_engine_import_only_what_their_layer_allows() {
    let mut sources = Source::all();
    sources.retain(|source| {
        source.module[0] == "engine" && !source.module.iter().any(|name| name == "tests")
    });
    for source in &mut sources {
        // Unit tests are at the end of a file.
        if let Some(at) = source.text.find("#[cfg(test)]\nmod tests {") {
            source.text.truncate(at);
        }
    }
    let wrong = violations(&ENGINE, &sources, 1);
    assert!(
        wrong.is_empty(),
        "imports against the layers:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn every_module_of_the_layer_table_exists() {
    let sources = Source::all();
    for (rules, parent) in [(LIBRARY, &[][..]), (ENGINE, &["engine".to_owned()])] {
        for module in rules.layers.iter().flat_map(|layer| layer.modules) {
            let exists = *module == "mod"
                || sources.iter().any(|source| {
                    let below = source.module.strip_prefix(parent);
                    below.is_some_and(|path| path.first().is_some_and(|name| name == module))
                });
            assert!(exists, "no module `{module}` in the crate");
        }
    }
}

#[test]
fn the_umbrella_error_covers_every_public_error_type() {
    let sources = Source::all();
    let umbrella = sources.iter().find(|source| source.module == ["error"]);
    let umbrella = &umbrella.unwrap().text;
    let mut missing = Vec::new();
    for source in &sources {
        for line in source.text.lines() {
            let name = ["pub enum ", "pub struct "]
                .iter()
                .find_map(|start| line.strip_prefix(start))
                .and_then(|rest| rest.split(|c: char| !c.is_alphanumeric()).next());
            if let Some(name) = name.filter(|name| name.ends_with("Error"))
                && !umbrella.contains(&format!("::{name})"))
                && name != "Error"
            {
                missing.push(name);
            }
        }
    }
    assert!(missing.is_empty(), "`skylib::Error` lacks {missing:?}");
}

#[test]
fn the_rules_refuse_what_they_should() {
    assert!(LIBRARY.allow("flow", "decode"));
    assert!(!LIBRARY.allow("decode", "flow"));
    assert!(!LIBRARY.allow("graph", "decode"));
    assert!(!LIBRARY.allow("gremlin", "capture"));
    assert!(!LIBRARY.allow("engine", "error"), "nothing imports `error`");
    assert!(!LIBRARY.allow("engine", "mod"), "nor the crate root");
    assert!(ENGINE.allow("capture", "flow"));
    assert!(!ENGINE.allow("flow", "capture"));
    assert!(!ENGINE.allow("live", "resource"));
}

#[test]
fn paths_are_resolved_whatever_their_form() {
    let text = "use crate::{\n    flow::{self, Flow as F, FlowSet},\n    graph,\n};\n\
                let x = super::time::NOW; // crate::engine\n\
                // crate::comment\n\
                mod tests {\n    use super::super::{id, packet::Header};\n}\n\
                use self::inner::Inner;\n";
    let found: Vec<String> = paths(text, &vec!["store".to_owned()])
        .into_iter()
        .map(|path| path.join("::"))
        .collect();
    assert_eq!(
        found,
        [
            "engine",
            "flow",
            "flow::Flow",
            "flow::FlowSet",
            "graph",
            "id",
            "packet::Header",
            "store::inner::Inner",
            "time::NOW",
        ]
    );
}
