//! REST API of SPP on its separate listener and on the main one.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use serde_json::{Value, json};

use crate::client::{Answer, request_to};
use crate::daemon::{Daemon, Folder, until};

/// Returns the address in a line of the log.
fn logged_address(daemon: &Daemon, words: &str) -> SocketAddr {
    let mut found = None;
    until(words, || {
        let log = daemon.log();
        let rest = log
            .lines()
            .find_map(|line| Some(line.split_once(words)?.1.to_owned()));
        found = rest.and_then(|rest| rest.trim().parse().ok());
        found.is_some()
    });
    found.unwrap()
}

/// Starts a daemon with two recording processes on the loopback interface; returns it with the address
/// of the SPP API. The second process must not lose any packet of this and all other tests, so its ring
/// is larger than usual.
fn two(folder: &Folder, more: &[&str]) -> (Daemon, SocketAddr) {
    let out = folder.0.display();
    let pcaps = format!(
        "spp.pcaps=[{{client_id: 1, port: 'phy:0', cores: [1, 2, 3], out_dir: {out}}}, \
         {{client_id: 2, port: 'phy:0', out_dir: {out}, fsize: 1024, flows: true, \
         ring_bytes: 67108864}}]"
    );
    let mut settings = vec!["spp.listen=127.0.0.1:0", "spp.ports={phy: [lo]}", &pcaps];
    settings.extend(more);
    let daemon = Daemon::with(&settings);
    let address = logged_address(&daemon, "SPP API is at ");
    (daemon, address)
}

fn get(address: SocketAddr, path: &str) -> Answer {
    request_to(address, "GET", path, &[], b"")
}

fn capture(address: SocketAddr, id: u8, action: &str) -> Answer {
    let body = json!({ "action": action }).to_string();
    request_to(
        address,
        "PUT",
        &format!("/v1/pcaps/{id}/capture"),
        &[],
        body.as_bytes(),
    )
}

