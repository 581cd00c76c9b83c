//! Tunnels: ends and identifier of VXLAN, Geneve, GRE, IP-in-IP, and VTI interfaces, from
//! `IFLA_INFO_DATA`.

use std::net::IpAddr;

use super::wire::Attribute;
use crate::value::{Map, Value};

/// Parses the data of a link of a kind; `None` if the kind is no tunnel or the data has no ends.
pub(super) fn tunnel(kind: &str, data: &Attribute<'_>) -> Option<Map> {
    let numbers = numbers(kind)?;
    let mut tunnel = Map::new();
    for attribute in data.nested() {
        let number = attribute.kind();
        let is = |numbers: &[u16]| numbers.contains(&number);
        if is(numbers.id) {
            let id = attribute.bytes().first_chunk::<4>().copied();
            // GRE keys are in network byte order, identifiers of VXLAN and Geneve in that of the host.
            let id = id.map(|id| match numbers.is_key {
                true => u32::from_be_bytes(id),
                false => u32::from_ne_bytes(id),
            });
            if let Some(id) = id.filter(|id| *id != 0) {
                tunnel.set("ID", id);
            }
        } else if is(numbers.local) {
            set_address(&mut tunnel, "Local", &attribute);
        } else if is(numbers.remote) {
            set_address(&mut tunnel, "Remote", &attribute);
        } else if is(numbers.link)
            && let Some(index) = attribute.u32().filter(|index| *index != 0)
        {
            tunnel.set("IfIndex", index);
        }
    }
    (!tunnel.is_empty()).then_some(tunnel)
}

/// Sets an address, unless it is unspecified.
fn set_address(tunnel: &mut Map, key: &str, attribute: &Attribute<'_>) {
    let bytes = attribute.bytes();
    let ipv4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let ipv6 = <[u8; 16]>::try_from(bytes).map(IpAddr::from);
    if let Ok(address) = ipv4.or(ipv6)
        && !address.is_unspecified()
    {
        tunnel.set(key, Value::from(address.to_string().as_str()));
    }
}

/// Numbers of the attributes of a kind, from `linux/if_link.h` and `linux/if_tunnel.h`.
struct Numbers {
    id: &'static [u16],
    /// Whether `id` is a GRE key.
    is_key: bool,
    link: &'static [u16],
    local: &'static [u16],
    remote: &'static [u16],
}

const fn numbers(kind: &str) -> Option<Numbers> {
    Some(match kind.as_bytes() {
        // IFLA_VXLAN_ID, _LINK, _LOCAL, _LOCAL6, _GROUP, _GROUP6
        b"vxlan" => Numbers {
            id: &[1],
            is_key: false,
            link: &[3],
            local: &[4, 17],
            remote: &[2, 16],
        },
        // IFLA_GENEVE_ID, _REMOTE, _REMOTE6
        b"geneve" => Numbers {
            id: &[1],
            is_key: false,
            link: &[],
            local: &[],
            remote: &[2, 7],
        },
        // IFLA_GRE_OKEY, _LINK, _LOCAL, _REMOTE
        b"gre" | b"gretap" | b"ip6gre" | b"ip6gretap" | b"erspan" | b"ip6erspan" => Numbers {
            id: &[5],
            is_key: true,
            link: &[1],
            local: &[6],
            remote: &[7],
        },
        // IFLA_IPTUN_LINK, _LOCAL, _REMOTE
        b"ipip" | b"sit" | b"ip6tnl" => Numbers {
            id: &[],
            is_key: false,
            link: &[1],
            local: &[2],
            remote: &[3],
        },
        // IFLA_VTI_OKEY, _LINK, _LOCAL, _REMOTE
        b"vti" | b"vti6" => Numbers {
            id: &[3],
            is_key: true,
            link: &[1],
            local: &[4],
            remote: &[5],
        },
        _ => return None,
    })
}
