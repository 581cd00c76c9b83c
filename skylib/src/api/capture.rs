//! `CaptureSpec`: what to capture, as clients ask for it.

use serde::{Serialize, Serializer};

use super::address::ServiceAddress;
use super::go_json::{JsonError, Members};
use super::{Defaults, ExpressionChecker, Resource, ResourceError, ValidationError};
use crate::flow::{KeyIgnore, LayerKeyMode, UnknownNameError};

/// A capture that a client wants: on every node of a query, with these settings.
///
/// Serialising gives the API's JSON: keys in the original's order, empty texts and zero numbers
/// left out where the original leaves them out.
///
/// ```
/// use skylib::api::CaptureSpec;
/// use skylib::flow::LayerKeyMode;
/// let text = r#"{"gremlinquery": "G.V().Has('Name', 'eth0')", "SamplingRate": 1}"#;
/// let spec = CaptureSpec::from_json(text, LayerKeyMode::L2)?;
/// assert_eq!(spec.gremlin_query, "G.V().Has('Name', 'eth0')");
/// assert_eq!(
///     serde_json::to_string(&spec)?,
///     concat!(r#"{"UUID":"","GremlinQuery":"G.V().Has('Name', 'eth0')","Count":0,"#,
///             r#""SamplingRate":1,"PollingInterval":0,"ExtraTCPMetric":false,"IPDefrag":false,"#,
///             r#""ReassembleTCP":false,"LayerKeyMode":"L2"}"#),
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CaptureSpec {
    /// Identifier, given by the server; a client's own is not kept.
    #[serde(rename = "UUID")]
    pub uuid: String,
    /// The nodes to capture on.
    #[serde(rename = "GremlinQuery", skip_serializing_if = "String::is_empty")]
    pub gremlin_query: String,
    /// Which packets, in the language of libpcap; empty for all.
    #[serde(rename = "BPFFilter", skip_serializing_if = "String::is_empty")]
    pub bpf_filter: String,
    /// For people.
    #[serde(rename = "Name", skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// For people.
    #[serde(rename = "Description", skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// How to capture; `None` for what suits the node.
    #[serde(rename = "Type", skip_serializing_if = "Option::is_none")]
    pub capture_type: Option<CaptureType>,
    /// Nodes this capture is active on, computed when it is shown.
    #[serde(rename = "Count")]
    pub count: i64,
    /// UDP port of sFlow and NetFlow captures, 0 for any free one.
    #[serde(rename = "Port", skip_serializing_if = "is_zero")]
    pub port: u16,
    /// One packet in so many, for sFlow.
    #[serde(rename = "SamplingRate")]
    pub sampling_rate: u32,
    /// Seconds between counter samples, for sFlow.
    #[serde(rename = "PollingInterval")]
    pub polling_interval: u32,
    /// Packets kept with each flow, 0 to 10.
    #[serde(rename = "RawPacketLimit", skip_serializing_if = "is_zero")]
    pub raw_packet_limit: i64,
    /// Bytes taken of each packet, 14 to 4096, 0 for the default.
    #[serde(rename = "HeaderSize", skip_serializing_if = "is_zero")]
    pub header_size: i64,
    /// Whether flows carry the metrics of their TCP connection.
    #[serde(rename = "ExtraTCPMetric")]
    pub extra_tcp_metric: bool,
    /// Whether IP fragments are put together.
    #[serde(rename = "IPDefrag")]
    pub ip_defrag: bool,
    /// Whether TCP segments are put in order.
    #[serde(rename = "ReassembleTCP")]
    pub reassemble_tcp: bool,
    /// Which layers tell flows apart.
    #[serde(rename = "LayerKeyMode", serialize_with = "write_mode")]
    pub layer_key_mode: LayerKeyMode,
    /// Application layers decoded: 1 VRRP, 2 DNS, 4 DHCPv4.
    #[serde(rename = "ExtraLayers", skip_serializing_if = "is_zero")]
    pub extra_layers: u32,
    /// Whether flows have the statistics of their round-trip times.
    #[serde(rename = "ExtraRTTMetric", skip_serializing_if = "is_zero")]
    pub extra_rtt_metric: bool,
    /// Whether to reproduce the values of the original; `None`: as configured (`flow.recorded`).
    #[serde(rename = "Recorded", skip_serializing_if = "Option::is_none")]
    pub recorded: Option<bool>,
    /// Parts of the flow key that are ignored; `None`: as configured (`flow.key.ignore`).
    #[serde(rename = "KeyIgnore", skip_serializing_if = "Option::is_none")]
    pub key_ignore: Option<Vec<String>>,
    /// Where packets or flows are sent instead of into the flow table, `host:port`.
    #[serde(rename = "Target", skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// How they are sent: `netflowv5`, `erspanv1`.
    #[serde(rename = "TargetType", skip_serializing_if = "String::is_empty")]
    pub target_type: String,
}

