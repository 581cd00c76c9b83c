//! Compilation of filter expressions by libpcap.

use pcap::{Capture, Error, Linktype};

use super::super::CaptureError;
use super::{BpfInstruction, cost, names};
use crate::packet::LinkType;

/// Compiles an expression to instructions that return libpcap's snap length to accept a packet.
pub(super) fn compile(
    text: &str,
    link_type: LinkType,
) -> Result<Vec<BpfInstruction>, CaptureError> {
    let fail = |message: String| CaptureError::Filter {
        text: text.to_owned(),
        message,
    };
    if text.len() > MAX_TEXT {
        let text = text.chars().take(40).collect();
        let message = format!("longer than {MAX_TEXT} bytes");
        return Err(CaptureError::Filter { text, message });
    }
    let cost = cost::instructions(text);
    if cost > cost::MAX_INSTRUCTIONS {
        let limit = cost::MAX_INSTRUCTIONS;
        let text = text.chars().take(40).collect();
        let message = format!(
            "too expensive: about {cost} instructions before optimization exceed the limit of \
             {limit}; use fewer ports, hosts and networks, or ranges of them"
        );
        return Err(CaptureError::Filter { text, message });
    }
    if let Some(name) = names::host_name(text) {
        let name: String = name.chars().take(40).collect();
        let message = format!(
            "syntax error, or a host name: {name:?} is neither a keyword nor an address, and filters \
             do not wait for name servers; use an address"
        );
        return Err(fail(message));
    }
    let message_of = |error| match error {
        Error::PcapError(message) => message,
        Error::InvalidInputString => "contains a zero byte".to_owned(),
        other => other.to_string(),
    };
    let handle =
        Capture::dead(Linktype(dlt(link_type))).map_err(|error| fail(message_of(error)))?;
    let program = handle
        .compile(text, true)
        .map_err(|error| fail(message_of(error)))?;
    // The crate's fields are private, but its `Display` prints them: code, jt, jf, k.
    let read = |line: String| {
        let mut fields = line.split(' ').map(|field| field.parse::<u32>().ok());
        let mut next = || fields.next().flatten();
        Some(BpfInstruction {
            code: next()?.try_into().ok()?,
            jt: next()?.try_into().ok()?,
            jf: next()?.try_into().ok()?,
            k: next()?,
        })
    };
    let read = program
        .get_instructions()
        .iter()
        .map(|line| read(line.to_string()));
    read.collect::<Option<_>>()
        .ok_or_else(|| fail("libpcap returned no program".to_owned()))
}

/// Returns the DLT number for which libpcap compiles; it differs from the number in files only for
/// raw IP.
const fn dlt(link_type: LinkType) -> i32 {
    match link_type {
        LinkType::RAW | LinkType::RAW_OPENBSD => LinkType::RAW_DLT.0 as i32,
        other => other.0 as i32,
    }
}

/// Maximum length of a filter expression, in bytes; libpcap's compile time grows quickly with it.
const MAX_TEXT: usize = 16 << 10;
