//! `Injection`: packets to send from interfaces.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::go_json::{JsonError, Members};
use super::json_object::{json_object, read_and_ignore, uuid_is_id};
use super::{ExpressionChecker, NodeFinder, Resource, ResourceError, Rfc3339, ValidationError};

json_object! {
    /// Packets to send from interfaces to a node or an address.
    ///
    /// ```
    /// use skylib::api::{Defaults, Injection, Resource};
    /// let text = r#"{"Src":"G.V('a')","DstIP":"192.0.2.1","Type":"icmp4","Increment":false}"#;
    /// let injection = Injection::read(text, &Defaults::default())?;
    /// assert_eq!((injection.packet_type.as_str(), injection.count), ("icmp4", 0));
    /// # Ok::<(), skylib::api::go_json::JsonError>(())
    /// ```
    #[derive(Eq)]
    pub struct Injection {
        /// Identifier, assigned by the server.
        pub uuid: String = "UUID";
        /// Gremlin query for the interfaces that send the packets.
        pub src: String = "Src", with_src;
        /// Gremlin query for the receiving node; empty if `dst_ip` is set.
        pub dst: String = "Dst", with_dst;
        /// TCP or UDP source port.
        pub src_port: u16 = "SrcPort", with_src_port;
        /// TCP or UDP destination port.
        pub dst_port: u16 = "DstPort", with_dst_port;
        /// Source IP address, optionally with a prefix length; empty for the address of the
        /// sending node.
        pub src_ip: String = "SrcIP", with_src_ip;
        /// Destination IP address, optionally with a prefix length; empty for the address of the
        /// receiving node.
        pub dst_ip: String = "DstIP", with_dst_ip;
        /// Source MAC address; empty for the address of the sending node.
        pub src_mac: String = "SrcMAC", with_src_mac;
        /// Destination MAC address; empty for the address of the next hop or the receiving node.
        pub dst_mac: String = "DstMAC", with_dst_mac;
        /// Packet type: `icmp4`, `icmp6`, `tcp4`, `tcp6`, `udp4`, or `udp6`.
        pub packet_type: String = "Type", with_packet_type;
        /// Payload of the packets.
        pub payload: String = "Payload", with_payload;
        /// Number of packets that each interface sends; 0 for 1 or, with a capture file, for the number
        /// of packets in the file.
        pub count: u64 = "Count", with_count;
        /// Identifier of ICMP echo requests.
        pub icmp_id: u16 = "ICMPID", with_icmp_id;
        /// Interval between packets, in milliseconds.
        pub interval: u64 = "Interval", with_interval;
        /// Variation between packets: `unique` (also if empty) or `random`.
        pub mode: String = "Mode", with_mode;
        /// Number of bytes by which each payload is longer than that of the previous packet.
        pub increment_payload: i64 = "IncrementPayload", with_increment_payload;
        /// Time of the request, as set by the client. It has no effect.
        pub start_time: Rfc3339 = "StartTime", with_start_time;
        /// Capture file in Base64 whose packets are sent instead.
        pub pcap: Option<String> = "Pcap" via read_pcap, with_pcap;
        /// Time to live of the IP packets, in hops.
        pub ttl: u8 = "TTL", with_ttl;
        /// Reason why packets were not sent; empty if there is none. Computed for each response; the
        /// server ignores the value that a client sends.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub error: String = "Error" via read_and_ignore;
    }
}

impl Injection {
    /// Returns an injection of packets of one type from all interfaces of a Gremlin query.
    ///
    /// ```
    /// use skylib::api::Injection;
    /// let ping = Injection::new("G.V().Has('Name', 'eth0')", "icmp4")
    ///     .with_dst_ip("192.0.2.1")
    ///     .with_count(5_u64);
    /// assert_eq!(ping.count, 5);
    /// ```
    #[must_use]
    pub fn new(src: impl Into<String>, packet_type: impl Into<String>) -> Self {
        Self::default().with_src(src).with_packet_type(packet_type)
    }
}

impl Resource for Injection {
    const KIND: &'static str = "injectpacket";
    const NAMESPACE: Option<&'static str> = Some("OnDemandPacketInjectionNotification");

    uuid_is_id!();

