//! `skyd client capture`.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::{ArgAction, Args, Subcommand};
use serde_json::{Value, json};
use skylib::api::{CaptureSpec, Resource};

use super::super::args::go_bool;
use super::super::check::{checked, members};
use super::super::format::OutputArgs;
use super::super::rest::Rest;
use super::resource::{self, DeleteArgs, GetArgs, ListArgs};

/// Commands about captures.
#[derive(Debug, Subcommand)]
pub(crate) enum CaptureCommand {
    /// Create a capture.
    #[command(after_help = EXAMPLES)]
    Create(Box<CreateArgs>),
    /// List all captures.
    List(ListArgs),
    /// Show a capture.
    Get(GetArgs),
    /// Delete captures.
    Delete(DeleteArgs),
}

const EXAMPLES: &str = "Examples:
  skyd client capture create --gremlin \"G.V().Has('Name', 'eth0')\"
  skyd client capture create --node 5f3b… --bpf 'tcp port 443' --ttl 60000";

/// Arguments of `capture create`.
#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    /// Gremlin query of the nodes to capture on.
    #[arg(
        long,
        value_name = "QUERY",
        default_value = "",
        hide_default_value = true
    )]
    gremlin: String,

    /// TID of the node to capture on, instead of --gremlin.
    #[arg(
        long,
        value_name = "TID",
        default_value = "",
        hide_default_value = true
    )]
    node: String,

    /// Packet filter in the syntax of tcpdump.
    #[arg(
        long,
        value_name = "FILTER",
        default_value = "",
        hide_default_value = true
    )]
    bpf: String,

    /// Name of the capture.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    name: String,

    /// Description of the capture.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    description: String,

    /// Capture type, such as afpacket or pcap; the default depends on the node.
    #[arg(
        long = "type",
        value_name = "TYPE",
        default_value = "",
        hide_default_value = true
    )]
    capture_type: String,

    /// UDP port of captures of the type sflow; 0 means 6343.
    #[arg(long, value_name = "N", default_value_t = 0)]
    port: u16,

    /// Sampling rate of sFlow: one packet in N.
    #[arg(long = "samplingrate", value_name = "N", default_value_t = 1)]
    sampling_rate: u32,

    /// Interval between the counter samples of sFlow, in seconds.
    #[arg(long = "pollinginterval", value_name = "SECONDS", default_value_t = 10)]
    polling_interval: u32,

    /// Number of bytes captured of each packet, 14 to 4096; 0 for the default.
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    header_size: i64,

    /// Number of packets stored with each flow; at most 10.
    #[arg(
        long = "rawpacket-limit",
        value_name = "N",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    raw_packet_limit: i64,

    /// Add the times of SYN, FIN, and RST, and the TTL of SYN, to TCP flows.
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", default_value = "false", hide_default_value = true,
          value_name = "BOOL", value_parser = go_bool, hide_possible_values = true)]
    extra_tcp_metric: bool,

    /// Add statistics of round-trip times to flows.
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", default_value = "false", hide_default_value = true,
          value_name = "BOOL", value_parser = go_bool, hide_possible_values = true)]
    extra_rtt_metric: bool,

    /// Reassemble IP fragments.
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", default_value = "false", hide_default_value = true,
          value_name = "BOOL", value_parser = go_bool, hide_possible_values = true)]
    ip_defrag: bool,

    // COMPAT: Skydive's spelling.
    /// Reassemble TCP streams.
    #[arg(long = "reassamble-tcp", alias = "reassemble-tcp", action = ArgAction::Set,
          num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value = "false", hide_default_value = true, value_name = "BOOL",
          value_parser = go_bool, hide_possible_values = true)]
    reassemble_tcp: bool,

    /// Layers that identify a flow: L2 or L3.
    #[arg(long, value_name = "MODE", default_value = "L2")]
    layer_key_mode: String,

    /// Application protocols whose content is added to flows: VRRP, DNS, or DHCPv4; repeatable.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    extra_layer: Vec<String>,

    /// Parts of the flow key that do not distinguish flows: vlan, mpls, interface; empty for none. The
    /// default is the server's setting flow.key.ignore.
    #[arg(long, value_name = "PARTS")]
    key_ignore: Option<String>,

    /// Reproduce the values of Skydive exactly, including its known defects, or do not. The default is
    /// the server's setting flow.recorded.
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_name = "BOOL", value_parser = go_bool,
          hide_possible_values = true)]
    recorded: Option<bool>,

    /// Delete the capture when the server ends, instead of continuing after a restart.
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", default_value = "false", hide_default_value = true,
          value_name = "BOOL", value_parser = go_bool, hide_possible_values = true)]
    ephemeral: bool,

    /// Receiver of packets or flows, as host:port, instead of the flow table.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "",
        hide_default_value = true
    )]
    target: String,

    /// Protocol of the receiver: netflowv5 or erspanv1.
    #[arg(
        long,
        value_name = "TYPE",
        default_value = "",
        hide_default_value = true
    )]
    target_type: String,

    /// Time after which the capture is deleted, in milliseconds; 0 for never.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    ttl: u64,

    #[command(flatten)]
    output: OutputArgs,
}

