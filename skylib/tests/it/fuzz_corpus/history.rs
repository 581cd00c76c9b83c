//! Logs and sealed files of the history.

use super::replay;

#[path = "../../../../fuzz/checks/history_log.rs"]
mod history_log;
#[path = "../../../../fuzz/checks/history_segment.rs"]
mod history_segment;

/// Bytes that are no frame, and a frame whose lengths exceed the file.
#[test]
fn logs() {
    let seeds = [
        ("flow_noise", [&[0][..], &[0x5a; 64]].concat()),
        ("graph_noise", [&[1][..], &[0xff; 64]].concat()),
        (
            "long_frame",
            [
                &[0][..],
                &[0xff, 0xff, 0xff, 0x0f, 0xff, 0, 0, 0, 1, 0, 0, 0],
            ]
            .concat(),
        ),
    ];
    replay("history_log", history_log::check, &seeds);
}

/// Files that are no Parquet files. The corpus also has damaged ones.
#[test]
fn segments() {
    let seeds = [
        ("empty_flow", vec![0]),
        ("magic_event", [&[3][..], b"PAR1PAR1"].concat()),
        (
            "long_footer",
            [&[1][..], b"PAR1", &[0xff, 0xff, 0xff, 0x7f], b"PAR1"].concat(),
        ),
    ];
    replay("history_segment", history_segment::check, &seeds);
}
