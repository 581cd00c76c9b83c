//! The web page: how it is served.

use std::io::Read;

use crate::client::{Answer, get, request};
use crate::daemon::Daemon;

/// Addresses of the page.
const ADDRESSES: [&str; 6] = [
    "/",
    "/ui",
    "/ui/login",
    "/ui/topology",
    "/ui/preference",
    "/ui/status",
];

/// Returns the paths of the scripts and styles that the page loads.
fn assets(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    for part in page.split('"') {
        if part.starts_with("/ui/assets/") {
            found.push(part.to_owned());
        }
    }
    found
}

/// Checks the headers that protect page and assets.
fn assert_protected(answer: &Answer) {
    let policy = answer.header("content-security-policy").unwrap();
    for directive in [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ] {
        assert!(policy.contains(directive), "{directive}: {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

#[test]
fn page_is_revalidated_and_its_assets_are_immutable() {
    let daemon = Daemon::start();
    let page = get(&daemon, "/");
    for address in ADDRESSES {
        let answer = get(&daemon, address);
        assert_eq!(answer.status, 200, "{address}");
        assert_eq!(answer.body, page.body, "{address}");
        assert_eq!(
            answer.header("content-type"),
            Some("text/html; charset=utf-8")
        );
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
        assert_protected(&answer);
        let head = request(&daemon, "HEAD", address, &[], b"");
        assert_eq!((head.status, head.body.len()), (200, 0), "{address}");
    }
    let assets = assets(&page.text());
    assert_eq!(assets.len(), 2, "{assets:?}");
    for path in assets {
        let answer = get(&daemon, &path);
        let cache = answer.header("cache-control").unwrap();
        assert!(cache.contains("immutable"), "{path}: {cache}");
        assert_protected(&answer);
    }
    let unknown = get(&daemon, "/ui/assets/app-00000000.js");
    assert_eq!(unknown.status, 404);
    assert_eq!(unknown.header("cache-control"), Some("no-store"));
}

#[test]
fn page_is_compressed_once_and_not_sent_again() {
    let daemon = Daemon::start();
    let page = get(&daemon, "/");
    let script = assets(&page.text())
        .into_iter()
        .find(|path| path.ends_with(".js"))
        .unwrap();
    let plain = get(&daemon, &script);
    let packed = request(
        &daemon,
        "GET",
        &script,
        &[("Accept-Encoding", "gzip, br")],
        b"",
    );
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert_eq!(packed.header("vary"), Some("Accept-Encoding"));
    assert!(packed.body.len() * 2 < plain.body.len());
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(&*packed.body)
        .read_to_end(&mut text)
        .unwrap();
    assert!(text == plain.body);

    for path in ["/", &script] {
        let tag = get(&daemon, path).header("etag").unwrap().to_owned();
        let again = request(&daemon, "GET", path, &[("If-None-Match", &tag)], b"");
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
        assert_eq!(again.header("etag"), Some(tag.as_str()));
        let other = request(&daemon, "GET", path, &[("If-None-Match", "\"x\"")], b"");
        assert_eq!(other.status, 200);
    }
}

#[test]
fn page_refuses_other_methods() {
    let daemon = Daemon::start();
    for method in ["POST", "PUT", "DELETE"] {
        assert_eq!(request(&daemon, method, "/", &[], b"").status, 405);
    }
}
