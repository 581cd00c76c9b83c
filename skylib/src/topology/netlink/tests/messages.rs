//! Parsing of bytes from Linux 6.18 and from the writer of the packet crate.

#![expect(clippy::host_endian_bytes, reason = "route netlink is in host order")]

use netlink_packet_core::Emitable;
use netlink_packet_route::link::{
    BondMode, BondPortState, InfoBond, InfoBondPort, InfoData, InfoKind, InfoPortData,
    InfoPortKind, InfoVlan, LinkAttribute, LinkInfo, LinkMessage as Written, MiiStatus, Prop,
    VlanProtocol,
};

use super::super::address::AddressMessage;
use super::super::link::LinkMessage;
use super::super::route::{MAX_ROUTES, Route, RoutesByLink};
use super::super::stats::{self, Counters};
use super::{hex, json};
use crate::time::Timestamp;
use crate::value::{Map, Value};

fn metadata(link: &LinkMessage, driver: &str) -> String {
    json(link.metadata(driver).into_iter().collect::<Map>())
}

#[test]
fn a_bridge_port_is_parsed_completely() {
    let bytes = hex(include_str!("../data/veth_on_bridge.hex"));
    let link = LinkMessage::parse(&bytes).unwrap();
    assert!(link.is_complete);
    assert_eq!(
        metadata(&link, "veth"),
        concat!(
            r#"{"Driver":"veth","EncapType":"ether","IfIndex":4,"#,
            r#""LinkFlags":["UP","BROADCAST","MULTICAST"],"MAC":"a6:9d:82:d1:ac:a1","MTU":1500,"#,
            r#""MasterIndex":2,"Name":"va","ParentIndex":3,"PeerIfIndex":3,"State":"UP","#,
            r#""Type":"veth"}"#
        )
    );
    assert!(!link.stats.unwrap().is_zero());
    assert_eq!(link.link_netnsid, None);
}

