//! `Neighbors`: the devices whose frames each interface receives, and their nodes.

use std::collections::BTreeMap;

use super::frame::LldpFrame;
use crate::graph::{Edge, Metadata, NodeId};
use crate::topology::Subgraph;
use crate::topology::netlink::LinkSummary;
use crate::value::{Map, Value};

/// Devices by interface and by their identifiers.
#[derive(Debug, Default)]
pub(super) struct Neighbors {
    by_interface: BTreeMap<u32, BTreeMap<(String, String), Neighbor>>,
}

#[derive(Debug)]
struct Neighbor {
    frame: LldpFrame,
    /// Number of seconds until the values expire.
    left_s: u16,
}

impl Neighbors {
    pub(super) fn is_empty(&self) -> bool {
        self.by_interface.is_empty()
    }

    /// Stores a frame received on an interface; returns whether anything differs.
    pub(super) fn receive(&mut self, index: u32, frame: LldpFrame) -> bool {
        let neighbors = self.by_interface.entry(index).or_default();
        let key = (frame.chassis.text.clone(), frame.port.text.clone());
        let differs = if frame.ttl_s == 0 {
            neighbors.remove(&key).is_some()
        } else if let Some(known) = neighbors.get_mut(&key) {
            known.left_s = frame.ttl_s;
            let differs = known.frame != frame;
            known.frame = frame;
            differs
        } else if neighbors.len() < MAX_NEIGHBORS {
            let left_s = frame.ttl_s;
            neighbors.insert(key, Neighbor { frame, left_s });
            true
        } else {
            false
        };
        if neighbors.is_empty() {
            self.by_interface.remove(&index);
        }
        differs
    }

    /// Removes the neighbors whose time has elapsed; returns whether there were any.
    pub(super) fn second_elapsed(&mut self) -> bool {
        let mut differs = false;
        self.by_interface.retain(|_, neighbors| {
            neighbors.retain(|_, neighbor| {
                neighbor.left_s = neighbor.left_s.saturating_sub(1);
                differs |= neighbor.left_s == 0;
                neighbor.left_s > 0
            });
            !neighbors.is_empty()
        });
        differs
    }

    /// Removes the neighbors of other interfaces.
    pub(super) fn retain_links(&mut self, is_present: impl Fn(u32) -> bool) {
        self.by_interface.retain(|index, _| is_present(*index));
    }

    /// Returns the nodes of all neighbors, linked to the interfaces.
    pub(super) fn subgraph(&self, links: &BTreeMap<u32, LinkSummary>) -> Subgraph {
        let mut wanted = Subgraph::new();
        for (index, neighbors) in &self.by_interface {
            let Some(link) = links.get(index) else {
                continue;
            };
            for neighbor in neighbors.values() {
                let frame = &neighbor.frame;
                let switch = switch_id(frame);
                let port = port_id(&switch, frame);
                wanted.add_node(switch.clone(), switch_metadata(frame));
                wanted.add_node(port.clone(), port_metadata(frame));
                wanted.own(&switch, &port);
                wanted.link(&switch, &port, Edge::LAYER2, Metadata::new());
                wanted.link(&port, &link.node, Edge::LAYER2, Metadata::new());
            }
        }
        wanted
    }
}

/// Returns the id of a device: derived from its name and its management address, or from its chassis
/// if both are unknown.
fn switch_id(frame: &LldpFrame) -> NodeId {
    let named = [
        (&frame.system_name, "SysName"),
        (&frame.management_address, "MgmtAddress"),
    ];
    let mut parts: Vec<&str> = named
        .into_iter()
        .filter(|(text, _)| !text.is_empty())
        .flat_map(|(text, kind)| [text.as_str(), kind])
        .collect();
    if parts.is_empty() {
        parts = vec![&frame.chassis.text, frame.chassis.kind];
    }
    NodeId::derived(&parts.join("/"))
}

fn port_id(switch: &NodeId, frame: &LldpFrame) -> NodeId {
    NodeId::derived(&format!("{switch}/{}/{}", frame.port.text, frame.port.kind))
}

fn switch_metadata(frame: &LldpFrame) -> Metadata {
    let name = first_of(&frame.system_name, &frame.chassis.text);
    let mut metadata = Metadata::from_iter([("Name", name), ("Type", "switch"), ("Probe", "lldp")]);
    let lldp = texts([
        ("ChassisID", &*frame.chassis.text),
        ("ChassisIDType", frame.chassis.kind),
        ("Description", &frame.system_description),
        ("SysName", &frame.system_name),
        ("MgmtAddress", &frame.management_address),
    ]);
    metadata.set("LLDP", lldp);
    metadata
}

fn port_metadata(frame: &LldpFrame) -> Metadata {
    let name = first_of(&frame.port_description, &frame.port.text);
    let mut metadata =
        Metadata::from_iter([("Name", name), ("Type", "switchport"), ("Probe", "lldp")]);
    if frame.max_frame_size > 0 {
        metadata.set("MTU", u32::from(frame.max_frame_size));
    }
    let mut lldp = texts([
        ("PortID", &*frame.port.text),
        ("PortIDType", frame.port.kind),
        ("Description", &frame.port_description),
    ]);
    let numbers = [
        ("PVID", u32::from(frame.port_vlan)),
        ("VIDUsageDigest", frame.vid_usage_digest),
        ("ManagementVID", u32::from(frame.management_vlan)),
    ];
    for (key, number) in numbers.into_iter().filter(|(_, number)| *number > 0) {
        lldp.set(key, number);
    }
    if !frame.vlan_names.is_empty() {
        let vlan = |(id, name): &(u16, String)| {
            Map::from_iter([("Name", name.as_str())]).with("ID", u32::from(*id))
        };
        lldp.set("VLANNames", Value::list(frame.vlan_names.iter().map(vlan)));
    }
    if !frame.protocol_vlans.is_empty() {
        let vlan =
            |(flags, id): &(u8, u16)| enabled_and_supported(flags >> 1).with("ID", u32::from(*id));
        lldp.set("PPVIDs", Value::list(frame.protocol_vlans.iter().map(vlan)));
    }
    if let Some((flags, port)) = frame.link_aggregation {
        let mut aggregation = enabled_and_supported(flags);
        if port > 0 {
            aggregation.set("PortID", port);
        }
        lldp.set("LinkAggregation", aggregation.clone());
        // COMPAT: every client; the key of the original has three letters g.
        lldp.set("LinkAgggregation", aggregation);
    }
    metadata.set("LLDP", lldp);
    metadata
}

