//! `CaptureSpec`: the nodes to capture on, and the settings of the capture.

use serde::Serializer;

use super::address::ServiceAddress;
use super::go_json::{JsonError, Members};
use super::json_object::{json_object, read_and_ignore, uuid_is_id};
use super::{
    CaptureType, Defaults, ExpressionChecker, JsonObject, Resource, ResourceError, ValidationError,
};
use crate::flow::{ExtraLayers, KeyIgnore, LayerKeyMode, UnknownNameError};

json_object! {
    /// Capture on every node that a query returns.
    ///
    /// Serializes as the JSON of the API: keys are in Skydive's order, and empty strings and zero
    /// numbers are omitted where Skydive omits them.
    ///
    /// ```
    /// use skylib::api::{CaptureSpec, Defaults, Resource};
    /// let text = r#"{"gremlinquery": "G.V().Has('Name', 'eth0')", "SamplingRate": 1}"#;
    /// let spec = CaptureSpec::read(text, &Defaults::default())?;
    /// assert_eq!(spec.gremlin_query, "G.V().Has('Name', 'eth0')");
    /// assert_eq!(
    ///     serde_json::to_string(&spec)?,
    ///     concat!(r#"{"UUID":"","GremlinQuery":"G.V().Has('Name', 'eth0')","Count":0,"#,
    ///             r#""SamplingRate":1,"PollingInterval":0,"ExtraTCPMetric":false,"IPDefrag":false,"#,
    ///             r#""ReassembleTCP":false,"LayerKeyMode":"L2"}"#),
    /// );
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[derive(Eq)]
    pub struct CaptureSpec {
        /// Identifier, assigned by the server; the server ignores the value that a client sends.
        pub uuid: String = "UUID";
        /// Gremlin query of the nodes to capture on.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub gremlin_query: String = "GremlinQuery", with_gremlin_query;
        /// Packet filter in the libpcap language; empty for all packets.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub bpf_filter: String = "BPFFilter", with_bpf_filter;
        /// Name shown to users.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub name: String = "Name", with_name;
        /// Description shown to users.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub description: String = "Description", with_description;
        /// Capture type; `None` to select one that suits the node.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub capture_type: Option<CaptureType> = "Type" via read_capture_type, with_capture_type;
        /// Number of nodes on which the capture is active. Computed for each response; the server
        /// ignores the value that a client sends.
        pub count: i64 = "Count" via read_and_ignore;
        /// UDP port of captures of the type sflow; 0 means 6343.
        #[serde(skip_serializing_if = "is_zero")]
        pub port: u16 = "Port", with_port;
        /// Sampling rate of sFlow: one packet in `sampling_rate` is sampled.
        pub sampling_rate: u32 = "SamplingRate", with_sampling_rate;
        /// Interval between the counter samples of sFlow, in seconds.
        pub polling_interval: u32 = "PollingInterval", with_polling_interval;
        /// Number of packets stored with each flow, 0 to 10.
        #[serde(skip_serializing_if = "is_zero")]
        pub raw_packet_limit: i64 = "RawPacketLimit", with_raw_packet_limit;
        /// Number of bytes captured of each packet, 14 to 4096; 0 for the default.
        #[serde(skip_serializing_if = "is_zero")]
        pub header_size: i64 = "HeaderSize", with_header_size;
        /// Whether flows include the times of SYN, FIN, and RST, and the TTL of SYN.
        pub extra_tcp_metric: bool = "ExtraTCPMetric", with_extra_tcp_metric;
        /// Whether IP fragments are reassembled.
        pub ip_defrag: bool = "IPDefrag", with_ip_defrag;
        /// Whether TCP streams are tracked, so that flows include their stream counters.
        pub reassemble_tcp: bool = "ReassembleTCP", with_reassemble_tcp;
        /// Layers that identify a flow.
        #[serde(serialize_with = "write_mode")]
        pub layer_key_mode: LayerKeyMode = "LayerKeyMode" via read_mode, with_layer_key_mode;
        /// Bit mask of the application layers to decode: 1 VRRP, 2 DNS, 4 DHCPv4. In requests also the
        /// names `VRRP`, `DNS`, `DHCPv4`, or `all`, as a string or a list.
        #[serde(skip_serializing_if = "is_zero")]
        pub extra_layers: u32 = "ExtraLayers" via read_extra_layers, with_extra_layers;
        /// Whether flows include the statistics of their round-trip times.
        #[serde(skip_serializing_if = "is_zero")]
        pub extra_rtt_metric: bool = "ExtraRTTMetric", with_extra_rtt_metric;
        /// Whether to reproduce the values of Skydive; `None`: as configured (`flow.recorded`).
        #[serde(skip_serializing_if = "Option::is_none")]
        pub recorded: Option<bool> = "Recorded", with_recorded;
        /// Parts of the flow key that are ignored; `None`: as configured (`flow.key.ignore`).
        #[serde(skip_serializing_if = "Option::is_none")]
        pub key_ignore: Option<Vec<String>> = "KeyIgnore", with_key_ignore;
        /// Receiver of packets or flows, as `host:port`; empty for the flow table.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub target: String = "Target", with_target;
        /// Protocol of the receiver: `netflowv5` or `erspanv1`.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub target_type: String = "TargetType", with_target_type;
        /// Whether the capture ends with the daemon instead of continuing after a restart.
        #[serde(skip_serializing_if = "is_zero")]
        pub ephemeral: bool = "Ephemeral", with_ephemeral;
        /// Nodes of the capture with their states, and the reason if there are none. Computed for
        /// each response; the server ignores the value that a client sends.
        #[serde(skip_serializing_if = "serde_json::Value::is_null")]
        pub status: serde_json::Value = "Status" via ignore;
    }
}

