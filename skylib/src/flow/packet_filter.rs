//! Packet filters: which packets a flow table counts, and how a filter text becomes one.
//!
//! The capture layer implements both traits with libpcap; this module cannot use it, because
//! `capture` is a layer above `flow`.

use crate::packet::{LinkType, PacketRef};

/// Predicate on packets.
///
/// A [`FlowTable`](super::FlowTable) counts only the packets that match
/// ([`FlowTable::set_filter`](super::FlowTable::set_filter)).
pub trait PacketFilter: Send {
    /// Returns whether the packet matches.
    fn matches(&self, packet: &PacketRef<'_>) -> bool;
}

/// Compiler of filter texts such as `tcp port 80`.
///
/// The capture layer implements it with libpcap (`capture::BpfCompiler`).
pub trait PacketFilterCompiler: Send + Sync {
    /// Returns the filter for packets of a link type; an empty text matches every packet. A compiler
    /// that has to wait for others gives up once `is_interrupted` returns `true`.
    ///
    /// # Errors
    /// A description of the mistake in `text`, as the compiler words it.
    fn compile(
        &self,
        text: &str,
        link_type: LinkType,
        is_interrupted: &dyn Fn() -> bool,
    ) -> Result<Box<dyn PacketFilter>, String>;
}