/// Returns two flags: bit 0 means supported, bit 1 enabled.
fn enabled_and_supported(flags: u8) -> Map {
    let flag = |bit: u8| Value::from(flags & bit != 0);
    Map::from_iter([("Enabled", flag(2)), ("Supported", flag(1))])
}

fn texts<const N: usize>(pairs: [(&'static str, &str); N]) -> Map {
    pairs
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .collect()
}

fn first_of<'a>(text: &'a str, other: &'a str) -> &'a str {
    if text.is_empty() { other } else { text }
}

/// Maximum number of neighbors of one interface.
const MAX_NEIGHBORS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::lldp::LldpId;

    fn frame(chassis: &str, port: &str, ttl_s: u16) -> LldpFrame {
        let id = |text: &str, kind| LldpId {
            text: text.to_owned(),
            kind,
        };
        LldpFrame {
            chassis: id(chassis, "MAC Address"),
            port: id(port, "Interface Name"),
            ttl_s,
            ..LldpFrame::default()
        }
    }

    fn links() -> BTreeMap<u32, LinkSummary> {
        let link = LinkSummary {
            node: NodeId::from("eth0"),
            index: 3,
            ..LinkSummary::default()
        };
        BTreeMap::from([(3, link)])
    }

    #[test]
    fn a_neighbor_expires_unless_a_frame_arrives() {
        let mut neighbors = Neighbors::default();
        assert!(neighbors.receive(3, frame("a", "1", 2)));
        assert!(!neighbors.second_elapsed());
        assert!(!neighbors.receive(3, frame("a", "1", 2)), "no difference");
        assert!(!neighbors.second_elapsed());
        assert!(neighbors.second_elapsed());
        assert!(neighbors.is_empty());
    }

    #[test]
    fn a_shutdown_removes_only_its_sender() {
        let mut neighbors = Neighbors::default();
        neighbors.receive(3, frame("a", "1", 120));
        neighbors.receive(3, frame("b", "1", 120));
        assert!(neighbors.receive(3, frame("a", "1", 0)));
        assert!(!neighbors.receive(3, frame("a", "1", 0)));
        let wanted = neighbors.subgraph(&links());
        assert!(wanted.contains(&switch_id(&frame("b", "1", 0))));
        assert!(!wanted.contains(&switch_id(&frame("a", "1", 0))));
        neighbors.retain_links(|index| index != 3);
        assert!(neighbors.is_empty());
    }

    #[test]
    fn the_number_of_neighbors_is_bounded() {
        let mut neighbors = Neighbors::default();
        for i in 0..100 {
            neighbors.receive(3, frame(&i.to_string(), "1", 120));
        }
        assert_eq!(neighbors.by_interface[&3].len(), MAX_NEIGHBORS);
    }

    #[test]
    fn ids_are_derived_from_the_best_known_names() {
        let mut frame = frame("02:00", "Gi0/7", 1);
        assert_eq!(switch_id(&frame), NodeId::derived("02:00/MAC Address"));
        frame.management_address = "192.0.2.1".to_owned();
        assert_eq!(switch_id(&frame), NodeId::derived("192.0.2.1/MgmtAddress"));
        frame.system_name = "lab".to_owned();
        let switch = NodeId::derived("lab/SysName/192.0.2.1/MgmtAddress");
        assert_eq!(switch_id(&frame), switch);
        let port = NodeId::derived(&format!("{switch}/Gi0/7/Interface Name"));
        assert_eq!(port_id(&switch, &frame), port);
    }

    #[test]
    fn a_port_shows_its_vlans_and_sizes() {
        let mut frame = frame("02:00", "Gi0/7", 1);
        frame.port_description = "uplink".to_owned();
        frame.port_vlan = 10;
        frame.vlan_names = vec![(30, "blue".to_owned())];
        frame.protocol_vlans = vec![(6, 20)];
        frame.link_aggregation = Some((3, 9));
        frame.max_frame_size = 1522;
        let metadata = serde_json::to_value(port_metadata(&frame)).unwrap();
        let aggregation = serde_json::json!({"Enabled": true, "Supported": true, "PortID": 9});
        let wanted = serde_json::json!({"Name": "uplink", "Type": "switchport", "Probe": "lldp",
            "MTU": 1522, "LLDP": {"PortID": "Gi0/7", "PortIDType": "Interface Name",
            "Description": "uplink", "PVID": 10, "VLANNames": [{"ID": 30, "Name": "blue"}],
            "PPVIDs": [{"Enabled": true, "Supported": true, "ID": 20}],
            "LinkAggregation": aggregation, "LinkAgggregation": aggregation}});
        assert_eq!(metadata, wanted);
    }
}