impl CaptureSpec {
    /// Reads a client's JSON; what it leaves out has its default.
    ///
    /// # Errors
    /// When the text is no JSON object, or a member has the wrong type or an unknown name.
    pub fn from_json(text: &str, default_mode: LayerKeyMode) -> Result<Self, JsonError> {
        let members = Members::first_of(text)?;
        let mut spec = Self::default();
        let (mut capture_type, mut layer_key_mode) = (String::new(), String::new());
        members.read("UUID", &mut spec.uuid)?;
        members.read("GremlinQuery", &mut spec.gremlin_query)?;
        members.read("BPFFilter", &mut spec.bpf_filter)?;
        members.read("Name", &mut spec.name)?;
        members.read("Description", &mut spec.description)?;
        members.read("Type", &mut capture_type)?;
        members.read("Count", &mut spec.count)?;
        members.read("Port", &mut spec.port)?;
        members.read("SamplingRate", &mut spec.sampling_rate)?;
        members.read("PollingInterval", &mut spec.polling_interval)?;
        members.read("RawPacketLimit", &mut spec.raw_packet_limit)?;
        members.read("HeaderSize", &mut spec.header_size)?;
        members.read("ExtraTCPMetric", &mut spec.extra_tcp_metric)?;
        members.read("IPDefrag", &mut spec.ip_defrag)?;
        members.read("ReassembleTCP", &mut spec.reassemble_tcp)?;
        members.read("LayerKeyMode", &mut layer_key_mode)?;
        members.read("ExtraLayers", &mut spec.extra_layers)?;
        members.read("ExtraRTTMetric", &mut spec.extra_rtt_metric)?;
        members.read("Recorded", &mut spec.recorded)?;
        members.read("KeyIgnore", &mut spec.key_ignore)?;
        members.read("Target", &mut spec.target)?;
        members.read("TargetType", &mut spec.target_type)?;
        spec.capture_type = match capture_type.as_str() {
            "" => None,
            name => Some(CaptureType::parse(name).ok_or_else(|| unknown_type(name))?),
        };
        spec.layer_key_mode = match layer_key_mode.as_str() {
            "" => default_mode,
            name => LayerKeyMode::parse(name).ok_or_else(|| JsonError::Member {
                key: "LayerKeyMode",
                reason: "Not a valid layer key mode".to_owned(),
            })?,
        };
        Ok(spec)
    }

    /// Checks every field, and that the type asked for can do what is asked of it.
    ///
    /// # Errors
    /// The first field that is wrong, in the words of the original.
    fn check(&self, expressions: &dyn ExpressionChecker) -> Result<(), ValidationError> {
        let refuse = |field, message: String| Err(ValidationError::of(field, message));
        // Before anything is parsed.
        for (field, text, limit) in [
            ("GremlinQuery", &self.gremlin_query, MAX_QUERY_BYTES),
            ("BPFFilter", &self.bpf_filter, MAX_TEXT_BYTES),
            ("Name", &self.name, MAX_TEXT_BYTES),
            ("Description", &self.description, MAX_TEXT_BYTES),
        ] {
            if text.len() > limit {
                return refuse(field, format!("A valid length is <= {limit} bytes"));
            }
        }
        expressions.check_query("GremlinQuery", &self.gremlin_query)?;
        if !self.bpf_filter.is_empty()
            && let Err(why) = expressions.check_bpf(&self.bpf_filter)
        {
            return refuse("BPFFilter", format!("Not a valid BPF expression: {why}"));
        }
        if !(0..=MAX_RAW_PACKETS).contains(&self.raw_packet_limit) {
            let text = "A valid raw packet limit size is > 0 && <= 10";
            return refuse("RawPacketLimit", text.to_owned());
        }
        if self.header_size != 0 && !HEADER_SIZES.contains(&self.header_size) {
            let text = "A valid header size is >= 14 && <= 4096";
            return refuse("HeaderSize", text.to_owned());
        }
        if !self.target.is_empty() && ServiceAddress::parse(&self.target).is_err() {
            return refuse("Target", "Not a valid address".to_owned());
        }
        if let Some(Err(error)) = self.ignored_key() {
            return refuse("KeyIgnore", error.to_string());
        }
        self.capture_type
            .map_or(Ok(()), |found| self.check_abilities(found))
    }

