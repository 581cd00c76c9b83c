//! `RawPackets` and `BPF`: packets stored with flows.

use hashbrown::HashMap;

use crate::flow::{Flow, FlowSource, PacketFilter, PacketFilterCompiler, PacketsByFlow, RawPacket};
use crate::gremlin::budget::Budget;
use crate::gremlin::error::QueryError;
use crate::packet::{LinkType, PacketRef};
use crate::time::Timestamp;
use crate::value::Text;

/// Returns the stored raw packets of `flows`: those that earlier updates moved out of the flow
/// tables.
pub(in crate::gremlin) fn stored(source: &dyn FlowSource, flows: &[Flow]) -> PacketsByFlow {
    let has_packets = |flow: &&Flow| flow.raw_packets_captured > 0;
    let uuids: Vec<Text> = flows
        .iter()
        .filter(has_packets)
        .map(|flow| flow.uuid.clone())
        .collect();
    match &uuids[..] {
        [] => Vec::new(),
        uuids => source.stored_packets(uuids),
    }
}

/// Returns the packets of each flow by its UUID: those in the flow and the stored ones, in the
/// order of their index. Flows without packets are omitted.
///
/// # Errors
/// Returns an error if the packets exceed a limit of the query.
pub(in crate::gremlin) fn of_flows(
    flows: Vec<Flow>,
    stored: PacketsByFlow,
    budget: &Budget<'_>,
) -> Result<PacketsByFlow, QueryError> {
    let mut stored: HashMap<Text, Vec<RawPacket>> = stored.into_iter().collect();
    let mut room = budget.room();
    let mut found = Vec::new();
    for flow in flows {
        let mut packets = stored.remove(&flow.uuid).unwrap_or_default();
        // An update between the two queries may also have stored packets that the table returned.
        let newest = packets.last().map_or(i64::MIN, |packet| packet.index);
        let is_newer = |packet: &RawPacket| packet.index > newest;
        packets.extend(flow.last_raw_packets.into_iter().filter(is_newer));
        for packet in &packets {
            budget.tick()?;
            room.add(size_of::<RawPacket>() + packet.data.len())?;
        }
        if !packets.is_empty() {
            found.push((flow.uuid, packets));
        }
    }
    Ok(found)
}

/// Removes the packets that a BPF filter does not match. Flows remain even without packets.
///
/// # Errors
/// Returns an error if BPF is not supported, the filter is invalid, or the query is interrupted.
pub(in crate::gremlin) fn filter(
    mut flows: PacketsByFlow,
    text: &str,
    filters: Option<&dyn PacketFilterCompiler>,
    budget: &Budget<'_>,
) -> Result<PacketsByFlow, QueryError> {
    let filters = filters.ok_or_else(|| {
        QueryError::execute("BPF is not supported by this program")
            .help("it was built without libpcap (feature `pcap`)")
    })?;
    let compile = |link_type| {
        let compiled = filters.compile(text, link_type, &|| budget.check().is_err());
        budget.check()?;
        compiled.map_err(QueryError::execute)
    };
    // An invalid filter is an error even if there are no packets to determine the link type.
    let mut compiled: HashMap<LinkType, Box<dyn PacketFilter>> = HashMap::new();
    if flows.is_empty() {
        compile(LinkType::ETHERNET)?;
    }
    for (_, packets) in &mut flows {
        let mut failed = Ok(());
        packets.retain(|packet| {
            let passes = budget.tick().and_then(|()| {
                let link_type = LinkType(u16::try_from(packet.link_type).unwrap_or_default());
                if !compiled.contains_key(&link_type) {
                    compiled.insert(link_type, compile(link_type)?);
                }
                let packet = PacketRef {
                    link_type,
                    timestamp: Timestamp::from_ms(packet.timestamp),
                    data: &packet.data,
                    wire_len: u32::try_from(packet.data.len()).unwrap_or(u32::MAX),
                };
                Ok(compiled[&link_type].matches(&packet))
            });
            passes.unwrap_or_else(|error| {
                failed = Err(error);
                false
            })
        });
        failed?;
    }
    Ok(flows)
}
