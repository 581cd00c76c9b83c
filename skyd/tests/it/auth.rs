//! Credentials and permissions.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{Answer, WebSocket, get, post, request};
use crate::daemon::{Daemon, Folder};

const BASIC: &[&str] = &[
    "auth.mine.type=basic",
    "auth.mine.users={ann: one, bob: two, carl: three}",
    "auth.mine.role=guest",
    "analyzer.auth.api.backend=mine",
    "rbac.policy=[\"g, ann, admin\", \"p, carl, capture, read, allow\"]",
];
/// `ann:one`
const ANN: &str = "YW5uOm9uZQ==";
/// `bob:two`
const BOB: &str = "Ym9iOnR3bw==";
/// `carl:three`
const CARL: &str = "Y2FybDp0aHJlZQ==";
const TYPE: (&str, &str) = ("X-Client-Type", "test");
const QUERY: &[u8] = br#"{"GremlinQuery": "G.V()"}"#;

fn as_user(daemon: &Daemon, method: &str, path: &str, token: &str, body: &[u8]) -> Answer {
    request(daemon, method, path, &[("X-Auth-Token", token)], body)
}

fn is_401(answer: &Answer) {
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (401, "Wrong credentials")
    );
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(answer.header("www-authenticate"), None);
}

#[test]
fn every_carrier_of_credentials_is_read_and_the_first_one_counts() {
    let daemon = Daemon::with(BASIC);
    is_401(&get(&daemon, "/api"));
    let basic = format!("Basic {ANN}");
    let bearer = format!("bearer {ANN}");
    let cookie = format!("a=b;authtoken={ANN}; ");
    let quoted = format!("authtoken=\"Basic {ANN}\"");
    let wrong = format!("authtoken={BOB}x");
    for (headers, status) in [
        (vec![("Authorization", basic.as_str())], 200),
        (vec![("Authorization", ANN)], 200),
        (vec![("Authorization", &bearer)], 200),
        (vec![("X-Auth-Token", ANN)], 200),
        (vec![("Cookie", &cookie)], 200),
        (vec![("Cookie", &quoted)], 200),
        (vec![("Cookie", ""), ("Authorization", &basic)], 200),
        (vec![("Cookie", &wrong), ("Authorization", &basic)], 401),
        (vec![("Authorization", "Basic"), ("X-Auth-Token", ANN)], 401),
        (vec![("Authorization", "Basic ")], 401),
        (vec![("Authorization", "Basic %%%")], 401),
        (vec![("X-Auth-Token", "\u{fc}")], 401),
    ] {
        let answer = request(&daemon, "GET", "/api", &headers, b"");
        assert_eq!(answer.status, status, "{headers:?}");
    }
    assert_eq!(
        get(&daemon, &format!("/api?x-auth-token={ANN}")).status,
        200
    );
    assert_eq!(
        get(&daemon, "/api?x-auth-token=YW5uOm9uZQ%3D%3D").status,
        200
    );
    is_401(&get(&daemon, &format!("/api?X-Auth-Token={ANN}")));
    // The form is read for its token; the handler then finds an empty body.
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let body = format!("x-auth-token={ANN}");
    let answer = request(&daemon, "POST", "/api/topology", &[form], body.as_bytes());
    assert_eq!(answer.status, 204);
    is_401(&request(&daemon, "POST", "/api/topology", &[form], QUERY));
    // As curl sends it: the type is that of a form, the content is JSON.
    let headers = [form, ("Authorization", basic.as_str())];
    assert_eq!(
        request(&daemon, "POST", "/api/topology", &headers, QUERY).status,
        200
    );
}

