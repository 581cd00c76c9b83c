//! ICMP messages as represented in flows, with one type for a request and its reply.

use super::NetworkProtocol;

/// Fixed fields of an ICMP message of either version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IcmpHeader {
    /// Type of the message, equal for a request and its reply.
    pub kind: IcmpType,
    /// Code of the message.
    pub code: u8,
    /// Identifier of an echo; for other ICMPv4 messages bytes 4 and 5, for other ICMPv6 messages 0.
    pub id: u16,
    /// Sequence number of an echo; for other ICMPv4 messages bytes 6 and 7, for other ICMPv6
    /// messages 0.
    pub number: u16,
    /// Direction of an echo or extended echo (RFC 8335); `None` for other messages.
    pub echo: Option<IcmpEcho>,
    /// Direction of an echo, or of a timestamp, information, or address mask message; `None` for
    /// other messages.
    pub query: Option<IcmpEcho>,
}

/// Direction of an ICMP echo or other query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpEcho {
    /// Request.
    Request,
    /// Reply.
    Reply,
}

/// Type of an ICMP message, common to both versions and to both directions.
///
/// The number of a type is part of the identity of a flow and is used in protobuf; the name is used
/// in JSON.
///
/// ```
/// use skylib::decode::IcmpType;
///
/// assert_eq!(IcmpType::from_v4(8), IcmpType::Echo);
/// assert_eq!(IcmpType::Echo.name(), "ECHO");
/// assert_eq!(IcmpType::from_number(2), Some(IcmpType::Echo));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum IcmpType {
    /// Any other type.
    #[default]
    Unknown = 0,
    /// Destination unreachable.
    DestinationUnreachable = 1,
    /// Echo request or reply.
    Echo = 2,
    /// Neighbor solicitation or advertisement.
    Neighbor = 3,
    /// Address mask request or reply.
    AddressMask = 4,
    /// Information request or reply.
    Info = 5,
    /// Parameter problem.
    ParameterProblem = 6,
    /// Redirect.
    Redirect = 7,
    /// Router solicitation or advertisement.
    Router = 8,
    /// Source quench.
    SourceQuench = 9,
    /// Time exceeded.
    TimeExceeded = 10,
    /// Timestamp request or reply.
    Timestamp = 11,
    /// Packet too big.
    PacketTooBig = 12,
}

impl IcmpHeader {
    /// Returns the header of an ICMPv4 message. With `recorded`, an extended echo is an unknown
    /// message, as in Skydive.
    #[inline]
    pub(super) const fn v4(bytes: [u8; 8], recorded: bool) -> Self {
        let [kind, code, _, _, id0, id1, n0, n1] = bytes;
        let mut header = Self {
            kind: IcmpType::from_v4(kind),
            code,
            id: u16::from_be_bytes([id0, id1]),
            number: u16::from_be_bytes([n0, n1]),
            echo: None,
            query: None,
        };
        header.query = match kind {
            8 | 13 | 15 | 17 => Some(IcmpEcho::Request),
            0 | 14 | 16 | 18 => Some(IcmpEcho::Reply),
            42 if !recorded => Some(IcmpEcho::Request),
            43 if !recorded => Some(IcmpEcho::Reply),
            _ => None,
        };
        match kind {
            0 | 8 => header.echo = header.query,
            42 | 43 if !recorded => {
                header.echo = header.query;
                header.number = n0 as u16;
            }
            _ => {}
        }
        header
    }

    /// Returns the header of an ICMPv6 message; `rest` contains the bytes after the checksum. With
    /// `recorded`, an extended echo is an unknown message, as in Skydive.
    #[inline]
    pub(super) fn v6(kind: u8, code: u8, rest: &[u8], recorded: bool) -> Self {
        let mut header = Self {
            kind: IcmpType::from_v6(kind),
            code,
            id: 0,
            number: 0,
            echo: None,
            query: None,
        };
        let is_extended = matches!(kind, 160 | 161) && !recorded;
        if (matches!(kind, 128 | 129) || is_extended)
            && let Some(&[id0, id1, n0, n1]) = rest.first_chunk::<4>()
        {
            header.id = u16::from_be_bytes([id0, id1]);
            header.number = if is_extended {
                n0.into()
            } else {
                u16::from_be_bytes([n0, n1])
            };
            header.echo = Some(if matches!(kind, 128 | 160) {
                IcmpEcho::Request
            } else {
                IcmpEcho::Reply
            });
            header.query = header.echo;
        }
        header
    }

    /// Returns the ICMP part of the identity of the flow: the type in the highest byte, followed by
    /// code and identifier.
    // COMPAT: identifiers equal to Skydive's, which ignores the code of an ICMPv6 echo.
    pub(super) const fn key(&self, protocol: NetworkProtocol) -> u32 {
        let code = match protocol {
            NetworkProtocol::Ipv6 if self.echo.is_some() => 0,
            // The code of an extended echo reply is a result (RFC 8335, section 3).
            _ if self.echo.is_some() && !matches!(self.kind, IcmpType::Echo) => 0,
            _ => self.code,
        };
        (self.kind as u32) << 24 | (code as u32) << 16 | self.id as u32
    }
}

