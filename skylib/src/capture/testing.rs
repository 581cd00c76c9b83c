//! Networks of their own for tests against the kernel.

use std::io::{self, Write};
use std::process::Command;
use std::thread;

use crate::sys::socket::PacketSocket;

/// Runs a test on a thread in a new network namespace, which goes with it; says so loudly when
/// that is not allowed.
pub(super) fn in_new_namespace(test: impl FnOnce() + Send + 'static) {
    let run = move || {
        #[expect(unsafe_code, reason = "a namespace of this thread alone")]
        // SAFETY: only the namespace of this short-lived thread changes; no descriptors or
        // file-system state are unshared.
        let unshared =
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) };
        match unshared {
            Ok(()) => test(),
            // Straight to the descriptor, as the test runner hides what is printed.
            Err(error) => {
                let why = format!("SKIPPED: needs root for a network namespace: {error}\n");
                io::stderr().write_all(why.as_bytes()).ok();
            }
        }
    };
    let outcome = thread::spawn(run).join();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// Runs `ip` with some words in this thread's namespace.
pub(super) fn ip(words: &str) {
    let output = Command::new("ip").args(words.split(' ')).output();
    let output = output.expect("the tool ip (Debian package iproute2)");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {words}: {message}");
}

/// A pair of connected interfaces, `left` and `right`, that stay silent by themselves.
pub(super) fn add_pair() {
    ip("link add left type veth peer name right");
    for end in ["left", "right"] {
        // No IPv6, hence no router solicitations between the packets of the test.
        std::fs::write(format!("/proc/sys/net/ipv6/conf/{end}/disable_ipv6"), "1").ok();
        ip(&format!("link set {end} arp off"));
        ip(&format!("link set {end} up"));
    }
}

/// A socket that sends frames on an interface of this thread's namespace.
pub(super) fn sender(interface: &str) -> PacketSocket {
    let socket = PacketSocket::open().expect("a packet socket");
    let index = socket.interface(interface).expect("the interface").index;
    socket.bind_to_send(index).expect("bound");
    socket
}

/// An Ethernet frame with some type and payload.
pub(super) fn frame(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    frame.extend(ether_type.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The same frame with a VLAN tag.
pub(super) fn tagged(frame: &[u8], protocol: u16, control: u16) -> Vec<u8> {
    let mut tagged = frame[..12].to_vec();
    tagged.extend(protocol.to_be_bytes());
    tagged.extend(control.to_be_bytes());
    tagged.extend(&frame[12..]);
    tagged
}

/// An IPv4 packet with UDP, with so many bytes of payload.
pub(super) fn udp(source_port: u16, destination_port: u16, payload: usize) -> Vec<u8> {
    let length = |bytes: usize| u16::try_from(bytes).expect("a short packet").to_be_bytes();
    let mut packet = vec![0x45, 0];
    packet.extend(length(28 + payload));
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    packet.extend(source_port.to_be_bytes());
    packet.extend(destination_port.to_be_bytes());
    packet.extend(length(8 + payload));
    packet.extend([0, 0]);
    packet.extend(std::iter::repeat_n(0xaa, payload));
    packet
}