#[test]
fn a_login_returns_a_token_that_every_carrier_accepts() {
    let daemon = Daemon::with(BASIC);
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let origin = ("Origin", "http://ui.example");
    let login = |body: &str| request(&daemon, "POST", "/login", &[form, origin], body.as_bytes());
    let answer = login("username=ann&password=one");
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some("http://ui.example")
    );
    assert_eq!(
        answer.header("access-control-allow-credentials"),
        Some("true")
    );
    let token = answer.json()["Token"].as_str().unwrap().to_owned();
    assert_eq!(token.len(), 64);
    let cookies = answer.all("set-cookie");
    assert_eq!(
        cookies[0],
        format!("authtoken={token}; Path=/; SameSite=Lax")
    );
    assert!(cookies[1].starts_with("permissions=W3") && cookies[1].contains("; Path=/"));
    let permissions = answer.json()["Permissions"].clone();
    let write = json!({"Object": "capture", "Action": "write", "Allowed": true});
    assert!(
        permissions.as_array().unwrap().contains(&write),
        "{permissions}"
    );
    for headers in [
        [("Cookie", format!("authtoken={token}"))],
        [("Authorization", format!("Bearer {token}"))],
        [("X-Auth-Token", token.clone())],
    ] {
        let headers = headers
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        assert_eq!(
            request(&daemon, "GET", "/api/status", &headers, b"").status,
            200
        );
    }
    assert_eq!(
        get(&daemon, &format!("/api?x-auth-token={token}")).status,
        200
    );
    // Credentials in the query, and invalid ones.
    assert_eq!(
        post(&daemon, "/login?username=bob&password=two", "").status,
        200
    );
    for body in [
        "username=ann&password=two",
        "username=eve&password=",
        "username=&password=",
    ] {
        is_401(&login(body));
    }
    for body in ["", "username=ann", "password=one", "{\"username\":\"ann\"}"] {
        let answer = login(body);
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (401, "No credentials provided")
        );
    }
    let answer = get(&daemon, "/login?username=ann&password=one");
    assert_eq!((answer.status, answer.header("location")), (302, Some("/")));
    assert_eq!(login(&"x".repeat(100_000)).status, 413);
    // No secret appears in the log.
    let log = daemon.log();
    for secret in ["one", "two", token.as_str(), ANN] {
        assert!(!log.contains(&format!("={secret}")) && !log.contains(&format!("\"{secret}\"")));
    }
    assert!(!log.contains(&token) && !log.contains(ANN));
    // A token is only valid in the process that issued it.
    drop(daemon);
    let daemon = Daemon::with(BASIC);
    is_401(&as_user(&daemon, "GET", "/api", &token, b""));
}

#[test]
fn without_authentication_a_login_always_succeeds() {
    let daemon = Daemon::start();
    let answer = post(&daemon, "/login?username=u&password=p", "");
    assert_eq!((answer.status, &answer.json()["Token"]), (200, &json!("")));
    assert_eq!(answer.all("set-cookie").len(), 1);
    assert_eq!(
        post(&daemon, "/login", "").text(),
        "No credentials provided"
    );
    assert_eq!(as_user(&daemon, "GET", "/api", "nonsense", b"").status, 200);
}

