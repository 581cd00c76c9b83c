//! Datagrams with flow exports.

use super::{hex, replay};

#[path = "../../../../fuzz/checks/export.rs"]
mod export;

#[test]
fn datagrams_of_exporters() {
    replay("export", export::check, &export_seeds());
}

/// Datagrams after their sender and length.
fn export_seeds() -> [(&'static str, Vec<u8>); 5] {
    let session = |datagrams: &[(u8, &str)]| {
        let mut bytes = Vec::new();
        for (sender, datagram) in datagrams {
            let mut datagram = hex(datagram);
            datagram.resize(datagram.len().next_multiple_of(8), 0);
            bytes.extend([*sender, u8::try_from(datagram.len() / 8).unwrap()]);
            bytes.extend(datagram);
        }
        bytes
    };
    let v5 = "0005 0001 000003e8 6553f100 00000000 00000001 0000 0001
              0a000001 0a000002 00000000 0001 0002 00000005 000001f4 00000000 000003e8
              0457 0050 00 12 06 00 0000 0000 18 18 0000";
    let v9_template = "0009 0001 000003e8 6553f100 00000001 00000001
                       0000 0014 0100 0003 0008 0004 000c 0004 0002 0004";
    let v9_data = "0009 0001 000003e8 6553f100 00000002 00000001
                   0100 0010 0a000001 0a000002 00000005";
    let ipfix = "000a 0040 6553f100 00000000 00000001
                 0002 0010 0100 0002 0008 0004 0060 ffff
                 0003 0012 0101 0002 0001 0030 0001 0022 0004 0000
                 0100 000c 0a000001 03616263 0101 0009 01 00000064 00";
    let sflow = "00000005 00000001 c0000201 00000000 00000001 000003e8 00000002
                 00000001 00000044 00000001 00000001 00000064 00000064 00000000 00000001 00000002
                 00000001 00000001 00000020 00000001 00000040 00000004 00000010
                 020000000001020000000002080045 00
                 00000002 0000002c 00000001 00000001 00000001 000007d0 00000008 00000004 68303030
                 00000009 00000004 00000000";
    [
        ("netflow5", session(&[(0, v5)])),
        (
            "netflow9",
            session(&[(0, v9_template), (0, v9_data), (2, v9_data)]),
        ),
        (
            "late",
            session(&[(0, v9_data), (0, v9_template), (1, v9_data)]),
        ),
        ("ipfix", session(&[(0, ipfix), (1, ipfix)])),
        ("sflow", session(&[(0, sflow)])),
    ]
}
