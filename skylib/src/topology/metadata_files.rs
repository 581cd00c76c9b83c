//! `MetadataFilesProbe`: adds values from files of the host, such as the configuration of another
//! program, to the host's node, below the metadata key `Config`.
//!
//! The files are checked every second, and read again if their time of modification or their size
//! differs.

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::Value as Json;

use super::{Probe, ProbeContext, ProbeError, ProbeTarget, Subgraph, SubgraphWriter};
use crate::graph::Metadata;
use crate::value::{Map, Value};

/// Value that is read from a file.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MetadataFile {
    /// Path of the file.
    pub path: PathBuf,
    /// Key below `Config`; dots nest.
    pub name: String,
    /// Dotted path of the value in the file.
    pub selector: String,
    /// Parser of the file.
    pub parse: FileParser,
}

/// Parser of the text of a file; returns the reason if it is invalid.
pub type FileParser = fn(&str) -> Result<Json, String>;

impl MetadataFile {
    /// Returns the value at `selector` of a file, with the key `Config.<name>`.
    pub fn new(
        path: impl Into<PathBuf>,
        name: impl Into<String>,
        selector: impl Into<String>,
        parse: FileParser,
    ) -> Self {
        Self {
            path: path.into(),
            name: name.into(),
            selector: selector.into(),
            parse,
        }
    }

    /// Reads the value; `None` if the file has none.
    fn read(&self) -> Result<Option<Value>, String> {
        let text = read_limited(&self.path).map_err(|error| error.to_string())?;
        let tree = (self.parse)(&text)?;
        Ok(select(&tree, &self.selector).map(to_value))
    }
}

/// Parses a file of properties: lines `key=value` or `key: value`; dots in keys nest.
///
/// ```
/// use skylib::topology::metadata_files::parse_properties;
///
/// let tree = parse_properties("# comment\na.b = 1\nc: text\n")?;
/// assert_eq!(tree, serde_json::json!({"a": {"b": "1"}, "c": "text"}));
/// # Ok::<(), String>(())
/// ```
///
/// # Errors
/// Returns the number of a line that is neither a comment nor a property.
pub fn parse_properties(text: &str) -> Result<Json, String> {
    let mut properties = Map::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let (key, value) = line
            .split_once(['=', ':'])
            .ok_or_else(|| format!("line {}: expected key=value or key: value", number + 1))?;
        properties.set_path(key.trim(), value.trim());
    }
    serde_json::to_value(&properties).map_err(|error| error.to_string())
}

/// Returns the value at a dotted path; names are compared regardless of case if no name is equal.
fn select<'a>(tree: &'a Json, path: &str) -> Option<&'a Json> {
    path.split('.').try_fold(tree, |tree, name| {
        let entries = tree.as_object()?;
        entries.get(name).or_else(|| {
            let mut same = entries
                .iter()
                .filter(|(key, _)| key.eq_ignore_ascii_case(name));
            same.next().map(|(_, value)| value)
        })
    })
}

/// Returns the metadata value: a string for a scalar, a tree for any other value.
///
/// COMPAT: every client; numbers and flags are strings.
fn to_value(json: &Json) -> Value {
    match json {
        Json::String(text) => text.as_str().into(),
        Json::Array(_) | Json::Object(_) => Value::deserialize(json).unwrap_or(Value::Null),
        single => single.to_string().into(),
    }
}

/// Reads a regular file of at most [`MAX_BYTES`]: opening a file of another kind can block.
pub(super) fn read_limited(path: &std::path::Path) -> io::Result<String> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ));
    }
    let mut text = String::new();
    let read = fs::File::open(path)?
        .take(MAX_BYTES + 1)
        .read_to_string(&mut text)?;
    match read as u64 > MAX_BYTES {
        true => Err(io::Error::other(format!("larger than {MAX_BYTES} bytes"))),
        false => Ok(text),
    }
}

/// Probe that adds values from files to the node of the host.
#[derive(Debug)]
pub struct MetadataFilesProbe {
    files: Vec<WatchedFile>,
    writer: SubgraphWriter,
}

#[derive(Debug)]
struct WatchedFile {
    file: MetadataFile,
    /// Time of modification and size when the file was last read.
    state: Option<(SystemTime, u64)>,
    /// Last value that was read successfully.
    value: Option<Value>,
}

impl MetadataFilesProbe {
    /// Creates a probe that reads `files` and adds the values to the node of the host.
    #[must_use]
    pub fn new(target: &ProbeTarget, files: Vec<MetadataFile>) -> Self {
        let watched = |file| WatchedFile {
            file,
            state: None,
            value: None,
        };
        Self {
            files: files.into_iter().map(watched).collect(),
            writer: SubgraphWriter::new(target.clone()),
        }
    }

    /// Reads the files that have changed; returns whether there were any.
    fn update(&mut self, context: &ProbeContext) -> bool {
        let mut has_changed = false;
        for watched in &mut self.files {
            let path = &watched.file.path;
            let metadata = fs::metadata(path).ok();
            let state = metadata.and_then(|m| Some((m.modified().ok()?, m.len())));
            if state.is_some() && state == watched.state {
                continue;
            }
            let result = watched.file.read();
            // A file that cannot be read, for example because of its permissions, is read again even
            // if its time and size remain the same.
            watched.state = state.filter(|_| result.is_ok());
            let problem = match result {
                Ok(value) => {
                    has_changed |= value != watched.value;
                    watched.value = value;
                    None
                }
                Err(error) => Some(format!(
                    "agent.metadata_config.files: cannot read {}: {error}; its last content stays \
                     in use",
                    path.display()
                )),
            };
            context.problem(
                &format!("{} {}", path.display(), watched.file.name),
                problem,
            );
        }
        has_changed
    }

