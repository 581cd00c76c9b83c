//! Command line of `skyd flows`.

use std::num::{NonZeroU8, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, ValueEnum, value_parser};
use skylib::flow::{
    ApplicationPorts, CsvColumns, ExtraLayers, FlowMeasure, FlowTableOptions, KeyIgnore,
    LayerKeyMode,
};
use skylib::go_duration;
use skylib::packet::LinkType;

/// Arguments of `skyd flows`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct FlowsArgs {
    /// Capture files or quoted patterns such as 'trace*.pcap.lz4'; `-` for standard input. Formats
    /// are pcap and pcapng, also compressed with gzip, LZ4, or zstd. Several files are read as one,
    /// in the order of their first packets.
    #[arg(required = true, value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,

    /// Merge the packets of several files by time, for files that overlap, such as one file per
    /// direction.
    #[arg(long)]
    pub(super) merge: bool,

    /// Run a Gremlin query on all flows of the files and print its result, as `POST /api/topology`
    /// returns it, instead of the flows.
    #[arg(long, value_name = "GREMLIN")]
    pub(super) query: Option<String>,

    /// Output format of flows: one JSON array, one JSON object per line, CSV, or a human-readable
    /// table of the largest flows. The default is table on a terminal, else json.
    #[arg(long, value_name = "FORMAT")]
    pub(super) format: Option<Format>,

    /// Print only the N largest flows, the largest first. The default is 20 for a table and with
    /// --by, otherwise all flows.
    #[arg(long, value_name = "N")]
    pub(super) top: Option<NonZeroUsize>,

    /// Value by which flows are compared: bytes (default), packets, rtt, or retransmissions, which
    /// implies --reassemble-tcp. Flows without the value are left out.
    #[arg(long, value_name = "MEASURE")]
    pub(super) by: Option<FlowMeasure>,

    /// BPF filter of the packets to process, in the syntax of tcpdump.
    #[arg(long, value_name = "TEXT")]
    pub(super) bpf: Option<String>,

    /// Link type of all packets, instead of the link types of the files: a number or name of the
    /// LINKTYPE_ list.
    #[arg(long, value_name = "N|NAME")]
    pub(super) link_type: Option<LinkType>,

    /// Process only packets captured on this interface: its name in a pcapng file, or its index in a Linux
    /// cooked capture (SLL2).
    #[arg(long, value_name = "NAME")]
    pub(super) interface: Option<String>,

    /// Whether MAC addresses always distinguish flows (L2) or only those without an IP layer (L3).
    #[arg(long, value_name = "L2|L3", default_value = "L2")]
    pub(super) layer_key: LayerKeyMode,

    /// Idle time after which a flow ends and the next packet begins a new flow, such as 600s or
    /// 10m.
    #[arg(long, value_name = "DURATION", default_value = "600s", value_parser = duration)]
    pub(super) expire: Duration,

    /// Also print active flows at this interval of capture time, as a live capture does, with
    /// `LastUpdateMetric`. By default, each flow is printed once. The clock of a file is 15 packets
    /// behind, so that a wrong timestamp does not advance it.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(super) update: Option<Duration>,

    /// Application names by port, such as tcp:8443=https,udp:5353=mdns.
    #[arg(long, value_name = "NAMES", default_value = "")]
    pub(super) ports: ApplicationPorts,

    /// Maximum number of packets to store with each flow (0 to 10), for the query step
    /// `RawPackets`.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = value_parser!(u32).range(..=10))]
    pub(super) raw_packets: u32,

    /// Add the contents of these layers to flows: DNS, DHCPv4, VRRP, or all.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = extra_layers)]
    pub(super) extra_layer: Vec<ExtraLayers>,

    /// Add the times of SYN, FIN, and RST and the TTL of SYN to TCP flows.
    #[arg(long)]
    pub(super) extra_tcp_metric: bool,

    /// Add statistics of round-trip times to flows.
    #[arg(long)]
    pub(super) extra_rtt_metric: bool,

    /// Reassemble IP fragments.
    #[arg(long)]
    pub(super) ip_defrag: bool,

    /// Reassemble TCP streams and add the counts of retransmitted, late, and missing data to TCP flows.
    #[arg(long)]
    pub(super) reassemble_tcp: bool,

    /// Maximum memory for flows in the table, in bytes; at the limit, the least recently used flows
    /// are printed early.
    #[arg(long, value_name = "BYTES", default_value_t = 2 << 30)]
    pub(super) max_bytes: usize,

    /// Reproduce the values of Skydive exactly, including its known defects.
    #[arg(long)]
    pub(super) recorded: bool,

    /// Parts of the flow key that do not distinguish flows: vlan, mpls, interface.
    #[arg(long, value_name = "PARTS", default_value = "")]
    pub(super) key_ignore: KeyIgnore,

    /// Total number of threads; each gets an equal share of --max-bytes.
    #[arg(long, value_name = "N", default_value = "1")]
    pub(super) threads: NonZeroU8,
}

/// Output format of flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Json,
    Ndjson,
    Csv,
    Table,
}