    fn validate(&self, _: &dyn ExpressionChecker) -> Result<(), ResourceError> {
        for (field, text) in [("SrcIP", &self.src_ip), ("DstIP", &self.dst_ip)] {
            if !text.is_empty() && !is_ip_or_cidr(text) {
                return Err(ValidationError::of_field(field, "Not a IP or CIDR address").into());
            }
        }
        for (field, text) in [("SrcMAC", &self.src_mac), ("DstMAC", &self.dst_mac)] {
            if !text.is_empty() && !is_mac(text) {
                return Err(ValidationError::of_field(field, "Not a MAC address").into());
            }
        }
        let types = ["icmp4", "icmp6", "tcp4", "tcp6", "udp4", "udp6"];
        if !types.contains(&self.packet_type.as_str()) {
            return Err(ValidationError::of_resource("given type is not supported").into());
        }
        if !["", "unique", "random"].contains(&self.mode.as_str()) {
            return Err(ValidationError::of_resource("given mode is not supported").into());
        }
        Ok(())
    }

    fn check_nodes(&self, nodes: &dyn NodeFinder) -> Result<(), ResourceError> {
        let missing = format!("Not able to find a source node for '{}'", self.src);
        let source = match nodes.first_node(&self.src) {
            Ok(Some(source)) => source,
            Ok(None) => return Err(ValidationError::of_resource(missing).into()),
            Err(reason) => {
                return Err(ValidationError::of_resource(format!("{missing}: {reason}")).into());
            }
        };
        self.request_for(&source, 0, nodes)?;
        Ok(())
    }
}

/// Reads a capture file, which must be Base64; the string is stored unchanged.
fn read_pcap(
    members: &Members<'_>,
    key: &'static str,
    pcap: &mut Option<String>,
) -> Result<(), JsonError> {
    members.read(key, pcap)?;
    if let Some(pcap) = pcap
        && let Err(error) = BASE64.decode(pcap)
    {
        let reason = format!("not Base64: {error}");
        return Err(JsonError::Member { key, reason });
    }
    Ok(())
}

fn is_ip_or_cidr(text: &str) -> bool {
    let Some((ip, length)) = text.split_once('/') else {
        return text.parse::<IpAddr>().is_ok();
    };
    let longest = match ip.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    let is_number = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
    is_number && length.parse().is_ok_and(|length: u8| length <= longest)
}

