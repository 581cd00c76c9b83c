//! Start and end of the process.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::client::{Connection, WebSocket, get, post};
use crate::daemon::{Daemon, Folder, command, refused, until};

#[test]
fn a_signal_stops_the_daemon_in_time_with_clients_connected() {
    for signal in [Signal::TERM, Signal::INT] {
        // Only the signal ends these connections.
        let mut daemon = Daemon::with(&[
            "http.limits.header_timeout=1h",
            "http.limits.body_timeout=1h",
        ]);
        let who = [("X-Client-Type", "test")];
        let mut subscriber = WebSocket::open(&daemon, "/ws/subscriber", &who);
        let mut publisher = WebSocket::open(&daemon, "/ws/publisher", &who);
        publisher.sync(json!({}));
        let mut idle = Connection::open(&daemon);
        let mut half = Connection::open(&daemon);
        half.send("POST /api/topology HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{");
        let status = daemon.stop(signal);
        assert!(status.success(), "{status}: {}", daemon.log());
        assert!(idle.ends());
        assert!(half.ends());
        assert_eq!(subscriber.next(), None, "without a close frame");
        assert_eq!(publisher.next(), None);
    }
}

#[test]
fn an_invalid_setting_prevents_the_start_and_names_allowed_values() {
    for (setting, expected) in [
        (
            "flow.update=never",
            "flow.update: \"never\" is not allowed; expected a duration",
        ),
        (
            "analyzer.flow.backend=none",
            "analyzer.flow.backend: \"none\" is not allowed; expected one of",
        ),
        (
            "analyzer.startup.capture_gremlin",
            "--set analyzer.startup.capture_gremlin: expected key=value",
        ),
        (
            "analyzer.listen=192.0.2.1:1",
            "set analyzer.listen to an address of this host",
        ),
        (
            "analyzer.auth.api.backend=nobody",
            "analyzer.auth.api.backend: unknown authentication backend \"nobody\"; expected noauth",
        ),
        (
            "analyzer.auth.api.backend=basic",
            "auth.basic: set exactly one of auth.basic.file (htpasswd) and auth.basic.users",
        ),
        (
            "rbac.policy=[\"p, ann, capture\"]",
            "rbac.policy: \"p, ann, capture\" is not allowed",
        ),
        (
            "rbac.model.matchers=true",
            "rbac.model.matchers: not supported; expected g(r.sub, p.sub)",
        ),
        (
            "storage.local.path=/proc/nothing",
            "storage.local.path: cannot open the store in",
        ),
    ] {
        let said = refused("analyzer", &[setting], None);
        assert!(said.contains(expected), "{setting}: {said}");
    }
    let said = refused("analyzer", &[], Some("analyzer:\n  listen: [1, 2]\n"));
    assert!(
        said.contains("-: analyzer.listen: [1,2] is not allowed; expected an address"),
        "{said}"
    );
    for users in [
        "{admin: [hunter2]}",
        "{a: \"\"}",
        "{}",
        "hunter2",
        "{\"a:b\": hunter2}",
    ] {
        let file = format!(
            "auth: {{mine: {{type: basic, users: {users}}}}}\n\
             analyzer: {{auth: {{api: {{backend: mine}}}}}}\n"
        );
        let said = refused("analyzer", &[], Some(&file));
        assert!(
            said.contains("auth.mine.users: ") && said.contains("expected") || users == "{}",
            "{said}"
        );
        assert!(!said.contains("hunter2"), "{said}");
    }
    let said = refused("analyzer", &[], Some("a: [\n"));
    assert!(
        said.contains("skyd: -: ") && said.contains("line"),
        "{said}"
    );
}

#[test]
fn an_agent_whose_port_is_taken_ends() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("agent.listen={}", taken.local_addr().unwrap());
    let said = refused("agent", &[&listen], None);
    assert!(said.contains("agent.listen: cannot listen on"), "{said}");
    let said = refused(
        "agent",
        &["agent.listen=127.0.0.1:0", "analyzers=a:b:c"],
        None,
    );
    assert!(said.contains("analyzers: \"a:b:c\""), "{said}");
}

#[test]
fn each_unknown_key_logs_one_warning() {
    let daemon = Daemon::with(&["no.such.key=1", "no.such.other=2"]);
    assert_eq!(
        daemon.log().matches("unknown key").count(),
        2,
        "{}",
        daemon.log()
    );
    assert_eq!(get(&daemon, "/api").status, 200);
}

#[test]
fn two_daemons_do_not_share_a_data_folder() {
    let folder = Folder::new();
    let _first = Daemon::in_folder(&folder.0, &[]);
    let store = format!("storage.local.path={}", folder.0.join("store").display());
    let said = refused("analyzer", &[&store], None);
    assert!(
        said.contains("meta.redb is in use by another process: stop the other daemon"),
        "{said}"
    );
}

