//! Checks of LLDP frames.

use skylib::topology::lldp::LldpFrame;

/// Panics if decoding panics, or if a frame yields more text than its size allows.
pub(crate) fn check(input: &[u8]) {
    let Ok(frame) = LldpFrame::parse(input) else {
        return;
    };
    let texts = [
        &frame.chassis.text,
        &frame.port.text,
        &frame.port_description,
        &frame.system_name,
        &frame.system_description,
        &frame.management_address,
    ];
    let length: usize = texts.iter().map(|text| text.len()).sum();
    // A byte becomes at most three characters of hexadecimal text or one replacement character.
    assert!(length <= 3 * input.len() + 200);
}
