//! The probe of sockets and processes.

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use skylib::graph::Node;
use skylib::topology::process_netns::ProcessNetnsProbe;
use skylib::topology::socketinfo::SocketInfoProbe;
use skylib::value::Value;

use super::lab::run;
use crate::support::{has_programs, ip};

/// Returns the process ids of the sockets with a local port.
fn pids(host: &Node, port: u16) -> Vec<i64> {
    let sockets = host
        .metadata
        .get("Sockets")
        .and_then(Value::as_list)
        .unwrap_or_default();
    let sockets = sockets.iter().filter_map(Value::as_map);
    sockets
        .filter(|socket| socket.get("LocalPort").and_then(Value::to_int) == Some(port.into()))
        .filter_map(|socket| socket.get("Pid")?.to_int())
        .collect()
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn sockets_of_all_namespaces_are_shown() {
    if !has_programs(&["python3"]) {
        return;
    }
    run(|mut lab| {
        let namespaces = lab.start();
        lab.add_netns("inner");
        lab.wait("the namespace", |g| g.inside("inner", "lo").is_some());
        ip("link set lo up");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let program =
            "import socket,time\ns=socket.socket()\ns.bind(('',4321))\ns.listen()\ntime.sleep(60)";
        let path = format!("--net={}", lab.run_path.join("inner").display());
        let mut command = Command::new("nsenter");
        let mut child = command
            .args([&path, "python3", "-c", program])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let probe = SocketInfoProbe::new(&namespaces, Duration::from_millis(50));
        lab.probes.start(probe).unwrap();
        lab.wait("both sockets", |g| {
            let host = g.nodes(&[("Type", "host")])[0];
            pids(host, port) == [i64::from(std::process::id())]
                && pids(host, 4321) == [i64::from(child.id())]
        });
        child.kill().unwrap();
        child.wait().unwrap();
        lab.wait("the end of one", |g| {
            let host = g.nodes(&[("Type", "host")])[0];
            pids(host, 4321).is_empty() && pids(host, port).len() == 1
        });
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn a_namespace_without_a_name_is_shown_while_it_has_processes() {
    run(|mut lab| {
        let namespaces = lab.start();
        lab.probes
            .start(ProcessNetnsProbe::new(&namespaces))
            .unwrap();
        lab.add_netns("named");
        let first = lab.inhabitant("named");
        let second = lab.inhabitant("named");
        let pids = |node: &Node| -> Vec<i64> {
            let processes = node.metadata.get("Processes").and_then(Value::as_list);
            let pids = processes
                .unwrap_or_default()
                .iter()
                .filter_map(Value::as_map);
            pids.filter_map(|process| process.get("Pid")?.to_int())
                .collect()
        };
        let wanted = [i64::from(first.0.id()), i64::from(second.0.id())];
        lab.wait("the processes of a named namespace", |g| {
            g.node("named")
                .is_some_and(|node| wanted.iter().all(|pid| pids(node).contains(pid)))
        });
        lab.del_netns("named");
        lab.wait("the namespace of processes", |g| {
            g.nodes(&[("Type", "netns"), ("Name", "sleep")])
                .iter()
                .any(|node| pids(node).contains(&wanted[0]))
        });
        drop(first);
        lab.wait("another process of the namespace", |g| {
            let path = format!("/proc/{}/ns/net", wanted[1]);
            g.count(&[("Type", "netns"), ("Path", &path)]) == 1
        });
        drop(second);
        lab.wait("its end", |g| {
            g.count(&[("Type", "netns"), ("Name", "sleep")]) == 0
        });
    });
}
