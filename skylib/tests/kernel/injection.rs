//! Packet injections of an engine, between two network namespaces.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use skylib::api::{CaptureSpec, Injection};
use skylib::engine::{Collection, Engine, EngineOptions, Role};
use skylib::time::{Clock, SystemClock};

use crate::support::{in_new_namespace, ip, sh, unshare_mounts};

/// Timeout of waits; a test that reaches it has failed.
const TIMEOUT: Duration = Duration::from_secs(15);

/// An engine in a namespace with the interface `near`, connected to `far` in the namespace `blue`.
struct Hosts {
    engine: Engine,
    folder: PathBuf,
}

impl Hosts {
    fn new(name: &str) -> Self {
        unshare_mounts();
        let folder = std::env::temp_dir().join(format!("skylib-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let blue = folder.join("blue");
        std::fs::write(&blue, "").unwrap();
        sh(&format!("unshare --net={} true", blue.display()));
        ip("link add near type veth peer name far");
        // A process in the namespace, so that `ip` can name it.
        let mut inside = Command::new("nsenter")
            .args([&format!("--net={}", blue.display()), "sleep", "60"])
            .spawn()
            .unwrap();
        let own = format!("/proc/{}/ns/net", inside.id());
        wait("the process", || same_file(Path::new(&own), &blue));
        ip(&format!("link set far netns {}", inside.id()));
        inside.kill().unwrap();
        inside.wait().unwrap();
        let hosts = Self {
            engine: Engine::start(
                EngineOptions::new("h")
                    .with_role(Role::AllInOne)
                    .with_netns_path(Some(folder.clone())),
            )
            .unwrap(),
            folder,
        };
        for (interface, number) in [("near", 1), ("far", 2)] {
            for arguments in [
                format!("address add 10.7.0.{number}/24 dev {interface}"),
                format!("-6 address add fd07::{number}/64 dev {interface} nodad"),
                format!("link set {interface} address 02:00:00:00:07:0{number}"),
                format!("link set {interface} up"),
            ] {
                hosts.ip_of(interface, &arguments);
            }
        }
        let up = "G.V().Has('Name', Within('near', 'far'), 'State', 'UP').HasKey('IPV6').Count()";
        wait("both interfaces", || hosts.ask(up) == "2");
        hosts
    }

    /// Runs `ip` in the namespace of an interface.
    fn ip_of(&self, interface: &str, arguments: &str) {
        let enter = match interface {
            "far" => format!("nsenter --net={} ", self.folder.join("blue").display()),
            _ => String::new(),
        };
        sh(&format!("{enter}ip {arguments}"));
    }

    fn ask(&self, query: &str) -> String {
        let answer = self.engine.query(query).unwrap();
        let mut json = Vec::new();
        answer.write_json(&mut json).unwrap();
        String::from_utf8(json).unwrap()
    }

    /// Captures the packets that `far` receives.
    fn capture(&self) {
        let spec = CaptureSpec::new("G.V().Has('Name', 'far')");
        self.engine.captures().add(spec, None).unwrap();
        let active = "G.V().Has('Captures.State', 'active').Count()";
        wait("the capture", || self.ask(active) == "1");
    }

    fn inject(&self, injection: Injection) -> String {
        let added = self.engine.injections().add(injection, None);
        added.unwrap().uuid.clone()
    }

    /// Returns the problem of an injection.
    fn error(&self, id: &str) -> String {
        self.engine.injections().get(id).unwrap().error.clone()
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        self.engine.stop();
        let blue = self.folder.join("blue");
        drop(Command::new("umount").arg("-l").arg(blue).status());
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

fn same_file(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let inode = |path| std::fs::metadata(path).map(|m| m.ino()).ok();
    inode(a) == inode(b)
}

fn wait(what: &str, mut test: impl FnMut() -> bool) {
    let began = SystemClock.now();
    while !test() {
        let waited = SystemClock.now().duration_since(began);
        assert!(waited < TIMEOUT, "timed out waiting for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn from_near(packet_type: &str) -> Injection {
    Injection::new("G.V().Has('Name', 'near')", packet_type)
        .with_dst("G.V().Has('Name', 'far')")
        .with_count(3_u64)
        .with_payload("hello")
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn injected_packets_are_the_requested_flows() {
    in_new_namespace(|| {
        let hosts = Hosts::new("flows");
        hosts.capture();
        hosts.inject(from_near("icmp4").with_icmp_id(321_u16));
        hosts.inject(from_near("icmp6").with_icmp_id(322_u16));
        for packet_type in ["udp4", "udp6", "tcp4", "tcp6"] {
            let injection = from_near(packet_type)
                .with_src_port(4_000_u16)
                .with_dst_port(5_000_u16);
            hosts.inject(injection);
        }
        let flows = [
            "Has('Application', 'ICMPv4').Has('ICMP.ID', 321).Has('Network.A', '10.7.0.1')",
            "Has('Application', 'ICMPv6Echo').Has('ICMP.ID', 322).Has('Network.A', 'fd07::1')",
            "Has('Network.B', '10.7.0.2').Has('Transport.Protocol', 'UDP', 'Transport.B', 5000)",
            "Has('Network.B', 'fd07::2').Has('Transport.Protocol', 'UDP', 'Transport.B', 5000)",
            "Has('Network.B', '10.7.0.2').Has('Transport.Protocol', 'TCP', 'Transport.A', 4000)",
            "Has('Network.B', 'fd07::2').Has('Transport.Protocol', 'TCP', 'Transport.A', 4000)",
        ];
        // The kernel of `far` refuses each SYN, so that the next one begins another flow.
        for flow in flows {
            let query = format!("G.Flows().{flow}.Sum('Metric.ABPackets')");
            wait(flow, || hosts.ask(&query) == "3");
        }
        let all = "G.V().HasKey('PacketInjections').Count()";
        wait("the end of all injections", || hosts.ask(all) == "0");
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn a_running_injection_is_shown_until_it_is_deleted() {
    in_new_namespace(|| {
        let hosts = Hosts::new("life");
        let injection = from_near("udp4")
            .with_count(1_000_u64)
            .with_interval(20_u64);
        // From the namespace `blue`, whose interface is not in the namespace of this process.
        let injection = injection
            .with_src("G.V().Has('Name', 'far')")
            .with_dst("G.V().Has('Name', 'near')");
        let id = hosts.inject(injection);
        let shown = format!(
            "G.V().Has('Name', 'far', 'PacketInjections.ID', '{id}', \
             'PacketInjections.State', 'active', 'PacketInjections.PacketCount', GT(10)).Count()"
        );
        wait("the progress", || hosts.ask(&shown) == "1");
        assert_eq!(hosts.error(&id), "");
        assert!(hosts.engine.injections().delete(&id).unwrap());
        let any = "G.V().HasKey('PacketInjections').Count()";
        wait("its end", || hosts.ask(any) == "0");
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn the_next_hop_is_that_of_the_routes_of_the_node() {
    in_new_namespace(|| {
        let hosts = Hosts::new("hop");
        hosts.capture();
        ip("route add 10.9.0.0/16 via 10.7.0.2");
        ip("neighbor add 10.7.0.2 lladdr 02:00:00:00:07:02 dev near nud permanent");
        let hop = "G.V().Has('Name', 'near').NextHop('10.9.1.1')";
        wait("the route", || hosts.ask(hop).contains("02:00:00:00:07:02"));
        let far_away = from_near("udp4")
            .with_dst("")
            .with_dst_ip("10.9.1.1")
            .with_dst_port(7_u16);
        hosts.inject(far_away);
        let flow = "G.Flows().Has('Network.B', '10.9.1.1', 'Link.B', '02:00:00:00:07:02').Count()";
        wait("the flow", || hosts.ask(flow) == "1");
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn what_was_not_sent_is_explained() {
    in_new_namespace(|| {
        let hosts = Hosts::new("errors");
        // Larger than the MTU from the second packet on.
        let mut growing = from_near("udp4");
        growing.increment_payload = 2_000;
        let id = hosts.inject(growing);
        wait("the problem", || !hosts.error(&id).is_empty());
        let error = hosts.error(&id);
        assert!(
            error.contains("2 of 3 packets were not sent: cannot send"),
            "{error}"
        );
        let shown = "G.V().Has('PacketInjections.State', 'error').Count()";
        assert_eq!(hosts.ask(shown), "1");
        assert!(hosts.engine.injections().delete(&id).unwrap());
        wait("its end", || hosts.ask(shown) == "0");

        hosts.ip_of("far", "link set far down");
        let id = hosts.inject(from_near("udp4"));
        wait("the missing carrier", || {
            hosts
                .error(&id)
                .contains(r#"interface "near" has no carrier"#)
        });

        hosts.ip_of("near", "link set near down");
        let id = hosts.inject(from_near("udp4"));
        wait("the problem", || {
            hosts.error(&id).contains(r#"interface "near" is down"#)
        });
    });
}
