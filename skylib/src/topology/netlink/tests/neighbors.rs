//! Neighbors and forwarding entries.

use super::super::neighbor::{MAX_ENTRIES, NeighborMessage, NeighborTable, TableKind};
use super::*;

#[test]
fn neighbors_and_forwarding_entries_are_distinguished() {
    let read = |text| NeighborMessage::parse(&hex(text)).unwrap();
    let value = |message: &NeighborMessage| {
        let mut table = NeighborTable::default();
        assert!(table.insert(message));
        json(table.to_value(message.index).unwrap())
    };
    let arp = read(concat!(
        "02000000030000008000000108000100c00002420a00020002005e1000010000080004000000",
        "00001400030058000000580000005800000000000000"
    ));
    assert_eq!(arp.table, TableKind::Neighbors);
    assert_eq!(
        value(&arp),
        r#"[{"IP":"192.0.2.66","IfIndex":3,"MAC":"02:00:5e:10:00:01","State":["NUD_PERMANENT"]}]"#
    );
    let tunnel = read(concat!(
        "0700000005000000c00002010a00020002000000fd010000080001007f000005080007000010",
        "00001400030054000000540000005400000000000000"
    ));
    assert_eq!(tunnel.table, TableKind::Fdb);
    assert_eq!(
        value(&tunnel),
        concat!(
            r#"[{"Flags":["NTF_SELF"],"IP":"127.0.0.5","IfIndex":5,"MAC":"02:00:00:00:fd:01","#,
            r#""State":["NUD_NOARP","NUD_PERMANENT"],"VNI":4096}]"#
        )
    );
    assert!(!arp.is_added_silently() && !tunnel.is_added_silently());
    let group = read("02000000030000004000000508000100e00000160a00020001005e0000160000");
    assert!(
        group.is_added_silently(),
        "224.0.0.22 has the state NUD_NOARP"
    );
    // A router whose address is being resolved, on VLAN 30.
    let router = read("0a000000070000000100c001060005001e000000");
    assert_eq!(
        value(&router),
        concat!(
            r#"[{"Flags":["NTF_STICKY","NTF_ROUTER"],"IfIndex":7,"#,
            r#""State":["NUD_INCOMPLETE"],"Vlan":30}]"#
        )
    );
    assert_eq!(
        NeighborMessage::parse(&hex("040000000300000080000001")),
        None,
        "other family"
    );
}

#[test]
fn a_tunnel_has_one_remote_end_for_a_unicast_address_and_several_for_others() {
    let entry = |mac: &str, remote: u8, source_vni: u8| {
        let text = format!(
            "0700000005000000c000020108000100 0a0000{remote:02x} 0a000200{mac}0000 \
             0800070010000000 08000b00{source_vni:02x}000000"
        );
        NeighborMessage::parse(&hex(&text)).unwrap()
    };
    let remotes = |mac: &str| {
        let mut table = NeighborTable::default();
        for (remote, source_vni) in [(1, 7), (2, 7), (3, 8)] {
            table.insert(&entry(mac, remote, source_vni));
        }
        let shown = json(table.to_value(5).unwrap());
        let remotes = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].into_iter();
        assert!(!table.remove(&entry(mac, 1, 9).key), "another network");
        assert!(table.remove(&entry(mac, 2, 7).key));
        remotes.filter(|ip| shown.contains(ip)).collect::<Vec<_>>()
    };
    assert_eq!(remotes("02000000fd01"), ["10.0.0.2", "10.0.0.3"]);
    let all = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
    assert_eq!(remotes("000000000000"), all);
    assert_eq!(remotes("01005e000001"), all);
}

#[test]
fn a_changed_neighbor_replaces_itself_and_a_full_table_stays_full() {
    let entry = |host: u16, mac: u8| {
        let [a, b] = host.to_be_bytes();
        let text = format!(
            "020000000300000002000001080001000a00{a:02x}{b:02x}0a000200020000000{mac:03x}0000"
        );
        NeighborMessage::parse(&hex(&text)).unwrap()
    };
    let mut table = NeighborTable::default();
    table.insert(&entry(1, 1));
    table.insert(&entry(1, 2));
    let one = json(table.to_value(3).unwrap());
    assert!(
        one.contains("02:00:00:00:00:02") && !one.contains("02:00:00:00:00:01"),
        "{one}"
    );
    for host in 2..=u16::try_from(MAX_ENTRIES).unwrap() {
        assert!(table.insert(&entry(host, 1)));
    }
    assert!(table.is_full());
    assert!(!table.insert(&entry(60_000, 1)), "beyond the bound");
    assert!(table.insert(&entry(7, 9)), "what is there may change");
    assert!(!table.insert(&entry(7, 9)), "no change");
    table.remove(&entry(7, 9).key);
    assert!(table.insert(&entry(60_000, 1)));
}

/// Returns an entry of the forwarding table of bridge 9 for 02:00:00:00:00:`mac` on a VLAN.
fn bridge_entry(port: u8, mac: u8, vlan: u8) -> NeighborMessage {
    let text = format!(
        "07000000{port:02x}0000000200 0000 0a00020002000000 00{mac:02x}0000 \
         0800090009000000 06000500{vlan:02x}000000"
    );
    NeighborMessage::parse(&hex(&text)).unwrap()
}

#[test]
fn an_address_that_moves_to_another_port_leaves_its_former_port() {
    let mut f = Fixture::new();
    let ns = f.namespace("");
    let port = |index, name| LinkMessage {
        master: 9,
        ..link(index, name, "veth")
    };
    let other = LinkMessage {
        master: 8,
        ..link(3, "p3", "veth")
    };
    let bridges = [link(8, "br1", "bridge"), link(9, "br0", "bridge")];
    f.notify(ns, link_events(bridges));
    f.notify(ns, link_events([port(1, "p1"), port(2, "p2"), other]));
    let fdb = |f: &mut Fixture, name: &str| {
        f.table.show_tables(&mut f.graph, ns, f.now);
        let shown = f.json(name, "FDB");
        let entries: Value = serde_json::from_str(&shown).unwrap_or(Value::list([0; 0]));
        let entry = |entry: &Value| {
            let vlan = entry.as_map().unwrap().get("Vlan").cloned();
            vlan.and_then(|vlan| vlan.to_int()).unwrap()
        };
        entries
            .as_list()
            .unwrap()
            .iter()
            .map(entry)
            .collect::<Vec<_>>()
    };
    let learn = |f: &mut Fixture, entry| f.notify(ns, vec![NetlinkEvent::Neighbor(entry)]);
    for entry in [bridge_entry(1, 5, 1), bridge_entry(1, 5, 2)] {
        learn(&mut f, entry);
    }
    let mut of_other_bridge = bridge_entry(3, 5, 1);
    of_other_bridge.bridge = Some(8);
    learn(&mut f, of_other_bridge);
    learn(&mut f, bridge_entry(2, 5, 1));
    assert_eq!((fdb(&mut f, "p1"), fdb(&mut f, "p2")), (vec![2], vec![1]));
    assert_eq!(fdb(&mut f, "p3"), [1], "a port of another bridge");
    learn(&mut f, bridge_entry(9, 5, 1));
    assert_eq!((fdb(&mut f, "p2"), fdb(&mut f, "br0")), (vec![], vec![1]));
    let mut without_bridge = bridge_entry(2, 5, 1);
    without_bridge.bridge = None;
    learn(&mut f, without_bridge);
    assert_eq!((fdb(&mut f, "p2"), fdb(&mut f, "br0")), (vec![1], vec![]));
}
