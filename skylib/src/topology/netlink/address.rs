//! Addresses: `RTM_NEWADDR` and `RTM_DELADDR`.

use std::net::IpAddr;

use super::wire::{attributes, u32_at};
use crate::value::Value;

/// One address of one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AddressMessage {
    /// The link it is on.
    pub(crate) index: u32,
    pub(crate) address: Address,
}

/// An address with its prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) ip: IpAddr,
    pub(crate) prefix: u8,
}

impl AddressMessage {
    /// Reads the payload; `None` for families other than IPv4 and IPv6.
    pub(crate) fn parse(payload: &[u8]) -> Option<Self> {
        let index = u32_at(payload, 4)?;
        let prefix = *payload.get(1)?;
        let (mut local, mut other) = (None, None);
        for attribute in attributes(payload, HEADER) {
            match attribute.kind() {
                // On point-to-point links IFA_ADDRESS is the far end.
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

/// Bytes of `struct ifaddrmsg`.
const HEADER: usize = 8;