impl CaptureSpec {
    /// Returns a capture with default settings on the nodes of a Gremlin query.
    ///
    /// ```
    /// use skylib::api::{CaptureSpec, CaptureType};
    /// let spec = CaptureSpec::new("G.V().Has('Name', 'eth0')")
    ///     .with_capture_type(CaptureType::AfPacket)
    ///     .with_bpf_filter("port 53");
    /// assert_eq!(spec.bpf_filter, "port 53");
    /// ```
    #[must_use]
    pub fn new(gremlin_query: impl Into<String>) -> Self {
        Self::default().with_gremlin_query(gremlin_query)
    }

    /// Returns whether both captures would receive the same packets or compete for a node.
    ///
    /// Type and query are compared, and the filter only for types of which several captures can run
    /// on one node.
    fn is_duplicate_of(&self, other: &Self) -> bool {
        let is_shared = self
            .capture_type
            .is_none_or(|capture_type| capture_type.abilities().several_per_node);
        self.capture_type == other.capture_type
            && self.gremlin_query == other.gremlin_query
            && (!is_shared || self.bpf_filter == other.bpf_filter)
    }

    /// Checks every field, and that the capture type supports the requested features.
    ///
    /// # Errors
    /// Returns the first violated rule, with the message of Skydive.
    fn check(&self, expressions: &dyn ExpressionChecker) -> Result<(), ValidationError> {
        let refuse = |field, message: String| Err(ValidationError::of_field(field, message));
        // Lengths come first: they bound the cost of parsing.
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
        self.check_target()?;
        if let Some(Err(error)) = self.ignored_key() {
            return refuse("KeyIgnore", error.to_string());
        }
        let Some(capture_type) = self.capture_type else {
            return Ok(());
        };
        if !expressions.supports_capture_type(capture_type) {
            let built = CaptureType::ALL
                .into_iter()
                .filter(|known| known.is_built());
            let names: Vec<&str> = built.map(CaptureType::name).collect();
            let (name, names) = (capture_type.name(), names.join(" "));
            let text = format!("{name} captures are not supported, available types: [{names}]");
            return refuse("Type", text);
        }
        self.check_abilities(capture_type)
    }