#[test]
#[ignore = "needs root: captures on the loopback interface"]
fn requests_of_the_manual_are_answered_as_documented() {
    let folder = Folder::new();
    let (_daemon, address) = two(&folder, &[]);
    let base = format!("http://{address}/v1/pcaps/1");
    let curl = |words: &[&str], url: &str| {
        let shown = ["-s", "-i", "-H", "application/json"];
        let output = Command::new("curl")
            .args(shown)
            .args(words)
            .arg(url)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    };
    let capture = format!("{base}/capture");
    let (head, body) = curl(&["-X", "PUT", "-d", r#"{"action": "start"}"#], &capture);
    assert!(head.starts_with("HTTP/1.1 204 No Content"), "{head}");
    let head = head.to_ascii_lowercase();
    assert!(
        !head.contains("content-length") && !head.contains("content-type"),
        "{head}"
    );
    assert_eq!(body, "");
    let (head, body) = curl(&["-X", "GET"], &base);
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert!(
        head.contains("content-type: application/json\r\n"),
        "{head}"
    );
    let file = folder.0.join("spp_pcap.").display().to_string();
    let wanted = format!(
        concat!(
            r#"{{"client-id":1,"status":"running","master-lcore":1,"core":[{{"core":2,"#,
            r#""role":"receive","rx_port":[{{"port":"phy:0"}}]}},"#,
            r#"{{"core":3,"role":"write","filename":"{}"#
        ),
        file
    );
    assert!(body.starts_with(&wanted), "{body}");
    let (head, _) = curl(&["-X", "DELETE"], &base);
    assert!(head.starts_with("HTTP/1.1 204 No Content"), "{head}");
    let (head, body) = curl(&["-X", "GET"], &base);
    assert!(head.starts_with("HTTP/1.1 404 Not Found"), "{head}");
    assert!(head.contains("content-type: text/plain\r\n"), "{head}");
    assert_eq!(body, "sec_id 1 not found.");
}

/// Returns the output that SPP's command line prints for `pcap 1; status`. Panics if a key that it
/// reads is missing or has another type.
fn status_text(status: &Value) -> String {
    let master = status["master-lcore"].as_i64().unwrap();
    let cores = status["core"].as_array().unwrap();
    let slaves: Vec<String> = cores
        .iter()
        .map(|core| core["core"].as_i64().unwrap().to_string())
        .collect();
    let mut text = format!(
        "Basic Information:\n  - client-id: {}\n  - status: {}\n  - lcore_ids:\n    - master: {master}\n    - slaves: [{}]\nComponents:\n",
        status["client-id"].as_i64().unwrap(),
        status["status"].as_str().unwrap(),
        slaves.join(", "),
    );
    for core in cores {
        let role = core["role"].as_str().unwrap();
        text += &format!("  - core:{} {role}\n", core["core"]);
        if role == "receive" {
            let ports = core["rx_port"].as_array().unwrap();
            assert_eq!(ports.len(), 1);
            text += &format!("    - rx: {}\n", ports[0]["port"].as_str().unwrap());
        } else {
            text += &format!("    - filename: {}\n", core["filename"].as_str().unwrap());
        }
    }
    text
}

#[test]
fn the_status_contains_all_keys_of_the_command_line() {
    let folder = Folder::new();
    let (_daemon, address) = two(&folder, &[]);
    assert_eq!(
        status_text(&get(address, "/v1/pcaps/1").json()),
        "Basic Information:\n  - client-id: 1\n  - status: idle\n  - lcore_ids:\n    - master: 1\n    \
         - slaves: [2, 3]\nComponents:\n  - core:2 receive\n    - rx: phy:0\n  - core:3 write\n    \
         - filename: \n"
    );
}

#[test]
fn the_main_listener_serves_the_same_api_with_its_own_errors() {
    let folder = Folder::new();
    let (daemon, address) = two(&folder, &[]);
    let main = daemon.address;
    for path in [
        "/v1/processes",
        "/v1/pcaps/1",
        "/v1/cpu_usage",
        "/v1/pcaps/9",
        "/v1/foo",
    ] {
        let (a, b) = (get(address, path), get(main, path));
        assert_eq!((a.status, a.text()), (b.status, b.text()), "{path}");
    }
    assert_eq!(get(address, "/api").status, 404, "no other path exists");
    let options = request_to(address, "OPTIONS", "/v1/processes", &[], b"");
    assert_eq!(
        (options.status, options.header("allow")),
        (405, Some("GET"))
    );
    let origin = [("Origin", "http://evil.example")];
    let answer = request_to(address, "GET", "/v1/processes", &origin, b"");
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert_eq!(answer.status, 403, "no password protects this listener");
    let status = get(main, "/api/status").json();
    assert_eq!(status["SPP"]["2"]["status"], "idle");
    let metrics = get(main, "/metrics").text();
    assert!(
        metrics.contains("skyd_spp_packets_total{client_id=\"2\"} 0\n"),
        "{metrics}"
    );
    let without = Daemon::start();
    assert_eq!(get(without.address, "/api/status").json().get("SPP"), None);
    assert_eq!(get(without.address, "/v1/processes").status, 404);
}

/// The listener without authentication would make the passwords of the main one useless.
#[test]
fn with_passwords_only_a_configured_listener_is_opened() {
    let folder = Folder::new();
    let passwords = [
        "analyzer.auth.api.backend=basic",
        "auth.basic.users={ann: one}",
    ];
    let settings = [&passwords[..], &["spp.ports={phy: [lo]}", "spp.pcaps=[]"]].concat();
    let daemon = Daemon::with(&settings);
    until("the log", || daemon.log().contains("SPP API is at /v1 of"));
    assert_eq!(get(daemon.address, "/v1/processes").status, 401);
    let token = [("X-Auth-Token", "YW5uOm9uZQ==")];
    let answer = request_to(daemon.address, "GET", "/v1/processes", &token, b"");
    assert_eq!(answer.status, 200);
    let (opened, address) = two(&folder, &passwords);
    assert_eq!(get(address, "/v1/processes").status, 200);
    assert!(
        opened.log().contains("without a password"),
        "{}",
        opened.log()
    );
}

#[test]
fn a_body_of_any_length_is_answered() {
    let folder = Folder::new();
    let (_daemon, address) = two(&folder, &[]);
    let put = |id: u8, body: &[u8]| {
        let answer = request_to(
            address,
            "PUT",
            &format!("/v1/pcaps/{id}/capture"),
            &[],
            body,
        );
        (answer.status, answer.text())
    };
    let long = format!(r#"{{"action":"stop","x":"{}"}}"#, "x".repeat(200 << 10));
    assert_eq!(
        put(1, long.as_bytes()),
        (400, "Not in json format.".to_owned())
    );
    assert_eq!(
        put(9, long.as_bytes()),
        (404, "sec_id 9 not found.".to_owned())
    );
    assert_eq!(put(1, &long.as_bytes()[..90 << 10]).0, 400);
    let fits = format!(r#"{{"action":"stop","x":"{}"}}"#, "x".repeat(90 << 10));
    assert_eq!(put(1, fits.as_bytes()).0, 204);
    assert_eq!(get(address, "/v1/pcaps/1").status, 200);
}

#[test]
#[ignore = "needs root: captures on the loopback interface"]
fn many_status_clients_cause_no_packet_loss() {
    let folder = Folder::new();
    let (_daemon, address) = two(&folder, &[]);
    assert_eq!(capture(address, 2, "start").status, 204);
    thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let answer = get(address, "/v1/pcaps/2");
                    assert_eq!(
                        (answer.status, &answer.json()["status"]),
                        (200, &json!("running"))
                    );
                }
            });
        }
    });
    let processes = get(address, "/v1/cpu_usage").json();
    assert_eq!(processes[1]["lcores"], json!([1, 2, 3]));
    assert_eq!(capture(address, 2, "stop").status, 204);
    let stats = &get(address, "/v1/pcaps/2").json()["stats"];
    assert_eq!(stats["drop"], 0, "{stats}");
    assert_eq!(stats["rx"], stats["written"]);
    // The requests themselves went over this interface.
    assert!(stats["written"].as_u64().unwrap() >= 1_000 && stats["files"].as_u64().unwrap() > 10);
    let layout = get(address, "/v1/cpu_layout").json();
    assert!(layout[0]["cores"][0]["lcores"].is_array(), "{layout}");
}

