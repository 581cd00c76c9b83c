//! Tests of the intake: templates, limits, losses, and hostile datagrams.

use std::net::SocketAddr;
use std::time::Duration;

use proptest::prelude::*;

use super::process::WaitingSet;
use super::*;
use crate::time::Timestamp;

const NOW: Timestamp = Timestamp::from_ms(1_700_000_000_000);

/// An intake and the numbers of packets of the records that it has read.
struct Lab {
    intake: Intake,
    packets: Vec<u64>,
}

impl Lab {
    fn new(limits: IntakeLimits) -> Self {
        Self {
            intake: Intake::new(limits),
            packets: Vec::new(),
        }
    }

    fn send(&mut self, from: &str, datagram: &[u8]) {
        let from: SocketAddr = from.parse().unwrap();
        self.send_at(from, datagram, NOW);
    }

    fn send_at(&mut self, from: SocketAddr, datagram: &[u8], now: Timestamp) {
        let packets = &mut self.packets;
        self.intake.datagram(from, datagram, now, &mut |_, export| {
            if let Export::Flow(flow) = export {
                packets.push(flow.counters.packets.unwrap_or(0));
            }
        });
    }
}

/// Returns an IPFIX message of domain 1 with these sets.
fn ipfix(sequence: u32, sets: &[(u16, &[u8])]) -> Vec<u8> {
    let mut message = vec![0, 10, 0, 0, 0x65, 0x53, 0xf1, 0];
    message.extend(sequence.to_be_bytes());
    message.extend(1_u32.to_be_bytes());
    for (id, content) in sets {
        message.extend(id.to_be_bytes());
        message.extend((content.len() as u16 + 4).to_be_bytes());
        message.extend(*content);
    }
    let length = (message.len() as u16).to_be_bytes();
    message[2..4].copy_from_slice(&length);
    message
}

/// Returns the definition of a template whose records have one number of packets.
fn template(id: u16, length: u16) -> Vec<u8> {
    let words = [id, 1, 2, length];
    words.into_iter().flat_map(u16::to_be_bytes).collect()
}

#[test]
fn data_before_its_template_is_read_when_the_template_arrives() {
    let mut lab = Lab::new(IntakeLimits::default());
    let from = "192.0.2.1:2055";
    lab.send(from, &ipfix(0, &[(256, &[7]), (257, &[1])]));
    lab.send(from, &ipfix(1, &[(256, &[8, 9])]));
    assert_eq!(lab.intake.waiting_sets(), 3);
    lab.send(from, &ipfix(3, &[(2, &template(256, 1)), (256, &[10])]));
    assert_eq!(lab.packets, [7, 8, 9, 10], "in the order of arrival");
    assert_eq!(lab.intake.stats().late_records, 3);
    lab.intake
        .expire(NOW.saturating_add(Duration::from_secs(29)));
    assert_eq!(lab.intake.stats().sets_without_template, 0);
    lab.intake
        .expire(NOW.saturating_add(Duration::from_secs(31)));
    assert_eq!(lab.intake.stats().sets_without_template, 1);
    assert_eq!(lab.intake.waiting_sets(), 0);
}

#[test]
fn waiting_data_is_limited_per_process_and_in_total() {
    let set = WaitingSet::bytes_of(&[1; 50]);
    let limits = IntakeLimits {
        waiting_bytes: 2 * set,
        waiting_bytes_total: 3 * set,
        ..IntakeLimits::default()
    };
    let mut lab = Lab::new(limits);
    for _ in 0..3 {
        lab.send("192.0.2.1:2055", &ipfix(0, &[(256, &[1; 50])]));
    }
    assert_eq!(lab.intake.stats().sets_without_template, 1);
    for _ in 0..2 {
        lab.send("192.0.2.2:2055", &ipfix(0, &[(256, &[1; 50])]));
    }
    assert_eq!(lab.intake.stats().sets_without_template, 2);
    lab.send("192.0.2.1:2055", &ipfix(0, &[(2, &template(256, 50))]));
    lab.send("192.0.2.2:2055", &ipfix(0, &[(256, &[1; 50])]));
    assert_eq!(lab.intake.stats().sets_without_template, 2, "room again");
}

#[test]
fn small_and_empty_data_sets_are_charged_for_their_bookkeeping() {
    let mut lab = Lab::new(IntakeLimits::default());
    let from = "192.0.2.1:2055";
    lab.send(from, &ipfix(0, &[(256, &[][..]); 1_000]));
    assert_eq!(lab.intake.waiting_sets(), 0, "an empty set has no records");
    for _ in 0..20 {
        lab.send(from, &ipfix(0, &[(256, &[1][..]); 1_000]));
    }
    let limit = IntakeLimits::default().waiting_bytes / WaitingSet::bytes_of(&[1]);
    assert_eq!(lab.intake.waiting_sets(), limit);
    let omitted = lab.intake.stats().sets_without_template;
    assert_eq!(omitted as usize, 20_000 - limit);
    lab.intake
        .expire(NOW.saturating_add(Duration::from_secs(31)));
    assert_eq!(lab.intake.waiting_sets(), 0);
}

#[test]
fn evicted_templates_and_processes_leave_nothing_behind() {
    let limits = IntakeLimits {
        processes: 2,
        templates: 4,
        ..IntakeLimits::default()
    };
    let mut lab = Lab::new(limits);
    for host in ["192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1", "192.0.2.3:1"] {
        for id in 256..300 {
            lab.send(host, &ipfix(0, &[(2, &template(id, 1))]));
        }
    }
    assert_eq!(
        lab.intake.definers(),
        8,
        "two processes with four templates"
    );
    lab.send("192.0.2.3:2", &ipfix(0, &[(299, &[5])]));
    assert_eq!(lab.packets, [5], "the definer is known");
}

