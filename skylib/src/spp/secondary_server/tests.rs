use std::io::{Read, Write};
use std::sync::mpsc;

use super::*;
use crate::spp::secondary::TIMEOUT;
use crate::spp::{Ports, SppError};
use crate::time::SystemClock;

/// Process that replies to commands according to a rule, until it receives `exit` or the rule ends.
struct FakeProcess {
    stream: TcpStream,
    thread: Option<JoinHandle<Vec<String>>>,
}

/// Returns the rule of a typical SPP process.
fn proper(id: u8) -> impl FnMut(&str) -> Option<Vec<u8>> + Send + 'static {
    let mut status = "idle";
    move |command| {
        let mut reply = String::from(r#"{"results":[{"result":"success"}]"#);
        match command {
            "_get_client_id" => reply += &format!(r#","client_id":{id},"process_type":"pcap""#),
            "status" => {
                reply += &format!(
                    r#","info":{{"client-id":{id},"status":"{status}","master-lcore":1,"core":[{{"core":2}}]}}"#
                );
            }
            "start" => status = "running",
            "stop" => status = "idle",
            "exit" => {}
            _ => reply = r#"{"results":[{"result":"error","error_details":{"message":"Invalid value (command)"}}]"#.to_owned(),
        }
        reply += "}\0";
        Some(reply.into_bytes())
    }
}

impl FakeProcess {
    fn connect(
        server: &SecondaryServer,
        mut rule: impl FnMut(&str) -> Option<Vec<u8>> + Send + 'static,
    ) -> Self {
        let stream = TcpStream::connect(server.address()).unwrap();
        let mut socket = stream.try_clone().unwrap();
        let work = move || {
            let mut heard = Vec::new();
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = socket.read(&mut buffer) {
                let command = String::from_utf8_lossy(&buffer[..length]).into_owned();
                heard.push(command.clone());
                let Some(reply) = rule(&command) else { break };
                if socket.write_all(&reply).is_err() || command == "exit" {
                    break;
                }
            }
            socket.shutdown(std::net::Shutdown::Both).ok();
            heard
        };
        Self {
            stream,
            thread: Some(thread::spawn(work)),
        }
    }

    /// Waits for the end of the connection, and returns the commands received.
    fn heard(mut self) -> Vec<String> {
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for FakeProcess {
    fn drop(&mut self) {
        self.stream.shutdown(std::net::Shutdown::Both).ok();
    }
}

fn server() -> (Arc<SppCtl>, SecondaryServer) {
    let ctl = Arc::new(SppCtl::new(Ports::default(), Arc::new(SystemClock)));
    let server = SecondaryServer::start(([127, 0, 0, 1], 0).into(), Arc::clone(&ctl));
    (ctl, server.unwrap())
}

fn ids(ctl: &SppCtl) -> Vec<u8> {
    ctl.processes()
        .iter()
        .filter_map(|process| process.client_id)
        .collect()
}

/// Waits until the table has exactly these processes.
fn wait_for(ctl: &SppCtl, wanted: &[u8]) {
    for _ in 0..20_000 {
        if ids(ctl) == wanted {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("{:?} instead of {wanted:?}", ids(ctl));
}

const START: &[u8] = br#"{"action":"start"}"#;
const STOP: &[u8] = br#"{"action":"stop"}"#;

#[test]
fn a_process_is_driven_like_an_instance() {
    let (ctl, server) = server();
    let process = FakeProcess::connect(&server, proper(7));
    wait_for(&ctl, &[7]);
    assert!(ctl.pcap("7").unwrap().get().contains(r#""status":"idle""#));
    ctl.capture("7", START).unwrap();
    assert!(
        ctl.pcap("007")
            .unwrap()
            .get()
            .contains(r#""status":"running""#)
    );
    ctl.capture("7", STOP).unwrap();
    assert_eq!(ctl.cpu_usage()[0].lcores, [1, 2]);
    assert!(matches!(ctl.capture("7", b"{"), Err(SppError::NotJson)));
    ctl.delete("7").unwrap();
    assert!(matches!(ctl.pcap("7"), Err(SppError::NoProcess(_))));
    let wanted = [
        "_get_client_id",
        "status",
        "start",
        "status",
        "stop",
        "status",
        "exit",
    ];
    assert_eq!(process.heard(), wanted);
}

#[test]
fn of_two_with_one_id_the_later_is_refused_until_the_first_is_gone() {
    let (ctl, server) = server();
    let first = FakeProcess::connect(&server, proper(5));
    wait_for(&ctl, &[5]);
    let second = FakeProcess::connect(&server, proper(5));
    assert_eq!(
        second.heard(),
        ["_get_client_id"],
        "the connection is closed"
    );
    assert!(ctl.pcap("5").is_ok());
    drop(first);
    wait_for(&ctl, &[]);
    let third = FakeProcess::connect(&server, proper(5));
    wait_for(&ctl, &[5]);
    drop(third);
}

#[test]
fn what_is_no_capture_process_is_turned_away() {
    let (ctl, server) = server();
    for greeting in [
        &br#"{"results":[{"result":"success"}],"client_id":1,"process_type":"vf"}"#[..],
        br#"{"results":[{"result":"success"}],"client_id":0,"process_type":"pcap"}"#,
        br#"{"results":[{"result":"success"}],"client_id":128,"process_type":"pcap"}"#,
        br#"{"results":[{"result":"success"}],"client_id":-1,"process_type":"pcap"}"#,
        br#"{"results":[{"result":"success"}],"process_type":"pcap"}"#,
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"[]",
        b"{\"a\":\xff}",
    ] {
        let process = FakeProcess::connect(&server, move |_| Some(greeting.to_vec()));
        assert_eq!(process.heard().len(), 1);
    }
    let flood = FakeProcess::connect(&server, |_| Some(vec![b'{'; 1 << 20]));
    assert_eq!(flood.heard().len(), 1);
    assert!(ids(&ctl).is_empty());
}

#[test]
fn a_refusal_is_passed_on_and_the_process_stays() {
    let (ctl, server) = server();
    let mut others = proper(3);
    let _process = FakeProcess::connect(&server, move |command| match command {
        "start" => others("what"),
        command => others(command),
    });
    wait_for(&ctl, &[3]);
    let refusal = ctl.capture("3", START).unwrap_err();
    assert_eq!(refusal.to_string(), "Invalid value (command)");
    ctl.capture("3", STOP).unwrap();
}

#[test]
fn garbage_and_death_end_the_process_not_the_request() {
    let (ctl, server) = server();
    let answering = |answer: Option<&'static [u8]>| {
        let mut others = proper(4);
        FakeProcess::connect(&server, move |command| match command {
            "start" => answer.map(<[u8]>::to_vec),
            command => others(command),
        })
    };
    let _garbage = answering(Some(b"no json at all"));
    wait_for(&ctl, &[4]);
    let error = ctl.capture("4", START).unwrap_err();
    assert!(matches!(error, SppError::NoAnswer { id: 4, .. }), "{error}");
    assert!(matches!(ctl.pcap("4"), Err(SppError::NoProcess(_))));

    let _dying = answering(None);
    wait_for(&ctl, &[4]);
    assert!(matches!(
        ctl.capture("4", START),
        Err(SppError::NoProcess(_))
    ));
    wait_for(&ctl, &[]);
}

#[test]
fn silence_ends_after_a_while_and_holds_nobody_else_up() {
    let (ctl, server) = server();
    // One process sends nothing at all; the other sends nothing after its greeting.
    let _mute = TcpStream::connect(server.address()).unwrap();
    let (let_go, held) = mpsc::channel::<()>();
    let mut others = proper(6);
    let hung = FakeProcess::connect(&server, move |command| match command {
        "status" => {
            held.recv().ok();
            None
        }
        command => others(command),
    });
    let _other = FakeProcess::connect(&server, proper(9));
    for _ in 0..20_000 {
        if ids(&ctl).len() == 2 {
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    thread::scope(|scope| {
        let asked: Vec<_> = (0..3).map(|_| scope.spawn(|| ctl.pcap("6"))).collect();
        assert!(ctl.pcap("9").is_ok());
        assert_eq!(ids(&ctl).len(), 2);
        for asked in asked {
            let error = asked.join().unwrap().unwrap_err();
            assert!(
                matches!(error, SppError::NoAnswer { .. } | SppError::NoProcess(_)),
                "{error}"
            );
        }
    });
    wait_for(&ctl, &[9]);
    drop(let_go);
    assert_eq!(hung.heard(), ["_get_client_id", "status"]);
    assert!(
        TIMEOUT < Duration::from_secs(5),
        "what clients are promised"
    );
}

#[test]
fn a_reply_may_come_in_pieces() {
    let (ctl, server) = server();
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut socket = stream.try_clone().unwrap();
    let pieces = thread::spawn(move || {
        let mut rule = proper(8);
        let mut buffer = [0; 100];
        while let Ok(length @ 1..) = socket.read(&mut buffer) {
            let command = String::from_utf8_lossy(&buffer[..length]).into_owned();
            // The test may end before the last byte, with which a reply is already complete.
            let reply = rule(&command).unwrap();
            if reply
                .chunks(7)
                .any(|piece| socket.write_all(piece).is_err())
            {
                break;
            }
        }
    });
    wait_for(&ctl, &[8]);
    assert!(
        ctl.pcap("8")
            .unwrap()
            .get()
            .ends_with(r#""core":[{"core":2}]}"#)
    );
    stream.shutdown(std::net::Shutdown::Both).unwrap();
    pieces.join().unwrap();
}

#[test]
fn the_server_ends_when_it_is_dropped() {
    let (_, server) = server();
    let address = server.address();
    drop(server);
    assert!(TcpStream::connect(address).is_err());
}