#[test]
#[ignore = "needs root: captures on the loopback interface"]
fn recordings_are_complete_when_the_daemon_has_stopped() {
    let folder = Folder::new();
    let (mut daemon, address) = two(&folder, &[]);
    assert_eq!(capture(address, 1, "start").status, 204);
    assert_eq!(capture(address, 2, "start").status, 204);
    assert!(
        get(address, "/v1/pcaps/1").json()["core"][1]["filename"]
            .as_str()
            .unwrap()
            .ends_with(".lz4")
    );
    let status = daemon.stop(rustix::process::Signal::TERM);
    assert!(status.success());
    let names: Vec<String> = std::fs::read_dir(&folder.0)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("spp_pcap"))
        .collect();
    assert!(
        names.len() >= 2 && names.iter().all(|name| name.ends_with(".lz4")),
        "{names:?}"
    );
}

#[test]
fn an_instance_is_launched_below_the_root_only() {
    let folder = Folder::new();
    let root = format!("spp.launch.root={}", folder.0.display());
    let (_daemon, address) = two(&folder, &[&root]);
    let launch = |id: &str, out: &str| {
        let body = json!({
            "client_id": id, "proc_name": "spp_pcap",
            "eal": {"-l": "1,2,3", "--proc-type": "secondary"},
            "app": {"--client-id": id, "-s": "127.0.0.1:6666", "-c": "phy:0", "--out-dir": out},
        });
        let answer = request_to(
            address,
            "PUT",
            "/v1/primary/launch",
            &[],
            body.to_string().as_bytes(),
        );
        (answer.status, answer.text())
    };
    let here = folder.0.canonicalize().unwrap().display().to_string();
    assert_eq!(launch("4", &here), (204, String::new()));
    assert_eq!(
        launch("4", &here),
        (400, "command error: client id 4 is in use".to_owned())
    );
    assert_eq!(
        launch("5", "/"),
        (400, "command error: cannot write to /".to_owned())
    );
    let processes = get(address, "/v1/processes").json();
    assert_eq!(processes[0], json!({"type": "primary"}));
    assert_eq!(processes[3], json!({"type": "pcap", "client-id": 4}));
    let status = get(address, "/v1/primary/status").json();
    assert!(
        status["phy_ports"][0]["nof_queues"]["rx"].is_u64(),
        "{status}"
    );
    let cleared = request_to(address, "DELETE", "/v1/primary/status", &[], b"");
    assert_eq!((cleared.status, cleared.text().as_str()), (204, ""));
    assert_eq!(
        request_to(address, "DELETE", "/v1/primary", &[], b"").status,
        400,
        "it does not end"
    );
    assert_eq!(get(address, "/v1/processes").status, 200);
}