#[test]
fn users_may_do_only_what_their_rules_allow() {
    let daemon = Daemon::with(BASIC);
    let by = |token: &str, method: &str, path: &str| {
        let answer = as_user(
            &daemon,
            method,
            path,
            token,
            b"{\"GremlinQuery\": \"G.V()\"}",
        );
        (answer.status, answer.text())
    };
    let bare = (405, String::new());
    let forbidden = |user: &str, what: &str| {
        (
            405,
            format!("'{user}' has no '{what}' permission on 'capture'\n"),
        )
    };
    assert_eq!(by(ANN, "POST", "/api/capture").0, 201);
    assert_eq!(by(ANN, "GET", "/api/capture").0, 200);
    // A guest may read topology and status, from its first request on.
    for path in ["/api", "/api/status", "/api/topology"] {
        assert_eq!(by(BOB, "GET", path).0, 200, "{path}");
    }
    assert_eq!(by(BOB, "POST", "/api/topology").0, 200);
    assert_eq!(by(BOB, "GET", "/api/capture"), bare);
    assert_eq!(by(BOB, "PATCH", "/api/capture/x"), bare);
    assert_eq!(by(BOB, "GET", "/api/capture/x"), forbidden("bob", "read"));
    assert_eq!(by(BOB, "POST", "/api/capture"), forbidden("bob", "write"));
    assert_eq!(
        by(BOB, "DELETE", "/api/capture/x"),
        forbidden("bob", "write")
    );
    // A rule of the user in addition to that of the role, which denies.
    assert_eq!(
        by(CARL, "GET", "/api/capture"),
        bare,
        "a denial takes precedence"
    );
    // Errors in the path take precedence.
    assert_eq!(get(&daemon, "/api/nothing").status, 404);
    assert_eq!(
        request(&daemon, "PUT", "/api/capture", &[], b"").status,
        405
    );
    assert_eq!(get(&daemon, "/api/capture/").status, 301);
    // Preflights need no credentials.
    let preflight = [
        ("Origin", "http://x"),
        ("Access-Control-Request-Method", "GET"),
    ];
    assert_eq!(
        request(&daemon, "OPTIONS", "/api/status", &preflight, b"").status,
        200
    );
}

#[test]
fn websockets_check_credentials_and_permission_first() {
    let daemon = Daemon::with(BASIC);
    let open = |path: &str, token: &str| {
        let headers = [TYPE, ("X-Auth-Token", token)];
        WebSocket::try_open(&daemon, path, &headers).map_err(|answer| answer.status)
    };
    for path in [
        "/ws/subscriber",
        "/ws/publisher",
        "/ws/pubsub",
        "/ws/subscriber/flow",
    ] {
        assert!(open(path, ANN).is_ok(), "{path}");
        is_401(&WebSocket::try_open(&daemon, path, &[TYPE]).err().unwrap());
        is_401(&get(&daemon, path));
        assert_eq!(as_user(&daemon, "GET", path, ANN, b"").status, 426);
        if path != "/ws/subscriber" {
            let answer = as_user(&daemon, "GET", path, BOB, b"");
            assert_eq!(
                (answer.status, answer.header("connection")),
                (403, Some("close"))
            );
            assert!(answer.body.is_empty());
        }
    }
    assert!(open("/ws/subscriber", BOB).is_ok());
}

/// Live queries require the permission for queries.
#[test]
fn live_queries_need_the_permission_to_query() {
    let policy = "rbac.policy=[\"g, ann, admin\", \"p, bob, topology, read, deny\"]";
    let daemon = Daemon::with(&[&BASIC[..4], &[policy]].concat());
    assert_eq!(
        as_user(&daemon, "POST", "/api/topology", BOB, QUERY).status,
        405
    );
    for (path, token, kind, status) in [
        ("/ws/subscriber", BOB, "Error", 403),
        ("/ws/subscriber", CARL, "Answer", 200),
        ("/ws/pubsub", ANN, "Answer", 200),
    ] {
        let headers = [TYPE, ("X-Auth-Token", token)];
        let mut socket = WebSocket::open(&daemon, path, &headers);
        let message = json!({"Namespace": "Live", "Type": "Query", "UUID": "q",
                             "Obj": {"GremlinQuery": "G.Flows()"}});
        socket.send(message.to_string());
        let answer = socket.message();
        assert_eq!(
            (answer["Type"].as_str(), answer["Status"].as_i64()),
            (Some(kind), Some(status)),
            "{path} {answer}"
        );
        if status == 403 {
            let text = "'bob' has no 'read' permission on 'topology'";
            assert_eq!(answer["Obj"]["Error"], text);
        }
    }
}