impl CreateArgs {
    /// Returns the JSON text of the capture.
    fn text(&self) -> anyhow::Result<String> {
        let query = match (self.gremlin.as_str(), self.node.as_str()) {
            (query, "") => query.to_owned(),
            ("", tid) => format!("G.V().Has('TID', '{tid}')"),
            _ => bail!("--gremlin and --node cannot be used together"),
        };
        checked::<CaptureSpec>(members([
            ("GremlinQuery", query.into()),
            ("BPFFilter", self.bpf.as_str().into()),
            ("Name", self.name.as_str().into()),
            ("Description", self.description.as_str().into()),
            ("Type", self.capture_type.as_str().into()),
            ("Port", self.port.into()),
            ("SamplingRate", self.sampling_rate.into()),
            ("PollingInterval", self.polling_interval.into()),
            ("HeaderSize", self.header_size.into()),
            ("RawPacketLimit", self.raw_packet_limit.into()),
            ("ExtraTCPMetric", self.extra_tcp_metric.into()),
            ("ExtraRTTMetric", set(self.extra_rtt_metric)),
            ("IPDefrag", self.ip_defrag.into()),
            ("ReassembleTCP", self.reassemble_tcp.into()),
            ("LayerKeyMode", self.layer_key_mode.as_str().into()),
            ("ExtraLayers", extra_layers(&self.extra_layer)?),
            (
                "KeyIgnore",
                self.key_ignore.as_deref().map_or(Value::Null, key_parts),
            ),
            ("Recorded", self.recorded.into()),
            ("Ephemeral", set(self.ephemeral)),
            ("Target", self.target.as_str().into()),
            ("TargetType", self.target_type.as_str().into()),
        ]))
    }
}

/// Returns `true`, or nothing for `false`: Skydive's server does not know these members.
fn set(is_set: bool) -> Value {
    if is_set {
        Value::Bool(true)
    } else {
        Value::Null
    }
}

/// Parses a comma-separated list of names.
fn key_parts(text: &str) -> Value {
    let names = text.split(',').map(str::trim);
    names.filter(|name| !name.is_empty()).collect()
}

/// Returns the bit mask of the extra layers with these names.
fn extra_layers(names: &[String]) -> anyhow::Result<Value> {
    let mut mask = 0;
    for name in names {
        let known = EXTRA_LAYERS
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        let (_, bit) = known.with_context(|| {
            format!("Extra layer not supported: {name}; expected VRRP, DNS, or DHCPv4")
        })?;
        mask |= bit;
    }
    Ok(json!(mask))
}

/// Names and bits of the extra layers in the API.
const EXTRA_LAYERS: [(&str, u32); 3] = [("VRRP", 1), ("DNS", 2), ("DHCPv4", 4)];

