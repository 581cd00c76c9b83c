//! `/ui_v2/`: folder of the web interface of another project, such as Skydive's UI v2 (`ui.path`),
//! served unmodified in addition to the page of the daemon.
//!
//! Only regular files in the folder are served: paths with `..` or an empty segment and symbolic
//! links to files outside the folder are not found.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use hyper::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue,
};
use hyper::{Method, StatusCode};
use skylib::memory::{MemoryCharge, MemoryExhausted, MemoryUse};

use crate::handler::Call;
use crate::response::{self, Response};

/// Answers `GET` and `HEAD` for a file in the folder, or for the folder itself with its
/// `index.html`.
pub(crate) async fn file(call: Call) -> Response {
    let config = &call.app.config;
    let folder = config.text("ui.path");
    if folder.is_empty() || !config.flag("ui.enabled") {
        return response::not_found();
    }
    let wanted = if call.id.is_empty() { INDEX } else { &call.id }.to_owned();
    let is_head = call.request.method() == Method::HEAD;
    let memory = call.app.memory.charge(MemoryUse::Responses);
    let read = tokio::task::spawn_blocking(move || {
        let (path, length) = find(Path::new(&folder), &wanted)?;
        let content = match is_head {
            true => Ok(Vec::new()),
            false => match read(&path, length, &memory) {
                Ok(bytes) => Ok(bytes?),
                Err(exhausted) => Err(exhausted),
            },
        };
        // Held until the server charges the response.
        Some((content_type(&path), length, content, memory))
    });
    let Ok(Some((content_type, length, content, _memory))) = read.await else {
        return response::not_found();
    };
    let bytes = match content {
        Ok(bytes) => bytes,
        Err(exhausted) => return response::memory_exhausted(exhausted),
    };
    let mut response = response::typed(StatusCode::OK, content_type, bytes);
    if is_head {
        let length = HeaderValue::from(length);
        response.headers_mut().insert(CONTENT_LENGTH, length);
    }
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
    ] {
        let name = HeaderName::from_static(name);
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Reads a file of at most `length` bytes; `None` if the file cannot be read.
///
/// # Errors
/// Returns [`MemoryExhausted`] if the content does not fit into the memory budget.
fn read(
    path: &Path,
    length: u64,
    memory: &MemoryCharge,
) -> Result<Option<Vec<u8>>, MemoryExhausted> {
    memory.grow_to(usize::try_from(length).unwrap_or(usize::MAX))?;
    let Ok(file) = File::open(path) else {
        return Ok(None);
    };
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    // A file may grow meanwhile.
    let is_read = file.take(length).read_to_end(&mut bytes).is_ok();
    Ok(is_read.then_some(bytes))
}

/// Returns the file at a path in a folder, and its length in bytes; `None` if it does not exist, is too large, or is outside
/// the folder.
fn find(folder: &Path, path: &str) -> Option<(PathBuf, u64)> {
    let is_plain = |segment: &str| !matches!(segment, "" | "." | "..") && !segment.contains('\\');
    if !path.split('/').all(is_plain) || path.contains('\0') {
        return None;
    }
    let folder = folder.canonicalize().ok()?;
    let file = folder.join(path).canonicalize().ok()?;
    let metadata = file.metadata().ok()?;
    let is_served = file.starts_with(&folder) && metadata.is_file() && metadata.len() <= MAX_BYTES;
    is_served.then_some((file, metadata.len()))
}

/// Returns the content type for the extension of a file.
fn content_type(path: &Path) -> &'static str {
    let extension = path.extension().and_then(|extension| extension.to_str());
    let found = TYPES.iter().find(|(known, _)| Some(*known) == extension);
    found.map_or("application/octet-stream", |(_, content_type)| content_type)
}

const INDEX: &str = "index.html";
/// Maximum size of a file that is served, in bytes; a file is read into memory.
const MAX_BYTES: u64 = 32 << 20;
/// COMPAT: the bundle of UI v2 evaluates strings as scripts and sets styles in attributes.
const POLICY: &str = "default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self' \
                      'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; \
                      connect-src 'self' ws: wss:; base-uri 'none'; frame-ancestors 'none'";
const TYPES: &[(&str, &str)] = &[
    ("css", "text/css; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("ico", "image/x-icon"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("map", "application/json"),
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("txt", "text/plain; charset=utf-8"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
];

#[cfg(test)]
mod tests {
    use skylib::memory::MemoryBudget;

    use super::*;

    #[test]
    fn only_files_below_the_folder_are_found() {
        let root = std::env::temp_dir().join(format!("skyd-ui-folder-{}", std::process::id()));
        let folder = root.join("ui");
        std::fs::create_dir_all(folder.join("js")).unwrap();
        std::fs::write(root.join("secret"), "x").unwrap();
        std::fs::write(folder.join("index.html"), "x").unwrap();
        std::fs::write(folder.join("js/app.js"), "x").unwrap();
        std::os::unix::fs::symlink(root.join("secret"), folder.join("link")).unwrap();
        for (path, is_found) in [
            ("index.html", true),
            ("js/app.js", true),
            ("js", false),
            ("link", false),
            ("../secret", false),
            ("js/../index.html", false),
            ("js//app.js", false),
            ("/etc/passwd", false),
            ("none", false),
            ("a\0b", false),
        ] {
            assert_eq!(find(&folder, path).is_some(), is_found, "{path:?}");
        }
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_file_is_charged_before_it_is_read() {
        let root = std::env::temp_dir().join(format!("skyd-ui-charge-{}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        std::fs::write(root.join("a.js"), vec![b'x'; 1_000]).unwrap();
        let (path, length) = find(&root, "a.js").unwrap();
        assert_eq!(length, 1_000);
        let budget = MemoryBudget::new(1_500);
        let first = budget.charge(MemoryUse::Responses);
        let bytes = read(&path, length, &first).unwrap().unwrap();
        assert_eq!((bytes.len(), budget.used()), (1_000, 1_000));
        let second = budget.charge(MemoryUse::Responses);
        assert!(read(&path, length, &second).is_err());
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn content_types_are_those_of_the_extensions() {
        let of = |path: &str| content_type(Path::new(path));
        assert_eq!(of("a/b.min.js"), "text/javascript; charset=utf-8");
        assert_eq!(of("js"), "application/octet-stream");
    }
}
