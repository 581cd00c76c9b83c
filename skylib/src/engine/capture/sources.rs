//! Packet sources of the capture types.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::sync::Arc;

use parking_lot::Mutex;

use super::ring_memory::{BLOCK_BYTES, RingClaim, RingMemory};
use super::target::CaptureTarget;
use crate::api::CaptureSpec;
use crate::api::address::ServiceAddress;
use crate::capture::{
    AfPacket, BpfProgram, CaptureOptions, ErspanForwarder, PacketSource, PcapSocket, SflowSource,
    link_type_of_encap,
};
use crate::engine::collector::SflowMetric;
use crate::error_chain::Chain;
use crate::packet::LinkType;
use crate::sys::netns;

/// A packet source, and what it shows on its node.
pub(super) struct OpenedSource {
    pub(super) source: Box<dyn PacketSource>,
    /// Memory of its ring.
    pub(super) ring: Option<RingClaim>,
    /// Address on which it receives, with the key of the status that shows it.
    pub(super) socket: Option<(&'static str, String)>,
    /// Counters that sFlow agents have sent.
    pub(super) sflow: Option<Arc<Mutex<SflowMetric>>>,
}

/// Addresses on which PCAP sockets listen.
#[derive(Clone, Debug)]
pub(crate) struct PcapSocketAddresses {
    pub(crate) address: IpAddr,
    pub(crate) ports: RangeInclusive<u16>,
}

impl Default for PcapSocketAddresses {
    /// Returns the addresses of Skydive: 127.0.0.1, ports 8100 to 8132.
    fn default() -> Self {
        Self {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            ports: 8_100..=8_132,
        }
    }
}

/// Opens the ring of an interface. With the target type `erspanv1`, its packets are sent to the
/// target.
pub(super) fn open_interface(
    spec: &CaptureSpec,
    target: &CaptureTarget,
    program: Option<BpfProgram>,
    rings: &RingMemory,
) -> Result<OpenedSource, String> {
    let ring = rings.claim()?;
    let mut options = interface_options(spec, target).with_ring(BLOCK_BYTES, ring.blocks());
    if let Some(program) = program {
        options = options.with_filter(program);
    }
    let source = AfPacket::open(&options).map_err(|error| Chain(&error).to_string())?;
    let source: Box<dyn PacketSource> = if spec.target_type == ERSPAN {
        let SocketAddr::V4(receiver) = resolve(&spec.target)? else {
            return Err(format!("Target: {} is not an IPv4 address", spec.target));
        };
        let forwarder = ErspanForwarder::open(source, *receiver.ip(), target.index);
        Box::new(forwarder.map_err(|error| Chain(&error).to_string())?)
    } else {
        Box::new(source)
    };
    Ok(OpenedSource {
        source,
        ring: Some(ring),
        socket: None,
        sflow: None,
    })
}

/// Opens a TCP socket that receives capture files.
pub(super) fn open_pcap_socket(addresses: &PcapSocketAddresses) -> Result<OpenedSource, String> {
    let source = PcapSocket::listen(addresses.address, addresses.ports.clone());
    let source = source.map_err(|error| Chain(&error).to_string())?;
    let address = source.address().to_string();
    Ok(OpenedSource {
        source: Box::new(source),
        ring: None,
        socket: Some(("PCAPSocket", address)),
        sflow: None,
    })
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
    let counters = Arc::<Mutex<SflowMetric>>::default();
    let open = || {
        let counters = Arc::clone(&counters);
        let on_counters = Box::new(move |sample: &crate::export::CounterSample<'_>| {
            counters.lock().add(sample);
        });
        SflowSource::open(SocketAddr::from((address, port)), on_counters)
    };
    let opened = match &target.netns {
        None => Ok(open()),
        Some(path) => netns::run_in(path, open),
    };
    let source = opened
        .map_err(|error| format!("cannot enter the namespace: {error}"))?
        .map_err(|error| Chain(&error).to_string())?;
    let shown = |source: &SflowSource| source.address().map(|address| address.to_string());
    let address = shown(&source).map_err(|error: io::Error| error.to_string())?;
    Ok(OpenedSource {
        source: Box::new(source),
        ring: None,
        socket: Some(("SFlowSocket", address)),
        sflow: Some(counters),
    })
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

/// Returns the address of a target.
pub(super) fn resolve(target: &str) -> Result<SocketAddr, String> {
    let failed = |reason: String| format!("Target: cannot resolve {target}: {reason}");
    let address: ServiceAddress = target
        .parse()
        .map_err(|_| failed("no address".to_owned()))?;
    let found = (address.host.as_str(), address.port).to_socket_addrs();
    let mut found: Vec<SocketAddr> = found.map_err(|error| failed(error.to_string()))?.collect();
    // Both protocols of targets carry IPv4.
    found.sort_by_key(SocketAddr::is_ipv6);
    found
        .first()
        .copied()
        .ok_or_else(|| failed("no address".to_owned()))
}

/// Target type of captures that send packets.
pub(super) const ERSPAN: &str = "erspanv1";
/// Target type of captures that send flows.
pub(super) const NETFLOW: &str = "netflowv5";
/// Port that is registered for sFlow.
const SFLOW_PORT: u16 = 6_343;