#[test]
fn a_peer_in_another_namespace_is_identified_by_nsid() {
    let bytes = hex(include_str!("../data/veth_across_namespaces.hex"));
    let link = LinkMessage::parse(&bytes).unwrap();
    assert_eq!(
        (link.name.as_str(), link.link, link.link_netnsid),
        ("vc", 2, Some(0))
    );
    assert!(metadata(&link, "veth").contains(r#""LinkNetNsID":0"#));
}

#[test]
fn a_loopback_has_its_own_flags_and_no_kind() {
    let link = LinkMessage::parse(&hex(include_str!("../data/loopback.hex"))).unwrap();
    assert_eq!(
        metadata(&link, ""),
        concat!(
            r#"{"Driver":"","EncapType":"loopback","IfIndex":1,"LinkFlags":["UP","LOOPBACK"],"#,
            r#""MAC":"00:00:00:00:00:00","MTU":65536,"Name":"lo","State":"UNKNOWN","#,
            r#""Type":"device"}"#
        )
    );
}

#[test]
fn a_truncated_message_is_read_as_far_as_it_goes() {
    let bytes = hex(include_str!("../data/veth_on_bridge.hex"));
    for length in 0..bytes.len() {
        match LinkMessage::parse(&bytes[..length]) {
            Some(link) if length >= 300 => assert_eq!(link.name.as_str(), "va"),
            Some(_) => assert!(length >= 12),
            None => assert!(length < 12),
        }
    }
}

/// Parses a link message that the packet crate has written.
fn written(attributes: Vec<LinkAttribute>) -> LinkMessage {
    let mut message = Written::default();
    message.header.index = 9;
    message.attributes = vec![LinkAttribute::IfName("x".into()), LinkAttribute::Mtu(1500)];
    message.attributes.extend(attributes);
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    LinkMessage::parse(&bytes).unwrap()
}

/// Returns an attribute as the kernel writes it.
fn attribute(number: u16, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len() + 4).unwrap();
    let mut bytes = [&length.to_ne_bytes()[..], &number.to_ne_bytes(), content].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Returns the metadata of a link whose kind has these attributes, without the keys of all links.
fn of_kind(kind: &str, data: &[(u16, &[u8])]) -> serde_json::Value {
    let data: Vec<u8> = data
        .iter()
        .flat_map(|(number, bytes)| attribute(*number, bytes))
        .collect();
    let info = [
        attribute(1, format!("{kind}\0").as_bytes()),
        attribute(2, &data),
    ]
    .concat();
    let mut message = vec![0; 16];
    message.extend(attribute(libc::IFLA_LINKINFO, &info));
    let link = LinkMessage::parse(&message).unwrap();
    let common = LinkMessage::parse(&message[..16]).unwrap();
    let common: Vec<_> = common
        .metadata("")
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    let pairs = link
        .metadata("")
        .into_iter()
        .filter(|(key, _)| !common.contains(key));
    serde_json::to_value(pairs.collect::<Map>()).unwrap()
}

#[test]
fn tunnels_have_their_ends_and_numbers() {
    let one = 1_u8.to_ne_bytes();
    let vxlan: &[(u16, &[u8])] = &[
        (1, &42_u32.to_ne_bytes()),
        (2, &[198, 18, 2, 20]),
        (17, &std::net::Ipv6Addr::LOCALHOST.octets()),
        (5, &[64]),
        (7, &one),
        (15, &4789_u16.to_be_bytes()),
        (25, &[0]),
    ];
    assert_eq!(
        of_kind("vxlan", vxlan),
        serde_json::json!({"LocalIP": "::1", "RemoteIP": "198.18.2.20", "Tunnel":
            {"VNI": 42, "TTL": 64, "Learning": true, "Port": 4789, "External": false}})
    );
    let geneve: &[(u16, &[u8])] = &[
        (1, &7_u32.to_ne_bytes()),
        (2, &[0, 0, 0, 0]),
        (5, &6081_u16.to_be_bytes()),
        (6, &[]),
    ];
    assert_eq!(
        of_kind("geneve", geneve),
        serde_json::json!({"Tunnel": {"VNI": 7, "Port": 6081, "External": true}})
    );
    let gre: &[(u16, &[u8])] = &[
        (4, &9_u32.to_be_bytes()),
        (5, &0_u32.to_be_bytes()),
        (6, &[192, 0, 2, 1]),
        (7, &[192, 0, 2, 2]),
    ];
    assert_eq!(
        of_kind("gretap", gre),
        serde_json::json!({"LocalIP": "192.0.2.1", "RemoteIP": "192.0.2.2",
            "Tunnel": {"InputKey": 9}})
    );
    let sit: &[(u16, &[u8])] = &[(2, &[192, 0, 2, 1]), (3, &[1, 2])];
    assert_eq!(
        of_kind("sit", sit),
        serde_json::json!({"LocalIP": "192.0.2.1"})
    );
}

#[test]
fn virtual_devices_have_their_mode_and_owner() {
    let bridge = of_kind("macvlan", &[(1, &4_u32.to_ne_bytes())]);
    assert_eq!(bridge, serde_json::json!({"Mode": "bridge"}));
    let l3 = of_kind("ipvlan", &[(1, &1_u16.to_ne_bytes())]);
    assert_eq!(l3, serde_json::json!({"Mode": "l3"}));
    assert_eq!(of_kind("macvtap", &[(1, &[9])]), serde_json::json!({}));
    let vrf = of_kind("vrf", &[(1, &10_u32.to_ne_bytes())]);
    assert_eq!(vrf, serde_json::json!({"VRFTable": 10}));
    let tun: &[(u16, &[u8])] = &[
        (1, &1000_u32.to_ne_bytes()),
        (3, &[2]),
        (6, &[1]),
        (7, &[0]),
    ];
    assert_eq!(
        of_kind("tun", tun),
        serde_json::json!({"Tun":
            {"Owner": 1000, "Mode": "tap", "Persist": true, "MultiQueue": false}})
    );
}

#[test]
fn virtual_functions_have_settings() {
    let numbers = |numbers: &[u32]| -> Vec<u8> {
        numbers
            .iter()
            .flat_map(|number| number.to_ne_bytes())
            .collect()
    };
    let mut mac = numbers(&[2]);
    mac.extend([2, 0, 0, 0, 0, 7]);
    mac.resize(36, 0);
    let function: Vec<u8> = [
        attribute(1, &mac),
        attribute(2, &numbers(&[2, 30, 1])),
        attribute(3, &numbers(&[2, 100])),
        attribute(4, &numbers(&[2, 1])),
        attribute(5, &numbers(&[2, 0])),
    ]
    .concat();
    let list = [attribute(1, &function), attribute(9, &[1, 2, 3])].concat();
    let mut message = vec![0; 16];
    message.extend(attribute(libc::IFLA_NUM_VF, &3_u32.to_ne_bytes()));
    message.extend(attribute(libc::IFLA_VFINFO_LIST, &list));
    let link = LinkMessage::parse(&message).unwrap();
    assert_eq!(link.function_count, Some(3));
    assert_eq!(
        json(link.functions.unwrap()),
        r#"[{"ID":2,"MAC":"02:00:00:00:00:07","Qos":1,"Spoofchk":true,"TxRate":100,"Vlan":30}]"#
    );
}

#[test]
fn a_vlan_device_has_its_number() {
    let link = written(vec![
        LinkAttribute::Link(4),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Vlan),
            LinkInfo::Data(InfoData::Vlan(vec![
                InfoVlan::Protocol(VlanProtocol::Ieee8021Q),
                InfoVlan::Id(42),
            ])),
        ]),
    ]);
    assert_eq!(
        metadata(&link, "802.1Q VLAN Support"),
        concat!(
            r#"{"Driver":"802.1Q VLAN Support","EncapType":"generic","IfIndex":9,"#,
            r#""LinkFlags":null,"MTU":1500,"Name":"x","ParentIndex":4,"State":"UNKNOWN","#,
            r#""Type":"vlan","Vlan":42}"#
        )
    );
}