impl IcmpType {
    /// All types, by number.
    pub const ALL: &[Self] = &[
        Self::Unknown,
        Self::DestinationUnreachable,
        Self::Echo,
        Self::Neighbor,
        Self::AddressMask,
        Self::Info,
        Self::ParameterProblem,
        Self::Redirect,
        Self::Router,
        Self::SourceQuench,
        Self::TimeExceeded,
        Self::Timestamp,
        Self::PacketTooBig,
    ];

    /// Returns the type with this number in Skydive's protobuf schema; `None` if no type has the
    /// number. The number is the discriminant of the variant.
    #[must_use]
    pub fn from_number(number: i32) -> Option<Self> {
        let index = usize::try_from(number).ok()?;
        Self::ALL.get(index).copied()
    }

    /// Returns the type with a name in Skydive's JSON; `None` if there is none.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// Returns the name in Skydive's JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::DestinationUnreachable => "DESTINATION_UNREACHABLE",
            Self::Echo => "ECHO",
            Self::Neighbor => "NEIGHBOR",
            Self::AddressMask => "ADDRESS_MASK",
            Self::Info => "INFO",
            Self::ParameterProblem => "PARAMETER_PROBLEM",
            Self::Redirect => "REDIRECT",
            Self::Router => "ROUTER",
            Self::SourceQuench => "SOURCE_QUENCH",
            Self::TimeExceeded => "TIME_EXCEEDED",
            Self::Timestamp => "TIMESTAMP",
            Self::PacketTooBig => "PACKET_TOO_BIG",
        }
    }

    /// Returns the type of an ICMPv4 message for its type byte (RFC 792, 950, 1256).
    #[must_use]
    pub const fn from_v4(byte: u8) -> Self {
        match byte {
            0 | 8 => Self::Echo,
            3 => Self::DestinationUnreachable,
            4 => Self::SourceQuench,
            5 => Self::Redirect,
            9 | 10 => Self::Router,
            11 => Self::TimeExceeded,
            12 => Self::ParameterProblem,
            13 | 14 => Self::Timestamp,
            15 | 16 => Self::Info,
            17 | 18 => Self::AddressMask,
            _ => Self::Unknown,
        }
    }

    /// Returns the type of an ICMPv6 message for its type byte (RFC 4443, 4861).
    #[must_use]
    pub const fn from_v6(byte: u8) -> Self {
        match byte {
            1 => Self::DestinationUnreachable,
            2 => Self::PacketTooBig,
            3 => Self::TimeExceeded,
            4 => Self::ParameterProblem,
            128 | 129 => Self::Echo,
            133 | 134 => Self::Router,
            135 | 136 => Self::Neighbor,
            137 => Self::Redirect,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_and_reply_share_one_icmp_type() {
        for (a, b) in [(0, 8), (9, 10), (13, 14), (15, 16), (17, 18)] {
            assert_eq!(IcmpType::from_v4(a), IcmpType::from_v4(b));
        }
        for (a, b) in [(128, 129), (133, 134), (135, 136)] {
            assert_eq!(IcmpType::from_v6(a), IcmpType::from_v6(b));
        }
        assert_eq!(IcmpType::from_v4(128), IcmpType::Unknown);
    }

    #[test]
    fn an_extended_echo_is_an_echo_but_not_for_the_original() {
        let request = IcmpHeader::v4([42, 0, 0, 0, 1, 2, 7, 1], false);
        let reply = IcmpHeader::v4([43, 2, 0, 0, 1, 2, 7, 0], false);
        assert_eq!(request.echo, Some(IcmpEcho::Request));
        assert_eq!(reply.echo, Some(IcmpEcho::Reply));
        assert_eq!((request.number, reply.number), (7, 7));
        let key = |header: IcmpHeader| header.key(NetworkProtocol::Ipv4);
        assert_eq!(key(request), key(reply));
        let reply6 = IcmpHeader::v6(161, 2, &[1, 2, 7, 0], false);
        assert_eq!(
            (reply6.echo, reply6.id, reply6.number),
            (Some(IcmpEcho::Reply), 0x102, 7)
        );
        assert_eq!(IcmpHeader::v4([42, 0, 0, 0, 1, 2, 7, 1], true).echo, None);
        assert_eq!(IcmpHeader::v6(161, 2, &[1, 2, 7, 0], true).id, 0);
    }

    #[test]
    fn other_queries_have_a_direction_but_are_no_echoes() {
        for (request, reply) in [(13, 14), (15, 16), (17, 18)] {
            let query = |kind| {
                let header = IcmpHeader::v4([kind, 0, 0, 0, 0, 0, 0, 0], false);
                (header.query, header.echo)
            };
            assert_eq!(query(request), (Some(IcmpEcho::Request), None));
            assert_eq!(query(reply), (Some(IcmpEcho::Reply), None));
        }
    }

    #[test]
    fn types_are_found_by_number_and_by_name() {
        for (number, kind) in IcmpType::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, number);
            assert_eq!(IcmpType::from_number(number as i32), Some(*kind));
            assert_eq!(IcmpType::from_name(kind.name()), Some(*kind));
        }
        assert_eq!(IcmpType::PacketTooBig as u8, 12);
        for number in [-1, 13] {
            assert_eq!(IcmpType::from_number(number), None);
        }
        assert_eq!(IcmpType::from_name("echo"), None);
    }
}
