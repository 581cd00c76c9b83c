//! Text to instructions, by libpcap.

use pcap::{Capture, Error, Linktype};

use super::super::CaptureError;
use super::BpfInstruction;
use crate::packet::LinkType;

/// Compiles an expression; accepting returns carry libpcap's own snap length.
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
    let words = |error| match error {
        Error::PcapError(message) => message,
        Error::InvalidInputString => "contains a zero byte".to_owned(),
        other => other.to_string(),
    };
    let handle = Capture::dead(Linktype(dlt(link_type))).map_err(|error| fail(words(error)))?;
    let program = handle
        .compile(text, true)
        .map_err(|error| fail(words(error)))?;
    // The crate keeps the fields to itself, but prints them: code, jt, jf, k.
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
        .ok_or_else(|| fail("libpcap gave no program".to_owned()))
}

/// libpcap's number inside programs for a number in files; they differ for raw IP only.
const fn dlt(link_type: LinkType) -> i32 {
    match link_type {
        LinkType::RAW | LinkType::RAW_OPENBSD => LinkType::RAW_DLT.0 as i32,
        other => other.0 as i32,
    }
}

/// Bytes of an expression; libpcap takes time for huge ones.
const MAX_TEXT: usize = 16 << 10;
