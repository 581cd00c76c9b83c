//! Datagrams that the kernel drops for a UDP socket, from the socket option `SO_MEMINFO`.

use std::os::fd::{AsFd, AsRawFd};

/// Returns the number of datagrams that the kernel has dropped for a UDP socket since it was opened,
/// because its receive buffer was full; `None` if the kernel does not report it (before Linux 4.12).
/// The socket may belong to any network namespace.
///
/// ```
/// let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
/// assert_eq!(skylib::engine::udp_receive_drops(&socket), Some(0));
/// # Ok::<(), std::io::Error>(())
/// ```
#[cfg_attr(
    not(feature = "engine"),
    expect(unreachable_pub, reason = "the engine makes it public")
)]
pub fn udp_receive_drops(socket: impl AsFd) -> Option<u64> {
    let mut info = [0_u32; MEMINFO_LEN];
    let size = libc::socklen_t::try_from(size_of_val(&info)).ok()?;
    let mut length = size;
    #[expect(unsafe_code, reason = "rustix has no SO_MEMINFO")]
    // SAFETY: `info` is valid for `length` bytes, and both outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    (result == 0 && length == size).then(|| u64::from(info[MEMINFO_DROPS]))
}

/// Number of values of `SO_MEMINFO` up to that of the drops (`SK_MEMINFO_*` of `linux/sock_diag.h`).
/// Newer kernels may have more values; they return as many as fit.
const MEMINFO_LEN: usize = 9;
/// Index of the number of dropped datagrams.
const MEMINFO_DROPS: usize = 8;

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn datagrams_beyond_the_buffer_are_counted() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            // A machine may have no IPv6.
            let Ok(socket) = UdpSocket::bind(address) else {
                continue;
            };
            let sender = UdpSocket::bind(address).unwrap();
            let receiver = socket.local_addr().unwrap();
            let datagram = [0; 8_000];
            let sent = (0..2_000)
                .filter(|_| sender.send_to(&datagram, receiver).is_ok())
                .count();
            let mut received = 0;
            socket.set_nonblocking(true).unwrap();
            let mut buffer = [0; 8_000];
            while socket.recv(&mut buffer).is_ok() {
                received += 1;
            }
            let dropped = udp_receive_drops(&socket).unwrap();
            assert!(dropped > 0);
            assert_eq!(received + dropped, sent as u64, "{address}");
        }
    }
}
