//! Building of a [`FlowRecord`] from the values of its information elements.
//!
//! Values are added in the order of precedence of their [`Target`]s, so that the first value of a
//! field wins. Values that need others, such as the parts of a sampling rate, are combined at the
//! end of the record.

use std::net::IpAddr;

use super::element::Target;
use super::reader::{address, number};
use super::record::{ExportCounters, FlowRecord, before_nul};
use super::section::{PacketSummary, SectionStart};
use crate::time::Timestamp;

/// Clocks to which the times of a record refer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    /// Time of the message.
    pub(super) exported_at: Timestamp,
    /// Start of the exporter, for uptimes; `None` if unknown.
    pub(super) booted_at: Option<Timestamp>,
}

/// A record that is being read, and values that are combined at its end.
#[derive(Debug)]
pub(super) struct RecordBuilder<'a> {
    pub(super) record: FlowRecord<'a>,
    clocks: Clocks,
    event: Option<Timestamp>,
    interval: Option<u64>,
    space: Option<u64>,
    population: Option<u64>,
}

impl<'a> RecordBuilder<'a> {
    pub(super) fn new(clocks: Clocks) -> Self {
        Self {
            record: FlowRecord::default(),
            clocks,
            event: None,
            interval: None,
            space: None,
            population: None,
        }
    }

    /// Adds the value of an element, unless an element of higher precedence has set the field. A
    /// value without bytes is absent.
    pub(super) fn add(&mut self, target: Target, value: &'a [u8]) {
        if value.is_empty() {
            return;
        }
        let record = &mut self.record;
        match target {
            Target::Src | Target::SrcNetwork => set_address(&mut record.src, value),
            Target::Dst | Target::DstNetwork => set_address(&mut record.dst, value),
            Target::SrcPort => set(&mut record.src_port, value),
            Target::DstPort => set(&mut record.dst_port, value),
            Target::Protocol => set(&mut record.protocol, value),
            Target::Tos => set(&mut record.tos, value),
            Target::TcpFlags => set(&mut record.counters.tcp_flags, value),
            Target::Packets | Target::InitiatorPackets | Target::OutPackets => {
                set(&mut record.counters.packets, value);
            }
            Target::Bytes | Target::InitiatorBytes | Target::OutBytes => {
                set(&mut record.counters.bytes, value);
            }
            Target::TotalPackets => set_total(&mut record.counters, true, value),
            Target::TotalBytes => set_total(&mut record.counters, false, value),
            Target::ReversePackets | Target::ResponderPackets => {
                set(&mut reverse(record).packets, value);
            }
            Target::ReverseBytes | Target::ResponderBytes => {
                set(&mut reverse(record).bytes, value);
            }
            Target::ReverseTotalPackets => set_total(reverse(record), true, value),
            Target::ReverseTotalBytes => set_total(reverse(record), false, value),
            Target::ReverseTcpFlags => set(&mut reverse(record).tcp_flags, value),
            Target::SystemInit => {
                if self.clocks.booted_at.is_none() {
                    self.clocks.booted_at = milliseconds(value);
                }
            }
            Target::FirstMs => set_time(&mut record.first, milliseconds(value)),
            Target::LastMs => set_time(&mut record.last, milliseconds(value)),
            Target::FirstNtp => set_time(&mut record.first, ntp(value)),
            Target::LastNtp => set_time(&mut record.last, ntp(value)),
            Target::FirstSeconds => set_time(&mut record.first, seconds(value)),
            Target::LastSeconds => set_time(&mut record.last, seconds(value)),
            Target::FirstDelta => set_time(&mut record.first, self.clocks.before_export(value)),
            Target::LastDelta => set_time(&mut record.last, self.clocks.before_export(value)),
            Target::FirstUptime => set_time(&mut record.first, self.clocks.at_uptime(value)),
            Target::LastUptime => set_time(&mut record.last, self.clocks.at_uptime(value)),
            Target::EventMs => set_time(&mut self.event, milliseconds(value)),
            Target::EventSeconds => set_time(&mut self.event, seconds(value)),
            Target::SrcMac | Target::PostSrcMac => set_mac(&mut record.src_mac, value),
            Target::DstMac | Target::PostDstMac => set_mac(&mut record.dst_mac, value),
            Target::Vlan | Target::OuterVlan | Target::InnerVlan | Target::PostVlan => {
                set(&mut record.vlan, value);
            }
            Target::Input | Target::PhysicalInput => set(&mut record.input, value),
            Target::Output | Target::PhysicalOutput => set(&mut record.output, value),
            Target::Direction => set(&mut record.direction, value),
            Target::BiflowDirection => set(&mut record.biflow_direction, value),
            Target::EndReason => set(&mut record.end_reason, value),
            Target::FirewallEvent => set(&mut record.firewall_event, value),
            Target::FlowId => set(&mut record.flow_id, value),
            Target::IcmpTypeCode => {
                if let [icmp_type, code] = value {
                    record.icmp_type.get_or_insert(*icmp_type);
                    record.icmp_code.get_or_insert(*code);
                }
            }
            Target::IcmpType => set(&mut record.icmp_type, value),
            Target::IcmpCode => set(&mut record.icmp_code, value),
            Target::NextHop | Target::BgpNextHop => set_address(&mut record.next_hop, value),
            Target::SrcAs => set(&mut record.src_as, value),
            Target::DstAs => set(&mut record.dst_as, value),
            Target::SrcMask => set(&mut record.src_mask, value),
            Target::DstMask => set(&mut record.dst_mask, value),
            Target::Vni => {
                // layer2SegmentId: the type of the tunnel in the first byte, the VNI in the last
                // three.
                let vni = number(value).map(|id| (id & 0x00ff_ffff) as u32);
                record.vni = record.vni.or(vni);
            }
            Target::NatSrc => set_address(&mut record.translation.src, value),
            Target::NatDst => set_address(&mut record.translation.dst, value),
            Target::NatSrcPort => set(&mut record.translation.src_port, value),
            Target::NatDstPort => set(&mut record.translation.dst_port, value),
            Target::SamplingInterval => set(&mut record.sampling, value),
            Target::PacketInterval => set(&mut self.interval, value),
            Target::PacketSpace => set(&mut self.space, value),
            Target::SamplingPopulation => set(&mut self.population, value),
            Target::SamplingSize => {
                let rate = rate_of_size(self.population, number(value));
                record.sampling = record.sampling.or(rate);
            }
            Target::Sampler => set(&mut record.sampler, value),
            Target::ApplicationId => record.application_id = Some(value),
            Target::Application => record.application = Some(before_nul(value)),
            Target::User => record.user = Some(before_nul(value)),
            Target::Vrf => record.vrf = Some(before_nul(value)),
            Target::FrameLength | Target::SectionLength => {
                set(&mut record.section_length, value);
            }
            Target::IpSection => add_section(record, value, SectionStart::Ip),
            Target::FrameSection => add_section(record, value, SectionStart::Ethernet),
        }
    }