#[test]
fn other_names_of_a_link_are_shown() {
    let link = written(vec![
        LinkAttribute::IfAlias("uplink to rack 7".into()),
        LinkAttribute::PropList(vec![
            Prop::AltIfName("enp1s0".into()),
            Prop::AltIfName("a-name-longer-than-sixteen".into()),
        ]),
    ]);
    let shown = metadata(&link, "");
    assert!(shown.contains(r#""Alias":"uplink to rack 7""#), "{shown}");
    assert!(
        shown.contains(r#""AltNames":["enp1s0","a-name-longer-than-sixteen"]"#),
        "{shown}"
    );
}

#[test]
fn bonds_have_their_mode_and_members_their_state() {
    let bond = written(vec![LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Bond),
        LinkInfo::Data(InfoData::Bond(vec![InfoBond::Mode(BondMode::Ieee8023Ad)])),
    ])]);
    assert!(metadata(&bond, "bonding").contains(r#""BondMode":"802.3ad""#));
    let slave = written(vec![
        LinkAttribute::Controller(3),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::PortKind(InfoPortKind::Bond),
            LinkInfo::PortData(InfoPortData::BondPort(vec![
                InfoBondPort::BondPortState(BondPortState::Backup),
                InfoBondPort::MiiStatus(MiiStatus::GoingBack),
                InfoBondPort::LinkFailureCount(2),
                InfoBondPort::PermHwaddr(vec![2, 0, 0, 0, 0, 1]),
                InfoBondPort::QueueId(7),
                InfoBondPort::AdAggregatorId(1),
            ])),
        ]),
    ]);
    assert_eq!(slave.kind, None, "hardware stays hardware");
    assert_eq!(
        json(slave.bond_slave.unwrap()),
        concat!(
            r#"{"AggregatorId":1,"LinkFailureCount":2,"MiiStatus":"GOING_BACK","#,
            r#""PermMAC":"02:00:00:00:00:01","QueueId":7,"State":"BACKUP","Type":"bond"}"#
        )
    );
}