#[test]
fn the_cluster_has_a_separate_backend() {
    let daemon = Daemon::with(BASIC);
    assert!(
        daemon
            .log()
            .contains("analyzer.auth.cluster.backend to accept others"),
        "{}",
        daemon.log()
    );
    let mut settings = BASIC.to_vec();
    settings.push("analyzer.auth.cluster.backend=mine");
    let daemon = Daemon::with(&settings);
    is_401(&get(&daemon, "/ws/agent/topology"));
    is_401(&get(&daemon, "/ws/replication"));
    // Credentials of one backend are not valid at the other.
    let other = [
        "auth.other.type=basic",
        "auth.other.users={agent: four}",
        "analyzer.auth.cluster.backend=other",
    ];
    let agent = "YWdlbnQ6Zm91cg==";
    let apart = Daemon::with(&[BASIC, &other].concat());
    is_401(&as_user(&apart, "GET", "/ws/replication", ANN, b""));
    is_401(&as_user(&apart, "GET", "/api", agent, b""));
    assert_eq!(
        as_user(&apart, "GET", "/ws/replication", agent, b"").status,
        426
    );
    let token = post(&apart, "/login?username=ann&password=one", "").json()["Token"].clone();
    is_401(&as_user(
        &apart,
        "GET",
        "/ws/replication",
        token.as_str().unwrap(),
        b"",
    ));
    // Every user of the cluster backend is an admin at the cluster endpoints.
    assert_eq!(
        as_user(&daemon, "GET", "/ws/agent/topology", BOB, b"").status,
        426
    );
    assert!(!daemon.log().contains("to accept others"));
}

/// Without a cluster backend, agents on this machine present the key in the data folder.
#[test]
fn local_agents_present_the_key_file() {
    let folder = Folder::new();
    let daemon = Daemon::in_folder(&folder.0, BASIC);
    let path = folder.0.join("store").join("agent.key");
    let key = std::fs::read_to_string(&path).unwrap();
    let key = key.trim();
    for path in ["/ws/agent/topology", "/ws/replication"] {
        is_401(&get(&daemon, path));
        is_401(&as_user(&daemon, "GET", path, ANN, b""));
        assert_eq!(as_user(&daemon, "GET", path, key, b"").status, 426);
    }
    // The key is no password of the API.
    is_401(&as_user(&daemon, "GET", "/api", key, b""));
    let headers = [
        ("X-Client-Type", "agent"),
        ("X-Host-ID", "a"),
        ("X-Auth-Token", key),
    ];
    WebSocket::open(&daemon, "/ws/agent/topology", &headers);
    // A page behind a proxy, or in a browser of this machine, is not an agent even with the key.
    for header in [
        ("Origin", "http://localhost"),
        ("X-Forwarded-For", "192.0.2.1"),
    ] {
        let headers = [&headers[..], &[header]].concat();
        let refused = WebSocket::try_open(&daemon, "/ws/agent/topology", &headers);
        assert_eq!(refused.err().unwrap().status, 403, "{header:?}");
    }
    assert!(!daemon.log().contains(key));
    drop(daemon);
    // The next start reads the same key.
    let daemon = Daemon::in_folder(&folder.0, BASIC);
    assert_eq!(
        as_user(&daemon, "GET", "/ws/replication", key, b"").status,
        426
    );
}

/// Guesses of one name from one address become slower; other users do not wait for them.
#[test]
fn wrong_passwords_delay_further_guesses() {
    let daemon = Daemon::with(BASIC);
    let began = Instant::now();
    for _ in 0..7 {
        is_401(&post(&daemon, "/login?username=ann&password=x", ""));
    }
    assert!(began.elapsed() >= Duration::from_millis(100 + 200));
    assert_eq!(
        post(&daemon, "/login?username=bob&password=two", "").status,
        200
    );
    assert_eq!(
        post(&daemon, "/login?username=ann&password=one", "").status,
        200
    );
}

