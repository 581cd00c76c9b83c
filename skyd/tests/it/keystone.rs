//! The backend `keystone`, against a server that implements the documented API of Keystone.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use serde_json::{Value, json};

use crate::client::{Answer, get, post, request};
use crate::daemon::Daemon;

/// Identity service with the user `ann`, whose password is `one` and whose token is `t/1`.
fn service() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || answer(stream));
        }
    });
    address
}

fn answer(mut stream: TcpStream) {
    let (head, body) = read_request(&mut stream);
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let header = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        let mut fitting = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        fitting.next().map_or("", |(_, value)| value).to_owned()
    };
    let v3 = |project: &str| {
        let project = json!({"name": project, "domain": {"name": "Default"}});
        json!({"token": {"user": {"name": "ann"}, "project": project}})
    };
    let v2 = |project: &str| {
        let token = json!({"id": "t/1", "tenant": {"name": project}});
        json!({"access": {"token": token, "user": {"username": "ann"}}})
    };
    let v3_login = json!({"auth": {
        "identity": {"methods": ["password"], "password": {
            "user": {"name": "ann", "password": "one", "domain": {"name": "Default"}},
        }},
        "scope": {"project": {"name": "net", "domain": {"name": "Default"}}},
    }});
    let v2_login = json!({"auth": {
        "tenantName": "net", "passwordCredentials": {"username": "ann", "password": "one"},
    }});
    let subject = header("x-subject-token");
    let asks_for_itself = subject == header("x-auth-token");
    let (status, more, body) = match (method, path) {
        ("POST", "/v3/auth/tokens") if body == v3_login => {
            (201, "X-Subject-Token: t/1\r\n", v3("net"))
        }
        ("POST", "/v2.0/tokens") if body == v2_login => (200, "", v2("net")),
        ("GET", "/v3/auth/tokens") if asks_for_itself => match subject.as_str() {
            "t/1" => (200, "", v3("net")),
            "other" => (200, "", v3("other")),
            "odd" => (200, "", json!([1])),
            "ill" => (500, "", json!({"error": {"message": "t/1 hunter2"}})),
            // This request is never answered.
            "slow" => return drop(stream.read(&mut [0])),
            _ => (404, "", json!({})),
        },
        ("GET", "/v2.0/tokens/t%2F1") if header("x-auth-token") == "t/1" => (200, "", v2("net")),
        ("GET", "/v2.0/tokens/other") => (200, "", v2("other")),
        _ => (401, "", json!({"error": {"message": "hunter2"}})),
    };
    let body = body.to_string();
    let length = body.len();
    let head = format!("HTTP/1.1 {status} x\r\n{more}Content-Length: {length}\r\n\r\n");
    stream.write_all((head + &body).as_bytes()).unwrap();
}

fn read_request(stream: &mut TcpStream) -> (String, Value) {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            break end;
        }
        let mut block = [0; 4096];
        let length = stream.read(&mut block).unwrap();
        bytes.extend(&block[..length]);
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let length = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, length)| length.parse().unwrap());
    let mut body = bytes.split_off(end + 4);
    let rest = length - body.len();
    let mut more = vec![0; rest];
    stream.read_exact(&mut more).unwrap();
    body.extend(more);
    (head, serde_json::from_slice(&body).unwrap_or_default())
}

fn daemon(address: &str, domain: &str) -> Daemon {
    let [address, domain] = [
        format!("auth.cloud.auth_url={address}"),
        format!("auth.cloud.domain_name={domain}"),
    ];
    Daemon::with(&[
        "auth.cloud.type=keystone",
        "auth.cloud.tenant_name=net",
        "auth.cloud.role=guest",
        "analyzer.auth.api.backend=cloud",
        &address,
        &domain,
    ])
}

fn with(daemon: &Daemon, token: &str) -> Answer {
    request(
        daemon,
        "GET",
        "/api/status",
        &[("X-Auth-Token", token)],
        b"",
    )
}

#[test]
fn both_versions_issue_and_check_tokens() {
    let place = service();
    for (suffix, domain) in [
        ("", "Default"),
        ("/v3/", "Default"),
        ("/v2.0", "Default"),
        ("", "''"),
    ] {
        let domain = if domain == "''" { "" } else { domain };
        let daemon = daemon(&format!("http://{place}{suffix}"), domain);
        let answer = post(&daemon, "/login?username=ann&password=one", "");
        assert_eq!(answer.status, 200, "{suffix} {domain}: {}", answer.text());
        assert_eq!(answer.json()["Token"], "t/1");
        assert_eq!(answer.all("set-cookie").len(), 2);
        assert_eq!(with(&daemon, "t/1").status, 200);
        // The role `guest` can only read.
        let create = request(
            &daemon,
            "POST",
            "/api/capture",
            &[("X-Auth-Token", "t/1")],
            b"{}",
        );
        assert_eq!(
            create.text(),
            "'ann' has no 'write' permission on 'capture'\n"
        );
        let answer = post(&daemon, "/login?username=ann&password=two", "");
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (401, "Wrong credentials")
        );
        assert_eq!(with(&daemon, "unknown").status, 401);
        assert_eq!(get(&daemon, "/api").status, 401);
        let answer = with(&daemon, "other");
        assert_eq!(answer.status, 401);
        assert_eq!(
            answer.text(),
            "the token belongs to another project or domain"
        );
        assert_eq!(with(&daemon, "../../x").status, 401);
        assert!(!daemon.log().contains("t/1") && !daemon.log().contains("hunter2"));
    }
}

#[test]
fn a_failing_service_rejects_all_logins() {
    let daemon = daemon(&format!("http://{}", service()), "Default");
    for (token, message) in [
        ("ill", "Keystone answered with status 500"),
        ("odd", "the token belongs to another project or domain"),
        ("slow", "Keystone did not answer in time"),
    ] {
        let answer = with(&daemon, token);
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (401, message),
            "{token}"
        );
    }
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let daemon = self::daemon(&format!("http://{closed}"), "Default");
    let answer = with(&daemon, "t/1");
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (401, "cannot reach Keystone")
    );
}