#[test]
fn only_the_user_of_the_daemon_can_read_its_data_folder() {
    let folder = Folder::new();
    let _daemon = Daemon::in_folder(&folder.0, &[]);
    let created = std::fs::metadata(folder.0.join("store")).unwrap();
    assert_eq!(created.permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_damaged_store_is_set_aside_and_logged() {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.0.join("store")).unwrap();
    std::fs::write(folder.0.join("store/meta.redb"), "torn").unwrap();
    // What some file systems leave after a crash.
    std::fs::write(folder.0.join("store/graph.redb"), "").unwrap();
    let daemon = Daemon::in_folder(&folder.0, &[]);
    for file in ["meta.redb.damaged-1", "graph.redb.damaged-1"] {
        assert!(daemon.log().contains(file), "{}", daemon.log());
    }
    assert_eq!(get(&daemon, "/api/capture").json(), json!({}));
}

/// A storm of SIGHUP neither fills the log nor keeps the daemon busy.
#[test]
fn reloads_are_coalesced() {
    let daemon = Daemon::start();
    let pid = Pid::from_raw(i32::try_from(daemon.id()).unwrap()).unwrap();
    for _ in 0..200 {
        kill_process(pid, Signal::HUP).unwrap();
        assert_eq!(get(&daemon, "/api").status, 200);
    }
    // The last signal is not lost.
    daemon.hang_up("reloaded the users");
    let reloads = daemon.log().matches("reloaded the users").count();
    assert!(reloads < 100, "{reloads}");
}

#[test]
fn a_second_signal_ends_the_daemon_at_once() {
    let mut daemon = Daemon::start();
    let pid = Pid::from_raw(i32::try_from(daemon.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    // The first signal may already have ended it.
    let _sent = kill_process(pid, Signal::TERM);
    until("the end", || !daemon.is_running());
}

/// Idle connections never use the descriptors that requests, files, and captures need.
#[test]
fn idle_connections_leave_descriptors_free() {
    let folder = Folder::new();
    let inner = command("analyzer", &folder.0, &[]);
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 64; exec \"$@\"", "sh"]);
    limited.arg(inner.get_program()).args(inner.get_args());
    limited
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let daemon = Daemon::spawn(limited);
    assert!(
        daemon.log().contains("open files allows only"),
        "{}",
        daemon.log()
    );
    let idle: Vec<Connection> = (0..100).map(|_| Connection::open(&daemon)).collect();
    for _ in 0..5 {
        assert_eq!(get(&daemon, "/api").status, 200);
    }
    let node = r#"{"ID": "n", "Metadata": {"Name": "n", "Type": "t"}}"#;
    assert_eq!(post(&daemon, "/api/node", node).status, 201);
    drop(idle);
}

/// WebSockets, which last as long as their clients like, leave connections to requests.
#[test]
fn websockets_leave_connections_to_requests() {
    let daemon = Daemon::with(&["http.limits.connections=8"]);
    let who = [("X-Client-Type", "test")];
    let sockets: Vec<WebSocket> = (0..7)
        .map(|_| WebSocket::open(&daemon, "/ws/subscriber", &who))
        .collect();
    let refused = WebSocket::try_open(&daemon, "/ws/subscriber", &who);
    let refused = refused.err().unwrap();
    assert_eq!(refused.status, 503);
    assert!(
        refused.text().contains("http.limits.connections"),
        "{}",
        refused.text()
    );
    assert_eq!(get(&daemon, "/api").status, 200);
    drop(sockets);
    until("a socket is accepted", || {
        WebSocket::try_open(&daemon, "/ws/subscriber", &who).is_ok()
    });
}

/// Returns a set of capabilities of a process.
fn capabilities(process: u32, key: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    u64::from_str_radix(line.unwrap().trim(), 16).unwrap()
}

#[test]
#[ignore = "needs root: looks at the capabilities of a privileged daemon"]
fn only_the_needed_capabilities_are_retained() {
    const DAC_READ_SEARCH: u64 = 1 << 2;
    const NET_ADMIN: u64 = 1 << 12;
    const NET_RAW: u64 = 1 << 13;
    const SYS_PTRACE: u64 = 1 << 19;
    const SYS_ADMIN: u64 = 1 << 21;
    let probes = DAC_READ_SEARCH | NET_ADMIN | NET_RAW | SYS_PTRACE;
    let folder = Folder::new();
    for (role, effective, permitted) in [
        ("analyzer", DAC_READ_SEARCH, DAC_READ_SEARCH),
        ("allinone", probes, probes | SYS_ADMIN),
    ] {
        let daemon = Daemon::spawn(command(role, &folder.0, &[]));
        let id = daemon.id();
        assert_eq!(capabilities(id, "CapEff:"), effective, "{role}");
        assert_eq!(capabilities(id, "CapPrm:"), permitted, "{role}");
        assert_eq!(capabilities(id, "CapBnd:"), permitted, "{role}");
        for task in std::fs::read_dir(format!("/proc/{id}/task"))
            .unwrap()
            .flatten()
        {
            let Ok(status) = std::fs::read_to_string(task.path().join("status")) else {
                continue;
            };
            // A thread that enters a namespace at this moment has another set.
            let is_entering = status.contains("Name:\tnetns\n");
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("CapEff:"))
                .unwrap();
            let found = u64::from_str_radix(line.trim(), 16).unwrap();
            assert!(is_entering || found == effective, "{role}: {status}");
        }
    }
}