    /// Returns the parts of the flow key that are ignored; `None` if the capture does not set them.
    ///
    /// # Errors
    /// The inner result: a name is unknown.
    #[must_use]
    pub fn ignored_key(&self) -> Option<Result<KeyIgnore, UnknownNameError>> {
        self.key_ignore
            .as_ref()
            .map(|names| names.join(",").parse())
    }

    fn check_abilities(&self, capture_type: CaptureType) -> Result<(), ValidationError> {
        let abilities = capture_type.abilities();
        let asked = [
            (!self.bpf_filter.is_empty(), abilities.bpf, "BPF filtering"),
            (
                self.raw_packet_limit != 0,
                abilities.raw_packets,
                "raw packet capture",
            ),
            (
                self.extra_tcp_metric,
                abilities.tcp_metric,
                "extra TCP metrics capture",
            ),
        ];
        match asked.iter().find(|(wanted, able, _)| *wanted && !able) {
            None => Ok(()),
            Some((_, _, what)) => Err(ValidationError::whole(format!(
                "{} capture doesn't support {what}",
                capture_type.name()
            ))),
        }
    }
}

impl Resource for CaptureSpec {
    const KIND: &'static str = "capture";
    const NAMESPACE: Option<&'static str> = Some("OnDemandCaptureNotification");

    fn id(&self) -> &str {
        &self.uuid
    }

    fn set_id(&mut self, id: String) {
        self.uuid = id;
    }

    fn read(text: &str, defaults: &Defaults) -> Result<Self, JsonError> {
        let capture = Self::from_json(text, defaults.layer_key_mode)?;
        Ok(Self {
            count: 0,
            ..capture
        })
    }

    fn validate(&self, expressions: &dyn ExpressionChecker) -> Result<(), ResourceError> {
        Ok(self.check(expressions)?)
    }

    fn conflict_with(&self, other: &Self) -> Option<ResourceError> {
        self.is_duplicate_of(other)
            .then_some(ResourceError::Duplicate)
    }
}

impl CaptureSpec {
    /// The same nodes by the same type: twice the same packets, or a type that takes a node whole.
    fn is_duplicate_of(&self, other: &Self) -> bool {
        let shared = self
            .capture_type
            .is_none_or(|found| found.abilities().several_per_node);
        self.capture_type == other.capture_type
            && self.gremlin_query == other.gremlin_query
            && (!shared || self.bpf_filter == other.bpf_filter)
    }
}

/// A way to capture. Complete by definition: the types the API accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureType {
    /// sFlow exported by an Open vSwitch bridge.
    OvsSflow,
    /// A pcap stream over TCP.
    PcapSocket,
    /// A mirror port of Open vSwitch.
    OvsMirror,
    /// DPDK.
    Dpdk,
    /// The kernel's packet socket.
    AfPacket,
    /// libpcap.
    Pcap,
    /// Counted in the kernel by an eBPF program.
    Ebpf,
    /// An sFlow agent elsewhere.
    Sflow,
    /// NetFlow exported by an Open vSwitch bridge.
    OvsNetflow,
}

/// What a [`CaptureType`] can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaptureAbilities {
    /// Filter packets by an expression.
    pub bpf: bool,
    /// Keep packets with their flow.
    pub raw_packets: bool,
    /// Measure TCP connections.
    pub tcp_metric: bool,
    /// Run several times on one node.
    pub several_per_node: bool,
}

impl CaptureType {
    /// All types, in the order of the error message.
    pub const ALL: [Self; 9] = [
        Self::OvsSflow,
        Self::PcapSocket,
        Self::OvsMirror,
        Self::Dpdk,
        Self::AfPacket,
        Self::Pcap,
        Self::Ebpf,
        Self::Sflow,
        Self::OvsNetflow,
    ];

