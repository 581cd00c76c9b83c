//! Fields of DHCPv4 messages (RFC 2131).

/// Fixed fields of a DHCPv4 message.
///
/// ```
/// let mut bytes = [0; 240];
/// bytes[8..10].copy_from_slice(&[0, 3]);
/// let message = skylib::decode::Dhcpv4Message::new(&bytes).ok_or("truncated")?;
/// assert_eq!(message.seconds, 3);
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dhcpv4Message<'a> {
    /// Length of a hardware address, in bytes.
    pub hardware_len: u8,
    /// Number of relay agents that forwarded the message.
    pub hops: u8,
    /// Identifier of the transaction.
    pub transaction: u32,
    /// Seconds since the client began to acquire or renew its address.
    pub seconds: u16,
    /// Flags; the highest bit requests a broadcast reply.
    pub flags: u16,
    /// Name of the server, padded with zeros.
    pub server_name: &'a [u8; 64],
    /// Name of the boot file, padded with zeros.
    pub file: &'a [u8; 128],
}

impl<'a> Dhcpv4Message<'a> {
    /// Length of the fixed fields in bytes.
    pub const LEN: usize = 236;

    /// Parses the fixed fields; returns `None` if they are truncated.
    #[must_use]
    pub fn new(data: &'a [u8]) -> Option<Self> {
        let [_, _, hardware_len, hops, x0, x1, x2, x3, s0, s1, f0, f1] = *data.first_chunk()?;
        Some(Self {
            hardware_len,
            hops,
            transaction: u32::from_be_bytes([x0, x1, x2, x3]),
            seconds: u16::from_be_bytes([s0, s1]),
            flags: u16::from_be_bytes([f0, f1]),
            server_name: data.get(44..)?.first_chunk()?,
            file: data.get(108..)?.first_chunk()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_from_the_offsets_of_the_standard() {
        let data: Vec<u8> = (0..=255).collect();
        let message = Dhcpv4Message::new(&data[..Dhcpv4Message::LEN]).unwrap();
        assert_eq!((message.hardware_len, message.hops), (2, 3));
        assert_eq!(message.transaction, 0x0405_0607);
        assert_eq!((message.seconds, message.flags), (0x0809, 0x0a0b));
        assert_eq!((message.server_name[0], message.server_name[63]), (44, 107));
        assert_eq!((message.file[0], message.file[127]), (108, 235));
        assert_eq!(Dhcpv4Message::new(&data[..Dhcpv4Message::LEN - 1]), None);
    }
}