    /// Checks the receiver of packets or flows.
    fn check_target(&self) -> Result<(), ValidationError> {
        let refuse = |field, message: &str| Err(ValidationError::of_field(field, message));
        if !self.target.is_empty() && self.target.parse::<ServiceAddress>().is_err() {
            return refuse("Target", "Not a valid address");
        }
        match self.target_type.as_str() {
            "" | "local" => Ok(()),
            "netflowv5" | "erspanv1" if self.target.is_empty() => {
                refuse("Target", "An address is required by the target type")
            }
            "netflowv5" | "erspanv1" => match self.capture_type {
                None | Some(CaptureType::AfPacket | CaptureType::Pcap) => Ok(()),
                Some(other) => {
                    let text = format!("not supported for captures of type {}", other.name());
                    refuse("TargetType", &text)
                }
            },
            _ => refuse(
                "TargetType",
                "target type unknown, available types: [local netflowv5 erspanv1]",
            ),
        }
    }

    /// Returns the parts of the flow key that are ignored; `None` if the capture does not set them.
    ///
    /// # Errors
    /// The inner result is an error if a name is unknown.
    #[must_use]
    pub fn ignored_key(&self) -> Option<Result<KeyIgnore, UnknownNameError>> {
        self.key_ignore
            .as_ref()
            .map(|names| names.join(",").parse())
    }

    fn check_abilities(&self, capture_type: CaptureType) -> Result<(), ValidationError> {
        let abilities = capture_type.abilities();
        let requests = [
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
        match requests
            .iter()
            .find(|(is_requested, is_supported, _)| *is_requested && !is_supported)
        {
            None => Ok(()),
            Some((_, _, feature)) => Err(ValidationError::of_resource(format!(
                "{} capture doesn't support {feature}",
                capture_type.name()
            ))),
        }
    }
}

impl Resource for CaptureSpec {
    const KIND: &'static str = "capture";
    // COMPAT: Skydive refuses JSON patches of captures, so IS_UPDATABLE is not set.
    const IS_MERGEABLE: bool = true;
    const NAMESPACE: Option<&'static str> = Some("OnDemandCaptureNotification");

    uuid_is_id!();

    fn name(&self) -> &str {
        &self.name
    }

    fn initial(defaults: &Defaults) -> Self {
        Self::default().with_layer_key_mode(defaults.layer_key_mode)
    }

    fn read_request(text: &str, defaults: &Defaults) -> Result<Self, JsonError> {
        let members = Members::parse_first(text)?;
        members.check_keys(Self::MEMBERS)?;
        let mut spec = Self::initial(defaults);
        spec.read_members(&members)?;
        Ok(spec)
    }

    fn is_ephemeral(&self) -> bool {
        self.ephemeral
    }

    fn validate(&self, expressions: &dyn ExpressionChecker) -> Result<(), ResourceError> {
        Ok(self.check(expressions)?)
    }

