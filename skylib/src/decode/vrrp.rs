//! Fields of VRRP advertisements in the format of version 2 (RFC 3768).

/// Fixed fields of a VRRP advertisement.
///
/// ```
/// use skylib::decode::VrrpMessage;
/// let bytes = [0x21, 7, 100, 1, 0, 1, 0xba, 0x52];
/// let message = VrrpMessage::new(&bytes).ok_or("truncated")?;
/// assert_eq!((message.version, message.router, message.priority), (2, 7, 100));
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VrrpMessage {
    /// Version of the protocol.
    pub version: u8,
    /// Identifier of the virtual router.
    pub router: u8,
    /// Priority of the sender.
    pub priority: u8,
    /// Number of addresses after the fixed fields.
    pub addresses: u8,
    /// Time between advertisements, in seconds.
    pub interval: u8,
    /// Checksum as sent; it is not verified.
    pub checksum: u16,
}

impl VrrpMessage {
    /// Length of the fixed fields, in bytes.
    pub const LEN: usize = 8;

    /// Parses the fixed fields; returns `None` if they are truncated.
    #[must_use]
    pub fn new(data: &[u8]) -> Option<Self> {
        let [kind, router, priority, addresses, _, interval, c0, c1] = *data.first_chunk()?;
        Some(Self {
            version: kind >> 4,
            router,
            priority,
            addresses,
            interval,
            checksum: u16::from_be_bytes([c0, c1]),
        })
    }
}
