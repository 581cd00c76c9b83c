//! Search for the words of an expression that libpcap would resolve as host names.
//!
//! libpcap resolves every value of `host`, `net`, `gateway`, and `ether host` that is not an
//! address. Compilation of a filter could therefore wait for a name server for many seconds and
//! cannot be interrupted. Names of ports (`port http`) and protocols (`proto igmp`) come from files
//! and remain allowed.
//!
//! Words are separated as by libpcap's scanner (`scanner.l`, version 1.10). The last keyword before
//! a value determines its kind: `port http or https`.

/// Returns the first word that libpcap would resolve as the name of a host or network; `None` if no
/// word would be resolved.
pub(super) fn host_name(text: &str) -> Option<&str> {
    let mut are_names_allowed = false;
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '_' | '-' | '\\');
    for chunk in text.split(|c: char| !is_part(c)) {
        if is_colon_address(chunk) {
            continue;
        }
        // Other colons separate an offset from a size: `ip[6:2]`.
        for word in chunk.split(':') {
            let word = word.trim_matches(['-', '_']);
            if let Some(kind) = keyword(word) {
                match kind {
                    Keyword::Operator => {}
                    Keyword::BeforeLocalNames => are_names_allowed = true,
                    Keyword::Other => are_names_allowed = false,
                }
            } else if !are_names_allowed && !word.is_empty() && !is_number_or_address(word) {
                return Some(word);
            }
        }
    }
    None
}

/// Kind of a keyword.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keyword {
    /// Operator that joins values of the same kind.
    Operator,
    /// Keyword whose values have local names: ports, protocols, types of frames, interfaces.
    BeforeLocalNames,
    /// Keyword without values, or with addresses or host names as values.
    Other,
}

/// Returns the kind of a keyword; `None` for any other word.
fn keyword(word: &str) -> Option<Keyword> {
    if OPERATORS.contains(&word) {
        Some(Keyword::Operator)
    } else if BEFORE_LOCAL_NAMES.contains(&word) {
        Some(Keyword::BeforeLocalNames)
    } else if OTHERS.contains(&word) || CONSTANT_PREFIXES.iter().any(|p| is_constant(word, p)) {
        Some(Keyword::Other)
    } else {
        None
    }
}

/// Returns whether a word is a symbolic constant with this prefix: `tcp-syn`, `icmp-echo`.
fn is_constant(word: &str, prefix: &str) -> bool {
    let rest = word.strip_prefix(prefix);
    rest.is_some_and(|rest| CONSTANTS.contains(&rest))
}

/// Returns whether a word is an IPv6 or MAC address with colons.
fn is_colon_address(word: &str) -> bool {
    let is_group = |group: &str| group.len() <= 4 && group.chars().all(|c| c.is_ascii_hexdigit());
    word.matches(':').count() >= 2
        && (word.split(':').all(is_group) || word.parse::<std::net::Ipv6Addr>().is_ok())
}

/// Returns whether a word is a number, an IPv4 address or its beginning, or a MAC address.
fn is_number_or_address(word: &str) -> bool {
    let is_decimal = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    let is_hex = |part: &str, most: usize| {
        (1..=most).contains(&part.len()) && part.chars().all(|c| c.is_ascii_hexdigit())
    };
    let is_mac = |separator: char, groups: usize, digits: usize| {
        word.split(separator).count() == groups && word.split(separator).all(|g| is_hex(g, digits))
    };
    let hexadecimal = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X"));
    hexadecimal.is_some_and(|digits| is_hex(digits, usize::MAX))
        || (word.split('.').count() <= 4 && word.split('.').all(is_decimal))
        || is_mac('-', 6, 2)
        || is_mac('.', 6, 2)
        || is_mac('.', 3, 4)
        || (word.len() == 12 && is_hex(word, 12))
}

const OPERATORS: &[&str] = &["and", "or", "not"];

const BEFORE_LOCAL_NAMES: &[&str] = &[
    "port",
    "portrange",
    "proto",
    "protochain",
    "type",
    "subtype",
    "dir",
    "direction",
    "ifname",
    "on",
    "rset",
    "ruleset",
    "reason",
    "action",
];

/// Keywords before addresses, without a value, or with a number only.
const OTHERS: &[&str] = &[
    "dst",
    "src",
    "link",
    "ether",
    "ppp",
    "slip",
    "fddi",
    "tr",
    "wlan",
    "arp",
    "rarp",
    "ip",
    "sctp",
    "tcp",
    "udp",
    "icmp",
    "igmp",
    "igrp",
    "pim",
    "vrrp",
    "carp",
    "radio",
    "ip6",
    "icmp6",
    "ah",
    "esp",
    "atalk",
    "aarp",
    "decnet",
    "lat",
    "sca",
    "moprc",
    "mopdl",
    "iso",
    "esis",
    "es-is",
    "isis",
    "is-is",
    "l1",
    "l2",
    "iih",
    "lsp",
    "snp",
    "csnp",
    "psnp",
    "clnp",
    "stp",
    "ipx",
    "netbeui",
    "host",
    "net",
    "mask",
    "gateway",
    "ra",
    "ta",
    "addr1",
    "addr2",
    "addr3",
    "addr4",
    "address1",
    "address2",
    "address3",
    "address4",
    "less",
    "greater",
    "byte",
    "broadcast",
    "multicast",
    "len",
    "length",
    "inbound",
    "outbound",
    "ifindex",
    "vlan",
    "mpls",
    "pppoed",
    "pppoes",
    "geneve",
    "vxlan",
    "llc",
    "lane",
    "metac",
    "bcc",
    "oam",
    "oamf4",
    "oamf4ec",
    "oamf4sc",
    "sc",
    "ilmic",
    "vpi",
    "vci",
    "connectmsg",
    "metaconnect",
    "rnr",
    "rulenum",
    "srnr",
    "subrulenum",
    "fisu",
    "lssu",
    "lsu",
    "msu",
    "hfisu",
    "hlssu",
    "hmsu",
    "sio",
    "opc",
    "dpc",
    "sls",
    "hsio",
    "hopc",
    "hdpc",
    "hsls",
    "tcpflags",
    "icmptype",
    "icmpcode",
    "icmp6type",
    "icmp6code",
    "i",
    "s",
    "u",
    "rr",
    "rej",
    "ui",
    "ua",
    "disc",
    "sabme",
    "test",
    "xid",
    "frmr",
];

