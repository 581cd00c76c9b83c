//! Messages of libvirt's remote protocol (`virnetprotocol.x`, `remote_protocol.x`): a length, a
//! header of six numbers, and values in XDR (RFC 4506). Performs no I/O.

use std::str;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// Number of the procedure or of the event.
    pub procedure: u32,
    pub(super) kind: u32,
    /// Number of the call that a reply answers.
    pub(super) serial: u32,
    pub(super) status: u32,
    /// Arguments or results.
    pub(super) payload: Vec<u8>,
}

/// A virtual machine, as messages identify it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DomainId {
    pub(super) name: String,
    pub(super) uuid: [u8; 16],
    /// Number of the running machine; -1 if it does not run.
    pub(super) number: i32,
}

impl Message {
    /// Parses a message without its length.
    ///
    /// Returns `None` if the message is too short or belongs to another program, such as the
    /// program that checks connections.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let (program, version) = (reader.number()?, reader.number()?);
        if (program, version) != (PROGRAM, VERSION) {
            return None;
        }
        Some(Self {
            procedure: reader.number()?,
            kind: reader.number()?,
            serial: reader.number()?,
            status: reader.number()?,
            payload: reader.0.to_vec(),
        })
    }

    /// Returns the virtual machine that an event concerns; `None` for other messages.
    pub(super) fn changed_domain(&self) -> Option<DomainId> {
        if self.kind != EVENT {
            return None;
        }
        let mut reader = Reader(&self.payload);
        let _callback = reader.number()?;
        reader.domain()
    }

    /// Returns the code and the text of an error.
    pub(super) fn error(&self) -> Option<(u32, String)> {
        if self.status != FAILED {
            return None;
        }
        let mut reader = Reader(&self.payload);
        let (code, _origin) = (reader.number()?, reader.number()?);
        let text = match reader.number()? {
            0 => String::new(),
            _ => reader.text()?.to_owned(),
        };
        Some((code, text))
    }
}

/// Returns a call with its length.
pub(super) fn call(procedure: u32, serial: u32, payload: &[u8]) -> Vec<u8> {
    message(procedure, CALL, serial, 0, payload)
}

/// Returns a message with its length.
pub(super) fn message(
    procedure: u32,
    kind: u32,
    serial: u32,
    status: u32,
    payload: &[u8],
) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .unwrap_or(u32::MAX)
        .saturating_add(HEADER_BYTES);
    let numbers = [length, PROGRAM, VERSION, procedure, kind, serial, status];
    let mut bytes: Vec<u8> = numbers
        .iter()
        .flat_map(|number| number.to_be_bytes())
        .collect();
    bytes.extend_from_slice(payload);
    bytes
}

/// Values in XDR under construction.
#[derive(Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn number(mut self, number: u32) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    pub(super) fn text(self, text: &str) -> Self {
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        let mut writer = self.number(length);
        writer.0.extend_from_slice(text.as_bytes());
        writer.0.resize(writer.0.len().next_multiple_of(4), 0);
        writer
    }

    pub(super) fn domain(self, domain: &DomainId) -> Self {
        let mut writer = self.text(&domain.name);
        writer.0.extend_from_slice(&domain.uuid);
        writer.0.extend_from_slice(&domain.number.to_be_bytes());
        writer
    }
}

/// Reads values in XDR.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn number(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(*self.array()?))
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        let padding = length.checked_next_multiple_of(4)? - length;
        self.0 = rest.get(padding..)?;
        str::from_utf8(text).ok()
    }

    pub(super) fn domain(&mut self) -> Option<DomainId> {
        Some(DomainId {
            name: self.text()?.to_owned(),
            uuid: *self.array()?,
            number: i32::from_be_bytes(*self.array()?),
        })
    }

    fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(array)
    }
}

/// Program number of libvirt's remote protocol.
const PROGRAM: u32 = 0x2000_8086;
const VERSION: u32 = 1;
/// Length of the length and the header, in bytes.
pub(super) const HEADER_BYTES: u32 = 28;

/// Kinds of messages (`virNetMessageType`).
const CALL: u32 = 0;
pub(super) const REPLY: u32 = 1;
pub(super) const EVENT: u32 = 2;

/// Status of a reply with an error (`virNetMessageStatus`).
pub(super) const FAILED: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn domain() -> DomainId {
        DomainId {
            name: "vm-10".to_owned(),
            uuid: [7; 16],
            number: -1,
        }
    }

    #[test]
    fn a_message_is_parsed_as_it_was_written() {
        let payload = Writer::default().number(9).domain(&domain()).0;
        let bytes = message(318, EVENT, 0, 0, &payload);
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(bytes[..4], (bytes.len() as u32).to_be_bytes());
        let message = Message::parse(&bytes[4..]).unwrap();
        assert_eq!((message.procedure, message.kind), (318, EVENT));
        assert_eq!(message.changed_domain(), Some(domain()));
        assert_eq!(message.error(), None);
    }

    #[test]
    fn errors_have_a_code_and_a_text() {
        let payload = Writer::default()
            .number(42)
            .number(10)
            .number(1)
            .text("no domain")
            .0;
        let bytes = message(14, REPLY, 3, FAILED, &payload);
        let error = Message::parse(&bytes[4..]).unwrap().error();
        assert_eq!(error, Some((42, "no domain".to_owned())));
        assert_eq!(Message::parse(&bytes[4..]).unwrap().changed_domain(), None);
    }

    #[test]
    fn cut_messages_and_other_programs_are_ignored() {
        let payload = Writer::default().number(9).domain(&domain()).0;
        let bytes = message(318, EVENT, 0, 0, &payload);
        for length in 0..24 {
            assert_eq!(Message::parse(&bytes[4..4 + length]), None);
        }
        for length in 28..bytes.len() {
            assert_eq!(
                Message::parse(&bytes[4..length]).unwrap().changed_domain(),
                None
            );
        }
        let mut other = bytes;
        other[4] = 0x6b;
        assert_eq!(Message::parse(&other[4..]), None);
        assert_eq!(Reader(&[0xff; 8]).text(), None);
    }
}
