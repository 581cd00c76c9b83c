//! `skyd client` against a daemon. The cases of the original's client are in `tests/python/cases`.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::client::{post, query};
use crate::daemon::{Daemon, Folder};

/// What a command printed, and its exit code.
pub(crate) struct Output {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    code: i32,
}

fn command(daemon: &Daemon, words: &[&str]) -> Command {
    command_at(&daemon.address.to_string(), words)
}

/// Returns a command for the server at an address.
fn command_at(address: &str, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skyd"));
    command.arg("client").args(words).stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SKYD")) {
        command.env_remove(name);
    }
    command.env("SKYDIVE_ANALYZER", address);
    command
}

/// Runs `skyd client` with these words.
pub(crate) fn run(daemon: &Daemon, words: &[&str]) -> Output {
    let output = command(daemon, words).output().unwrap();
    Output {
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code().unwrap(),
    }
}

fn add_node(daemon: &Daemon, id: &str, name: &str) {
    let node = json!({"ID": id, "Metadata": {"Name": name, "Type": "t"}});
    assert_eq!(post(daemon, "/api/node", &node.to_string()).status, 201);
}

#[test]
fn hostile_names_never_reach_the_terminal() {
    let daemon = Daemon::start();
    let name = "\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}\r\u{7f}\u{2028}x";
    add_node(&daemon, "n\u{1b}[2J", name);
    for format in ["json", "ndjson", "table"] {
        for words in [
            &["query", "G.V()"][..],
            &["node", "list"],
            &["topology", "query"],
        ] {
            let output = run(&daemon, &[words, &["--format", format]].concat());
            assert_eq!(output.code, 0, "{words:?}: {}", output.stderr);
            let harmless = |c: char| matches!(c, '\n' | '\t' | ' '..='~');
            assert!(
                output.stdout.chars().all(harmless),
                "{words:?}: {:?}",
                output.stdout
            );
            assert!(output.stdout.contains("owned"), "{:?}", output.stdout);
            if format == "json" {
                let text: Value = serde_json::from_str(&output.stdout).unwrap();
                assert!(
                    text.to_string().contains(&json!(name).to_string()),
                    "the value is unchanged"
                );
            }
        }
    }
    let refused = run(&daemon, &["node", "get", "\u{1b}[2Jx\u{9b}"]);
    assert_eq!(refused.code, 1);
    assert!(
        refused.stderr.contains("\\u{1b}[2Jx\\u{9b}"),
        "{:?}",
        refused.stderr
    );
    assert!(!refused.stderr.contains('\u{1b}'), "{:?}", refused.stderr);
}

#[test]
fn a_long_list_is_printed_while_it_is_received() {
    let daemon = Daemon::start();
    let count = 3_000;
    let nodes: Vec<Value> = (0..count)
        .map(|n| json!({"ID": format!("n{n}"), "Metadata": {"Name": "x".repeat(200), "Type": "t"}}))
        .collect();
    let folder = Folder::new();
    let file = folder.0.join("graph.json");
    std::fs::write(&file, json!([{ "Nodes": nodes }]).to_string()).unwrap();
    let import = run(
        &daemon,
        &["topology", "import", "--file", file.to_str().unwrap()],
    );
    assert_eq!((import.code, import.stderr.as_str()), (0, ""));
    // The import ends when the server has processed everything.
    assert_eq!(query(&daemon, "G.V().Count()"), count);
    for words in [
        &["node", "list", "--format", "ndjson"][..],
        &["query", "G.V()", "--format=ndjson"],
    ] {
        let lines = run(&daemon, words).stdout;
        assert_eq!(lines.lines().count(), count);
        assert!(
            lines
                .lines()
                .all(|line| serde_json::from_str::<Value>(line).is_ok())
        );
    }
    assert_eq!(
        run(&daemon, &["node", "list", "--format", "table"])
            .stdout
            .lines()
            .count(),
        count + 1
    );
    // The reader of the output closes it, as `head` does.
    let mut process = command(&daemon, &["query", "G.V()"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut start = [0; 9];
    process
        .stdout
        .take()
        .unwrap()
        .read_exact(&mut start)
        .unwrap();
    assert_eq!(&start, b"[\n\t{\n\t\t\"I");
    let output = process.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stderr, b"");
}

#[test]
fn an_exported_graph_is_imported_with_its_edges() {
    let daemon = Daemon::start();
    for id in ["a", "b"] {
        add_node(&daemon, id, id);
    }
    let words = [
        "edge",
        "create",
        "--parent",
        "a",
        "--child",
        "b",
        "--edge-type",
        "layer2",
    ];
    assert_eq!(run(&daemon, &words).code, 0);
    let folder = Folder::new();
    let file = folder.0.join("graph.json");
    std::fs::write(&file, run(&daemon, &["topology", "export"]).stdout).unwrap();
    let other = Daemon::start();
    let import = run(
        &other,
        &["topology", "import", "--file", file.to_str().unwrap()],
    );
    assert_eq!((import.code, import.stderr.as_str()), (0, ""));
    assert_eq!(query(&other, "G.V('a').Out().Values('Name')"), json!(["b"]));
    let refused = run(
        &other,
        &[
            "topology",
            "import",
            "--endpoint",
            "/nothing",
            "--file",
            file.to_str().unwrap(),
        ],
    );
    assert_eq!(refused.code, 1);
    assert!(
        refused.stderr.contains("404 Not Found"),
        "{}",
        refused.stderr
    );
}

#[test]
fn results_are_tables_on_request() {
    let daemon = Daemon::start();
    add_node(&daemon, "n1", "eth0");
    let table = run(&daemon, &["query", "G.V()", "--format", "table"]).stdout;
    let lines: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines[0], ["ID", "NAME", "TYPE", "STATE", "HOST", "IPV4"]);
    assert_eq!(lines[1][..3], ["n1", "eth0", "t"]);
    let status = run(&daemon, &["status", "--format", "table"]).stdout;
    assert!(
        status
            .lines()
            .any(|line| line.starts_with("Alerts.IsMaster")),
        "{status}"
    );
    let node = run(&daemon, &["node", "get", "n1", "--format", "table"]).stdout;
    assert!(
        node.lines().any(|line| line == "Metadata.Name  eth0"),
        "{node}"
    );
}

