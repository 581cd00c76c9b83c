//! The web page: serves the files of `skyd/web/dist`, which the binary embeds.
//!
//! The page holds no data, so its routes need no authentication. Each file is compressed and hashed
//! once, at the first request for any of them. File names of assets contain a hash of their content,
//! so browsers may store them forever; the page itself is revalidated by its `ETag`.

use std::io::Write;
use std::sync::LazyLock;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::StatusCode;
use hyper::header::{
    CACHE_CONTROL, CONTENT_ENCODING, ETAG, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH,
};
use ring::digest::{SHA256, digest};

use crate::compress::Coding;
use crate::handler::Call;
use crate::response::{self, Response};

/// Answers `GET` and `HEAD` requests for the addresses of the page.
#[expect(clippy::unused_async, reason = "handlers are async functions")]
pub(crate) async fn show(call: Call) -> Response {
    match find(INDEX) {
        Some(file) if call.app.config.flag("ui.enabled") => {
            file.answer(call.request.headers(), "no-cache")
        }
        _ => response::not_found(),
    }
}

/// Answers `GET` and `HEAD` requests for the scripts and styles of the page.
#[expect(clippy::unused_async, reason = "handlers are async functions")]
pub(crate) async fn asset(call: Call) -> Response {
    match find(&format!("assets/{}", call.id)) {
        Some(file) if call.app.config.flag("ui.enabled") => file.answer(
            call.request.headers(),
            "public, max-age=31536000, immutable",
        ),
        _ => {
            let mut refusal = response::not_found();
            let never = HeaderValue::from_static("no-store");
            refusal.headers_mut().insert(CACHE_CONTROL, never);
            refusal
        }
    }
}

/// File of the web page, as embedded in the binary.
struct Embedded {
    /// Path below `dist`.
    path: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

/// File of the web page with its gzip form and ETag.
struct File {
    embedded: &'static Embedded,
    gzip: Bytes,
    /// Weak ETag of the first 16 bytes of the SHA-256 hash of the content. The compressed form has
    /// the same ETag, because both forms expand to the same bytes and the responses vary by
    /// `Accept-Encoding`.
    etag: HeaderValue,
}

impl File {
    fn of(embedded: &'static Embedded) -> Self {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        // Writing into memory cannot fail.
        drop(encoder.write_all(embedded.bytes));
        let gzip = encoder.finish().unwrap_or_default().into();
        let hash = digest(&SHA256, embedded.bytes);
        let hex: String = hash.as_ref()[..16]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let etag = HeaderValue::from_str(&format!("W/\"{hex}\""))
            .unwrap_or_else(|_| HeaderValue::from_static("W/\"0\""));
        Self {
            embedded,
            gzip,
            etag,
        }
    }

    /// Returns the response with this file; status 304 if the client has it.
    fn answer(&self, request: &HeaderMap, cache: &'static str) -> Response {
        let mut response = if self.is_known_to(request) {
            response::bare(StatusCode::NOT_MODIFIED)
        } else if Coding::of(request) == Some(Coding::Gzip) {
            let body = self.gzip.clone();
            let mut response = response::typed(StatusCode::OK, self.embedded.content_type, body);
            let gzip = HeaderValue::from_static("gzip");
            response.headers_mut().insert(CONTENT_ENCODING, gzip);
            response
        } else {
            let body = Bytes::from_static(self.embedded.bytes);
            response::typed(StatusCode::OK, self.embedded.content_type, body)
        };
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
        headers.insert(ETAG, self.etag.clone());
        for (name, value) in SECURITY_HEADERS {
            let name = HeaderName::from_static(name);
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }

    fn is_known_to(&self, request: &HeaderMap) -> bool {
        let own = self.etag.to_str().unwrap_or_default();
        let listed = request.get_all(IF_NONE_MATCH).iter();
        let listed = listed.filter_map(|value| value.to_str().ok());
        let mut tags = listed.flat_map(|list| list.split(',')).map(str::trim);
        tags.any(|tag| tag == "*" || tag == own)
    }
}

/// Finds a file by its path below `dist`.
fn find(path: &str) -> Option<&'static File> {
    static FILES: LazyLock<Vec<File>> = LazyLock::new(|| EMBEDDED.iter().map(File::of).collect());
    FILES.iter().find(|file| file.embedded.path == path)
}

/// Path of the page itself.
const INDEX: &str = "index.html";

/// Files that `npm run build` wrote in `skyd/web`.
const EMBEDDED: &[Embedded] = include!("../../web/dist/files.rs");

/// Headers of the page and its assets: nothing is loaded from, sent to, or framed by other servers,
/// and no string is executed as a script.
const SECURITY_HEADERS: [(&str, &str); 6] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
         connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'self'; \
         frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types skyd-worker",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    (
        "permissions-policy",
        "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
];

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn files_name_no_other_server() {
        // Namespaces of markup languages are identifiers: nothing loads them.
        let known = ["http://www.w3.org/", "http://localhost"];
        for file in EMBEDDED {
            let text = String::from_utf8_lossy(file.bytes);
            for scheme in ["http://", "https://"] {
                for (at, _) in text.match_indices(scheme) {
                    let rest = &text[at..];
                    let names_a_host =
                        rest[scheme.len()..].starts_with(|c: char| c.is_ascii_alphanumeric());
                    let is_known = known.iter().any(|start| rest.starts_with(start));
                    let shown: String = rest.chars().take(60).collect();
                    assert!(!names_a_host || is_known, "{} names {shown}", file.path);
                }
            }
        }
    }

    #[test]
    fn the_first_load_is_small() {
        let bytes: usize = EMBEDDED.iter().map(|file| File::of(file).gzip.len()).sum();
        assert!(bytes <= 200_000, "{bytes} bytes");
    }

    #[test]
    fn the_files_are_built_from_the_sources() {
        let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
        let recorded = fs::read_to_string(web.join("dist/sources.sha256")).unwrap();
        for line in recorded.lines() {
            let (expected, path) = line.split_once("  ").unwrap();
            let source = fs::read(web.join(path))
                .unwrap_or_else(|error| panic!("{path}: {error}: run `make web`"));
            let actual = digest(&SHA256, &source);
            let actual: String = actual
                .as_ref()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            assert_eq!(actual, expected, "{path} has changed: run `make web`");
        }
        let mut sources = Vec::new();
        list(&web.join("src"), &web, &mut sources);
        for path in sources {
            let is_recorded = recorded
                .lines()
                .any(|line| line.ends_with(&format!("  {path}")));
            assert!(is_recorded, "{path} is new: run `make web`");
        }
    }

    fn list(folder: &Path, root: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                list(&path, root, found);
            } else {
                found.push(
                    path.strip_prefix(root)
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .to_owned(),
                );
            }
        }
    }
}
