//! Counter samples.

use std::net::IpAddr;

use super::super::reader::Reader;
use super::{Header, each_record, opaque, read_source};

/// Counters of an interface or of a switch. A counter of which all bits are set is unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CounterSample<'a> {
    /// Address of the agent.
    pub agent: IpAddr,
    /// Number of the agent's process.
    pub sub_agent: u32,
    /// Sequence number of the source.
    pub sequence: u32,
    /// Type of the source: 0 for an interface.
    pub source_type: u32,
    /// Index of the source.
    pub source_index: u32,
    /// Counters of an interface.
    pub interface: Option<InterfaceCounters>,
    /// Counters of an Ethernet interface.
    pub ethernet: Option<EthernetCounters>,
    /// Counters of a VLAN.
    pub vlan: Option<VlanCounters>,
    /// Counters of an Open vSwitch datapath.
    pub ovs_datapath: Option<OvsDatapathCounters>,
    /// Resources of the process.
    pub resources: Option<ApplicationResources>,
    /// Name of the interface.
    pub port_name: Option<&'a [u8]>,
    /// Name of the host.
    pub host_name: Option<&'a [u8]>,
}

/// Declares a structure of counters and its reader, in the order of the wire format.
macro_rules! counters {
    ($(#[$meta:meta])* $name:ident { $($field:ident: $type:ident, $doc:literal;)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct $name {
            $(#[doc = $doc] pub $field: $type,)*
        }

        impl $name {
            fn read(reader: &mut Reader<'_>) -> Option<Self> {
                Some(Self { $($field: reader.$type()?,)* })
            }

            /// Returns the names and the values of all counters, in the order of the wire format.
            #[must_use]
            pub fn values(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($field), u64::from(self.$field)),)*]
            }
        }
    };
}

counters! {
    /// Counters of an interface.
    InterfaceCounters {
        if_index: u32, "Index of the interface.";
        if_type: u32, "Type of the interface (`ifType`).";
        if_speed: u64, "Speed, in bit/s.";
        if_direction: u32, "Duplex: 1 full, 2 half, 3 input only, 4 output only.";
        if_status: u32, "Bit 0: enabled; bit 1: operational.";
        in_octets: u64, "Received bytes.";
        in_ucast: u32, "Received unicast packets.";
        in_mcast: u32, "Received multicast packets.";
        in_bcast: u32, "Received broadcast packets.";
        in_discards: u32, "Received packets that were discarded.";
        in_errors: u32, "Received packets with errors.";
        in_unknown: u32, "Received packets of an unknown protocol.";
        out_octets: u64, "Sent bytes.";
        out_ucast: u32, "Sent unicast packets.";
        out_mcast: u32, "Sent multicast packets.";
        out_bcast: u32, "Sent broadcast packets.";
        out_discards: u32, "Packets that were discarded instead of sent.";
        out_errors: u32, "Packets that could not be sent.";
        promiscuous: u32, "Promiscuous mode: 1 enabled, 2 disabled.";
    }
}

counters! {
    /// Counters of an Ethernet interface (RFC 3635).
    EthernetCounters {
        alignment_errors: u32, "Frames with an incomplete last byte.";
        fcs_errors: u32, "Frames with a wrong check sequence.";
        single_collisions: u32, "Frames sent after one collision.";
        multiple_collisions: u32, "Frames sent after several collisions.";
        sqe_test_errors: u32, "Signal quality test errors.";
        deferred: u32, "Frames delayed because the medium was busy.";
        late_collisions: u32, "Late collisions.";
        excessive_collisions: u32, "Frames not sent because of collisions.";
        internal_mac_tx_errors: u32, "Frames not sent because of internal errors.";
        carrier_sense_errors: u32, "Losses of the carrier.";
        frame_too_longs: u32, "Frames that were too long.";
        internal_mac_rx_errors: u32, "Frames not received because of internal errors.";
        symbol_errors: u32, "Invalid symbols.";
    }
}

counters! {
    /// Counters of a VLAN.
    VlanCounters {
        vlan: u32, "Number of the VLAN.";
        octets: u64, "Bytes.";
        ucast: u32, "Unicast packets.";
        mcast: u32, "Multicast packets.";
        bcast: u32, "Broadcast packets.";
        discards: u32, "Discarded packets.";
    }
}

counters! {
    /// Counters of an Open vSwitch datapath.
    OvsDatapathCounters {
        hits: u32, "Packets that matched a flow.";
        misses: u32, "Packets that matched no flow.";
        lost: u32, "Packets that did not reach user space.";
        mask_hits: u32, "Masks that were compared.";
        flows: u32, "Flows.";
        masks: u32, "Masks.";
    }
}

counters! {
    /// Resources of a process.
    ApplicationResources {
        user_time: u32, "Processor time in user mode, in ms.";
        system_time: u32, "Processor time in the kernel, in ms.";
        mem_used: u64, "Used memory, in bytes.";
        mem_max: u64, "Maximum memory, in bytes.";
        fd_open: u32, "Open file descriptors.";
        fd_max: u32, "Maximum number of file descriptors.";
        conn_open: u32, "Open connections.";
        conn_max: u32, "Maximum number of connections.";
    }
}

/// Reads a counter sample.
pub(super) fn read<'a>(
    reader: &mut Reader<'a>,
    header: &Header,
    is_expanded: bool,
    malformed: &mut u64,
) -> Option<CounterSample<'a>> {
    let sequence = reader.u32()?;
    let (source_type, source_index) = read_source(reader, is_expanded)?;
    let count = reader.u32()?;
    let mut sample = CounterSample {
        agent: header.agent,
        sub_agent: header.sub_agent,
        sequence,
        source_type,
        source_index,
        interface: None,
        ethernet: None,
        vlan: None,
        ovs_datapath: None,
        resources: None,
        port_name: None,
        host_name: None,
    };
    each_record(reader, count, malformed, |kind, content| {
        sample.read_record(kind, content)
    });
    Some(sample)
}

impl<'a> CounterSample<'a> {
    /// Reads a record; `None` if it is truncated. Unknown records are skipped.
    fn read_record(&mut self, kind: u32, reader: &mut Reader<'a>) -> Option<()> {
        match kind {
            1 => self.interface = Some(InterfaceCounters::read(reader)?),
            2 => self.ethernet = Some(EthernetCounters::read(reader)?),
            5 => self.vlan = Some(VlanCounters::read(reader)?),
            1005 => self.port_name = Some(opaque(reader)?),
            2000 => self.host_name = Some(opaque(reader)?),
            2203 => self.resources = Some(ApplicationResources::read(reader)?),
            2207 => self.ovs_datapath = Some(OvsDatapathCounters::read(reader)?),
            _ => {}
        }
        Some(())
    }
}