    /// Reads the wire name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// The wire name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OvsSflow => "ovssflow",
            Self::PcapSocket => "pcapsocket",
            Self::OvsMirror => "ovsmirror",
            Self::Dpdk => "dpdk",
            Self::AfPacket => "afpacket",
            Self::Pcap => "pcap",
            Self::Ebpf => "ebpf",
            Self::Sflow => "sflow",
            Self::OvsNetflow => "ovsnetflow",
        }
    }

    /// What it can do.
    #[must_use]
    pub const fn abilities(self) -> CaptureAbilities {
        let packets = !matches!(self, Self::Ebpf);
        CaptureAbilities {
            bpf: packets,
            raw_packets: packets,
            tcp_metric: true,
            several_per_node: matches!(self, Self::AfPacket | Self::Pcap),
        }
    }
}

impl Serialize for CaptureType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn write_mode<S: Serializer>(mode: &LayerKeyMode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match mode {
        LayerKeyMode::L2 => "L2",
        LayerKeyMode::L3 => "L3",
    })
}

fn unknown_type(name: &str) -> JsonError {
    let names = CaptureType::ALL.map(CaptureType::name).join(" ");
    let reason = format!("Not a valid capture type: {name}, available types: [{names}]");
    JsonError::Member {
        key: "Type",
        reason,
    }
}

const MAX_QUERY_BYTES: usize = 64 << 10;
const MAX_TEXT_BYTES: usize = 4 << 10;
const MAX_RAW_PACKETS: i64 = 10;
const HEADER_SIZES: std::ops::RangeInclusive<i64> = 14..=4096;

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

#[cfg(test)]
mod tests {
    use super::super::tests::support::Words;
    use super::*;

    fn spec(json: &str) -> CaptureSpec {
        CaptureSpec::from_json(json, LayerKeyMode::L2).unwrap()
    }

