//! Contents of VRRP advertisements, laid out as in version 2 (RFC 3768).

/// The fixed fields of an advertisement.
///
/// ```
/// use skylib::decode::VrrpMessage;
/// let bytes = [0x21, 7, 100, 1, 0, 1, 0xba, 0x52];
/// let message = VrrpMessage::new(&bytes).ok_or("cut short")?;
/// assert_eq!((message.version, message.router, message.priority), (2, 7, 100));
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VrrpMessage {
    /// Version of the protocol.
    pub version: u8,
    /// The virtual router.
    pub router: u8,
    /// Priority of the sender.
    pub priority: u8,
    /// Addresses that follow.
    pub addresses: u8,
    /// Time between advertisements, in seconds.
    pub interval: u8,
    /// Checksum as sent.
    pub checksum: u16,
}

impl VrrpMessage {
    /// Bytes of the fixed fields.
    pub const LEN: usize = 8;

    /// Reads the fixed fields; `None` if they are not whole.
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
