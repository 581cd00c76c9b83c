//! Addresses: `RTM_NEWADDR` and `RTM_DELADDR`.

use std::net::IpAddr;

use super::wire::{attributes, u32_at};
use crate::value::Value;

/// An address of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AddressMessage {
    /// Index of the link.
    pub(crate) index: u32,
    pub(crate) address: Address,
}

/// An IP address with its prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) ip: IpAddr,
    pub(crate) prefix: u8,
}

impl AddressMessage {
    /// Parses the payload of a message; returns `None` for families other than IPv4 and IPv6.
    pub(crate) fn parse(payload: &[u8]) -> Option<Self> {
        let index = u32_at(payload, 4)?;
        let prefix = *payload.get(1)?;
        let (mut local, mut other) = (None, None);
        for attribute in attributes(payload, HEADER) {
            match attribute.kind() {
                // On point-to-point links, IFA_ADDRESS is the address of the peer.
                libc::IFA_LOCAL => local = attribute.ip(),
                libc::IFA_ADDRESS => other = attribute.ip(),
                _ => {}
            }
        }
        let address = Address {
            ip: local.or(other)?,
            prefix,
        };
        Some(Self { index, address })
    }
}

impl From<&Address> for Value {
    fn from(address: &Address) -> Self {
        format!("{}/{}", address.ip, address.prefix).into()
    }
}

/// Length of `struct ifaddrmsg`, in bytes.
const HEADER: usize = 8;