    fn show(&mut self) {
        let mut config = Map::new();
        for watched in &self.files {
            if let Some(value) = &watched.value {
                // Fails if the name leads through a text.
                let _set = config.set_path(&watched.file.name, value.clone());
            }
        }
        let mut wanted = Subgraph::new();
        if !config.is_empty() {
            let metadata = Metadata::from_iter([("Config", config)]);
            wanted.annotate(&self.writer.target().root.clone(), &metadata);
        }
        self.writer.apply(wanted);
    }
}

impl Probe for MetadataFilesProbe {
    fn name(&self) -> &'static str {
        "metadata_files"
    }

    fn run(&mut self, context: &ProbeContext) -> Result<(), ProbeError> {
        loop {
            if self.update(context) {
                self.show();
            }
            context.running();
            if context.wait(INTERVAL) {
                return Ok(());
            }
        }
    }
}

/// Interval between two checks of the files.
const INTERVAL: Duration = Duration::from_secs(1);

/// Maximum size of a file, in bytes.
const MAX_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::graph::Graph;
    use crate::topology::ProbeSet;

    fn json(text: &str) -> Result<Json, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn values_follow_their_file() {
        let folder = std::env::temp_dir().join(format!("skylib-config-{}", std::process::id()));
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("app.json");
        fs::write(&path, r#"{"site":{"Rack":7,"name":"fra"}}"#).unwrap();
        let graph = Arc::new(Mutex::new(Graph::new()));
        let target = ProbeTarget::for_host(graph.clone(), "edge-01").unwrap();
        let file = |name: &str, selector: &str| MetadataFile::new(&path, name, selector, json);
        let files = vec![
            file("rack", "site.rack"),
            file("site.name", "site.name"),
            file("none", "site.none"),
            MetadataFile::new(folder.join("absent"), "absent", "x", json),
        ];
        let mut probes = ProbeSet::new();
        probes
            .start(MetadataFilesProbe::new(&target, files))
            .unwrap();
        let wait = |wanted: Json| {
            let config = || {
                let graph = graph.lock().unwrap();
                let value = graph
                    .node(&target.root)
                    .unwrap()
                    .metadata
                    .get("Config")
                    .cloned();
                serde_json::to_value(value).unwrap()
            };
            while config() != wanted {
                std::thread::yield_now();
            }
        };
        wait(serde_json::json!({"rack": "7", "site": {"name": "fra"}}));
        let error = probes.status().swap_remove(0).error.unwrap();
        assert!(error.contains("absent"), "{error}");
        fs::write(&path, r#"{"site":{"rack":[1,2],"name":"fra"}}"#).unwrap();
        wait(serde_json::json!({"rack": [1, 2], "site": {"name": "fra"}}));
        fs::write(&path, "{").unwrap();
        while !probes.status()[0]
            .error
            .as_ref()
            .unwrap()
            .contains("and 3 more")
        {
            std::thread::yield_now();
        }
        wait(serde_json::json!({"rack": [1, 2], "site": {"name": "fra"}}));
        fs::write(&path, "{}").unwrap();
        wait(Json::Null);
        fs::remove_dir_all(&folder).unwrap();
    }

    /// A parser that fails until this is set, as a file that may not be read.
    static IS_READABLE: AtomicBool = AtomicBool::new(false);

    #[test]
    fn a_file_that_failed_is_read_again_although_it_has_not_changed() {
        let parse: FileParser = |text| match IS_READABLE.load(Ordering::Relaxed) {
            true => json(text),
            false => Err("permission denied".to_owned()),
        };
        let path = std::env::temp_dir().join(format!("skylib-reread-{}", std::process::id()));
        fs::write(&path, r#"{"a":"1"}"#).unwrap();
        let graph = Arc::new(Mutex::new(Graph::new()));
        let target = ProbeTarget::for_host(graph.clone(), "edge-01").unwrap();
        let file = MetadataFile::new(&path, "a", "a", parse);
        let mut probes = ProbeSet::new();
        let probe = MetadataFilesProbe::new(&target, vec![file]);
        probes.start(probe).unwrap();
        let wait_for_error = |wanted: bool| {
            while probes.status()[0].error.is_some() != wanted {
                std::thread::yield_now();
            }
        };
        wait_for_error(true);
        IS_READABLE.store(true, Ordering::Relaxed);
        wait_for_error(false);
        let config = || {
            let graph = graph.lock().unwrap();
            let host = graph.node(&target.root).unwrap();
            host.metadata.get_path("Config.a").cloned()
        };
        while config() != Some(Value::from("1")) {
            std::thread::yield_now();
        }
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn properties_are_lines() {
        let tree = parse_properties("a.b=1\n! note\n\nc : x=y\n").unwrap();
        assert_eq!(tree, serde_json::json!({"a": {"b": "1"}, "c": "x=y"}));
        let error = parse_properties("a=1\nnonsense\n").unwrap_err();
        assert_eq!(error, "line 2: expected key=value or key: value");
    }
}