#[test]
fn a_process_beyond_the_limit_replaces_the_least_recently_used_one() {
    let limits = IntakeLimits {
        processes: 2,
        ..IntakeLimits::default()
    };
    let mut lab = Lab::new(limits);
    for host in ["192.0.2.1:1", "192.0.2.2:1"] {
        lab.send(host, &ipfix(0, &[(2, &template(256, 1))]));
    }
    lab.send("192.0.2.1:1", &ipfix(0, &[(256, &[1])]));
    lab.send("192.0.2.3:1", &ipfix(0, &[(256, &[1])]));
    assert_eq!(lab.intake.stats().evicted, 1);
    lab.send("192.0.2.1:1", &ipfix(1, &[(256, &[2])]));
    assert_eq!(lab.packets, [1, 2]);
    assert!(lab.intake.exporter("192.0.2.2".parse().unwrap()).is_none());
}

#[test]
fn a_template_of_another_port_is_used_only_without_an_own_one() {
    let mut lab = Lab::new(IntakeLimits::default());
    lab.send("192.0.2.1:1000", &ipfix(0, &[(2, &template(256, 1))]));
    lab.send("192.0.2.1:2000", &ipfix(0, &[(256, &[5])]));
    assert_eq!(
        (lab.packets.as_slice(), lab.intake.stats().foreign_templates),
        (&[5][..], 1)
    );
    lab.send(
        "192.0.2.1:2000",
        &ipfix(1, &[(2, &template(256, 2)), (256, &[1, 0])]),
    );
    assert_eq!(lab.packets, [5, 256]);
    lab.send("192.0.2.1:1000", &ipfix(0, &[(256, &[6])]));
    assert_eq!(lab.packets, [5, 256, 6]);
    lab.send("192.0.2.2:1000", &ipfix(0, &[(256, &[6])]));
    assert_eq!(lab.packets.len(), 3, "another exporter");
}

#[test]
fn an_invalid_definition_removes_the_old_one() {
    let mut lab = Lab::new(IntakeLimits::default());
    let from = "192.0.2.1:2055";
    lab.send(from, &ipfix(0, &[(2, &template(256, 1)), (256, &[1])]));
    lab.send(from, &ipfix(1, &[(2, &template(256, 0)), (256, &[2])]));
    assert_eq!((lab.packets.len(), lab.intake.stats().malformed), (1, 1));
    lab.send(from, &ipfix(2, &[(2, &template(256, 1))]));
    assert_eq!(lab.packets, [1, 2]);
    let withdrawal = [0, 2, 0, 0];
    lab.send(from, &ipfix(2, &[(2, &withdrawal), (256, &[3])]));
    assert_eq!(lab.packets.len(), 2, "all templates were withdrawn");
}

#[test]
fn losses_are_counted_by_sequence_numbers() {
    let mut lab = Lab::new(IntakeLimits::default());
    let from = "192.0.2.1:2055";
    lab.send(from, &ipfix(10, &[(2, &template(256, 1)), (256, &[1, 2])]));
    lab.send(from, &ipfix(12, &[(256, &[3])]));
    lab.send(from, &ipfix(18, &[(256, &[4])]));
    assert_eq!(lab.intake.stats().lost, 5);
    let figures = lab.intake.exporter("192.0.2.1".parse().unwrap()).unwrap();
    assert_eq!((figures.datagrams, figures.lost), (3, 5));
}

#[test]
fn a_cut_message_is_read_up_to_its_end() {
    let mut lab = Lab::new(IntakeLimits::default());
    let from = "192.0.2.1:2055";
    let message = ipfix(0, &[(2, &template(256, 2)), (256, &[0, 1, 0, 2, 0, 3])]);
    lab.send(from, &message[..message.len() - 3]);
    assert_eq!(lab.packets, [1]);
    assert!(lab.intake.stats().malformed >= 1);
    lab.send(from, &[0, 10, 0, 15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(lab.packets, [1], "a message shorter than its header");
}

#[test]
fn unknown_formats_are_counted() {
    let mut lab = Lab::new(IntakeLimits::default());
    for datagram in [&[][..], &[0], &[0, 8, 0, 0], &[0, 0, 0, 4], &[0xff; 1_500]] {
        lab.send("192.0.2.1:2055", datagram);
    }
    assert_eq!(lab.intake.stats().unknown_format, 5);
}

proptest! {
    #[test]
    fn damaged_datagrams_are_read_without_harm(
        cuts in prop::collection::vec((0_usize..80, any::<u8>()), 0..4),
        length in 0_usize..80,
        version in prop::sample::select(vec![0_u8, 5, 7, 9, 10]),
    ) {
        let mut lab = Lab::new(IntakeLimits::default());
        let sets: &[(u16, &[u8])] = &[
            (2, &template(256, 1)),
            (3, &[1, 1, 0, 2, 0, 1, 0, 34, 0, 1, 0, 48, 255, 255]),
            (256, &[1, 2]),
            (257, &[9, 1, 1]),
        ];
        let mut message = ipfix(0, sets);
        message[1] = version;
        if version == 0 {
            message[3] = 5;
        }
        for (at, byte) in cuts {
            if let Some(slot) = message.get_mut(at) {
                *slot = byte;
            }
        }
        message.truncate(length);
        lab.send("192.0.2.1:2055", &message);
        lab.send("192.0.2.1:2055", &message);
        lab.intake.expire(NOW.saturating_add(Duration::from_secs(60)));
        prop_assert_eq!(lab.intake.waiting_sets(), 0);
    }
}