#[test]
fn processes_of_spp_connect_and_are_controlled() {
    let daemon = Daemon::with(&[
        "spp.listen=127.0.0.1:0",
        "spp.secondaries.listen=127.0.0.1:0",
    ]);
    let api = logged_address(&daemon, "SPP API is at ");
    let mut socket =
        TcpStream::connect(logged_address(&daemon, "accepting SPP processes at ")).unwrap();
    let answering = thread::spawn(move || {
        let mut heard = Vec::new();
        let mut buffer = [0; 100];
        while let Ok(length @ 1..) = socket.read(&mut buffer) {
            let command = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let reply = match command.as_str() {
                "_get_client_id" => json!({"client_id": 3, "process_type": "pcap"}),
                "status" => {
                    json!({"info": {"client-id": 3, "status": "idle", "master-lcore": 1, "core": []}})
                }
                "stop" => {
                    json!({"results": [{"result": "error", "error_details": {"message": "no"}}]})
                }
                _ => json!({"results": [{"result": "success"}]}),
            };
            socket.write_all(reply.to_string().as_bytes()).unwrap();
            heard.push(command);
        }
        heard
    });
    until("the process is registered", || {
        get(api, "/v1/processes").json() == json!([{"type": "pcap", "client-id": 3}])
    });
    assert_eq!(get(api, "/v1/pcaps/3").json()["status"], "idle");
    assert_eq!(capture(api, 3, "start").status, 204);
    let refused = capture(api, 3, "stop");
    assert_eq!(
        (refused.status, refused.text().as_str()),
        (400, "command error: no")
    );
    let deleted = request_to(api, "DELETE", "/v1/pcaps/3", &[], b"");
    assert_eq!(deleted.status, 204);
    assert_eq!(
        answering.join().unwrap(),
        ["_get_client_id", "status", "start", "stop", "exit"]
    );
}

#[test]
fn an_invalid_configuration_prevents_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("spp.listen={}", taken.local_addr().unwrap());
    for (settings, wanted) in [
        (
            &["spp.pcaps=[{client_id: 0, port: 'phy:0'}]"][..],
            "spp.pcaps[0]: client id 0 is not allowed",
        ),
        (
            &["spp.pcaps=[{client_id: 1, port: 'phy:0'}, {client_id: 1, port: 'phy:0'}]"],
            "spp.pcaps[1].client_id: 1 is already used by spp.pcaps[0]",
        ),
        (
            &["spp.pcaps=[{client_id: 1, port: 'phy:0', fsize: 5}]"],
            "expected 1024 or more",
        ),
        (
            &["spp.pcaps=[{client_id: 1, port: 'phy:0', cores: [1]}]"],
            "1 cores are not allowed",
        ),
        (
            &["spp.launch.root=/nowhere"],
            "spp.launch.root: /nowhere is not a folder",
        ),
        (&[&taken], "spp.listen: cannot listen on"),
        (
            &[
                "spp.listen=127.0.0.1:0",
                "spp.secondaries.listen=203.0.113.1:1",
            ],
            "spp.secondaries.listen: cannot listen",
        ),
    ] {
        let folder = Folder::new();
        let output = crate::daemon::command("analyzer", &folder.0, settings)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && said.contains(wanted),
            "{settings:?}: {said}"
        );
    }
}
