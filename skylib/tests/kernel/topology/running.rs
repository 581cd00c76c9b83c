//! Start and stop, idle threads, lost messages, missing privileges.

use std::fmt::Write;
use std::time::Duration;

use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use skylib::time::{Clock, SystemClock};
use skylib::topology::ProbeState;

use super::lab::run;
use crate::support::{ip, sh};

#[test]
#[ignore = "needs root: creates network namespaces"]
fn probes_with_many_namespaces_stop_within_a_second() {
    run(|mut lab| {
        lab.start();
        for i in 0..20 {
            lab.add_netns(&format!("s{i}"));
        }
        lab.wait("all", |g| g.count(&[("Name", "lo")]) == 21);
        assert_eq!(lab.status("netlink").state, ProbeState::Running);
        assert_eq!(lab.status("netns").state, ProbeState::Running);
        let before = SystemClock.now();
        lab.probes.stop();
        let took = SystemClock.now().duration_since(before);
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert_eq!(lab.status("netlink").state, ProbeState::Stopped);
        assert_eq!(lab.status("netns").error, None);
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn a_change_is_shown_within_a_second() {
    run(|mut lab| {
        lab.start();
        ip("link add br0 type bridge");
        lab.wait("a bridge", |g| g.node("br0").is_some());
        for mtu in 1300..1310 {
            ip(&format!("link set br0 mtu {mtu}"));
            let before = SystemClock.now();
            lab.wait("the new MTU", |g| g.int("br0", "MTU") == Some(mtu));
            let took = SystemClock.now().duration_since(before);
            assert!(took < Duration::from_secs(1), "{took:?}");
        }
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn lost_messages_cause_a_full_reconciliation() {
    run(|mut lab| {
        lab.start();
        ip("link add doomed type bridge");
        ip("link add br0 type bridge");
        lab.wait("both", |g| {
            g.node("br0").is_some() && g.node("doomed").is_some()
        });
        // Nothing reads the socket while the graph is locked, so its buffer overflows.
        let mut batch = String::new();
        for i in 0..12_000 {
            writeln!(batch, "link set br0 mtu {}", 1000 + i % 400).unwrap();
        }
        batch.push_str("link del doomed\nlink add new0 type bridge\nlink set br0 mtu 1234\n");
        let file = lab
            .run_path
            .join("../batch.txt")
            .with_extension(std::process::id().to_string());
        std::fs::write(&file, batch).unwrap();
        lab.hold(|| sh(&format!("ip -batch {}", file.display())));
        std::fs::remove_file(&file).unwrap();
        lab.wait("the added link", |g| g.node("new0").is_some());
        lab.wait("what changed", |g| g.int("br0", "MTU") == Some(1234));
        lab.wait("what went", |g| g.node("doomed").is_none());
        let sockets = std::fs::read_to_string("/proc/thread-self/net/netlink").unwrap();
        let drops = sockets
            .lines()
            .skip(1)
            .filter_map(|l| l.split_whitespace().nth(8));
        assert!(
            drops.map(|n| n.parse::<u64>().unwrap()).sum::<u64>() > 0,
            "nothing was lost"
        );
        assert!(lab.status("netlink").resyncs > 0, "the overrun is counted");
        ip("link set br0 mtu 1235");
        lab.wait("what happened later", |g| g.int("br0", "MTU") == Some(1235));
        assert_eq!(lab.status("netlink").error, None);
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn without_the_privilege_to_enter_namespaces_the_own_one_is_shown() {
    run(|mut lab| {
        lab.make_run_path();
        lab.add_netns("closed");
        // A thread without the capability, which the threads of the probes inherit.
        std::thread::scope(|scope| {
            let start = || {
                let mut sets = capabilities(None).unwrap();
                sets.effective.remove(CapabilitySet::SYS_ADMIN);
                sets.permitted.remove(CapabilitySet::SYS_ADMIN);
                set_capabilities(None, sets).unwrap();
                lab.start();
            };
            scope.spawn(start).join().unwrap();
        });
        lab.wait("the namespace itself", |g| g.node("closed").is_some());
        lab.wait_status("netns", |status| status.error.is_some());
        let error = lab.status("netns").error.unwrap();
        assert!(
            error.contains("closed") && error.contains("CAP_SYS_ADMIN"),
            "{error}"
        );
        assert!(error.contains("setcap"), "the remedy: {error}");
        assert_eq!(lab.status("netlink").error, None);
        ip("link add br0 type bridge");
        lab.wait("the own namespace", |g| g.node("br0").is_some());
        ip("link add near type veth peer name far");
        lab.move_to(None, "far", "closed");
        lab.wait("whom it leads to", |g| {
            g.text("near", "LinkNetNsName") == "closed"
        });
        lab.del_netns("closed");
        lab.wait("the namespace to be deleted", |g| {
            g.node("closed").is_none()
        });
        lab.wait_status("netns", |status| status.error.is_none());
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn idle_threads_sleep() {
    run(|mut lab| {
        lab.start();
        lab.add_netns("quiet");
        lab.wait("it", |g| g.inside("quiet", "lo").is_some());
        let switches = || {
            let mut found = Vec::new();
            for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
                let status = std::fs::read_to_string(task.path().join("status"));
                // A thread may end during the iteration.
                let Ok(status) = status else { continue };
                let mine = std::fs::read_link(task.path().join("ns/net"));
                if mine.ok() != std::fs::read_link("/proc/thread-self/ns/net").ok() {
                    continue;
                }
                let line = |key| {
                    status
                        .lines()
                        .find(|l| l.starts_with(key))
                        .unwrap()
                        .to_owned()
                };
                if line("Name:").contains("probe-") || line("Name:").contains("netns-0") {
                    found.push((task.file_name(), line("voluntary_ctxt_switches")));
                }
            }
            found.sort();
            found
        };
        // The probes may still be starting; an idle interval must follow.
        let is_quiet = || {
            let before = switches();
            assert_eq!(before.len(), 3, "{before:?}");
            std::thread::park_timeout(Duration::from_millis(1500));
            switches() == before
        };
        assert!((0..5).any(|_| is_quiet()), "{:?}", switches());
    });
}
