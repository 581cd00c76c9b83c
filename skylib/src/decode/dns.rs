//! Parser of DNS messages (RFC 1035).
//!
//! Messages are untrusted and may be truncated: all questions and records before the first invalid
//! one are returned. Compression pointers may only point backward, and the total length of the
//! names of a message is bounded, so that a small message cannot cause much work.

use std::net::IpAddr;

/// DNS message, read from front to back: the questions, followed by the records of the three
/// sections. The caller must stop after the numbers of questions and records that
/// [`counts`](Self::counts) returns.
///
/// ```
/// use skylib::decode::DnsMessage;
/// let bytes = b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\x01a\x02io\0\0\x01\0\x01";
/// let mut message = DnsMessage::new(bytes).ok_or("no header")?;
/// assert_eq!((message.id(), message.counts()), (0x1234, [1, 0, 0, 0]));
/// let question = message.question().ok_or("truncated")?;
/// assert_eq!((question.name.as_str(), question.kind), ("a.io", 1));
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone, Debug)]
pub struct DnsMessage<'a> {
    header: [u8; 12],
    data: &'a [u8],
    /// Start of the next question or record; `usize::MAX` after a failure.
    offset: usize,
    /// Remaining budget for names, in bytes.
    name_bytes: usize,
}

/// Question of a [`DnsMessage`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DnsQuery {
    /// Requested name, without the last dot.
    pub name: String,
    /// Type of the requested records.
    pub kind: u16,
    /// Class of the requested records.
    pub class: u16,
}

/// Resource record of a [`DnsMessage`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DnsResource<'a> {
    /// Name of the record, without the last dot.
    pub name: String,
    /// Type of the record.
    pub kind: u16,
    /// Class of the record.
    pub class: u16,
    /// Time to live, in seconds.
    pub ttl: u32,
    /// Length of the data, in bytes.
    pub data_len: u16,
    /// Bytes of the data.
    pub bytes: &'a [u8],
    /// Data; `None` if the type is not supported or the data is not valid for it.
    pub data: Option<DnsData<'a>>,
}

