//! `FlowTableOptions`: settings of a flow table, fixed at its creation.

use std::str::FromStr;
use std::time::Duration;

use super::application::ApplicationPorts;
use super::extra_layers::ExtraLayers;
use super::field::UnknownNameError;
use super::key_ignore::KeyIgnore;
use super::setters::setters;
use crate::decode::DecoderOptions;
use crate::value::Text;

/// Options of a [`FlowTable`](super::FlowTable).
///
/// ```
/// use skylib::flow::{FlowTableOptions, LayerKeyMode};
/// use std::time::Duration;
/// let options = FlowTableOptions::default()
///     .with_node_tid("node-1")
///     .with_layer_key_mode(LayerKeyMode::L3)
///     .with_update_interval(Duration::from_secs(10));
/// assert_eq!(options.expiry_interval, Duration::from_secs(600));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FlowTableOptions {
    /// `TID` of the captured node; part of every flow's `UUID`.
    pub node_tid: Text,
    /// Identifier of the capture.
    pub capture_id: Text,
    /// Layers that identify a flow.
    pub layer_key_mode: LayerKeyMode,
    /// Parts of the key that do not distinguish flows. Default: none; with
    /// [`recorded`](Self::recorded), all of them are always ignored.
    pub key_ignore: KeyIgnore,
    /// Time between updates, at which active flows are sent. Default 60 s.
    pub update_interval: Duration,
    /// Time between expiries: a flow is removed one to two of these intervals after its last
    /// packet. Default 600 s.
    pub expiry_interval: Duration,
    /// Maximum number of flows; if it is exceeded, the least recently used flows are evicted.
    /// Default 500 000; values above 2³² − 1 count as 2³² − 1.
    pub max_entries: usize,
    /// Approximate memory limit, in bytes; if it is exceeded, the least recently used flows are
    /// evicted. `None` (default): only `max_entries` limits the memory.
    pub max_bytes: Option<usize>,
    /// Number of packets stored at the beginning of each flow. Default 0.
    pub raw_packet_limit: u32,
    /// Whether TCP flows have a [`TcpMetric`](super::TcpMetric) with the times of SYN, FIN, and
    /// RST, and the TTL of SYN.
    pub extra_tcp_metric: bool,
    /// Whether flows with measured round-trip times have an [`RttMetric`](super::RttMetric).
    pub extra_rtt_metric: bool,
    /// Whether TCP streams are tracked: [`TcpMetric`](super::TcpMetric) then also counts reordered
    /// and missing segments and states whether the start and the end were seen.
    pub reassemble_tcp: bool,
    /// Whether IP fragments are reassembled; IP flows then have an
    /// [`IpMetric`](super::IpMetric).
    pub ip_defrag: bool,
    /// Application layers whose messages are added to flow records.
    pub extra_layers: ExtraLayers,
    /// Application names by port.
    pub application_ports: ApplicationPorts,
    /// Timeouts by application name: a flow that is idle for longer than its timeout is removed at
    /// the next update. Default: 10 s for ARP and DNS.
    pub application_timeouts: Vec<(Text, Duration)>,
    /// Whether a flow is sent only once, when it is removed, and not at every update. Default
    /// false.
    pub final_only: bool,
    /// Whether to reproduce Skydive's values exactly, for comparison with values recorded from
    /// Skydive. Default false.
    ///
    /// All rules of `docs/flows.md` on identity, times, streams, and ends are then off, and known
    /// defects are reproduced: `Last` may decrease; only the last fragment of a reassembled packet
    /// is counted; TCP ends are detected only in the first packet of a flow; SYN times are assigned
    /// to the wrong end; packets without IP are not counted in [`LayerKeyMode::L3`]; the last
    /// interval is sent twice; and TCP inside UDP is not tracked.
    pub recorded: bool,
    /// Secret seed of the key hash; random if `None` (default). A fixed seed makes runs repeatable
    /// but lets an attacker who knows it force hash collisions.
    pub seed: Option<u64>,
    /// Options of the packet decoder.
    pub decoder: DecoderOptions,
}

impl Default for FlowTableOptions {
    fn default() -> Self {
        Self {
            node_tid: Text::default(),
            capture_id: Text::default(),
            layer_key_mode: LayerKeyMode::L2,
            key_ignore: KeyIgnore::NONE,
            update_interval: Duration::from_secs(60),
            expiry_interval: Duration::from_secs(600),
            max_entries: 500_000,
            max_bytes: None,
            raw_packet_limit: 0,
            extra_tcp_metric: false,
            extra_rtt_metric: false,
            reassemble_tcp: false,
            ip_defrag: false,
            extra_layers: ExtraLayers::NONE,
            application_ports: ApplicationPorts::default(),
            application_timeouts: vec![
                ("ARP".into(), Duration::from_secs(10)),
                ("DNS".into(), Duration::from_secs(10)),
            ],
            final_only: false,
            recorded: false,
            seed: None,
            decoder: DecoderOptions::default(),
        }
    }
}

setters! {
    FlowTableOptions {
        with_node_tid node_tid impl Into<Text>;
        with_capture_id capture_id impl Into<Text>;
        with_layer_key_mode layer_key_mode LayerKeyMode;
        with_key_ignore key_ignore KeyIgnore;
        with_update_interval update_interval Duration;
        with_expiry_interval expiry_interval Duration;
        with_max_entries max_entries usize;
        with_max_bytes max_bytes usize;
        with_raw_packet_limit raw_packet_limit u32;
        with_extra_tcp_metric extra_tcp_metric bool;
        with_extra_rtt_metric extra_rtt_metric bool;
        with_reassemble_tcp reassemble_tcp bool;
        with_ip_defrag ip_defrag bool;
        with_extra_layers extra_layers ExtraLayers;
        with_application_ports application_ports ApplicationPorts;
        with_application_timeouts application_timeouts Vec<(Text, Duration)>;
        with_final_only final_only bool;
        with_recorded recorded bool;
        with_seed seed u64;
        with_decoder decoder DecoderOptions;
    }
}

/// Layers that identify a flow.
///
/// ```
/// use skylib::flow::LayerKeyMode;
/// assert_eq!("L3".parse(), Ok(LayerKeyMode::L3));
/// let error = "L4".parse::<LayerKeyMode>().unwrap_err();
/// assert_eq!(error.to_string(), "unknown layer key mode \"L4\"; expected L2 or L3");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LayerKeyMode {
    /// MAC addresses and all layers above.
    #[default]
    L2,
    /// IP addresses and all layers above; MAC addresses only for flows without IP.
    L3,
}

impl FromStr for LayerKeyMode {
    type Err = UnknownNameError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "L2" => Ok(Self::L2),
            "L3" => Ok(Self::L3),
            _ => Err(UnknownNameError::new(
                "layer key mode",
                name,
                "expected L2 or L3",
            )),
        }
    }
}