impl CaptureCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// Returns an error if an argument is invalid, the server rejects the request or cannot be
    /// reached, or the output cannot be written.
    pub(super) async fn run(self, rest: &mut Rest) -> anyhow::Result<()> {
        const KIND: &str = CaptureSpec::KIND;
        match self {
            Self::Create(args) => {
                let ttl = (args.ttl > 0).then(|| Duration::from_millis(args.ttl));
                resource::create(KIND, args.text()?, ttl, &args.output, rest).await
            }
            Self::List(args) => args.run(KIND, rest).await,
            Self::Get(args) => args.run(KIND, rest).await,
            Self::Delete(args) => args.run(KIND, rest).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: CreateArgs,
    }

    fn text(words: &[&str]) -> Result<String, String> {
        let line = Line::try_parse_from([&["create"][..], words].concat()).unwrap();
        line.args.text().map_err(|error| error.to_string())
    }

    #[test]
    fn flags_become_members() {
        let defaults = text(&["--gremlin", "G.V()"]).unwrap();
        let wanted = concat!(
            r#"{"UUID":"","GremlinQuery":"G.V()","Count":0,"SamplingRate":1,"PollingInterval":10,"#,
            r#""ExtraTCPMetric":false,"IPDefrag":false,"ReassembleTCP":false,"LayerKeyMode":"L2"}"#
        );
        assert_eq!(defaults, wanted);
        let all = text(&[
            "--node=t1",
            "--extra-layer",
            "DNS",
            "--extra-layer=vrrp",
            "--reassamble-tcp",
            "--ip-defrag=false",
            "--extra-tcp-metric=T",
            "--layer-key-mode",
            "L3",
            "--extra-rtt-metric",
            "--key-ignore=vlan, mpls",
            "--recorded=false",
            "--ephemeral",
        ])
        .unwrap();
        for part in [
            r#""GremlinQuery":"G.V().Has('TID', 't1')""#,
            r#""ExtraLayers":3"#,
            r#""ReassembleTCP":true"#,
            r#""IPDefrag":false"#,
            r#""ExtraTCPMetric":true"#,
            r#""LayerKeyMode":"L3""#,
            r#""ExtraRTTMetric":true"#,
            r#""KeyIgnore":["vlan","mpls"]"#,
            r#""Recorded":false"#,
            r#""Ephemeral":true"#,
        ] {
            assert!(all.contains(part), "{part}: {all}");
        }
        let nothing_ignored = text(&["--gremlin=G.V()", "--key-ignore=", "--recorded"]).unwrap();
        assert!(nothing_ignored.contains(r#""Recorded":true,"KeyIgnore":[]"#));
    }

    #[test]
    fn mistakes_are_found_before_anything_is_sent() {
        for (words, wanted) in [
            (&[][..], "GremlinQuery: Not a valid Gremlin expression"),
            (
                &["--gremlin", "G.V()", "--node", "x"],
                "cannot be used together",
            ),
            (
                &["--gremlin", "G.V()", "--bpf", "port port"],
                "BPFFilter: Not a valid BPF expression",
            ),
            (
                &["--gremlin", "G.V()", "--header-size", "5"],
                "A valid header size is >= 14 && <= 4096",
            ),
            (
                &["--gremlin", "G.V()", "--rawpacket-limit", "-1"],
                "RawPacketLimit: ",
            ),
            (
                &["--gremlin", "G.V()", "--extra-layer", "HTTP"],
                "Extra layer not supported: HTTP",
            ),
            (
                &["--gremlin", "G.V()", "--layer-key-mode", "L4"],
                "Not a valid layer key mode",
            ),
            (
                &["--gremlin", "G.V()", "--key-ignore", "vlan,tos"],
                "KeyIgnore: ",
            ),
            (
                &["--gremlin", "G.V()", "--type", "x"],
                "Not a valid capture type: x",
            ),
        ] {
            let error = text(words).unwrap_err();
            assert!(error.contains(wanted), "{words:?}: {error}");
        }
    }
}