    /// Returns the complete record.
    pub(super) fn finish(mut self) -> FlowRecord<'a> {
        let record = &mut self.record;
        if record.first.is_none() && record.last.is_none() {
            (record.first, record.last) = (self.event, self.event);
        }
        let rate = rate_of_interval(self.interval, self.space);
        record.sampling = record.sampling.or(rate).filter(|rate| *rate > 0);
        self.record
    }
}

impl Clocks {
    /// Returns the time of an uptime in milliseconds; `None` if the start is unknown.
    fn at_uptime(&self, value: &[u8]) -> Option<Timestamp> {
        let uptime = number(value).filter(|_| value.len() <= 8)?;
        let booted = self.booted_at?.as_ms();
        let uptime = i64::try_from(uptime).ok()?;
        Some(Timestamp::from_ms(booted.saturating_add(uptime)))
    }

    /// Returns the time that is a number of microseconds before the export.
    fn before_export(&self, value: &[u8]) -> Option<Timestamp> {
        let before = i64::try_from(number(value)?).ok()?;
        let ns = before.saturating_mul(1_000);
        Some(Timestamp::from_ns(
            self.exported_at.as_ns().saturating_sub(ns),
        ))
    }
}

/// Returns the rate of systematic sampling: `interval` packets are observed, `space` packets are
/// not.
pub(super) fn rate_of_interval(interval: Option<u64>, space: Option<u64>) -> Option<u64> {
    match (interval?, space) {
        (interval, None) => Some(interval),
        (0, Some(_)) => None,
        (interval, Some(space)) => Some(interval.saturating_add(space) / interval),
    }
}

/// Returns the rate of random sampling: `size` packets of `population` are observed.
pub(super) fn rate_of_size(population: Option<u64>, size: Option<u64>) -> Option<u64> {
    population?.checked_div(size?)
}

/// Sets a number, unless it is set already or does not fit.
#[inline]
fn set<T: TryFrom<u64>>(field: &mut Option<T>, value: &[u8]) {
    if field.is_none() {
        *field = number(value).and_then(|number| T::try_from(number).ok());
    }
}