const CONSTANT_PREFIXES: &[&str] = &["tcp-", "icmp-", "icmp6-"];

/// Symbolic constants without their prefix.
const CONSTANTS: &[&str] = &[
    "fin",
    "syn",
    "rst",
    "push",
    "ack",
    "urg",
    "ece",
    "cwr",
    "echoreply",
    "unreach",
    "sourcequench",
    "redirect",
    "echo",
    "routeradvert",
    "routersolicit",
    "timxceed",
    "paramprob",
    "tstamp",
    "tstampreply",
    "ireq",
    "ireqreply",
    "maskreq",
    "maskreply",
    "packettoobig",
    "destinationunreach",
    "destinationrunreach",
    "timeexceeded",
    "parameterproblem",
    "multicastlistenerquery",
    "multicastlistenerreportv1",
    "multicastlistenerdone",
    "neighborsolicit",
    "neighboradvert",
    "routerrenum",
    "nodeinformationquery",
    "nodeinformationresponse",
    "ineighbordiscoverysolicit",
    "ineighbordiscoveryadvert",
    "multicastlistenerreportv2",
    "homeagentdiscoveryrequest",
    "homeagentdiscoveryreply",
    "mobileprefixsolicit",
    "mobileprefixadvert",
    "certpathsolicit",
    "certpathadvert",
    "multicastrouteradvert",
    "multicastroutersolicit",
    "multicastrouterterm",
];

#[cfg(test)]
mod tests {
    use pcap::{Capture, Linktype};

    use super::*;

    #[test]
    fn filters_without_host_names_pass() {
        for text in [
            "",
            "tcp port 80 or tcp port 443",
            "port http or https",
            "portrange 1000-2000",
            "host 192.0.2.1 and not port 22",
            "src net 10.1 or dst net 192.0.2.0/24 or net 10.0.0.0 mask 255.0.0.0",
            "host 2001:db8::1 or net fe80::/10 or host ::ffff:192.0.2.1",
            "ether host 00:11:22:33:44:55 or ether src 0:1:2:3:4:5",
            "ether host 00-11-22-33-44-55 or ether host 0011.2233.4455 or ether host aa.bb.cc.d.e.f",
            "ether host 0a1b2c3d4e5f",
            "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0 and not src and dst net 127.0.0.0/8",
            "icmp[icmptype] != icmp-echo and icmp6[icmp6type] = icmp6-neighborsolicit",
            "ether proto \\ip or ip proto \\udp or ip proto igmp",
            "ip[6:2] & 0x1fff = 0 and ip[0] & 0xf != 5 and len <= 100 and ip[2:2]-5 > 3",
            "vlan 5 and (mpls or pppoes 7) and geneve",
            "(not port (domain or ntp)) && less 100 || greater 1000",
        ] {
            assert_eq!(host_name(text), None, "{text}");
        }
    }

    #[test]
    fn words_that_would_be_resolved_are_found() {
        for (text, name) in [
            ("host example.com", "example.com"),
            ("example", "example"),
            ("port 80 and host localhost", "localhost"),
            ("src www or port 80", "www"),
            ("dst net intranet", "intranet"),
            ("tcp and (host a-b.example)", "a-b.example"),
            ("port 80 or src gateway-1", "gateway-1"),
            ("ether host printer", "printer"),
            ("gateway router", "router"),
            ("host 1.2.3.4.5", "1.2.3.4.5"),
            ("host 1password.example", "1password.example"),
            ("host abcd", "abcd"),
            ("host \\tcp", "\\tcp"),
            ("host HOST", "HOST"),
            ("not evil.example", "evil.example"),
            ("net a/8", "a"),
            ("icmp-x", "icmp-x"),
        ] {
            assert_eq!(host_name(text), Some(name), "{text}");
        }
    }

    /// Verifies that libpcap has no keyword that this module considers a name.
    #[test]
    fn keywords_are_those_of_libpcap() {
        let handle = Capture::dead(Linktype::ETHERNET).unwrap();
        for text in [
            "arp",
            "rarp",
            "atalk",
            "aarp",
            "decnet",
            "lat",
            "sca",
            "moprc",
            "mopdl",
            "iso",
            "clnp",
            "esis",
            "isis",
            "l1",
            "l2",
            "iih",
            "lsp",
            "snp",
            "csnp",
            "psnp",
            "stp",
            "ipx",
            "netbeui",
            "ah",
            "esp",
            "vrrp",
            "carp",
            "igrp",
            "pim",
            "igmp",
            "icmp6",
            "pppoed",
            "llc",
            "llc i",
            "llc s",
            "llc u",
            "llc rr",
            "llc rnr",
            "llc rej",
            "llc ui",
            "llc sabme",
            "llc xid",
            "llc test",
            "llc frmr",
            "llc disc",
            "llc ua",
            "broadcast",
            "multicast",
            "ip6 multicast",
            "ip6 protochain 6",
            "byte 0 = 5",
            "ether[0] = 1",
            "icmp[icmpcode] = 1",
        ] {
            assert_eq!(host_name(text), None, "{text}");
            drop(handle.compile(text, true));
        }
    }
}
