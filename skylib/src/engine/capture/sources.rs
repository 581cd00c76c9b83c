//! Packet sources of the capture types.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::ring_memory::{BLOCK_BYTES, RingClaim, RingMemory};
use super::switch::SwitchClaim;
use super::target::CaptureTarget;
use crate::api::CaptureSpec;
use crate::capture::{
    AfPacket, BpfProgram, CaptureOptions, ErspanForwarder, Fanout, PacketSource, PcapSocket,
    SflowSource, link_type_of_encap,
};
use crate::engine::collector::SflowMetric;
use crate::error_chain::Chain;
use crate::packet::LinkType;
use crate::sys::netns;

/// Opened packet sources of a capture, with the address, counters, and switch settings that belong
/// to them.
pub(super) struct OpenedSource {
    /// One source, or several that share the packets of an interface by flow.
    pub(super) sources: Vec<Box<dyn PacketSource>>,
    /// Memory of their rings.
    pub(super) rings: Vec<RingClaim>,
    /// Address on which the capture receives, and the key under which its status shows the address.
    pub(super) socket: Option<(&'static str, String)>,
    /// Counters that sFlow agents have sent.
    pub(super) sflow: Option<Arc<Mutex<SflowMetric>>>,
    /// Settings of the switch that belong to the capture; removed with the capture.
    pub(super) claim: Option<SwitchClaim>,
    /// Interface to which the switch mirrors the packets.
    pub(super) mirror: Option<String>,
}

impl OpenedSource {
    /// Returns a source without a ring, a socket, and switch settings.
    pub(super) fn new(source: impl PacketSource + 'static) -> Self {
        Self {
            sources: vec![Box::new(source)],
            rings: Vec::new(),
            socket: None,
            sflow: None,
            claim: None,
            mirror: None,
        }
    }
}

/// Address and ports on which captures of a type receive; each uses the first free port.
#[derive(Clone, Debug)]
pub(crate) struct ListenAddresses {
    pub(crate) address: IpAddr,
    pub(crate) ports: RangeInclusive<u16>,
}

impl ListenAddresses {
    /// Returns ports of 127.0.0.1.
    pub(crate) const fn local(ports: RangeInclusive<u16>) -> Self {
        Self {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            ports,
        }
    }