#[test]
fn a_deletion_shows_what_could_not_be_deleted() {
    let daemon = Daemon::start();
    add_node(&daemon, "n1", "x");
    let output = run(&daemon, &["node", "delete", "n1", "none"]);
    assert_eq!((output.code, output.stdout.as_str()), (1, ""));
    assert!(
        output
            .stderr
            .contains("404 Not Found: Node 'none' not found"),
        "{}",
        output.stderr
    );
    assert!(output.stderr.contains("1 of 2 failed"), "{}", output.stderr);
    let output = run(&daemon, &["query", "G.V().Count()", "--delete"]);
    assert_eq!(output.code, 1, "a number cannot be deleted");
}

/// Runs `skyd client shell` with lines on its standard input.
fn shell(daemon: &Daemon, options: &[&str], lines: &str) -> Output {
    let mut process = command(daemon, &[&["shell"][..], options].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    process
        .stdin
        .take()
        .unwrap()
        .write_all(lines.as_bytes())
        .unwrap();
    let output = process.wait_with_output().unwrap();
    Output {
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code().unwrap(),
    }
}

#[test]
fn the_shell_runs_queries_and_javascript() {
    let daemon = Daemon::start();
    add_node(&daemon, "n1", "eth0");
    let lines = "G.V().Count()\nvar x = 2\n\nx * 21\nclient.G.V().Values('Name')\nx.y.z\n\
                 console.log('\\u001b[2J')\nG.V().Nothing()\nPromise.resolve('p')\n \
                 exit\n1\n";
    let output = shell(&daemon, &[], lines);
    assert_eq!(output.code, 1);
    let stderr = &output.stderr;
    assert!(stderr.contains("2 of 9 lines failed"), "{stderr}");
    assert!(
        stderr.contains("as a Gremlin query: ") && stderr.contains("Nothing"),
        "{stderr}"
    );
    let mut printed = output.stdout.lines();
    for wanted in ["1", "42", "[", "\t\"eth0\"", "]"] {
        assert_eq!(printed.next(), Some(wanted), "{}", output.stdout);
    }
    let error = printed.next().unwrap();
    assert!(
        error.starts_with("Error while executing Javascript 'x.y.z': TypeError"),
        "{error}"
    );
    assert_eq!(printed.next(), Some("\\u{1b}[2J"));
    assert!(
        printed
            .next()
            .unwrap()
            .starts_with("Error while executing Javascript 'G.V().Nothing()'")
    );
    assert_eq!(printed.next(), Some("\"p\""));
    assert_eq!(printed.next(), None);
}

#[test]
fn a_script_of_the_shell_decides_its_exit_code() {
    let daemon = Daemon::start();
    let folder = Folder::new();
    let file = folder.0.join("s.js");
    let options = ["--script", file.to_str().unwrap()];
    std::fs::write(&file, "var y = Gremlin('G.V().Count()')").unwrap();
    let output = shell(&daemon, &options, "y");
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (0, "\"0\"\n"),
        "{}",
        output.stderr
    );
    std::fs::write(&file, "throw new Error('boo')").unwrap();
    let output = shell(&daemon, &options, "1");
    assert_eq!((output.code, output.stdout.as_str()), (1, ""));
    assert!(output.stderr.contains("Error: boo"), "{}", output.stderr);
}

