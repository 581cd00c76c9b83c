//! Network namespaces, interfaces, and raw sockets for the tests.

use std::fs::File;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, netdevice, socket_with};
use rustix::process::{chroot, fchdir};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// Frames, shared with the unit tests of `capture`.
#[path = "../../src/capture/tests/frames.rs"]
pub(crate) mod frames;

/// Temporary folders, shared with the unit tests of `spp`.
#[cfg(feature = "spp")]
#[path = "../../src/spp/tests/mod.rs"]
mod folder;

#[cfg(feature = "spp")]
pub(crate) use folder::{Folder, folder};

/// Runs a test on a thread in a new network namespace, which ends with the test.
pub(crate) fn in_new_namespace(test: impl FnOnce() + Send) {
    let run = move || {
        unshare(UnshareFlags::NEWNET).expect("root, for a network namespace");
        test();
    };
    let outcome = thread::scope(|scope| scope.spawn(run).join());
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// Gives this thread a mount table that shares nothing with other threads.
pub(crate) fn unshare_mounts() {
    unshare(UnshareFlags::NEWNS).expect("root, for a mount namespace");
    // In a chroot, `/` is not a mount point, so its propagation cannot be changed. Entering the
    // namespace again leads to its real root; the descriptor leads back.
    let root = File::open("/").unwrap();
    let mounts = File::open("/proc/thread-self/ns/mnt").unwrap();
    move_into_link_name_space(mounts.as_fd(), Some(LinkNameSpaceType::Mount)).unwrap();
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .unwrap();
    fchdir(&root).unwrap();
    chroot(".").unwrap();
}

fn unshare(what: UnshareFlags) -> rustix::io::Result<()> {
    #[expect(
        unsafe_code,
        reason = "rustix marks unshare unsafe because of CLONE_FILES"
    )]
    // SAFETY: only namespaces of this short-lived thread change; no descriptors are unshared.
    unsafe {
        unshare_unsafe(what)
    }
}

/// Runs a shell command in this thread's namespaces and returns what it prints.
pub(crate) fn sh(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Returns whether all programs are installed; otherwise prints that the test is skipped.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub(crate) fn has_programs(programs: &[&str]) -> bool {
    let is_missing = |program: &&&str| {
        let found = Command::new("sh")
            .args(["-c", &format!("command -v {program}")])
            .output();
        !found.unwrap().status.success()
    };
    match programs.iter().find(is_missing) {
        Some(program) => {
            eprintln!("skipped: {program} is not installed; see scripts/deps live");
            false
        }
        None => true,
    }
}

/// Runs `ip` (Debian package iproute2) in this thread's namespace and returns what it prints.
pub(crate) fn ip(arguments: &str) -> String {
    sh(&format!("ip {arguments}"))
}

/// Adds two connected interfaces, `left` and `right`, that send nothing by themselves.
pub(crate) fn add_pair() {
    ip("link add left type veth peer name right");
    for end in ["left", "right"] {
        // Without IPv6 there are no router solicitations between the packets of the test.
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
    panic!("left and right are not up after 5 s");
}

/// A raw socket that sends frames on one interface.
#[derive(Debug)]
pub(crate) struct Sender(OwnedFd);

/// Opens a socket that sends frames on an interface of this thread's namespace.
pub(crate) fn sender(interface: &str) -> Sender {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None);
    let socket = socket.expect("root, for a packet socket");
    let index = netdevice::name_to_index(&socket, interface).expect("the interface");
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: 0,
        sll_ifindex: index.try_into().unwrap(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    #[expect(unsafe_code, reason = "rustix does not write packet addresses")]
    // SAFETY: `address` is valid for `length` bytes and outlives the call.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    assert_eq!(bound, 0, "{}", io::Error::last_os_error());
    Sender(socket)
}

impl Sender {
    /// Sends one frame, link header included.
    pub(crate) fn send(&self, frame: &[u8]) -> io::Result<()> {
        rustix::net::send(&self.0, frame, SendFlags::empty())?;
        Ok(())
    }
}