    /// Opens a source on the first free port.
    ///
    /// # Errors
    /// Returns the error of the last port.
    pub(super) fn first_free<T>(
        &self,
        mut open: impl FnMut(SocketAddr) -> Result<T, String>,
    ) -> Result<T, String> {
        let mut result = Err(format!(
            "the port range {:?} is empty; its first port must not exceed its last",
            self.ports
        ));
        for port in self.ports.clone() {
            result = open(SocketAddr::from((self.address, port)));
            if result.is_ok() {
                break;
            }
        }
        result
    }
}

/// Opens the rings of an interface, which share its packets by flow. With a receiver of ERSPAN, its
/// packets are sent there.
pub(super) fn open_interface(
    spec: &CaptureSpec,
    target: &CaptureTarget,
    receiver: Option<Ipv4Addr>,
    program: Option<BpfProgram>,
    rings: &RingMemory,
    shards: usize,
) -> Result<OpenedSource, String> {
    // The sequence numbers of ERSPAN need one sender.
    let shards = if receiver.is_some() { 1 } else { shards.max(1) };
    let mut options = interface_options(spec, target);
    if let Some(program) = program {
        options = options.with_filter(program);
    }
    let (mut sources, mut claims) = (Vec::new(), Vec::new());
    for _ in 0..shards {
        let ring = rings.claim()?;
        let mut options = options.clone().with_ring(BLOCK_BYTES, ring.blocks());
        if shards > 1 {
            let group = sources.first().and_then(AfPacket::fanout_group);
            options = options.with_fanout(group.map_or(Fanout::New, Fanout::Group));
        }
        sources.push(AfPacket::open(&options).map_err(|error| Chain(&error).to_string())?);
        claims.push(ring);
    }
    let boxed = |source: AfPacket| -> Result<Box<dyn PacketSource>, String> {
        let Some(receiver) = receiver else {
            return Ok(Box::new(source));
        };
        let forwarder = ErspanForwarder::open(source, receiver, target.index);
        Ok(Box::new(
            forwarder.map_err(|error| Chain(&error).to_string())?,
        ))
    };
    Ok(OpenedSource {
        sources: sources.into_iter().map(boxed).collect::<Result<_, _>>()?,
        rings: claims,
        socket: None,
        sflow: None,
        claim: None,
        mirror: None,
    })
}

/// Opens a TCP socket that receives capture files.
pub(super) fn open_pcap_socket(addresses: &ListenAddresses) -> Result<OpenedSource, String> {
    let source = PcapSocket::listen(addresses.address, addresses.ports.clone());
    let source = source.map_err(|error| Chain(&error).to_string())?;
    let address = source.address().to_string();
    let mut opened = OpenedSource::new(source);
    opened.socket = Some(("PCAPSocket", address));
    Ok(opened)
}

/// Opens a UDP socket that receives sFlow, in the namespace of the node: at the address of the node
/// if it has only one, otherwise at all addresses.
pub(super) fn open_sflow(
    spec: &CaptureSpec,
    target: &CaptureTarget,
) -> Result<OpenedSource, String> {
    let mut addresses = target.addresses.iter().filter_map(|address| {
        let (address, _) = address.split_once('/').unwrap_or((address, ""));
        address.parse::<Ipv4Addr>().ok()
    });
    let address = match (addresses.next(), addresses.next()) {
        (None, _) => return Err(format!("No IP for node {}", target.interface)),
        (Some(only), None) => only,
        (Some(_), Some(_)) => Ipv4Addr::UNSPECIFIED,
    };
    let port = if spec.port == 0 {
        SFLOW_PORT
    } else {
        spec.port
    };
    open_sflow_at(SocketAddr::from((address, port)), target.netns.as_deref())
}

/// Opens a UDP socket that receives sFlow at an address, in the namespace of a file or in that of this
/// process.
pub(super) fn open_sflow_at(
    address: SocketAddr,
    namespace: Option<&Path>,
) -> Result<OpenedSource, String> {
    let counters = Arc::<Mutex<SflowMetric>>::default();
    let open = || {
        let counters = Arc::clone(&counters);
        let on_counters = Box::new(move |sample: &crate::export::CounterSample<'_>| {
            counters.lock().add(sample);
        });
        SflowSource::open(address, on_counters)
    };
    let opened = match namespace {
        None => Ok(open()),
        Some(path) => netns::run_in(path, open),
    };
    let source = opened
        .map_err(|error| format!("cannot enter the namespace: {error}"))?
        .map_err(|error| Chain(&error).to_string())?;
    let shown = |source: &SflowSource| source.address().map(|address| address.to_string());
    let address = shown(&source).map_err(|error: io::Error| error.to_string())?;
    let mut opened = OpenedSource::new(source);
    opened.socket = Some(("SFlowSocket", address));
    opened.sflow = Some(counters);
    Ok(opened)
}

/// Returns the link type of the packets of an interface.
pub(super) fn link_type_of(target: &CaptureTarget) -> LinkType {
    link_type_of_encap(&target.encap_type).unwrap_or(LinkType::ETHERNET)
}

/// Returns the settings of a capture's packet socket, without its filter.
fn interface_options(spec: &CaptureSpec, target: &CaptureTarget) -> CaptureOptions {
    let mut options = CaptureOptions::new(&target.interface);
    if let Some(path) = &target.netns {
        options = options.with_netns(path);
    }
    options = options.with_link_type(link_type_of(target));
    if spec.header_size != 0 {
        options = options.with_header_size(u32::try_from(spec.header_size).unwrap_or(0));
    }
    options
}

/// Returns the receiver of ERSPAN: the target of a capture, which must have an IPv4 address.
pub(super) fn erspan_receiver(
    spec: &CaptureSpec,
    receiver: Option<SocketAddr>,
) -> Result<Ipv4Addr, String> {
    match receiver {
        Some(SocketAddr::V4(receiver)) => Ok(*receiver.ip()),
        _ => Err(format!("Target: {} is not an IPv4 address", spec.target)),
    }
}

/// Target type of captures that send packets.
pub(super) const ERSPAN: &str = "erspanv1";
/// Target type of captures that send flows.
pub(super) const NETFLOW: &str = "netflowv5";
/// Port that is registered for sFlow.
const SFLOW_PORT: u16 = 6_343;