#[test]
fn an_unreachable_server_is_named_with_the_setting_of_its_address() {
    let output = Command::new(env!("CARGO_BIN_EXE_skyd"))
        .args(["client", "status"])
        .env("SKYDIVE_ANALYZER", "127.0.0.1:1")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    let wanted = "cannot connect to 127.0.0.1:1 (address from SKYDIVE_ANALYZER): ";
    assert!(stderr.contains(wanted), "{stderr}");
}

#[test]
fn commands_beside_the_client_need_no_server() {
    let run = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_skyd"))
            .args(words)
            .output()
            .unwrap();
        assert!(output.status.success(), "{words:?}: {:?}", output.stderr);
        String::from_utf8(output.stdout).unwrap()
    };
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&["completion", shell]);
        // Completion for fish has two levels of commands: no options of `client capture create`.
        let is_complete = shell == "fish" || script.contains("samplingrate");
        assert!(script.contains("node-rule") && is_complete, "{shell}");
    }
    assert!(run(&["version"]).starts_with("skyd "));
    assert!(run(&["man"]).contains(".TH skyd"));
    let folder = Folder::new();
    run(&["man", folder.0.to_str().unwrap()]);
    let page = std::fs::read_to_string(folder.0.join("skyd-client-capture-create.1")).unwrap();
    assert!(page.contains("reassamble"), "{page}");
    let text = run(&["bash-completion", folder.0.to_str().unwrap()]);
    assert!(text.contains("skydive-bash-completion.sh"), "{text}");
    assert!(folder.0.join("skydive-bash-completion.sh").exists());
}

#[test]
fn the_identifier_of_an_equal_capture_is_printed() {
    let daemon = Daemon::start();
    let create = || {
        let query = "G.V().Has('Name', 'none')";
        run(
            &daemon,
            &["capture", "create", "--gremlin", query, "--format", "json"],
        )
    };
    let first: Value = serde_json::from_str(&create().stdout).unwrap();
    let second = create();
    assert_eq!(second.code, 1);
    let id = first["UUID"].as_str().unwrap();
    assert!(second.stderr.contains(id), "{}", second.stderr);
    let last = second.stderr.lines().last().unwrap();
    assert!(
        last.ends_with("409 Conflict: duplicated resource"),
        "{last}"
    );
}

#[test]
fn an_empty_response_may_be_declared_as_compressed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        for framing in [
            "Content-Length: 0\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut piece = [0; 4096];
            while !request.ends_with(b"\r\n\r\n") {
                let length = stream.read(&mut piece).unwrap();
                assert_ne!(length, 0);
                request.extend_from_slice(&piece[..length]);
            }
            let head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n";
            stream
                .write_all((head.to_owned() + framing).as_bytes())
                .unwrap();
        }
    });
    for _ in 0..2 {
        let output = command_at(&address, &["capture", "delete", "c"])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.is_empty(), "{text}");
    }
    server.join().unwrap();
}

#[test]
#[ignore = "needs root: sends on the loopback interface"]
fn packets_are_sent_without_a_daemon() {
    let ends = ["--src-ip", "127.0.0.1", "--dst-ip", "127.0.0.1"];
    let macs = [
        "--src-mac",
        "00:00:00:00:00:00",
        "--dst-mac",
        "00:00:00:00:00:00",
    ];
    let inject = |interface: &str, more: &[&str]| {
        let skyd = Command::new(env!("CARGO_BIN_EXE_skyd"))
            .args(["inject-packet", "--if-name", interface])
            .args(ends)
            .args(macs)
            .args(more)
            .output();
        let output = skyd.unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let options = ["--type", "udp4", "--dst-port", "9", "--count", "3"];
    let (code, stdout, stderr) = inject("lo", &options);
    assert_eq!(
        (code, stdout.as_str()),
        (Some(0), "3 packets sent on lo\n"),
        "{stderr}"
    );
    let (code, _, stderr) = inject("no-interface", &options);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("\"no-interface\""), "{stderr}");
}