/// Returns whether the string is a MAC address of 6, 8, or 20 bytes in hexadecimal.
///
/// Digits are grouped by two with colons or hyphens, or by four with dots.
fn is_mac(text: &str) -> bool {
    let forms = [(':', 2), ('-', 2), ('.', 4)];
    forms.iter().any(|&(separator, digits)| {
        let mut parts = 0;
        let is_part = |part: &str| {
            parts += 1;
            part.len() == digits && part.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        text.split(separator).all(is_part) && [6, 8, 20].contains(&(parts * digits / 2))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::Defaults;
    use super::super::tests::support::{accepts, refusal};
    use super::*;
    use crate::graph::{Metadata, Node};
    use crate::time::Timestamp;

    /// Finds a node whose id is the query.
    struct Nodes(Vec<Arc<Node>>);

    impl NodeFinder for Nodes {
        fn first_node(&self, query: &str) -> Result<Option<Arc<Node>>, String> {
            if query == "slow" {
                return Err("the query takes longer than 5s".to_owned());
            }
            let mut nodes = self.0.iter();
            Ok(nodes.find(|node| node.id.to_string() == query).cloned())
        }
    }

    fn nodes() -> Nodes {
        let routes = r#"[{"Routes":[{"NextHops":[{"IP":"10.0.0.9"}]}]}]"#;
        let neighbors = r#"[{"IP":"10.0.0.9","MAC":"02:00:00:00:00:09"}]"#;
        let whole = format!(
            r#"{{"IPV4":["10.0.0.1/24"],"MAC":"02:00:00:00:00:01","RoutingTables":{routes},
                "Neighbors":{neighbors}}}"#
        );
        let made = [
            ("whole", whole.as_str()),
            ("bare", "{}"),
            ("ip", r#"{"IPV4":"10.0.0.2/24"}"#),
            (
                "mac",
                r#"{"IPV4":["10.0.0.3/24"],"MAC":"02:00:00:00:00:03"}"#,
            ),
            (
                "port",
                r#"{"IPV4":["10.0.0.4/24"],"ExtID":{"attached-mac":"02:00:00:00:00:04"}}"#,
            ),
        ];
        let node = |(id, metadata)| {
            let metadata: Metadata = serde_json::from_str(metadata).unwrap();
            Arc::new(Node::new(id, metadata, Timestamp::ZERO))
        };
        Nodes(made.map(node).into())
    }

    #[test]
    fn a_source_query_that_fails_is_the_reason() {
        let wanted = "Not able to find a source node for 'slow': the query takes longer than 5s";
        let error = found(r#"{"Src":"slow","Type":"icmp4"}"#);
        assert!(error.contains(wanted), "{error}");
    }

    fn found(json: &str) -> String {
        let injection = Injection::read(json, &Defaults::default()).unwrap();
        injection
            .check_nodes(&nodes())
            .map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn each_rule_has_the_words_of_the_original() {
        for (json, text) in [
            ("{}", "given type is not supported"),
            (r#"{"Type":"smoke"}"#, "given type is not supported"),
            (
                r#"{"Type":"udp4","Mode":"odd"}"#,
                "given mode is not supported",
            ),
            (
                r#"{"Type":"udp4","SrcIP":"10.0.0"}"#,
                "SrcIP: Not a IP or CIDR address",
            ),
            (
                r#"{"Type":"udp4","DstIP":"10.0.0.1/33"}"#,
                "DstIP: Not a IP or CIDR address",
            ),
            (
                r#"{"Type":"udp4","DstIP":"::1/"}"#,
                "DstIP: Not a IP or CIDR address",
            ),
            (
                r#"{"Type":"udp4","SrcMAC":"02:00:00:00:00"}"#,
                "SrcMAC: Not a MAC address",
            ),
            (
                r#"{"Type":"udp4","DstMAC":"02:00:00-00:00:00"}"#,
                "DstMAC: Not a MAC address",
            ),
            (
                r#"{"SrcPort":65536}"#,
                "SrcPort: invalid value: integer `65536`, expected u16",
            ),
            (
                r#"{"Count":-1}"#,
                "Count: invalid value: integer `-1`, expected u64",
            ),
            (
                r#"{"Pcap":"?"}"#,
                "Pcap: not Base64: Invalid symbol 63, offset 0.",
            ),
        ] {
            assert_eq!(refusal::<Injection>(json), text);
        }
        for good in [
            r#""SrcIP":"10.0.0.1/24","DstIP":"2001:db8::1""#,
            r#""SrcMAC":"02-00-00-00-00-0A","DstMAC":"0200.0000.000a.0000""#,
            r#""Mode":"random","Pcap":"AAEC","StartTime":"2030-01-01T00:00:00Z""#,
            r#""Mode":"unique","Pcap":null"#,
        ] {
            accepts::<Injection>(&format!(r#"{{"Type":"tcp6",{good}}}"#));
        }
    }

    #[test]
    fn all_members_are_shown() {
        let json = concat!(
            r#"{"UUID":"","Src":"","Dst":"","SrcPort":0,"DstPort":0,"SrcIP":"","DstIP":"","#,
            r#""SrcMAC":"","DstMAC":"","Type":"icmp4","Payload":"","Count":0,"ICMPID":0,"#,
            r#""Interval":0,"Mode":"","IncrementPayload":0,"StartTime":"0001-01-01T00:00:00Z","#,
            r#""Pcap":null,"TTL":0}"#
        );
        assert_eq!(accepts::<Injection>(r#"{"Type":"icmp4"}"#), json);
        assert_eq!(accepts::<Injection>(json), json);
    }

    #[test]
    fn what_is_sent_must_find_its_way() {
        for (members, text) in [
            (
                r#""Src":"none""#,
                "Not able to find a source node for 'none'",
            ),
            (r#""Src":"bare","Dst":"mac""#, "No source IP in node"),
            (r#""Src":"whole""#, "No destination node and IP"),
            (
                r#""Src":"whole","Dst":"none""#,
                "No destination node and IP",
            ),
            (r#""Src":"whole","Dst":"bare""#, "No destination IP in node"),
            (r#""Src":"ip","Dst":"mac""#, "No source MAC in node"),
            (
                r#""Src":"mac","Dst":"ip""#,
                "Failed to resolve destination MAC address",
            ),
            (
                r#""Src":"mac","DstIP":"10.9.9.9""#,
                "Failed to resolve destination MAC address",
            ),
            (r#""Src":"mac","Dst":"port""#, ""),
            (r#""Src":"mac","Dst":"whole""#, ""),
            (r#""Src":"whole","Dst":"ip""#, ""),
            (r#""Src":"whole","DstIP":"10.9.9.9/8""#, ""),
            (r#""Src":"bare","Pcap":"AAEC""#, ""),
            (
                r#""Src":"bare","SrcIP":"10.0.0.1","SrcMAC":"02:00:00:00:00:01","DstIP":"10.0.0.2",
                   "DstMAC":"02:00:00:00:00:02""#,
                "",
            ),
        ] {
            assert_eq!(
                found(&format!(r#"{{"Type":"icmp4",{members}}}"#)),
                text,
                "{members}"
            );
        }
        assert_eq!(
            found(r#"{"Type":"icmp6","Src":"mac"}"#),
            "No source IP in node"
        );
    }
}