    fn refusal(json: &str) -> String {
        match CaptureSpec::from_json(json, LayerKeyMode::L2) {
            Ok(spec) => spec.validate(&Words).unwrap_err().to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn every_field_is_read_and_shown_in_the_original_order() {
        let json = concat!(
            r#"{"UUID":"u","GremlinQuery":"G","BPFFilter":"port 53","Name":"n","Description":"d","#,
            r#""Type":"pcap","Count":2,"Port":6343,"SamplingRate":1,"PollingInterval":10,"#,
            r#""RawPacketLimit":3,"HeaderSize":256,"ExtraTCPMetric":true,"IPDefrag":true,"#,
            r#""ReassembleTCP":true,"LayerKeyMode":"L3","ExtraLayers":7,"Target":"h:1","#,
            r#""TargetType":"netflowv5"}"#
        );
        assert_eq!(serde_json::to_string(&spec(json)).unwrap(), json);
        let lower = json
            .replace("GremlinQuery", "gremlinQUERY")
            .replace("IPDefrag", "ipdefrag");
        assert_eq!(spec(&lower), spec(json));
        assert_eq!(
            CaptureSpec::from_json(json, LayerKeyMode::L2).unwrap(),
            spec(json)
        );
    }

    #[test]
    fn the_layer_key_mode_has_a_configured_default() {
        let read = |text| {
            CaptureSpec::from_json(text, LayerKeyMode::L3)
                .unwrap()
                .layer_key_mode
        };
        assert_eq!(read("{}"), LayerKeyMode::L3);
        assert_eq!(read(r#"{"LayerKeyMode":""}"#), LayerKeyMode::L3);
        assert_eq!(read(r#"{"LayerKeyMode":null}"#), LayerKeyMode::L3);
        assert_eq!(read(r#"{"LayerKeyMode":"L2"}"#), LayerKeyMode::L2);
    }

    #[test]
    fn wrong_types_are_errors_that_name_the_member() {
        for (text, field) in [
            (r#"{"Count":"many"}"#, "Count"),
            (r#"{"Type":5}"#, "Type"),
            (r#"{"Port":70000}"#, "Port"),
            (r#"{"SamplingRate":-1}"#, "SamplingRate"),
            (r#"{"IPDefrag":"yes"}"#, "IPDefrag"),
            (r#"{"HeaderSize":1.5}"#, "HeaderSize"),
        ] {
            let error = CaptureSpec::from_json(text, LayerKeyMode::L2)
                .unwrap_err()
                .to_string();
            assert!(error.starts_with(&format!("{field}: ")), "{error}");
        }
    }

    #[test]
    fn each_rule_has_the_words_of_the_original() {
        let gremlin = "GremlinQuery: Not a valid Gremlin expression: ";
        assert_eq!(refusal("{}"), format!("{gremlin}it is empty"));
        assert_eq!(
            refusal(r#"{"GremlinQuery":"nonsense"}"#),
            format!("{gremlin}expected `G`")
        );
        for (members, text) in [
            (
                r#""BPFFilter":"err_port""#,
                "BPFFilter: Not a valid BPF expression: syntax error",
            ),
            (
                r#""Type":"bogus""#,
                "Type: Not a valid capture type: bogus, available types: [ovssflow pcapsocket \
                 ovsmirror dpdk afpacket pcap ebpf sflow ovsnetflow]",
            ),
            (
                r#""RawPacketLimit":11"#,
                "RawPacketLimit: A valid raw packet limit size is > 0 && <= 10",
            ),
            (
                r#""RawPacketLimit":-1"#,
                "RawPacketLimit: A valid raw packet limit size is > 0 && <= 10",
            ),
            (
                r#""HeaderSize":13"#,
                "HeaderSize: A valid header size is >= 14 && <= 4096",
            ),
            (
                r#""HeaderSize":4097"#,
                "HeaderSize: A valid header size is >= 14 && <= 4096",
            ),
            (
                r#""LayerKeyMode":"L4""#,
                "LayerKeyMode: Not a valid layer key mode",
            ),
            (r#""Target":"nowhere""#, "Target: Not a valid address"),
            (
                r#""Type":"ebpf","BPFFilter":"tcp""#,
                "ebpf capture doesn't support BPF filtering",
            ),
            (
                r#""Type":"ebpf","RawPacketLimit":1"#,
                "ebpf capture doesn't support raw packet capture",
            ),
        ] {
            assert_eq!(
                refusal(&format!(r#"{{"GremlinQuery":"G",{members}}}"#)),
                text
            );
        }
        for good in [
            r#""HeaderSize":14,"RawPacketLimit":10,"Target":"127.0.0.1:2055""#,
            r#""Type":"ebpf","ExtraTCPMetric":true"#,
            r#""Type":"afpacket","BPFFilter":"tcp","RawPacketLimit":5"#,
        ] {
            let json = format!(r#"{{"GremlinQuery":"G",{good}}}"#);
            spec(&json).validate(&Words).unwrap();
        }
    }

    #[test]
    fn texts_have_a_length() {
        for (field, limit) in [
            ("GremlinQuery", 65_536),
            ("BPFFilter", 4_096),
            ("Name", 4_096),
            ("Description", 4_096),
        ] {
            let text = |length| {
                let text = "x".repeat(length);
                match field {
                    "GremlinQuery" => format!(r#"{{"GremlinQuery":"{text}"}}"#),
                    _ => format!(r#"{{"GremlinQuery":"G","{field}":"{text}"}}"#),
                }
            };
            spec(&text(limit)).validate(&Words).unwrap();
            assert_eq!(
                refusal(&text(limit + 1)),
                format!("{field}: A valid length is <= {limit} bytes")
            );
        }
    }

    #[test]
    fn duplicates_follow_type_query_and_filter() {
        let make = |kind: &str, query: &str, bpf: &str| CaptureSpec {
            capture_type: CaptureType::parse(kind),
            gremlin_query: query.to_owned(),
            bpf_filter: bpf.to_owned(),
            ..CaptureSpec::default()
        };
        let base = make("", "G", "");
        assert!(base.is_duplicate_of(&base));
        assert!(
            !make("", "G", "tcp").is_duplicate_of(&base),
            "another filter"
        );
        assert!(
            !make("", "G.V()", "").is_duplicate_of(&base),
            "another query"
        );
        assert!(
            !make("pcap", "G", "").is_duplicate_of(&base),
            "another type"
        );
        assert!(!make("pcap", "G", "tcp").is_duplicate_of(&make("pcap", "G", "")));
        assert!(
            make("sflow", "G", "tcp").is_duplicate_of(&make("sflow", "G", "")),
            "one a node"
        );
    }
}
