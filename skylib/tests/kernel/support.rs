//! Networks of their own for tests against the kernel.

use std::io::{self, Write};
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::sys::socket::PacketSocket;

/// Runs a test on a thread in a new network namespace, which goes with it; says so loudly when
/// that is not allowed.
pub(crate) fn in_new_namespace(test: impl FnOnce() + Send + 'static) {
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

/// Runs `ip` with some words in this thread's namespace; gives what it prints.
pub(crate) fn ip(words: &str) -> String {
    let output = Command::new("ip").args(words.split(' ')).output();
    let output = output.expect("the tool ip (Debian package iproute2)");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {words}: {message}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A pair of connected interfaces, `left` and `right`, that stay silent by themselves.
pub(crate) fn add_pair() {
    ip("link add left type veth peer name right");
    for end in ["left", "right"] {
        // No IPv6, hence no router solicitations between the packets of the test.
        std::fs::write(format!("/proc/sys/net/ipv6/conf/{end}/disable_ipv6"), "1").ok();
        ip(&format!("link set {end} arp off"));
        ip(&format!("link set {end} up"));
    }
    wait_for_pair();
}

/// Waits until both ends can send, which the kernel settles some time after they are up.
pub(crate) fn wait_for_pair() {
    let can_send = |end: &str| ip(&format!("link show {end}")).contains("state UP");
    for _ in 0..500 {
        if can_send("left") && can_send("right") {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("the pair does not come up");
}

/// A socket that sends frames on an interface of this thread's namespace.
pub(crate) fn sender(interface: &str) -> PacketSocket {
    let socket = PacketSocket::open().expect("a packet socket");
    let index = socket.interface(interface).expect("the interface").index;
    socket.bind_to_send(index).expect("bound");
    socket
}