    fn conflict_with(&self, other: &Self) -> Option<ResourceError> {
        let is_duplicate = self.is_duplicate_of(other);
        is_duplicate.then(|| ResourceError::Duplicate {
            existing: other.uuid.clone(),
        })
    }
}

/// Reads the name of a capture type; an empty name leaves the field unchanged.
fn read_capture_type(
    members: &Members<'_>,
    key: &'static str,
    capture_type: &mut Option<CaptureType>,
) -> Result<(), JsonError> {
    let mut name = String::new();
    members.read(key, &mut name)?;
    if !name.is_empty() {
        let parsed: Result<CaptureType, _> = name.parse();
        *capture_type = Some(parsed.map_err(|error| JsonError::Member {
            key,
            reason: error.to_string(),
        })?);
    }
    Ok(())
}

/// Reads a bit mask, a name, or a list of names of extra layers.
fn read_extra_layers(
    members: &Members<'_>,
    key: &'static str,
    bits: &mut u32,
) -> Result<(), JsonError> {
    let mut value = serde_json::Value::Null;
    members.read(key, &mut value)?;
    let names = match &value {
        serde_json::Value::String(name) => vec![Some(name.as_str())],
        serde_json::Value::Array(names) => names.iter().map(serde_json::Value::as_str).collect(),
        // `read` handles numbers and returns errors for other types.
        _ => return members.read(key, bits),
    };
    let mut layers = ExtraLayers::NONE;
    for name in names {
        let parsed = name.unwrap_or_default().parse::<ExtraLayers>();
        layers = layers.with(parsed.map_err(|error| JsonError::Member {
            key,
            reason: error.to_string(),
        })?);
    }
    *bits = layers.bits();
    Ok(())
}

/// Reads the name of a mode; an empty name leaves the field unchanged.
fn read_mode(
    members: &Members<'_>,
    key: &'static str,
    mode: &mut LayerKeyMode,
) -> Result<(), JsonError> {
    let mut name = String::new();
    members.read(key, &mut name)?;
    if !name.is_empty() {
        *mode = name.parse().map_err(|_| JsonError::Member {
            key,
            reason: "Not a valid layer key mode".to_owned(),
        })?;
    }
    Ok(())
}

/// Leaves the field unchanged, whatever a client sends.
#[expect(clippy::unnecessary_wraps, reason = "a reader of a member")]
fn ignore(
    _members: &Members<'_>,
    _key: &'static str,
    _field: &mut serde_json::Value,
) -> Result<(), JsonError> {
    Ok(())
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn write_mode<S: Serializer>(mode: &LayerKeyMode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match mode {
        LayerKeyMode::L2 => "L2",
        LayerKeyMode::L3 => "L3",
    })
}

/// Maximum length of a Gremlin query, in bytes.
const MAX_QUERY_BYTES: usize = 64 << 10;
/// Maximum length of a filter, name, or description, in bytes.
const MAX_TEXT_BYTES: usize = 4 << 10;
const MAX_RAW_PACKETS: i64 = 10;
/// Allowed numbers of bytes captured of each packet; the lower bound is the length of an Ethernet
/// header.
const HEADER_SIZES: std::ops::RangeInclusive<i64> = 14..=4096;

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

#[cfg(test)]
mod tests {
    use super::super::tests::support::WordChecker;
    use super::*;

    fn spec(json: &str) -> CaptureSpec {
        CaptureSpec::read(json, &Defaults::default()).unwrap()
    }

