//! The web page: how it is served.

use std::io::Read;

use crate::client::{Answer, get, request};
use crate::daemon::{Daemon, Folder};

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

#[test]
fn page_can_be_turned_off() {
    let daemon = Daemon::with(&["ui.enabled=false"]);
    for path in ADDRESSES.iter().chain(&["/ui/assets/x", "/ui_v2/"]) {
        assert_eq!(get(&daemon, path).status, 404, "{path}");
    }
    assert_eq!(get(&daemon, "/api").status, 200);
}

#[test]
fn another_web_interface_is_served_beside_the_page() {
    let folder = Folder::new();
    std::fs::write(folder.0.join("index.html"), "<p>v2</p>").unwrap();
    std::fs::create_dir(folder.0.join("js")).unwrap();
    std::fs::write(folder.0.join("js/app.js"), "1").unwrap();
    let daemon = Daemon::with(&[&format!("ui.path={}", folder.0.display())]);
    let page = get(&daemon, "/ui_v2/");
    assert_eq!((page.status, page.text().as_str()), (200, "<p>v2</p>"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.contains("script-src 'self' 'unsafe-eval'"),
        "{policy}"
    );
    let script = get(&daemon, "/ui_v2/js/app.js");
    assert_eq!(
        script.header("content-type"),
        Some("text/javascript; charset=utf-8")
    );
    let head = request(&daemon, "HEAD", "/ui_v2/js/app.js", &[], b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    for path in ["/ui_v2/%2e%2e/etc/passwd", "/ui_v2/none", "/ui_v2/js"] {
        assert_eq!(get(&daemon, path).status, 404, "{path}");
    }
    assert_eq!(get(&daemon, "/").status, 200);
    assert_eq!(get(&Daemon::start(), "/ui_v2/").status, 404);
}