impl FlowsArgs {
    /// Returns an error if options contradict each other.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        if self.query.is_some() && self.format.is_some_and(|format| format != Format::Json) {
            bail!("--format cannot be used with --query: the result of a query is JSON");
        }
        let is_top = self.top.is_some() || self.by.is_some();
        if self.query.is_some() && is_top {
            bail!(
                "--top and --by cannot be used with --query: use Sort('Metric.ABBytes').Limit(N) instead"
            );
        }
        if self.update.is_some() && (is_top || self.format == Some(Format::Table)) {
            bail!(
                "--update cannot be used with --top, --by, or --format table: they show each flow only once"
            );
        }
        if self.query.is_some() && self.update.is_some() {
            bail!("--update cannot be used with --query: a query covers each flow once");
        }
        Ok(())
    }

    /// Returns the format of the flows.
    pub(super) fn output_format(&self, is_terminal: bool) -> Format {
        let is_table = is_terminal && self.query.is_none() && self.update.is_none();
        let default = if is_table {
            Format::Table
        } else {
            Format::Json
        };
        self.format.unwrap_or(default)
    }

    /// Returns the number of flows to print; `None` for all.
    pub(super) fn limit(&self, format: Format) -> Option<usize> {
        let limit = self.top.map(NonZeroUsize::get);
        let has_default = format == Format::Table || self.by.is_some();
        limit.or(has_default.then_some(DEFAULT_TOP))
    }

    /// Returns whether TCP streams are tracked.
    pub(super) fn tracks_streams(&self) -> bool {
        self.reassemble_tcp || self.by == Some(FlowMeasure::Retransmissions)
    }

    /// Returns the layers of all `--extra-layer` options.
    fn extra_layers(&self) -> ExtraLayers {
        let layers = self.extra_layer.iter();
        layers.fold(ExtraLayers::NONE, |all, layers| all.with(*layers))
    }

    /// Returns the CSV columns that the options request.
    pub(super) fn columns(&self) -> CsvColumns {
        CsvColumns::default()
            .with_tcp_metric(self.extra_tcp_metric)
            .with_stream_metric(self.tracks_streams())
            .with_rtt_metric(self.extra_rtt_metric)
            .with_ip_metric(self.ip_defrag)
            .with_extra_layers(self.extra_layers())
    }

    /// Returns the options of the flow table.
    pub(super) fn table(&self) -> FlowTableOptions {
        let options = FlowTableOptions::default()
            .with_layer_key_mode(self.layer_key)
            .with_expiry_interval(self.expire)
            .with_application_ports(self.ports.clone())
            .with_raw_packet_limit(self.raw_packets)
            .with_extra_tcp_metric(self.extra_tcp_metric)
            .with_extra_rtt_metric(self.extra_rtt_metric)
            .with_key_ignore(self.key_ignore)
            .with_reassemble_tcp(self.tracks_streams())
            .with_ip_defrag(self.ip_defrag)
            .with_extra_layers(self.extra_layers())
            .with_recorded(self.recorded)
            .with_final_only(self.update.is_none())
            .with_max_entries(usize::MAX)
            .with_max_bytes(self.max_bytes);
        match self.update {
            Some(interval) => options.with_update_interval(interval),
            None => options,
        }
    }
}

/// Number of flows that are printed in a table or with `--by` if `--top` is not given.
const DEFAULT_TOP: usize = 20;

/// Text of `--help` after the options.
pub(super) const AFTER_HELP: &str = "\
Examples:
  skyd flows trace.pcap
  skyd flows trace.pcap --format csv > flows.csv
  skyd flows trace.pcap --format table --top 10 --by retransmissions
  skyd flows trace.pcapng.zst --query \"G.Flows().Has('Application','DNS').Count()\"
  skyd flows trace.pcap --extra-layer DNS --query \"G.Flows().Has('DNS.QDCount',1).Limit(3)\"
  skyd flows '/var/capture/*.pcap.lz4' --expire 2m --ports tcp:8443=https
  skyd flows tap-rx.pcap tap-tx.pcap --merge --format ndjson
  skyd flows trace.pcapng --interface eth0 --format csv
  tcpdump -w - -c 1000 | skyd flows - --format ndjson --bpf 'tcp port 443' --reassemble-tcp

Standard output contains only the flows or the query result. The last line on standard error is
`flows N packets M peak_rss_bytes B`, followed by counts of omitted data and, for pcapng files, the
packets of each interface.

Exit codes:
  0  all packets were read
  1  a file cannot be read or is damaged (the flows before the damage and in other files are
     printed), the filter or the query is invalid, or the output cannot be written
  2  the command line is invalid; nothing was read
130  interrupted with Ctrl-C";

/// Parses a duration: seconds, or a string with units.
fn duration(text: &str) -> Result<Duration, String> {
    let duration = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => go_duration::parse(text).map_err(|error| {
            format!("{error}; expected seconds, or units such as 90s, 5m, 1h, or 1d")
        })?,
    };
    match duration.is_zero() {
        true => Err("expected a duration greater than zero, such as 90s or 5m".to_owned()),
        false => Ok(duration),
    }
}

/// Parses a name of `--extra-layer`.
fn extra_layers(name: &str) -> Result<ExtraLayers, &'static str> {
    ExtraLayers::parse(name).ok_or("expected DNS, DHCPv4, VRRP, or all")
}
