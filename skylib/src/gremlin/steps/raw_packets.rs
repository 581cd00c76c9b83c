//! `RawPackets` and `BPF`: packets stored with flows.

use hashbrown::HashMap;

use crate::flow::{Flow, PacketFilter, PacketFilterCompiler, RawPacket};
use crate::gremlin::budget::Budget;
use crate::gremlin::error::QueryError;
use crate::packet::{LinkType, PacketRef};
use crate::time::Timestamp;
use crate::value::Text;

/// Returns the packets of each flow by its UUID. Flows without packets are omitted.
pub(in crate::gremlin) fn of_flows(flows: Vec<Flow>) -> Vec<(Text, Vec<RawPacket>)> {
    let packets = |flow: Flow| (flow.uuid, flow.last_raw_packets);
    flows
        .into_iter()
        .map(packets)
        .filter(|(_, packets)| !packets.is_empty())
        .collect()
}

/// Removes the packets that a BPF filter does not match. Flows remain even without packets.
///
/// # Errors
/// Returns an error if BPF is not supported, the filter is invalid, or the query is interrupted.
pub(in crate::gremlin) fn filter(
    mut flows: Vec<(Text, Vec<RawPacket>)>,
    text: &str,
    filters: Option<&dyn PacketFilterCompiler>,
    budget: &Budget<'_>,
) -> Result<Vec<(Text, Vec<RawPacket>)>, QueryError> {
    let filters = filters.ok_or_else(|| {
        QueryError::execute("BPF is not supported by this program")
            .help("it was built without libpcap (feature `pcap`)")
    })?;
    let compile = |link_type| {
        let compiled = filters.compile(text, link_type, &|| budget.check().is_err());
        budget.check()?;
        compiled.map_err(QueryError::execute)
    };
    // An invalid filter is an error even without packets, whose link type would select the program.
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
