//! Estimate of the time that libpcap needs to compile an expression.
//!
//! libpcap (1.10) first generates code without optimization. The time needed grows with the square
//! of the number of these instructions (0.1 s for 5 000, 0.5 s for 10 000, 3 s for 20 000), and the
//! compilation cannot be interrupted. Each value of a primitive results in a number of instructions
//! that depends on the keyword before it: `port 80` compares the ports of TCP, UDP, and SCTP over
//! IPv4 and IPv6, as source and as destination. The same keyword may be omitted for further values:
//! `port 80 or 81`.

/// Returns the estimated number of instructions of an expression.
pub(super) fn instructions(text: &str) -> usize {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '_' | '-' | '/');
    let words = text
        .split(|c: char| !is_part(c))
        .filter(|word| !word.is_empty());
    let mut each = OTHER;
    let mut total = 0;
    for word in words {
        match word.to_ascii_lowercase().as_str() {
            "port" => each = PORT,
            "portrange" => each = PORT_RANGE,
            "host" | "net" | "gateway" => each = HOST,
            "proto" | "protochain" => each = PROTOCOL,
            "ether" | "vlan" | "mpls" | "len" | "less" | "greater" => each = OTHER,
            // These words neither select a kind of value nor are values.
            "and" | "or" | "not" | "src" | "dst" | "mask" => {}
            // Primitives without a value, or protocols before another keyword.
            "tcp" | "udp" | "sctp" | "ip" | "ip6" | "arp" | "rarp" | "broadcast" | "multicast" => {
                total += OTHER;
            }
            _ => total += each,
        }
    }
    total
}

/// Number of instructions for a port.
const PORT: usize = 64;
/// Number of instructions for a range of ports.
const PORT_RANGE: usize = 94;
/// Number of instructions for a host or network.
const HOST: usize = 36;
/// Number of instructions for a protocol number or name.
const PROTOCOL: usize = 48;
/// Number of instructions for any other value.
const OTHER: usize = 14;

/// Maximum estimated number of instructions of an expression that is compiled. Compiling such an
/// expression takes about a quarter of a second.
pub(super) const MAX_INSTRUCTIONS: usize = 8_192;

#[cfg(test)]
mod tests {
    use pcap::{Capture, Linktype};

    use super::*;

    #[test]
    fn the_estimate_is_not_below_what_libpcap_generates() {
        let repeat = |part: fn(usize) -> String, between: &str| {
            (0..40).map(part).collect::<Vec<_>>().join(between)
        };
        for text in [
            repeat(|i| format!("port {i}"), " or "),
            repeat(|i| format!("port {i}"), "||"),
            format!("port {}", repeat(|i| i.to_string(), " or ")),
            repeat(|i| format!("not port {i}"), " and "),
            repeat(|i| format!("src or dst port {i}"), " or "),
            repeat(|i| format!("portrange {i}-{}", i + 9), " or "),
            repeat(|i| format!("host 10.0.0.{i}"), " or "),
            repeat(|i| format!("net 10.{i}.0.0/16"), " or "),
            repeat(|i| format!("host 2001:db8::{i}"), " or "),
            repeat(|i| format!("proto {i}"), " or "),
            repeat(|i| format!("ether host 00:11:22:33:44:{i:02}"), " or "),
            repeat(|i| format!("ip[{i}] = {i}"), " or "),
            repeat(|i| format!("(tcp port {i} and host 10.1.1.{i})"), " or "),
            repeat(|i| format!("vlan {i}"), " or "),
            repeat(|_| "multicast".to_owned(), " or "),
            repeat(|_| "icmp".to_owned(), " or "),
        ] {
            let handle = Capture::dead(Linktype::ETHERNET).unwrap();
            let program = handle.compile(&text, false).unwrap();
            let real = program.get_instructions().len();
            assert!(instructions(&text) >= real, "{real}: {text}");
            assert!(instructions(&text) < 12 * real, "{real}: {text}");
        }
    }

    #[test]
    fn usual_filters_are_far_below_the_limit() {
        for text in [
            "tcp port 80 or tcp port 443",
            "host 192.0.2.1 and not port 22",
            "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0 and not src and dst net 127.0.0.0/8",
        ] {
            assert!(instructions(text) < MAX_INSTRUCTIONS / 20, "{text}");
        }
        let ports: Vec<String> = (0..100).map(|i| format!("port {i}")).collect();
        assert!(instructions(&ports.join(" or ")) < MAX_INSTRUCTIONS);
        let many: Vec<String> = (0..300).map(|i| format!("port {i}")).collect();
        assert!(instructions(&many.join("||")) > MAX_INSTRUCTIONS);
    }
}