/// A workflow may change resources, so a query that calls one needs the permission of a call.
#[test]
fn queries_that_call_workflows_need_the_permission_of_a_call() {
    let daemon = Daemon::with(BASIC);
    let ask = |token: &str, body: &serde_json::Value| {
        let body = body.to_string();
        let answer = as_user(&daemon, "POST", "/api/topology", token, body.as_bytes());
        (answer.status, answer.text())
    };
    for query in ["G.Workflow('none')", "g.at('-1m').workflow('none').v()"] {
        for body in [
            json!({ "GremlinQuery": query }),
            json!({ "GremlinQuery": query, "Explain": true }),
        ] {
            let denied = "'bob' has no 'write' permission on 'workflow.call'\n".to_owned();
            assert_eq!(ask(BOB, &body), (405, denied), "{query}");
        }
    }
    let (status, text) = ask(ANN, &json!({ "GremlinQuery": "G.Workflow('none')" }));
    assert_eq!(status, 400);
    assert!(text.starts_with("Unknown workflow 'none"), "{text}");
}

/// Stored packets contain what hosts sent, so reading them needs a separate permission.
#[test]
fn packets_need_their_own_permission() {
    let daemon = Daemon::with(BASIC);
    let ask = |token: &str, query: &str, accept: &str| {
        let body = json!({ "GremlinQuery": query }).to_string();
        let headers = [("X-Auth-Token", token), ("Accept", accept)];
        let answer = request(&daemon, "POST", "/api/topology", &headers, body.as_bytes());
        (answer.status, answer.text())
    };
    let denied = (
        405,
        "'bob' has no 'rawpackets' permission on 'capture'\n".to_owned(),
    );
    for query in [
        "G.Flows().RawPackets()",
        "g.flows().rawpackets().bpf('port 53')",
        "G.V().Flows().RawPackets()",
    ] {
        for accept in ["*/*", "application/vnd.tcpdump.pcap"] {
            assert_eq!(ask(BOB, query, accept), denied, "{query}");
            assert_eq!(ask(ANN, query, accept).0, 200, "{query}");
        }
    }
    assert_eq!(ask(BOB, "G.Flows()", "*/*").0, 200);
    let explain = br#"{"GremlinQuery": "G.Flows().RawPackets()", "Explain": true}"#;
    assert_eq!(
        as_user(&daemon, "POST", "/api/topology", BOB, explain).status,
        405
    );
    for (token, kind, status) in [(BOB, "Error", 403), (ANN, "Answer", 200)] {
        let headers = [TYPE, ("X-Auth-Token", token)];
        let mut socket = WebSocket::open(&daemon, "/ws/subscriber", &headers);
        let message = json!({"Namespace": "Live", "Type": "Query", "UUID": "q",
                             "Obj": {"GremlinQuery": "G.Flows().RawPackets()"}});
        socket.send(message.to_string());
        let answer = socket.message();
        assert_eq!(
            (answer["Type"].as_str(), answer["Status"].as_i64()),
            (Some(kind), Some(status)),
            "{answer}"
        );
    }
}

#[test]
fn listening_on_all_addresses_without_passwords_logs_a_warning() {
    let warned = |settings: &[&str]| {
        let daemon = Daemon::with(settings);
        daemon.log().contains("no authentication is configured")
    };
    let world = "analyzer.listen=0.0.0.0:0";
    assert!(warned(&[world]));
    assert!(!warned(&[]));
    assert!(!warned(&[BASIC, &[world]].concat()));
}

