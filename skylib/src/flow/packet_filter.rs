//! Packet filters: selection of the packets that a flow table counts, and compilation of filter
//! expressions.
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

/// Compiler of filter expressions such as `tcp port 80`.
///
/// The capture layer implements it with libpcap (`capture::BpfCompiler`).
pub trait PacketFilterCompiler: Send + Sync {
    /// Compiles the filter expression `text` for packets of a link type; an empty expression
    /// matches every packet. A compiler that waits for other compilations stops waiting when
    /// `is_interrupted` returns `true`.
    ///
    /// # Errors
    /// Returns the compiler's description of the mistake in `text`.
    fn compile(
        &self,
        text: &str,
        link_type: LinkType,
        is_interrupted: &dyn Fn() -> bool,
    ) -> Result<Box<dyn PacketFilter>, String>;
}
