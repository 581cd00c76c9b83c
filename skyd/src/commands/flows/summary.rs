//! Last line of `skyd flows` on standard error: counts of flows and packets, and of omissions.

use std::fmt::Write as _;

use skylib::capture::{CaptureFiles, PacketSource};
use skylib::flow::FlowTableStats;
use skylib::packet::{CapturePointName, CapturePointStats};

/// Returns the last line.
pub(super) fn summary(stats: &FlowTableStats, files: &CaptureFiles) -> String {
    let packets = stats.packets.saturating_sub(stats.filtered);
    let (flows, peak) = (stats.created, peak_rss_bytes());
    let mut line = format!("flows {flows} packets {packets} peak_rss_bytes {peak}");
    // Partly decoded packets still count in the flow of the decoded part.
    let stopped = &stats.stopped;
    let left_out = [
        ("filtered", files.filtered() + stats.filtered),
        ("without_flow", stats.without_flow),
        ("parts_without_flow", stats.encapsulations_without_flow),
        ("link_type_unknown", stopped.link_type),
        ("truncated", stopped.truncated),
        ("malformed", stopped.malformed),
        ("other_application", stopped.other_application),
        ("unknown_protocol", stopped.unknown_protocol),
        ("too_deep", stopped.too_deep),
        ("streams_cut", stats.streams_cut),
        ("details_dropped", stats.details_dropped),
        ("requests_unmeasured", stats.requests_unmeasured),
        ("time_back", stats.time_back),
        ("time_ahead", stats.time_ahead),
        ("late_packets", stats.late_packets),
        ("fragments_refused", stats.fragments.refused),
        ("fragments_lost", stats.fragments.lost),
        ("contents_left_out", stats.extra_messages_dropped),
        ("evicted", stats.evicted),
    ];
    for (what, count) in left_out.iter().filter(|(_, count)| *count > 0) {
        // Writing to a string does not fail.
        write!(line, " {what} {count}").ok();
    }
    for (layer, count) in stopped.malformed_layers.iter() {
        write!(line, " malformed_{} {count}", layer.name()).ok();
    }
    for (link_type, count) in stopped.link_types.iter() {
        let (number, name) = (link_type.0, link_type.name());
        write!(line, " link_type_{number}_{name} {count}").ok();
    }
    add_interfaces(&mut line, &files.capture_points().stats());
    line
}

/// Adds the packet count of each interface that has packets, if the files have named or several
/// interfaces.
fn add_interfaces(line: &mut String, points: &[CapturePointStats]) {
    let has_names = points
        .iter()
        .any(|point| matches!(point.name, CapturePointName::Name(_)));
    if !has_names && points.len() < 2 {
        return;
    }
    let used = points
        .iter()
        .filter(|point| point.packets + point.dropped > 0);
    for point in used.clone().take(MAX_INTERFACES) {
        let name = word(&point.name.to_string());
        write!(line, " interface_{name} {}", point.packets).ok();
        if point.dropped > 0 {
            write!(line, " interface_{name}_dropped {}", point.dropped).ok();
        }
    }
    let more = used.count().saturating_sub(MAX_INTERFACES);
    if more > 0 {
        write!(line, " more_interfaces {more}").ok();
    }
}

/// Returns a name as one word without characters that a terminal would interpret.
fn word(name: &str) -> String {
    let is_plain = |letter: &char| letter.is_alphanumeric() || "-_.:@".contains(*letter);
    let letters = name.chars();
    letters
        .map(|letter| if is_plain(&letter) { letter } else { '_' })
        .collect()
}

/// Maximum number of interfaces on the last line.
const MAX_INTERFACES: usize = 16;

/// Returns the peak resident memory of the process in bytes; 0 if the kernel does not report it.
fn peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Formats a duration, given in milliseconds, in its largest unit, such as `28 h`.
pub(super) fn rough_time(ms: u64) -> String {
    let units = [
        (3 * 86_400_000, 86_400_000, "days"),
        (3_600_000, 3_600_000, "h"),
        (60_000, 60_000, "min"),
        (1_000, 1_000, "s"),
    ];
    let unit = units.iter().find(|(from, _, _)| ms >= *from);
    unit.map_or_else(
        || format!("{ms} ms"),
        |(_, unit, name)| format!("{} {name}", ms / unit),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_interfaces_are_words() {
        assert_eq!(word("eth0.100@if3"), "eth0.100@if3");
        assert_eq!(word("a b\u{1b}[2J\n"), "a_b__2J_");
    }

    #[test]
    fn times_are_shown_in_their_largest_unit() {
        let times = [5, 59_999, 3_600_000, 100_800_000, 300_000_000];
        assert_eq!(
            times.map(rough_time),
            ["5 ms", "59 s", "1 h", "28 h", "3 days"]
        );
    }
}