#[test]
fn users_are_read_from_a_file_that_a_signal_reloads() {
    let folder = Folder::new();
    let file = folder.0.join("htpasswd");
    // `s3cret` each: bcrypt, apr1, SHA; made with Apache's `htpasswd -nb`.
    let users = "ann:$2y$05$ViShHRlUaPXnRxu3Llz05.vnQYmJcmVjmrVaBJSyCKC63ngGMuWHK\n\
                 bob:$apr1$XBY1OgR2$8pftPwFC1VuxG6rbaBdE7.\n\
                 carl:{SHA}/vNB+F2HQ559kaLUZbmHHvZrXpg=\n";
    std::fs::write(&file, users).unwrap();
    let setting = format!("auth.basic.file={}", file.display());
    let daemon = Daemon::with(&["analyzer.auth.api.backend=basic", &setting]);
    // `ann:s3cret`, `bob:s3cret`, `carl:s3cret`, `eve:s3cret`
    let tokens = ["YW5uOnMzY3JldA==", "Ym9iOnMzY3JldA==", "Y2FybDpzM2NyZXQ="];
    for token in tokens {
        assert_eq!(
            as_user(&daemon, "GET", "/api/capture", token, b"").status,
            200
        );
    }
    is_401(&as_user(&daemon, "GET", "/api", "ZXZlOnMzY3JldA==", b""));
    is_401(&as_user(&daemon, "GET", "/api", "YW5uOnMzY3JlVA==", b""));
    std::fs::write(&file, users.lines().next().unwrap()).unwrap();
    daemon.hang_up("reloaded the users");
    assert_eq!(as_user(&daemon, "GET", "/api", tokens[0], b"").status, 200);
    is_401(&as_user(&daemon, "GET", "/api", tokens[1], b""));
    std::fs::write(&file, "ann:$6$salt$hash").unwrap();
    daemon.hang_up("cannot reload the users");
    assert_eq!(as_user(&daemon, "GET", "/api", tokens[0], b"").status, 200);
}

#[test]
fn users_are_shown_who_they_are_and_what_they_may_do() {
    let daemon = Daemon::with(BASIC);
    is_401(&get(&daemon, "/api/me"));
    let me = |token: &str| as_user(&daemon, "GET", "/api/me", token, b"").json();
    let (ann, carl) = (me(ANN), me(CARL));
    assert_eq!(
        (&ann["User"], &ann["Roles"], &ann["NeedsLogin"]),
        (&json!("ann"), &json!(["admin"]), &json!(true))
    );
    assert_eq!(carl["Roles"], json!(["guest"]));
    let may = |me: &serde_json::Value, object: &str, action: &str| {
        let rules = me["Permissions"].as_array().unwrap().iter();
        rules
            .filter(|rule| rule["Object"] == object && rule["Action"] == action)
            .any(|rule| rule["Allowed"] == true)
    };
    assert!(may(&ann, "capture", "write"));
    assert!(!may(&carl, "capture", "write"));
    assert!(may(&carl, "topology", "read"));

    let open = get(&Daemon::start(), "/api/me").json();
    assert_eq!(
        (&open["User"], &open["NeedsLogin"]),
        (&json!("admin"), &json!(false))
    );
    assert!(may(&open, "capture", "write"));
}

#[test]
fn a_logout_ends_the_session_and_the_page_has_cookies_that_scripts_cannot_read() {
    let daemon = Daemon::with(BASIC);
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let login = |headers: &[(&str, &str)]| {
        let body = b"username=ann&password=one";
        request(&daemon, "POST", "/login", headers, body)
    };
    let cookie = |answer: &Answer| {
        let cookies = answer.all("set-cookie");
        let token = cookies.iter().find(|text| text.starts_with("authtoken="));
        (*token.unwrap()).to_owned()
    };
    assert!(!cookie(&login(&[form])).contains("HttpOnly"));
    let answer = login(&[form, ("X-Requested-With", "skyd")]);
    let text = cookie(&answer);
    assert!(text.contains("HttpOnly; SameSite=Strict"), "{text}");
    assert!(!text.contains("Secure"), "only over TLS: {text}");
    let pair = text.split(';').next().unwrap();
    let with_cookie =
        |method: &str, path: &str| request(&daemon, method, path, &[("Cookie", pair)], b"");
    assert_eq!(with_cookie("GET", "/api").status, 200);
    assert_eq!(with_cookie("GET", "/logout").status, 405);
    let out = with_cookie("POST", "/logout");
    assert_eq!(out.status, 204);
    assert_eq!(out.all("set-cookie").len(), 2);
    assert!(
        out.all("set-cookie")
            .iter()
            .all(|text| text.contains("Max-Age=0"))
    );
    is_401(&with_cookie("GET", "/api"));
}
