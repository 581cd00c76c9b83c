//! Fields of DHCPv4 messages (RFC 2131).

/// Fixed fields of a DHCPv4 message, and its options.
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
    /// Addresses of the client (its own), of the client (offered), of the server, and of the relay
    /// agent; an absent address is zero.
    pub addresses: [[u8; 4]; 4],
    /// Hardware address of the client, padded with zeros.
    pub hardware: &'a [u8; 16],
    /// Name of the server, padded with zeros.
    pub server_name: &'a [u8; 64],
    /// Name of the boot file, padded with zeros.
    pub file: &'a [u8; 128],
    /// Options after the magic cookie (RFC 2132).
    options: &'a [u8],
}

impl<'a> Dhcpv4Message<'a> {
    /// Length of the fixed fields, in bytes.
    pub const LEN: usize = 236;

    /// Parses the fixed fields; returns `None` if they are truncated.
    #[must_use]
    pub fn new(data: &'a [u8]) -> Option<Self> {
        let [_, _, hardware_len, hops, x0, x1, x2, x3, s0, s1, f0, f1] = *data.first_chunk()?;
        let address = |at: usize| data.get(at..)?.first_chunk().copied();
        Some(Self {
            hardware_len,
            hops,
            transaction: u32::from_be_bytes([x0, x1, x2, x3]),
            seconds: u16::from_be_bytes([s0, s1]),
            flags: u16::from_be_bytes([f0, f1]),
            addresses: [address(12)?, address(16)?, address(20)?, address(24)?],
            hardware: data.get(28..)?.first_chunk()?,
            server_name: data.get(44..)?.first_chunk()?,
            file: data.get(108..)?.first_chunk()?,
            options: data
                .get(Self::LEN..)
                .and_then(|rest| rest.strip_prefix(&COOKIE))
                .unwrap_or_default(),
        })
    }

    /// Returns the value of the first option with this code. The "overload" option may extend the
    /// options to the fields for the file and the server name, which are then searched too (RFC
    /// 2132, section 9.3). `None` if there is no such option, or if an option before it is
    /// truncated.
    #[must_use]
    pub fn option(&self, code: u8) -> Option<&'a [u8]> {
        if let Some(value) = Self::find(self.options, code) {
            return Some(value);
        }
        let overload = match Self::find(self.options, OVERLOAD) {
            Some([fields]) => *fields,
            _ => return None,
        };
        let fields = [(1, &self.file[..]), (2, &self.server_name[..])];
        let mut overloaded = fields.iter().filter(|(bit, _)| overload & bit != 0);
        overloaded.find_map(|(_, options)| Self::find(options, code))
    }

    /// Returns the value of an option in a list of options; `None` if there is none.
    fn find(mut options: &'a [u8], code: u8) -> Option<&'a [u8]> {
        loop {
            options = match *options {
                // Padding.
                [0, ref rest @ ..] => rest,
                // End.
                [255, ..] => return None,
                [kind, len, ref rest @ ..] => {
                    let (value, rest) = rest.split_at_checked(usize::from(len))?;
                    if kind == code {
                        return Some(value);
                    }
                    rest
                }
                _ => return None,
            };
        }
    }
}

/// First bytes of the options: the "magic cookie" (RFC 2131, section 3).
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Option that states which fields contain options instead: 1 the file, 2 the server name, 3 both.
const OVERLOAD: u8 = 52;

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
        assert_eq!(message.addresses[0], [12, 13, 14, 15]);
        assert_eq!(message.addresses[3], [24, 25, 26, 27]);
        assert_eq!((message.hardware[0], message.hardware[15]), (28, 43));
        assert_eq!(Dhcpv4Message::new(&data[..Dhcpv4Message::LEN - 1]), None);
    }

    #[test]
    fn options_are_found_behind_others_and_padding() {
        let mut data = vec![0; 236];
        data.extend(COOKIE);
        data.extend([53, 1, 2, 0, 0, 12, 2, b'a', b'b', 255, 54, 1, 9]);
        let message = Dhcpv4Message::new(&data).unwrap();
        assert_eq!(message.option(53), Some(&[2][..]));
        assert_eq!(message.option(12), Some(&b"ab"[..]));
        assert_eq!(message.option(54), None);
        // Without the cookie, the bytes are not options (BOOTP).
        let mut other = data.clone();
        other[239] = 0;
        assert_eq!(Dhcpv4Message::new(&other).unwrap().option(53), None);
        for len in 236..data.len() {
            let message = Dhcpv4Message::new(&data[..len]).unwrap();
            assert!(message.option(99).is_none());
        }
    }
    #[test]
    fn options_may_continue_in_the_file_and_server_name() {
        let mut data = vec![0; 236];
        data[44..48].copy_from_slice(&[54, 1, 7, 255]);
        data[108..112].copy_from_slice(&[12, 1, b'h', 255]);
        data.extend(COOKIE);
        data.extend([52, 1, 1, 255]);
        let option = |data: &[u8], code| {
            let message = Dhcpv4Message::new(data).unwrap();
            message.option(code).map(<[u8]>::to_vec)
        };
        assert_eq!(option(&data, 12), Some(b"h".to_vec()));
        assert_eq!(option(&data, 54), None);
        data[242] = 3;
        assert_eq!(option(&data, 54), Some(vec![7]));
    }
}