/// Data of a [`DnsResource`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DnsData<'a> {
    /// Address (A, AAAA).
    Address(IpAddr),
    /// Name (NS, CNAME, PTR).
    Name(String),
    /// Strings (TXT, HINFO).
    Texts(Vec<&'a [u8]>),
    /// Start of authority (SOA): primary server, mailbox, then serial, refresh, retry, expire, and
    /// minimum.
    Authority(String, String, [u32; 5]),
    /// Location of a service (SRV): priority, weight, and port, then the host name.
    Service([u16; 3], String),
    /// Mail exchanger (MX): preference and name.
    Exchanger(u16, String),
    /// EDNS options (OPT, RFC 6891): code and data of each.
    Options(Vec<(u16, &'a [u8])>),
}

impl<'a> DnsMessage<'a> {
    /// Returns a message; `None` if its header is truncated.
    #[must_use]
    pub fn new(data: &'a [u8]) -> Option<Self> {
        let header = *data.first_chunk()?;
        Some(Self {
            header,
            data,
            offset: size_of_val(&header),
            name_bytes: MAX_NAME_BYTES,
        })
    }

    /// Returns the identifier, which is equal in a query and its response.
    #[must_use]
    pub const fn id(&self) -> u16 {
        u16::from_be_bytes([self.header[0], self.header[1]])
    }

    /// Returns the two bytes of flags: QR, operation (4 bits), AA, TC, RD, RA, reserved (3 bits),
    /// response code (4 bits).
    #[must_use]
    pub const fn flags(&self) -> u16 {
        u16::from_be_bytes([self.header[2], self.header[3]])
    }

    /// Returns the numbers of questions, answers, authority records, and additional records that
    /// the header states.
    #[must_use]
    pub const fn counts(&self) -> [u16; 4] {
        let [_, _, _, _, q0, q1, a0, a1, n0, n1, r0, r1] = self.header;
        [
            u16::from_be_bytes([q0, q1]),
            u16::from_be_bytes([a0, a1]),
            u16::from_be_bytes([n0, n1]),
            u16::from_be_bytes([r0, r1]),
        ]
    }

    /// Parses the next question; returns `None` if it is invalid or follows an invalid one.
    pub fn question(&mut self) -> Option<DnsQuery> {
        self.next(|message, cursor| {
            Some(DnsQuery {
                name: message.name(cursor)?,
                kind: message.number(cursor)?,
                class: message.number(cursor)?,
            })
        })
    }

    /// Parses the next record; returns `None` if it is invalid or follows an invalid one.
    pub fn record(&mut self) -> Option<DnsResource<'a>> {
        self.next(|message, cursor| {
            let name = message.name(cursor)?;
            let kind = message.number(cursor)?;
            let class = message.number(cursor)?;
            let ttl = message.long(cursor)?;
            let data_len = message.number(cursor)?;
            let start = *cursor;
            let end = start + usize::from(data_len);
            let bytes = message.data.get(start..end)?;
            *cursor = end;
            let data = message.resource_data(kind, start, bytes);
            Some(DnsResource {
                name,
                kind,
                class,
                ttl,
                data_len,
                bytes,
                data,
            })
        })
    }

    /// Parses the next item and moves past it; a failure is final, because the start of the next
    /// item is unknown.
    fn next<T>(&mut self, read: impl FnOnce(&mut Self, &mut usize) -> Option<T>) -> Option<T> {
        let mut cursor = self.offset;
        let item = read(self, &mut cursor);
        self.offset = match item {
            Some(_) => cursor,
            None => usize::MAX,
        };
        item
    }

    fn resource_data(&mut self, kind: u16, start: usize, bytes: &'a [u8]) -> Option<DnsData<'a>> {
        let mut cursor = start;
        Some(match kind {
            DNS_A => DnsData::Address(IpAddr::from(*bytes.first_chunk::<4>()?)),
            DNS_AAAA => DnsData::Address(IpAddr::from(*bytes.first_chunk::<16>()?)),
            DNS_NS | DNS_CNAME | DNS_PTR => DnsData::Name(self.name(&mut cursor)?),
            DNS_TXT | DNS_HINFO => DnsData::Texts(texts(bytes)),
            DNS_SOA => {
                let (primary, mailbox) = (self.name(&mut cursor)?, self.name(&mut cursor)?);
                let mut numbers = [0; 5];
                for number in &mut numbers {
                    *number = self.long(&mut cursor)?;
                }
                DnsData::Authority(primary, mailbox, numbers)
            }
            DNS_SRV => {
                let mut numbers = [0; 3];
                for number in &mut numbers {
                    *number = self.number(&mut cursor)?;
                }
                DnsData::Service(numbers, self.name(&mut cursor)?)
            }
            DNS_MX => DnsData::Exchanger(self.number(&mut cursor)?, self.name(&mut cursor)?),
            DNS_OPT => DnsData::Options(options(bytes)),
            _ => return None,
        })
    }

    fn number(&self, cursor: &mut usize) -> Option<u16> {
        let bytes = self.data.get(*cursor..)?.first_chunk()?;
        *cursor += size_of_val(bytes);
        Some(u16::from_be_bytes(*bytes))
    }

    fn long(&self, cursor: &mut usize) -> Option<u32> {
        let bytes = self.data.get(*cursor..)?.first_chunk()?;
        *cursor += size_of_val(bytes);
        Some(u32::from_be_bytes(*bytes))
    }

    /// Parses a name at `cursor`: labels, followed by an empty label or a pointer to further labels
    /// before it.
    fn name(&mut self, cursor: &mut usize) -> Option<String> {
        let mut name: Vec<u8> = Vec::new();
        let mut at = *cursor;
        // A pointer must point to a position before its own labels, so that the loop terminates.
        let mut bound = at;
        let mut is_at_cursor = true;
        loop {
            let length = usize::from(*self.data.get(at)?);
            match length & LABEL_KIND {
                0 if length == 0 => {
                    if is_at_cursor {
                        *cursor = at + 1;
                    }
                    break;
                }
                0 => {
                    if !name.is_empty() {
                        name.push(b'.');
                    }
                    name.extend_from_slice(self.data.get(at + 1..at + 1 + length)?);
                    at += 1 + length;
                }
                LABEL_KIND => {
                    let mut next = at;
                    let target = usize::from(self.number(&mut next)?) & POINTER;
                    if is_at_cursor {
                        *cursor = next;
                    }
                    if target >= bound {
                        return None;
                    }
                    (at, bound, is_at_cursor) = (target, target, false);
                }
                // The other two combinations are reserved (RFC 1035, section 4.1.4).
                _ => return None,
            }
            if name.len() > MAX_NAME {
                return None;
            }
        }
        self.name_bytes = self.name_bytes.checked_sub(name.len())?;
        Some(String::from_utf8_lossy(&name).into_owned())
    }
}

/// Parses consecutive strings, each preceded by its length; a truncated string is ignored.
fn texts(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut texts = Vec::new();
    while let [length, rest @ ..] = bytes
        && let Some((text, rest)) = rest.split_at_checked(usize::from(*length))
    {
        texts.push(text);
        bytes = rest;
    }
    texts
}

/// Parses consecutive options of code, length, and data; a truncated option is ignored.
fn options(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut options = Vec::new();
    while let [c0, c1, l0, l1, rest @ ..] = bytes
        && let Some((data, rest)) =
            rest.split_at_checked(usize::from(u16::from_be_bytes([*l0, *l1])))
    {
        options.push((u16::from_be_bytes([*c0, *c1]), data));
        bytes = rest;
    }
    options
}

/// Types of resource records (RFC 1035, 3.2.2; RFC 2782, 3596, 6891).
const DNS_A: u16 = 1;
const DNS_NS: u16 = 2;
const DNS_CNAME: u16 = 5;
const DNS_SOA: u16 = 6;
const DNS_PTR: u16 = 12;
const DNS_HINFO: u16 = 13;
const DNS_MX: u16 = 15;
const DNS_TXT: u16 = 16;
const DNS_AAAA: u16 = 28;
const DNS_SRV: u16 = 33;
const DNS_OPT: u16 = 41;

/// The two bits that distinguish a pointer (both set) from a label (none set).
const LABEL_KIND: usize = 0xc0;
/// Mask of the offset in a compression pointer (RFC 1035, section 4.1.4).
const POINTER: usize = 0x3fff;
/// Maximum length of a name, in bytes (RFC 1035, section 2.3.4).
const MAX_NAME: usize = 255;
/// Maximum total length of the names of a message, in bytes: with pointers, a small message can
/// repeat long names many times.
const MAX_NAME_BYTES: usize = 32 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a header that states these numbers of records in its sections.
    fn header(counts: [u8; 4]) -> Vec<u8> {
        let [q, a, n, r] = counts;
        vec![0, 7, 0x81, 0x80, 0, q, 0, a, 0, n, 0, r]
    }

    #[test]
    fn names_are_followed_through_pointers() {
        let mut bytes = header([1, 1, 0, 0]);
        bytes.extend(b"\x03www\x02ab\0\0\x05\0\x01");
        bytes.extend(b"\xc0\x0c\0\x05\0\x01\0\0\0\x09\0\x06\x03ftp\xc0\x10");
        let mut message = DnsMessage::new(&bytes).unwrap();
        assert_eq!(message.question().unwrap().name, "www.ab");
        let record = message.record().unwrap();
        assert_eq!(
            (record.name.as_str(), record.ttl, record.data_len),
            ("www.ab", 9, 6)
        );
        assert_eq!(record.data, Some(DnsData::Name("ftp.ab".into())));
        assert_eq!(message.record(), None);
    }

    #[test]
    fn data_of_every_known_type_is_read() {
        let records: &[(u16, &[u8], DnsData<'_>)] = &[
            (
                DNS_A,
                &[10, 0, 0, 1],
                DnsData::Address([10, 0, 0, 1].into()),
            ),
            (DNS_AAAA, &[0; 16], DnsData::Address([0; 16].into())),
            (DNS_NS, b"\x01n\0", DnsData::Name("n".into())),
            (DNS_PTR, b"\0", DnsData::Name(String::new())),
            (DNS_TXT, b"\x02ab\0", DnsData::Texts(vec![b"ab", b""])),
            (DNS_HINFO, b"\x01a\x05cut", DnsData::Texts(vec![b"a"])),
            (
                DNS_SOA,
                b"\x01a\0\x01b\0\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\x05",
                DnsData::Authority("a".into(), "b".into(), [1, 2, 3, 4, 5]),
            ),
            (
                DNS_SRV,
                b"\0\x01\0\x02\0\x03\x01s\0",
                DnsData::Service([1, 2, 3], "s".into()),
            ),
            (DNS_MX, b"\0\x0a\x01m\0", DnsData::Exchanger(10, "m".into())),
            (
                DNS_OPT,
                b"\0\x0a\0\x02xy\0\x03\0\x09cut",
                DnsData::Options(vec![(10, b"xy")]),
            ),
        ];
        for (kind, data, wanted) in records {
            let mut bytes = header([0, 1, 0, 0]);
            bytes.push(0);
            bytes.extend(kind.to_be_bytes());
            bytes.extend([0, 1, 0, 0, 0, 0, 0, data.len() as u8]);
            bytes.extend(*data);
            let record = DnsMessage::new(&bytes).unwrap().record().unwrap();
            assert_eq!(record.data.as_ref(), Some(wanted), "type {kind}");
        }
    }

    #[test]
    fn a_pointer_to_itself_or_forward_ends_the_message() {
        for pointer in [12, 20] {
            let mut bytes = header([1, 0, 0, 0]);
            bytes.extend([0xc0, pointer, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
            let mut message = DnsMessage::new(&bytes).unwrap();
            assert_eq!(message.question(), None);
            assert_eq!(message.record(), None);
        }
    }

    #[test]
    fn a_cut_record_ends_the_message_and_names_stay_bounded() {
        let mut bytes = header([0, 2, 0, 0]);
        bytes.extend(b"\0\0\x01\0\x01\0\0\0\0\0\x04\x0a\0\0");
        assert_eq!(DnsMessage::new(&bytes).unwrap().record(), None);

        let mut bytes = header([0, 0, 0, 0]);
        for label in 0..3 {
            bytes.push(63);
            bytes.extend([b'a' + label; 63]);
        }
        bytes.push(0);
        let mut cut = DnsMessage::new(&bytes).unwrap();
        assert_eq!(cut.name(&mut 12).unwrap().len(), 3 * 64 - 1);
        let names = (0..).take_while(|_| cut.name(&mut 12).is_some()).count();
        assert_eq!(names + 1, MAX_NAME_BYTES / (3 * 64 - 1));
        assert!(DnsMessage::new(&bytes[..11]).is_none());
    }
}
