//! The systemd unit: valid, and with the documented capabilities only.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn unit() -> String {
    fs::read_to_string(root().join("skyd/systemd/skyd.service")).unwrap()
}

/// Returns the words of a setting.
fn words<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    let line = unit
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    line.unwrap_or_default().split(' ').collect()
}

#[test]
fn every_granted_capability_is_documented_with_its_reason() {
    let (unit, docs) = (
        unit(),
        fs::read_to_string(root().join("docs/SECURITY.md")).unwrap(),
    );
    let granted = words(&unit, "CapabilityBoundingSet");
    assert_eq!(granted, words(&unit, "AmbientCapabilities"));
    let documented: Vec<&str> = docs
        .lines()
        .filter_map(|line| line.strip_prefix("| `CAP_")?.split_once('`'))
        .map(|(name, _)| name)
        .collect();
    let granted: Vec<&str> = granted
        .iter()
        .filter_map(|name| name.strip_prefix("CAP_"))
        .collect();
    assert_eq!(granted, documented);
}

#[test]
fn systemd_accepts_the_unit() {
    let file = std::env::temp_dir().join(format!("skyd-{}.service", std::process::id()));
    // The program is checked too, and it is not installed here.
    fs::write(&file, unit().replace("/usr/bin/skyd", "/bin/true")).unwrap();
    let verified = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&file)
        .output();
    fs::remove_file(&file).unwrap();
    match verified {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{text}");
        }
        Err(_) => eprintln!("skipped: systemd-analyze is not installed"),
    }
}