    fn refusal(json: &str) -> String {
        match CaptureSpec::read(json, &Defaults::default()) {
            Ok(spec) => spec.validate(&WordChecker).unwrap_err().to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn every_field_is_read_and_shown_in_the_original_order() {
        let json = concat!(
            r#"{"UUID":"u","GremlinQuery":"G","BPFFilter":"port 53","Name":"n","Description":"d","#,
            r#""Type":"pcap","Count":0,"Port":6343,"SamplingRate":1,"PollingInterval":10,"#,
            r#""RawPacketLimit":3,"HeaderSize":256,"ExtraTCPMetric":true,"IPDefrag":true,"#,
            r#""ReassembleTCP":true,"LayerKeyMode":"L3","ExtraLayers":7,"Target":"h:1","#,
            r#""TargetType":"netflowv5"}"#
        );
        assert_eq!(serde_json::to_string(&spec(json)).unwrap(), json);
        let lower = json
            .replace("GremlinQuery", "gremlinQUERY")
            .replace("IPDefrag", "ipdefrag");
        assert_eq!(spec(&lower), spec(json));
        let active = json.replace(r#""Count":0"#, r#""Count":2"#);
        assert_eq!(spec(&active), spec(json), "the server counts");
    }

    #[test]
    fn the_layer_key_mode_has_a_configured_default() {
        let read = |text| {
            let defaults = Defaults::default().with_layer_key_mode(LayerKeyMode::L3);
            CaptureSpec::read(text, &defaults).unwrap().layer_key_mode
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
            let error = CaptureSpec::read(text, &Defaults::default())
                .unwrap_err()
                .to_string();
            assert!(error.starts_with(&format!("{field}: ")), "{error}");
        }
    }

    #[test]
    fn each_rule_has_the_words_of_the_original() {
        let gremlin = "GremlinQuery: Not a valid Gremlin expression: ";
        assert_eq!(refusal("{}"), format!(r#"{gremlin}found "", expected `G`"#));
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
            spec(&json).validate(&WordChecker).unwrap();
        }
    }

    #[test]
    fn extra_layers_have_names() {
        let bits = |value: &str| spec(&format!(r#"{{"ExtraLayers":{value}}}"#)).extra_layers;
        assert_eq!(bits("3"), 3);
        assert_eq!(bits(r#""DNS""#), 2);
        assert_eq!(bits(r#"["DNS","vrrp"]"#), 3);
        assert_eq!((bits("[]"), bits("null")), (0, 0));
        let error = |value: &str| {
            let text = format!(r#"{{"ExtraLayers":{value}}}"#);
            CaptureSpec::read(&text, &Defaults::default())
                .unwrap_err()
                .to_string()
        };
        assert!(error(r#"["HTTP"]"#).starts_with(r#"ExtraLayers: unknown extra layer "HTTP""#));
        assert!(error("true").starts_with("ExtraLayers: "));
        assert!(error("[1]").starts_with("ExtraLayers: "));
    }

    #[test]
    fn unknown_fields_of_requests_are_rejected_with_the_nearest_name() {
        let request = |json: &str| CaptureSpec::read_request(json, &Defaults::default());
        assert!(request(r#"{"gremlinquery":"G","count":3,"UUID":"x"}"#).is_ok());
        let error = request(r#"{"GremlinQuery":"G","ExtraLayer":2}"#).unwrap_err();
        let text = r#"unknown field "ExtraLayer"; did you mean "ExtraLayers"?"#;
        assert_eq!(error.to_string(), text);
        let error = request(r#"{"Color":"red"}"#).unwrap_err().to_string();
        assert_eq!(error, r#"unknown field "Color""#);
        assert!(CaptureSpec::read(r#"{"Color":"red"}"#, &Defaults::default()).is_ok());
    }

    #[test]
    fn types_that_cannot_run_and_targets_without_address_are_rejected() {
        struct Local;
        impl ExpressionChecker for Local {
            fn check_gremlin(&self, _: &str) -> Result<(), String> {
                Ok(())
            }
            fn check_bpf(&self, _: &str) -> Result<(), String> {
                Ok(())
            }
            fn supports_capture_type(&self, capture_type: CaptureType) -> bool {
                capture_type.is_built()
            }
        }
        let refused = |members: &str| {
            let spec = spec(&format!(r#"{{"GremlinQuery":"G",{members}}}"#));
            spec.validate(&Local).map_err(|error| error.to_string())
        };
        let types = "available types: [ovssflow pcapsocket ovsmirror afpacket pcap sflow \
                     ovsnetflow]";
        for name in ["dpdk", "ebpf"] {
            assert_eq!(
                refused(&format!(r#""Type":"{name}""#)),
                Err(format!("Type: {name} captures are not supported, {types}"))
            );
        }
        for members in [
            r#""Type":"sflow","Port":6344"#,
            r#""Type":"pcapsocket""#,
            r#""Target":"127.0.0.1:2055","TargetType":"netflowv5""#,
            r#""Type":"pcap","Target":"2055","TargetType":"erspanv1""#,
            r#""TargetType":"local""#,
        ] {
            assert_eq!(refused(members), Ok(()), "{members}");
        }
        for (members, text) in [
            (r#""TargetType":"smoke""#, "TargetType: target type unknown"),
            (
                r#""TargetType":"netflowv5""#,
                "Target: An address is required",
            ),
            (
                r#""Type":"sflow","Target":"h:1","TargetType":"erspanv1""#,
                "TargetType: not supported for captures of type sflow",
            ),
        ] {
            let error = refused(members).unwrap_err();
            assert!(error.starts_with(text), "{error}");
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
            spec(&text(limit)).validate(&WordChecker).unwrap();
            assert_eq!(
                refusal(&text(limit + 1)),
                format!("{field}: A valid length is <= {limit} bytes")
            );
        }
    }

    #[test]
    fn duplicates_follow_type_query_and_filter() {
        let make = |kind: &str, query: &str, bpf: &str| CaptureSpec {
            capture_type: kind.parse().ok(),
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