/// Sets an address, unless an address that is not zero is set already.
fn set_address(field: &mut Option<IpAddr>, value: &[u8]) {
    if field.is_none_or(|known| known.is_unspecified())
        && let Some(address) = address(value)
        && (field.is_none() || !address.is_unspecified())
    {
        *field = Some(address);
    }
}

fn set_mac(field: &mut Option<[u8; 6]>, value: &[u8]) {
    if field.is_none() {
        *field = value.try_into().ok();
    }
}

fn set_time(field: &mut Option<Timestamp>, time: Option<Timestamp>) {
    if field.is_none() {
        *field = time;
    }
}

fn set_total(counters: &mut ExportCounters, is_packets: bool, value: &[u8]) {
    let field = if is_packets {
        &mut counters.packets
    } else {
        &mut counters.bytes
    };
    if field.is_none() {
        *field = number(value);
        counters.is_total = true;
    }
}

fn reverse<'r>(record: &'r mut FlowRecord<'_>) -> &'r mut ExportCounters {
    record.reverse.get_or_insert_default()
}

/// Returns a time in milliseconds since 1970; `None` if it is zero.
fn milliseconds(value: &[u8]) -> Option<Timestamp> {
    let ms = number(value).filter(|ms| *ms != 0)?;
    Some(Timestamp::from_ms(i64::try_from(ms).ok()?))
}

/// Returns a time in seconds since 1970; `None` if it is zero.
fn seconds(value: &[u8]) -> Option<Timestamp> {
    let seconds = number(value).filter(|seconds| *seconds != 0)?;
    Some(Timestamp::from_ms(
        i64::try_from(seconds.checked_mul(1_000)?).ok()?,
    ))
}

/// Returns a time in NTP format (RFC 5905): seconds since 1900 and a binary fraction; `None` if it is
/// zero.
fn ntp(value: &[u8]) -> Option<Timestamp> {
    const SECONDS_UNTIL_1970: i64 = 2_208_988_800;
    let (seconds, fraction) = value.split_at_checked(4).filter(|_| value.len() == 8)?;
    let seconds = i64::try_from(number(seconds)?).ok().filter(|s| *s != 0)?;
    let fraction = (number(fraction)? * 1_000_000_000) >> 32;
    let ns = (seconds - SECONDS_UNTIL_1970) * 1_000_000_000 + fraction as i64;
    Some(Timestamp::from_ns(ns))
}

/// Fills in missing fields from the recorded beginning of a packet.
fn add_section(record: &mut FlowRecord<'_>, bytes: &[u8], start: SectionStart) {
    let summary = PacketSummary::read(bytes, start);
    record.src = record.src.or(summary.src);
    record.dst = record.dst.or(summary.dst);
    record.src_port = record.src_port.or(summary.src_port);
    record.dst_port = record.dst_port.or(summary.dst_port);
    record.protocol = record.protocol.or(summary.protocol);
    record.tos = record.tos.or(summary.tos);
    record.vlan = record.vlan.or(summary.vlan);
    record.src_mac = record.src_mac.or(summary.src_mac);
    record.dst_mac = record.dst_mac.or(summary.dst_mac);
    record.icmp_type = record.icmp_type.or(summary.icmp_type);
    record.icmp_code = record.icmp_code.or(summary.icmp_code);
    let counters = &mut record.counters;
    counters.tcp_flags = counters.tcp_flags.or(summary.tcp_flags.map(u16::from));
    counters.packets = counters.packets.or(Some(1));
    let length = record.section_length.or(Some(bytes.len() as u64));
    counters.bytes = counters.bytes.or(length);
    record.section = Some(summary);
}

#[cfg(test)]
mod tests {
    use super::super::element::REVERSE;
    use super::*;

    const CLOCKS: Clocks = Clocks {
        exported_at: Timestamp::from_ms(1_700_000_100_000),
        booted_at: None,
    };

