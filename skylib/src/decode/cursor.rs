//! The state of a walk through one packet, shared by the decoders of all protocols.

use super::encapsulation::{
    Encapsulation, Encapsulations, IcmpHeader, IpAddress, NetworkHeader, NetworkProtocol,
    TransportHeader, TransportProtocol,
};
use super::{DecodeError, DecoderOptions, Fragment, Layer, terminal};

/// A walk from the first header inwards.
///
/// Decoders read [`Cursor::rest`], note what a flow needs, [`Cursor::push`] their layer, and name what
/// comes next. Everything noted stays valid when a later header fails.
pub(super) struct Cursor<'a, 'p> {
    pub(super) options: &'a DecoderOptions,
    pub(super) wire_len: u32,
    data: &'a [u8],
    /// Where the next header starts.
    offset: usize,
    /// Where the innermost payload ends.
    end: usize,
    /// Bytes that count for the first part; set by the first layer.
    length: Option<i64>,
    /// Bytes of all headers so far.
    header_bytes: i64,
    encapsulations: &'p mut Encapsulations,
    level: Encapsulation,
    found: Found,
    /// The next layer begins a new part.
    is_cut: bool,
    /// Whether fragments were joined behind the first IPv4 header.
    pub(super) is_joined: bool,
    /// Whether an IPv4 header was there.
    pub(super) has_ipv4: bool,
}

/// The first headers of each kind in the current part.
#[derive(Default)]
struct Found {
    ipv4: Option<NetworkHeader>,
    ipv6: Option<NetworkHeader>,
    tcp: Option<TransportHeader>,
    udp: Option<TransportHeader>,
    sctp: Option<TransportHeader>,
    icmpv4: Option<IcmpHeader>,
    icmpv6: Option<IcmpHeader>,
    vlan_id: u64,
    vlan_tags: u32,
    tunnel_id: u32,
}

/// What follows a header.
pub(super) enum Next {
    /// Payload, or nothing.
    End,
    /// A header whose decoder may name a next one.
    Header(Step),
    /// A layer that nothing is looked for behind.
    Leaf(Layer),
}

/// The decoder of one kind of header.
pub(super) type Step = fn(&mut Cursor<'_, '_>) -> Result<Next, DecodeError>;

impl<'a, 'p> Cursor<'a, 'p> {
    pub(super) fn new(
        options: &'a DecoderOptions,
        data: &'a [u8],
        wire_len: u32,
        encapsulations: &'p mut Encapsulations,
    ) -> Self {
        Self {
            options,
            wire_len,
            data,
            offset: 0,
            end: data.len(),
            length: None,
            header_bytes: 0,
            encapsulations,
            level: Encapsulation::default(),
            found: Found::default(),
            is_cut: false,
            is_joined: false,
            has_ipv4: false,
        }
    }

    /// Walks to the end or the first failure; in both cases what was found is in the parts.
    pub(super) fn run(mut self, first: Step) -> Result<(), DecodeError> {
        let mut step = first;
        let result = loop {
            match step(&mut self) {
                Err(error) => break Err(error),
                // A header with nothing behind it ends the walk, whatever it announces.
                Ok(_) if self.rest().is_empty() => break Ok(()),
                Ok(Next::End) => break Ok(()),
                Ok(Next::Leaf(layer)) => break terminal::decode(&mut self, layer),
                Ok(Next::Header(next)) => step = next,
            }
        };
        self.close_part();
        self.encapsulations.forget_what_parts_show();
        result
    }

