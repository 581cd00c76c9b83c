//! What a flow table is told when it is made.

use std::time::Duration;

use super::application::ApplicationPorts;
use super::extra_layers::ExtraLayers;
use crate::decode::DecoderOptions;
use crate::value::Text;

/// Settings of a [`FlowTable`](super::FlowTable).
///
/// ```
/// use skylib::flow::{FlowTableOptions, LayerKeyMode};
/// use std::time::Duration;
/// let options = FlowTableOptions::default()
///     .with_node_tid("node-1")
///     .with_layer_key_mode(LayerKeyMode::L3)
///     .with_update(Duration::from_secs(10));
/// assert_eq!(options.expire, Duration::from_secs(600));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FlowTableOptions {
    /// `TID` of the node captured on; part of every flow's `UUID`.
    pub node_tid: Text,
    /// Identifier of the capture.
    pub capture_id: Text,
    /// Whether MAC addresses tell flows apart.
    pub layer_key_mode: LayerKeyMode,
    /// Time between updates: how often active flows are sent.
    pub update: Duration,
    /// Time between expiries: a silent flow leaves after one to two of them.
    pub expire: Duration,
    /// The most flows held; of more, the least recently used leave.
    pub max_entries: usize,
    /// The most bytes held for flows, in about; of more, the least recently used leave.
    pub max_bytes: Option<usize>,
    /// The first packets of each flow that are kept whole.
    pub raw_packet_limit: u32,
    /// Whether TCP flows get a [`TcpMetric`](super::TcpMetric) (times and TTL of SYN, FIN, RST).
    pub extra_tcp_metric: bool,
    /// Whether TCP streams are followed: what of them came late, what is missing, how they began
    /// and ended. The counters show streams that are done.
    pub reassemble_tcp: bool,
    /// Whether IPv4 fragments are joined; IPv4 flows then get an [`IpMetric`](super::IpMetric).
    pub ip_defrag: bool,
    /// Layers whose contents become part of the flow.
    pub extra_layers: ExtraLayers,
    /// Names of applications by port.
    pub application_ports: ApplicationPorts,
    /// Applications whose silent flows leave earlier, at the first update after that time.
    pub application_timeouts: Vec<(Text, Duration)>,
    /// Whether flows are sent only when they leave, each once, instead of at every update too.
    pub leaving_only: bool,
    /// Whether to give the values the original has been recorded with where ours are mended:
    /// `Last` that goes back, the last one of joined fragments counted alone, ends seen in a first
    /// packet only, SYN times on the wrong side, no counting without IP in [`LayerKeyMode::L3`],
    /// last intervals told twice, TCP within UDP not followed.
    pub recorded: bool,
    /// Secret of the hash of keys; random unless given.
    pub seed: Option<u64>,
    /// What the decoder knows beside the standards.
    pub decoder: DecoderOptions,
}

impl Default for FlowTableOptions {
    fn default() -> Self {
        Self {
            node_tid: Text::default(),
            capture_id: Text::default(),
            layer_key_mode: LayerKeyMode::L2,
            update: Duration::from_secs(60),
            expire: Duration::from_secs(600),
            max_entries: 500_000,
            max_bytes: None,
            raw_packet_limit: 0,
            extra_tcp_metric: false,
            reassemble_tcp: false,
            ip_defrag: false,
            extra_layers: ExtraLayers::NONE,
            application_ports: ApplicationPorts::default(),
            application_timeouts: vec![
                ("ARP".into(), Duration::from_secs(10)),
                ("DNS".into(), Duration::from_secs(10)),
            ],
            leaving_only: false,
            recorded: false,
            seed: None,
            decoder: DecoderOptions::default(),
        }
    }
}

macro_rules! setters {
    ($($setter:ident $field:ident $type:ty;)*) => {
        impl FlowTableOptions {
            $(
                #[doc = concat!("Sets [`", stringify!($field), "`](Self::", stringify!($field), ").")]
                #[must_use]
                pub fn $setter(mut self, $field: $type) -> Self {
                    self.$field = $field.into();
                    self
                }
            )*
        }
    };
}

setters! {
    with_node_tid node_tid impl Into<Text>;
    with_capture_id capture_id impl Into<Text>;
    with_layer_key_mode layer_key_mode LayerKeyMode;
    with_update update Duration;
    with_expire expire Duration;
    with_max_entries max_entries usize;
    with_max_bytes max_bytes usize;
    with_raw_packet_limit raw_packet_limit u32;
    with_extra_tcp_metric extra_tcp_metric bool;
    with_reassemble_tcp reassemble_tcp bool;
    with_ip_defrag ip_defrag bool;
    with_extra_layers extra_layers ExtraLayers;
    with_application_ports application_ports ApplicationPorts;
    with_application_timeouts application_timeouts Vec<(Text, Duration)>;
    with_leaving_only leaving_only bool;
    with_recorded recorded bool;
    with_seed seed u64;
    with_decoder decoder DecoderOptions;
}

/// Which layers tell flows apart. Complete by definition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LayerKeyMode {
    /// MAC addresses too.
    #[default]
    L2,
    /// MAC addresses only where there is no IP.
    L3,
}

impl LayerKeyMode {
    /// Reads `L2` or `L3`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "L2" => Some(Self::L2),
            "L3" => Some(Self::L3),
            _ => None,
        }
    }
}
