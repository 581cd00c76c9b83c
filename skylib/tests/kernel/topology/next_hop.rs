//! `NextHop` compared to the answers of the kernel.

use serde_json::Value;
use skylib::flow::FlowSet;
use skylib::graph::{Graph, GraphView};
use skylib::gremlin::{Context, Query};
use skylib::time::Timestamp;

use super::lab::run;
use crate::support::{ip, sh};

/// Gateway or destination, and index of the interface; `None` if the kernel rejects the address.
type Hop = Option<(String, u64)>;

/// Returns the next hop according to the kernel.
fn kernel_hop(address: &str) -> Hop {
    // The exit status is not 0 if the kernel rejects the address.
    let text = sh(&format!("ip -j route get {address} 2>/dev/null || true"));
    let routes: Value = serde_json::from_str(&text).ok()?;
    let route = routes.get(0)?;
    let kind = route["type"].as_str().unwrap_or_default();
    if ["blackhole", "unreachable", "prohibit"].contains(&kind) {
        return None;
    }
    let gateway = route["gateway"].as_str().unwrap_or(address);
    Some((gateway.to_owned(), index(route["dev"].as_str()?)))
}

fn index(device: &str) -> u64 {
    let links: Value = serde_json::from_str(&ip(&format!("-j link show dev {device}"))).unwrap();
    links[0]["ifindex"].as_u64().unwrap()
}

/// Returns the next hop of a node according to `NextHop`.
fn hop_of(graph: &Graph, name: &str, address: &str) -> Hop {
    let view = GraphView::open(graph);
    let flows = FlowSet::default();
    let context = Context::new(&view, &flows, Timestamp::ZERO);
    let query = format!("G.V().Has('Name', '{name}').NextHop('{address}')");
    let answer = Query::parse(&query).unwrap().run(&context).unwrap();
    let answer = serde_json::to_value(&answer).unwrap();
    let (_, hop) = answer.get(0)?.as_object()?.iter().next()?;
    Some((hop["IP"].as_str()?.to_owned(), hop["IfIndex"].as_u64()?))
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn the_next_hop_is_that_of_the_kernel() {
    run(|mut lab| {
        lab.start();
        for (device, address) in [("dA", "192.0.2.2/24"), ("dB", "198.51.100.2/24")] {
            ip(&format!("link add {device} type veth peer name {device}p"));
            ip(&format!("link set {device} up"));
            ip(&format!("link set {device}p up"));
            ip(&format!("addr add {address} dev {device}"));
        }
        ip("link set lo up");
        ip("addr add 2001:db8:a::2/64 dev dA nodad");
        ip("route add default via 192.0.2.1 metric 100");
        ip("route add default via 198.51.100.9 metric 50");
        ip("route add default via 2001:db8:a::1");
        ip("route add unreachable 2001:db8:b::/48");
        for kind in ["blackhole", "unreachable", "prohibit"] {
            ip(&format!("route add {kind} 10.{}.0.0/16", kind.len()));
        }
        ip("route add 10.50.0.0/16 via 192.0.2.9 table 100");
        ip("route add 10.51.0.0/16 via 192.0.2.9 table 100");
        ip("route add throw 10.51.1.0/24 table 100");
        ip("route add 10.60.0.0/16 dev dB table 100");
        ip("route add 10.61.0.0/16 via 192.0.2.6 tos 8");
        let addresses = [
            "8.8.8.8",
            "192.0.2.77",
            "192.0.2.2",
            "192.0.2.255",
            "127.0.0.5",
            "224.0.0.9",
            "255.255.255.255",
            "10.9.1.1",
            "10.11.1.1",
            "10.8.1.1",
            "10.50.1.1",
            "10.51.2.1",
            "10.51.1.1",
            "10.60.1.1",
            "10.61.1.1",
            "2001:db8:a::77",
            "2001:db8:a::2",
            "2001:db8:c::1",
            "2001:db8:b::1",
            "::1",
        ];
        let rules = [
            "rule add from 10.0.0.0/8 table 100",
            "rule add to 10.50.0.0/16 table 100",
            "rule add fwmark 7 table 100 priority 90",
            "rule add not fwmark 7 table 100 priority 80",
            "rule add table main suppress_prefixlength 0 priority 70",
            "rule add to 8.0.0.0/8 prohibit priority 60",
            "rule add goto 32766 priority 50",
            "rule del priority 50",
            "rule del priority 70",
            "rule add iif dA unreachable priority 40",
            "rule add iif lo to 9.0.0.0/8 unreachable priority 41",
            "-6 rule add to 2001:db8:c::/48 blackhole",
        ];
        for rule in std::iter::once("link show").chain(rules) {
            ip(rule);
            for address in addresses.iter().chain(&["9.9.9.9"]) {
                let wanted = kernel_hop(address);
                lab.wait(
                    &format!("{wanted:?} for {address} after `ip {rule}`"),
                    |g| hop_of(g.0, "lab", address) == wanted,
                );
            }
        }
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn an_interface_has_the_hop_that_leaves_there() {
    run(|mut lab| {
        lab.start();
        lab.add_netns("ns");
        lab.ip_in("ns", "link set lo up");
        for (device, address) in [("dA", "192.0.2.2/24"), ("dB", "198.51.100.2/24")] {
            lab.ip_in(
                "ns",
                &format!("link add {device} type veth peer name {device}p"),
            );
            lab.ip_in("ns", &format!("link set {device} up"));
            lab.ip_in("ns", &format!("link set {device}p up"));
            lab.ip_in("ns", &format!("addr add {address} dev {device}"));
        }
        lab.ip_in("ns", "route add default via 192.0.2.1");
        lab.ip_in(
            "ns",
            "route add 203.0.113.0/24 nexthop via 192.0.2.1 nexthop via 198.51.100.1",
        );
        let wait = |name: &str, address: &str, gateway: Option<&str>| {
            lab.wait(&format!("{gateway:?} for {address} from {name}"), |g| {
                hop_of(g.0, name, address).map(|hop| hop.0).as_deref() == gateway
            });
        };
        wait("dA", "203.0.113.5", Some("192.0.2.1"));
        wait("dB", "203.0.113.5", Some("198.51.100.1"));
        wait("ns", "203.0.113.5", Some("192.0.2.1"));
        wait("dA", "8.8.8.8", Some("192.0.2.1"));
        wait("dB", "8.8.8.8", None);
        wait("dB", "198.51.100.7", Some("198.51.100.7"));
        wait("lab", "8.8.8.8", None);
        // The kernel does not use the hop of a link that is down.
        lab.ip_in("ns", "link set dA down");
        wait("ns", "203.0.113.5", Some("198.51.100.1"));
        wait("ns", "8.8.8.8", None);
    });
}
