//! Compares the public interface of the library with the recorded list in `public-api.txt`, so that
//! a change that breaks users is visible in a review.
//!
//! `UPDATE_PUBLIC_API=1 cargo test -p skylib --test public_api -- --ignored` records the current one.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

#[test]
#[ignore = "builds the documentation with an unstable output format; `make test` runs it"]
fn public_interface_is_the_recorded_one() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = folder.join("public-api.txt");
    let actual = public_api::Builder::from_rustdoc_json(documentation(folder))
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()
        .unwrap()
        .to_string();
    if std::env::var_os("UPDATE_PUBLIC_API").is_some() {
        std::fs::write(&file, &actual).unwrap();
    }
    let recorded = std::fs::read_to_string(&file).unwrap();
    let (actual, recorded): (BTreeSet<_>, BTreeSet<_>) =
        (actual.lines().collect(), recorded.lines().collect());
    let added: Vec<_> = actual
        .difference(&recorded)
        .map(|item| format!("+ {item}"))
        .collect();
    let removed: Vec<_> = recorded
        .difference(&actual)
        .map(|item| format!("- {item}"))
        .collect();
    assert!(
        added.is_empty() && removed.is_empty(),
        "the public interface changed; if this is intended, record it with UPDATE_PUBLIC_API=1:\n{}\n{}",
        removed.join("\n"),
        added.join("\n"),
    );
}

/// Builds the documentation of all features as JSON and returns its path.
fn documentation(folder: &Path) -> std::path::PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1", "--offline"])
        .current_dir(folder)
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    // A separate folder: with RUSTC_BOOTSTRAP set, Cargo would build all dependencies again.
    let target = Path::new(metadata["target_directory"].as_str().unwrap()).join("public-api");
    let status = Command::new(env!("CARGO"))
        .args(["rustdoc", "--quiet", "--all-features", "--lib", "--offline", "--"])
        .args(["-Z", "unstable-options", "--output-format", "json"])
        // The format is unstable, and the stable toolchain writes it only with this variable.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTDOCFLAGS", "")
        .env("CARGO_TARGET_DIR", &target)
        .current_dir(folder)
        .status()
        .unwrap();
    assert!(
        status.success(),
        "the documentation could not be built: {status}"
    );
    target.join("doc/skylib.json")
}
