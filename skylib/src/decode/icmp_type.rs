//! ICMP messages as flows see them: one type for a request and its reply.

use super::NetworkProtocol;

/// Fixed fields of an ICMP message of either version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IcmpHeader {
    /// Type of the message, the same for a request and its reply.
    pub kind: IcmpType,
    /// Code of the message.
    pub code: u8,
    /// Identifier of an echo; for other ICMPv4 messages bytes 4 and 5, for other ICMPv6 messages 0.
    pub id: u16,
    /// Sequence number of an echo; for other ICMPv4 messages bytes 6 and 7, for other ICMPv6
    /// messages 0.
    pub number: u16,
    /// Direction of an echo; `None` for other messages.
    pub echo: Option<IcmpEcho>,
}

/// Direction of an ICMP echo. Complete by definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpEcho {
    /// Echo request.
    Request,
    /// Echo reply.
    Reply,
}

/// Type of an ICMP message, common to both versions and to both directions.
///
/// Its number is part of the identity of a flow and the number in protobuf; its name is that in
/// JSON.
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
    /// Returns what the message adds to the identity of its flow: type in the highest byte, then
    /// code, then identifier.
    // COMPAT: identifiers equal to Skydive's, which ignores the code of an ICMPv6 echo.
    pub(super) const fn key(&self, protocol: NetworkProtocol) -> u32 {
        let code = match protocol {
            NetworkProtocol::Ipv6 if self.echo.is_some() => 0,
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

    /// Returns the type with a number of Skydive's protobuf schema, which is the number of the
    /// variant.
    #[must_use]
    pub fn from_number(number: i32) -> Option<Self> {
        let index = usize::try_from(number).ok()?;
        Self::ALL.get(index).copied()
    }

    /// Returns the type with a name in Skydive's JSON.
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
