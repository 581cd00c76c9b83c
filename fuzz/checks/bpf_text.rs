//! Checks of arbitrary filter texts, whose cost is limited before libpcap sees them. The first byte
//! selects a link type.

use skylib::capture::BpfProgram;
use skylib::packet::LinkType;

/// Panics if the compiler panics, or if a program that it returns cannot run.
pub(crate) fn check(input: &[u8]) {
    let Some((kind, text)) = input.split_first() else {
        return;
    };
    let link_type = LINK_TYPES[usize::from(*kind) % LINK_TYPES.len()];
    match BpfProgram::compile(&String::from_utf8_lossy(text), link_type, 96) {
        Ok(program) => {
            for packet in [&[][..], &[0; 64], &[0x45; 96], text] {
                let accepted = program.run(packet, packet.len() as u32);
                assert!(accepted == 0 || accepted == 96, "{accepted}");
            }
        }
        // An error text contains at most a bounded part of the input, and the message of libpcap.
        Err(error) => assert!(error.to_string().len() <= text.len() * 3 + 1024),
    }
}

const LINK_TYPES: &[LinkType] = &[
    LinkType::ETHERNET,
    LinkType::RAW,
    LinkType::LINUX_SLL,
    LinkType::LINUX_SLL2,
    LinkType::NULL,
];