    /// Returns the record of elements, which are added in the order of their precedence.
    fn record<'a>(clocks: Clocks, elements: &[(u32, u16, &'a [u8])]) -> FlowRecord<'a> {
        let mut targets: Vec<(Target, &[u8])> = elements
            .iter()
            .map(|(enterprise, element, value)| {
                (Target::of(*enterprise, *element).unwrap(), *value)
            })
            .collect();
        targets.sort_by_key(|(target, _)| *target);
        let mut builder = RecordBuilder::new(clocks);
        for (target, value) in targets {
            builder.add(target, value);
        }
        builder.finish()
    }

    #[test]
    fn deltas_precede_totals_and_totals_precede_outgoing_counters() {
        let all = record(CLOCKS, &[(0, 23, &[9]), (0, 85, &[8]), (0, 1, &[7])]);
        assert_eq!(
            (all.counters.bytes, all.counters.is_total),
            (Some(7), false)
        );
        let totals = record(CLOCKS, &[(0, 23, &[9]), (0, 85, &[8]), (0, 86, &[])]);
        assert_eq!(
            (totals.counters.bytes, totals.counters.is_total),
            (Some(8), true)
        );
        assert_eq!(
            totals.counters.packets, None,
            "a value without bytes is absent"
        );
        let out = record(CLOCKS, &[(0, 23, &[9])]);
        assert_eq!(
            (out.counters.bytes, out.counters.is_total),
            (Some(9), false)
        );
    }

    #[test]
    fn of_several_addresses_the_first_that_is_not_zero_counts() {
        let v6 = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let both = record(CLOCKS, &[(0, 8, &[0; 4]), (0, 27, &v6)]);
        assert_eq!(both.src, Some("2001:db8::1".parse().unwrap()));
        let zero = record(CLOCKS, &[(0, 8, &[0; 4]), (0, 27, &[0; 16])]);
        assert_eq!(zero.src, Some("0.0.0.0".parse().unwrap()));
        let network = record(CLOCKS, &[(0, 44, &[10, 0, 0, 0]), (0, 8, &[10, 0, 0, 1])]);
        assert_eq!(network.src, Some("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn each_clock_is_converted() {
        let at = |elements: &[(u32, u16, &'static [u8])]| {
            record(CLOCKS, elements).first.map(Timestamp::as_ms)
        };
        assert_eq!(
            at(&[(0, 152, &[0, 0, 1, 0x8b, 0xcf, 0xe5, 0x68, 0])]),
            Some(1_700_000_000_000)
        );
        assert_eq!(
            at(&[(0, 150, &[0x65, 0x53, 0xf1, 0])]),
            Some(1_700_000_000_000)
        );
        // 2208988800 + 1700000000 seconds and one half.
        let half = &[0xe8, 0xfe, 0x6f, 0x80, 0x80, 0, 0, 0];
        assert_eq!(at(&[(0, 156, half)]), Some(1_700_000_000_500));
        assert_eq!(
            at(&[(0, 158, &[0, 0x0f, 0x42, 0x40])]),
            Some(1_700_000_099_000)
        );
        assert_eq!(
            at(&[(0, 22, &[0, 0, 3, 0xe8])]),
            None,
            "the start is unknown"
        );
        let start: &[u8] = &[0, 0, 1, 0x8b, 0xcf, 0xe5, 0x68, 0];
        assert_eq!(
            at(&[(0, 22, &[0, 0, 3, 0xe8]), (0, 160, start)]),
            Some(1_700_000_001_000)
        );
        assert_eq!(at(&[(0, 152, &[0; 8])]), None, "zero is no time");
        assert_eq!(
            at(&[(0, 323, start)]),
            Some(1_700_000_000_000),
            "the time of an event"
        );
    }

    #[test]
    fn sampling_is_a_rate_whatever_its_form() {
        let rate = |elements: &[(u32, u16, &'static [u8])]| record(CLOCKS, elements).sampling;
        assert_eq!(rate(&[(0, 34, &[100])]), Some(100));
        assert_eq!(rate(&[(0, 305, &[1]), (0, 306, &[99])]), Some(100));
        assert_eq!(rate(&[(0, 305, &[100])]), Some(100));
        assert_eq!(rate(&[(0, 309, &[1]), (0, 310, &[50])]), Some(50));
        assert_eq!(rate(&[(0, 309, &[0]), (0, 310, &[50])]), None);
        assert_eq!(rate(&[(0, 34, &[0])]), None);
    }

    #[test]
    fn both_directions_of_a_biflow_are_read() {
        let both = record(
            CLOCKS,
            &[(0, 2, &[5]), (REVERSE, 2, &[3]), (REVERSE, 6, &[0x12])],
        );
        let reverse = both.reverse.unwrap();
        assert_eq!((both.counters.packets, reverse.packets), (Some(5), Some(3)));
        assert_eq!(reverse.tcp_flags, Some(0x12));
        let event = record(CLOCKS, &[(0, 231, &[7]), (0, 232, &[8])]);
        assert_eq!(event.counters.bytes, Some(7));
        assert_eq!(event.reverse.unwrap().bytes, Some(8));
    }

    #[test]
    fn numbers_that_do_not_fit_are_absent() {
        let wide = record(CLOCKS, &[(0, 7, &[1, 0, 0]), (0, 2, &[1; 9])]);
        assert_eq!((wide.src_port, wide.counters.packets), (None, None));
    }
}
