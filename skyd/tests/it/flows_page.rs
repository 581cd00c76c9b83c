//! Runs the examples of `docs/flows.md` and compares their output with the page.
//!
//! The environment variable `SKYD_UPDATE_DOCS` writes the output to the page instead.

use std::path::Path;
use std::process::Command;

#[test]
fn the_examples_of_the_page_on_flows_are_right() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/flows.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (run, commands) = with_outputs(&page);
    assert!(commands > 10, "{commands} commands");
    if std::env::var_os("SKYD_UPDATE_DOCS").is_some() {
        std::fs::write(&path, run).unwrap();
    } else {
        for (line, now) in page.lines().zip(run.lines()) {
            assert_eq!(line, now, "set SKYD_UPDATE_DOCS=1 to update the page");
        }
        assert!(page == run, "set SKYD_UPDATE_DOCS=1 to update the page");
    }
}

/// Returns the page with the current output of its commands, and the number of commands.
fn with_outputs(page: &str) -> (String, usize) {
    let (mut text, mut commands, mut is_console) = (String::new(), 0, false);
    for line in page.lines() {
        let command = line.strip_prefix("$ ").filter(|_| is_console);
        if line.starts_with("```") {
            is_console = line == "```console";
        } else if is_console && command.is_none() {
            // Output of the former command.
            continue;
        }
        text += line;
        text += "\n";
        if let Some(command) = command {
            commands += 1;
            text += &output(command);
        }
    }
    (text, commands)
}

/// Runs a command in the folder of the captures and returns its output.
fn output(command: &str) -> String {
    let words = shell_words::split(command).unwrap();
    let (program, arguments) = words.split_first().unwrap();
    assert_eq!(program, "skyd");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../skylib/tests/data/truth");
    let output = Command::new(env!("CARGO_BIN_EXE_skyd"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}
