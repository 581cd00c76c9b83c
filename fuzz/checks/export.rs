//! Checks of the decoders of flow exports.

use std::net::SocketAddr;
use std::time::Duration;

use skylib::export::{Export, Intake, IntakeLimits};
use skylib::time::Timestamp;

/// Reads datagrams, each after two bytes: the first byte selects one of four senders, the second is
/// the length in units of eight bytes. Panics if reading panics, if a datagram has more records
/// than bytes, or if waiting data remains after its timeout.
pub(crate) fn check(input: &[u8]) {
    let mut intake = Intake::new(IntakeLimits::default());
    let now = Timestamp::from_ms(1_700_000_000_000);
    let mut rest = input;
    while let Some(([sender, length], after)) = rest.split_first_chunk() {
        let length = (usize::from(*length) * 8).min(after.len());
        let (datagram, after) = after.split_at(length);
        rest = after;
        let from = SocketAddr::from(([192, 0, 2, sender & 1], 2055 + u16::from(sender >> 1 & 1)));
        let mut records = 0;
        intake.datagram(from, datagram, now, &mut |_, export| {
            records += 1;
            if let Export::Sample(sample) = export {
                std::hint::black_box(sample.packet.summary());
            }
        });
        let limit = datagram.len() + (1 << 20);
        assert!(records <= limit, "{records} records");
    }
    intake.expire(now.saturating_add(Duration::from_secs(60)));
    assert_eq!(intake.waiting_sets(), 0);
}