#[test]
fn the_driver_decides_if_the_kind_is_missing() {
    let bare = written(Vec::new());
    assert_eq!(bare.type_name("veth"), "veth");
    assert_eq!(bare.type_name("ixgbe"), "device");
    let tap = written(vec![LinkAttribute::LinkInfo(vec![LinkInfo::Kind(
        InfoKind::Tun,
    )])]);
    assert_eq!(tap.type_name("tun"), "tun");
    let bridge = written(vec![LinkAttribute::LinkInfo(vec![LinkInfo::Kind(
        InfoKind::Bridge,
    )])]);
    assert!(metadata(&bridge, "").contains(r#""Driver":"bridge""#));
}

#[test]
fn hardware_types_have_the_names_that_ip_gives_them() {
    let name = |hardware| {
        let link = LinkMessage {
            hardware,
            ..LinkMessage::default()
        };
        link.metadata("")
            .into_iter()
            .find(|(k, _)| *k == "EncapType")
            .unwrap()
            .1
    };
    for (hardware, wanted) in [
        (1, "ether"),
        (772, "loopback"),
        (768, "ipip"),
        (778, "gre"),
        (769, "tunnel6"),
        (776, "sit"),
    ] {
        assert_eq!(name(hardware), Value::from(wanted));
    }
    assert_eq!(name(65534), Value::from("none"));
    assert_eq!(name(788), Value::from("fcfb1"));
    assert_eq!(name(4321), Value::from("unknown4321"));
}

#[test]
fn the_local_address_counts_on_point_to_point_links() {
    let read = |text| AddressMessage::parse(&hex(text)).unwrap();
    let far = "022080000300000008000100c000020a08000200c00002090700030076620000";
    assert_eq!(json(&read(far).address), r#""192.0.2.9/32""#);
    assert_eq!(read(far).index, 3);
    let v6 = "0a408200030000001400010020010db8000500000000000000000007";
    assert_eq!(json(&read(v6).address), r#""2001:db8:5::7/64""#);
    assert_eq!(AddressMessage::parse(&hex("0a4082000300")), None);
    assert_eq!(
        AddressMessage::parse(&hex("0220800003000000")),
        None,
        "no address at all"
    );
}

fn routes(texts: &[&str]) -> RoutesByLink {
    let mut routes = RoutesByLink::default();
    for text in texts {
        routes.extend_one(text);
    }
    routes
}

impl RoutesByLink {
    fn extend_one(&mut self, text: &str) {
        self.add(&Route::parse(&hex(text)).unwrap());
    }
}

/// 198.18.93.0/24 through 192.0.2.1 and 192.0.2.2, both on link 3, metric 7.
const MULTIPATH: &str = concat!(
    "02180000fe0400010000000008000f00fe00000008000100c6125d00080006000700000024000900",
    "100000000300000008000500c0000201100000000300000008000500c0000202"
);

#[test]
fn routes_are_grouped_by_table_and_prefix() {
    let values = routes(&[
        // local 192.0.2.7 in table 255, then 192.0.2.0/24 and IPv6 default in the main table
        "02200000ff02fe020000000008000f00ff00000008000100c000020708000700c00002070800040003000000",
        "02180000fe02fd010000000008000f00fe00000008000100c000020008000700c00002070800040003000000",
        MULTIPATH,
        MULTIPATH,
        concat!(
            "0a000000fe0300010000000008000f00fe0000000800060000040000",
            "1400050020010db80005000000000000000000010800040003000000"
        ),
        // table 1000, by BGP
        "02180000fcbafd010000000008000f00e803000008000100c61201000800040002000000",
        // 198.18.9.0/24 via inet6 fe80::1
        concat!(
            "02180000fe0300010000000008000f00fe00000008000100c6120900",
            "160012000a00fe80000000000000000000000000000100000800040002000000"
        ),
        // blackhole: leaves by no link
        "02180000fe0300060000000008000f00fe00000008000100c6120200",
    ]);
    assert_eq!((values.count, values.omitted), (8, 0));
    assert_eq!(
        json(values.value_without_link().unwrap()),
        concat!(
            r#"[{"ID":254,"Routes":[{"NextHops":[],"Prefix":"198.18.2.0/24","Priority":0,"#,
            r#""Protocol":3,"Type":"blackhole"}],"Src":""}]"#
        )
    );
    let values = values.values();
    assert_eq!(values.len(), 2);
    assert_eq!(
        json(values[&3].clone()),
        concat!(
            r#"[{"ID":254,"Routes":["#,
            r#"{"NextHops":[{"IfIndex":3,"Priority":0}],"Prefix":"192.0.2.0/24","Protocol":2},"#,
            r#"{"NextHops":[{"IP":"192.0.2.1","IfIndex":3,"Priority":7},"#,
            r#"{"IP":"192.0.2.2","IfIndex":3,"Priority":7}],"#,
            r#""Prefix":"198.18.93.0/24","Protocol":4},"#,
            r#"{"NextHops":[{"IP":"2001:db8:5::1","IfIndex":3,"Priority":1024}],"#,
            r#""Prefix":"::/0","Protocol":3}],"Src":"192.0.2.7"},"#,
            r#"{"ID":255,"Routes":[{"NextHops":[{"IfIndex":3,"Priority":0}],"#,
            r#""Prefix":"192.0.2.7/32","Protocol":2,"Type":"local"}],"Src":"192.0.2.7"}]"#
        )
    );
    assert_eq!(
        json(values[&2].clone()),
        concat!(
            r#"[{"ID":254,"Routes":[{"NextHops":[{"IP":"fe80::1","IfIndex":2,"Priority":0}],"#,
            r#""Prefix":"198.18.9.0/24","Protocol":3}],"Src":""},"#,
            r#"{"ID":1000,"Routes":[{"NextHops":[{"IfIndex":2,"Priority":0}],"#,
            r#""Prefix":"198.18.1.0/24","Protocol":186}],"Src":""}]"#
        )
    );
}

#[test]
fn a_default_route_without_gateway_keeps_its_family() {
    let v4 = Route::parse(&hex("02000000fe03fd01000000000800040003000000")).unwrap();
    assert_eq!(
        format!("{}/{}", v4.key.destination, v4.key.prefix),
        "0.0.0.0/0"
    );
    let cloned = "02000000fe03fd01000200000800040003000000";
    assert_eq!(
        Route::parse(&hex(cloned)),
        None,
        "a learnt copy is no route"
    );
}

#[test]
fn both_links_of_a_multipath_route_show_it() {
    let two_links = MULTIPATH.replace("1000000003", "1000000004");
    let two_links = two_links.replacen("1000000004", "1000000003", 1);
    let values = routes(&[&two_links]).values();
    assert_eq!(values.len(), 2);
    assert_eq!(values[&3], values[&4]);
}

#[test]
fn hops_that_the_kernel_does_not_use_are_omitted() {
    // The flags of the first hop: dead.
    let dead = MULTIPATH.replacen("1000000003", "1000010003", 1);
    let route = Route::parse(&hex(&dead)).unwrap();
    assert_eq!(route.hops.len(), 1);
    assert_eq!(route.hops[0].gateway, Some([192, 0, 2, 2].into()));
    let only = "02180000fe0400010100000008000f00fe00000008000100c612010008000400020000000";
    let only = Route::parse(&hex(&only[..only.len() - 1])).unwrap();
    assert!(only.hops.is_empty());
    let mut routes = RoutesByLink::default();
    routes.add(&only);
    assert_eq!(routes.value_without_link(), None);
}

#[test]
fn a_link_shows_a_bounded_number_of_routes() {
    let mut routes = RoutesByLink::default();
    let mut route = Route::parse(&hex(MULTIPATH)).unwrap();
    for i in 0..MAX_ROUTES + 5 {
        let i = u32::try_from(i).unwrap();
        route.key.destination = std::net::Ipv4Addr::from(i << 8).into();
        routes.add(&route);
    }
    assert_eq!((routes.count, routes.omitted), (MAX_ROUTES + 5, 5));
}

#[test]
fn counters_have_their_names_and_zeros_are_omitted() {
    let bytes = hex(concat!(
        "000000000400000001000000cc000100",
        "0300000000000000060000000000000032010000000000001c02000000000000",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000"
    ));
    // The attribute has a length of 200 bytes: the contents of a truncated message are not used.
    assert_eq!(stats::parse(&bytes), None);
    let mut whole = bytes;
    whole.resize(12 + 0xcc, 0);
    let (index, counters) = stats::parse(&whole).unwrap();
    assert_eq!(index, 4);
    assert_eq!(
        json(counters.to_value(None, Some(Timestamp::from_ms(5)))),
        r#"{"Last":5,"Multicast":1,"RxBytes":306,"RxPackets":3,"TxBytes":540,"TxPackets":6}"#
    );
}

#[test]
fn a_reset_counts_from_zero() {
    let counters = Counters::packets;
    assert_eq!(counters(5, 7).since(&counters(3, 7)), counters(2, 0));
    assert_eq!(counters(5, 1).since(&counters(3, 7)), counters(5, 1));
    assert!(counters(5, 7).since(&counters(5, 7)).is_zero());
    let huge = counters(u64::MAX, 0);
    assert_eq!(
        json(huge.to_value(None, None)),
        r#"{"RxPackets":9223372036854775807}"#
    );
}
