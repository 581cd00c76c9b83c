//! What a link has because of its kind: the ends of a tunnel, the mode of a virtual device, the
//! owner of a TUN device (`IFLA_INFO_DATA` of `linux/if_link.h`).

use super::wire::Attribute;
use crate::value::{Map, Value};

/// Metadata of a link.
pub(super) type Details = Vec<(&'static str, Value)>;

/// Returns the details of a link of some kind.
pub(super) fn details(kind: &str, data: &Attribute<'_>) -> Details {
    match kind {
        "vxlan" => tunnel(data, &VXLAN),
        "geneve" => tunnel(data, &GENEVE),
        "gre" | "gretap" | "ip6gre" | "ip6gretap" | "erspan" | "ip6erspan" => tunnel(data, &GRE),
        "ipip" | "sit" | "ip6tnl" => tunnel(data, &IP_TUNNEL),
        "vti" | "vti6" => tunnel(data, &VTI),
        "macvlan" | "macvtap" => mode(data, macvlan_mode),
        "ipvlan" | "ipvtap" => mode(data, ipvlan_mode),
        "tun" => tun(data),
        "vrf" => {
            let table = data.nested().find(|attribute| attribute.kind() == 1);
            let table = table.and_then(|attribute| attribute.u32());
            table
                .map(|table| ("VRFTable", table.into()))
                .into_iter()
                .collect()
        }
        _ => Details::new(),
    }
}

/// Attribute numbers of a kind of tunnels; 0 for attributes that the kind lacks.
struct TunnelNumbers {
    vni: u16,
    local: [u16; 2],
    remote: [u16; 2],
    port: u16,
    ttl: u16,
    input_key: u16,
    output_key: u16,
    learning: u16,
    /// Whether the ends are set for each packet (`external`).
    is_external: u16,
}

/// `IFLA_VXLAN_` numbers.
const VXLAN: TunnelNumbers = TunnelNumbers {
    vni: 1,
    local: [4, 17],
    remote: [2, 16],
    port: 15,
    ttl: 5,
    learning: 7,
    is_external: 25,
    ..NO_TUNNEL
};

/// `IFLA_GENEVE_` numbers.
const GENEVE: TunnelNumbers = TunnelNumbers {
    vni: 1,
    remote: [2, 7],
    port: 5,
    ttl: 3,
    is_external: 6,
    ..NO_TUNNEL
};

/// `IFLA_GRE_` numbers.
const GRE: TunnelNumbers = TunnelNumbers {
    local: [6, 0],
    remote: [7, 0],
    ttl: 8,
    input_key: 4,
    output_key: 5,
    is_external: 18,
    ..NO_TUNNEL
};

/// `IFLA_IPTUN_` numbers.
const IP_TUNNEL: TunnelNumbers = TunnelNumbers {
    local: [2, 0],
    remote: [3, 0],
    ttl: 4,
    is_external: 19,
    ..NO_TUNNEL
};

/// `IFLA_VTI_` numbers.
const VTI: TunnelNumbers = TunnelNumbers {
    local: [4, 0],
    remote: [5, 0],
    input_key: 2,
    output_key: 3,
    ..NO_TUNNEL
};

const NO_TUNNEL: TunnelNumbers = TunnelNumbers {
    vni: 0,
    local: [0; 2],
    remote: [0; 2],
    port: 0,
    ttl: 0,
    input_key: 0,
    output_key: 0,
    learning: 0,
    is_external: 0,
};

/// Returns the ends of a tunnel as `LocalIP` and `RemoteIP`, like those of Open vSwitch, and the
/// rest as `Tunnel`.
fn tunnel(data: &Attribute<'_>, numbers: &TunnelNumbers) -> Details {
    let (mut details, mut tunnel) = (Details::new(), Map::new());
    for attribute in data.nested() {
        let number = attribute.kind();
        let big_endian = || {
            let bytes = attribute.bytes().iter();
            bytes
                .take(4)
                .fold(0_u32, |value, byte| value << 8 | u32::from(*byte))
        };
        if numbers.local.contains(&number) || numbers.remote.contains(&number) {
            let is_local = numbers.local.contains(&number);
            let key = if is_local { "LocalIP" } else { "RemoteIP" };
            let ip = attribute.ip().filter(|ip| !ip.is_unspecified());
            details.extend(ip.map(|ip| (key, ip.to_string().into())));
        } else if number == numbers.vni {
            tunnel.set("VNI", attribute.u32().unwrap_or(0));
        } else if number == numbers.port {
            tunnel.set("Port", big_endian());
        } else if number == numbers.ttl && attribute.u8().unwrap_or(0) > 0 {
            tunnel.set("TTL", u32::from(attribute.u8().unwrap_or(0)));
        } else if number == numbers.input_key && big_endian() > 0 {
            tunnel.set("InputKey", big_endian());
        } else if number == numbers.output_key && big_endian() > 0 {
            tunnel.set("OutputKey", big_endian());
        } else if number == numbers.learning {
            tunnel.set("Learning", attribute.u8() == Some(1));
        } else if number == numbers.is_external {
            // A flag without a value, or a byte.
            tunnel.set("External", attribute.u8() != Some(0));
        }
    }
    if !tunnel.is_empty() {
        details.push(("Tunnel", tunnel.into()));
    }
    details
}

/// Returns the mode of a virtual device on a lower device, which is attribute 1.
fn mode(data: &Attribute<'_>, name: fn(u32) -> Option<&'static str>) -> Details {
    let mode = data.nested().find(|attribute| attribute.kind() == 1);
    let number = mode.and_then(|a| a.u32().or_else(|| a.u16().map(u32::from)));
    let mode = number.and_then(name);
    mode.map(|mode| ("Mode", mode.into())).into_iter().collect()
}

fn macvlan_mode(number: u32) -> Option<&'static str> {
    match number {
        1 => Some("private"),
        2 => Some("vepa"),
        4 => Some("bridge"),
        8 => Some("passthru"),
        16 => Some("source"),
        _ => None,
    }
}

fn ipvlan_mode(number: u32) -> Option<&'static str> {
    match number {
        0 => Some("l2"),
        1 => Some("l3"),
        2 => Some("l3s"),
        _ => None,
    }
}

/// Returns the kind and the owner of a TUN device (`IFLA_TUN_` numbers).
fn tun(data: &Attribute<'_>) -> Details {
    let mut tun = Map::new();
    for attribute in data.nested() {
        match attribute.kind() {
            1 => tun.set("Owner", attribute.u32().unwrap_or(0)),
            2 => tun.set("Group", attribute.u32().unwrap_or(0)),
            3 => tun.set(
                "Mode",
                if attribute.u8() == Some(2) {
                    "tap"
                } else {
                    "tun"
                },
            ),
            6 => tun.set("Persist", attribute.u8() == Some(1)),
            7 => tun.set("MultiQueue", attribute.u8() == Some(1)),
            _ => {}
        }
    }
    match tun.is_empty() {
        true => Details::new(),
        false => vec![("Tun", tun.into())],
    }
}