    /// The bytes from the next header to the end of the innermost payload.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.data.get(self.offset..self.end).unwrap_or_default()
    }

    /// The first bytes of the next header.
    pub(super) fn chunk<const N: usize>(&self, layer: Layer) -> Result<&'a [u8; N], DecodeError> {
        self.rest()
            .first_chunk()
            .ok_or_else(|| self.truncated(layer, N))
    }

    pub(super) fn truncated(&self, layer: Layer, wanted: usize) -> DecodeError {
        DecodeError::Truncated {
            layer,
            offset: self.offset as u32,
            wanted: wanted as u32,
            had: self.rest().len() as u32,
        }
    }

    pub(super) const fn malformed(&self, layer: Layer) -> DecodeError {
        DecodeError::Malformed {
            layer,
            offset: self.offset as u32,
        }
    }

    /// The answer to an unknown number for the next header.
    pub(super) fn unknown(&self, layer: Layer, protocol: u16) -> Result<Next, DecodeError> {
        if self.rest().is_empty() {
            return Ok(Next::End);
        }
        Err(DecodeError::UnknownProtocol {
            layer,
            protocol,
            offset: self.offset as u32,
        })
    }

    /// Adds a layer of the path and steps over its header.
    pub(super) fn push(&mut self, layer: Layer, header_len: usize) -> Result<(), DecodeError> {
        if self.is_cut {
            self.close_part();
            self.is_cut = false;
        }
        if self.level.layers.is_empty() {
            self.level.offset = self.offset as u32;
            self.level.length = (self.length.unwrap_or_default() - self.header_bytes).max(0);
        }
        let has_room =
            self.encapsulations.len < Encapsulations::CAPACITY && self.level.layers.push(layer);
        if !has_room {
            return Err(DecodeError::TooDeep {
                layer,
                offset: self.offset as u32,
            });
        }
        self.header_bytes += header_len as i64;
        self.skip(header_len);
        Ok(())
    }

    /// Steps over bytes that belong to no layer of the path.
    pub(super) fn skip(&mut self, len: usize) {
        self.offset = self.end.min(self.offset + len);
    }

    /// Ends the payload so many bytes from here, if it does not end before.
    pub(super) fn limit(&mut self, len: usize) {
        self.end = self.end.min(self.offset + len);
    }

    /// Says what counts for the first part, if nothing did so far.
    pub(super) fn set_length(&mut self, length: i64) {
        self.length.get_or_insert(length);
    }

    /// Ends the current part; what follows belongs to the next one.
    pub(super) const fn cut(&mut self) {
        self.is_cut = true;
    }

    pub(super) const fn path_is_full(&self) -> bool {
        self.level.layers.is_full()
    }

    pub(super) fn found_link(&mut self, source: [u8; 6], destination: [u8; 6]) {
        self.level.link.get_or_insert(super::LinkHeader {
            source,
            destination,
            vlan_id: 0,
        });
    }

    pub(super) const fn found_vlan(&mut self, id: u16) {
        let shifted = match (id as u64).checked_shl(12 * self.found.vlan_tags) {
            Some(shifted) => shifted,
            None => 0,
        };
        self.found.vlan_id |= shifted;
        self.found.vlan_tags += 1;
    }

    pub(super) fn found_network(&mut self, header: NetworkHeader) {
        let ends: (IpAddress, IpAddress) = (header.source, header.destination);
        self.encapsulations.first_network.get_or_insert(ends);
        let slot = match header.protocol {
            NetworkProtocol::Ipv4 => &mut self.found.ipv4,
            NetworkProtocol::Ipv6 => &mut self.found.ipv6,
        };
        slot.get_or_insert(header);
    }

    pub(super) fn found_transport(&mut self, header: TransportHeader) {
        self.encapsulations.first_transport.get_or_insert(header);
        let slot = match header.protocol {
            TransportProtocol::Tcp => &mut self.found.tcp,
            TransportProtocol::Udp => &mut self.found.udp,
            TransportProtocol::Sctp => &mut self.found.sctp,
        };
        slot.get_or_insert(header);
    }

    pub(super) const fn found_icmpv4(&mut self, header: IcmpHeader) {
        self.found.icmpv4 = Some(header);
    }

    pub(super) const fn found_icmpv6(&mut self, header: IcmpHeader) {
        self.found.icmpv6 = Some(header);
    }

    pub(super) const fn found_tunnel(&mut self, id: u32) {
        self.found.tunnel_id = id;
    }

    /// A VXLAN or Geneve header, which ends its part.
    pub(super) const fn found_virtual_network(&mut self, id: u32) {
        self.found.tunnel_id = id;
        self.level.tunnel_end = Some(id);
    }

    /// The rest is the payload of a fragment, whose IPv4 header starts there.
    pub(super) fn found_fragment(&mut self, header: usize) {
        self.encapsulations.fragment = Some(Fragment {
            outermost: self.encapsulations.first_network.unwrap_or_default(),
            header: header as u32,
            payload: self.offset as u32,
            end: self.end as u32,
        });
    }

    /// The rest is a layer that nothing is looked for behind.
    pub(super) fn found_leaf(&mut self) {
        self.encapsulations.leaf = Some((self.offset as u32, self.end as u32));
    }

    /// Where the next header starts.
    pub(super) const fn offset(&self) -> usize {
        self.offset
    }

    fn close_part(&mut self) {
        let (mut level, found) = (self.level, std::mem::take(&mut self.found));
        self.level = Encapsulation::default();
        if let Some(link) = &mut level.link {
            link.vlan_id = found.vlan_id as i64;
        }
        level.network = found.ipv4.or(found.ipv6);
        if let Some(network) = &mut level.network {
            network.tunnel_id = i64::from(found.tunnel_id);
            level.icmp = match network.protocol {
                NetworkProtocol::Ipv4 => found.icmpv4,
                NetworkProtocol::Ipv6 => found.icmpv6,
            };
        }
        level.transport = found.tcp.or(found.udp).or(found.sctp);
        level.icmp_key = found
            .icmpv4
            .map(|header| header.key(NetworkProtocol::Ipv4))
            .or_else(|| found.icmpv6.map(|header| header.key(NetworkProtocol::Ipv6)));
        let has_ends = level.link.is_some() || level.network.is_some();
        match self.encapsulations.levels.get_mut(self.encapsulations.len) {
            Some(slot) if has_ends => {
                *slot = level;
                self.encapsulations.len += 1;
            }
            _ => self.encapsulations.without_flow += usize::from(!level.layers.is_empty()),
        }
    }
}
