//! Datagrams that the kernel drops for a UDP socket, from `/proc/self/net/udp`.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;

/// Returns the number of datagrams that the kernel has dropped for a UDP socket since it was opened,
/// because its receive buffer was full; `None` if the kernel does not report it.
///
/// ```
/// let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
/// assert_eq!(skylib::engine::udp_receive_drops(&socket), Some(0));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn udp_receive_drops(socket: impl AsFd) -> Option<u64> {
    let inode = rustix::fs::fstat(socket).ok()?.st_ino.to_string();
    ["/proc/self/net/udp", "/proc/self/net/udp6"]
        .into_iter()
        .filter_map(|path| File::open(path).ok())
        .find_map(|table| {
            let mut lines = BufReader::new(table).lines().map_while(Result::ok);
            lines.find_map(|line| drops_of(&line, &inode))
        })
}

/// Returns the last column of a line if its tenth column is the socket's inode (`proc(5)`).
fn drops_of(line: &str, inode: &str) -> Option<u64> {
    let mut columns = line.split_ascii_whitespace();
    let found = columns.nth(9)?;
    (found == inode).then(|| columns.last()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_line_of_the_table_is_read() {
        let line = "  482: 0100007F:1F92 00000000:0000 07 00000000:00000000 00:00000000 00000000  \
                    1000        0 123456 2 0000000000000000 17";
        assert_eq!(drops_of(line, "123456"), Some(17));
        assert_eq!(drops_of(line, "12345"), None);
        assert_eq!(
            drops_of("  sl  local_address rem_address   st", "123456"),
            None
        );
        assert_eq!(drops_of("", ""), None);
    }

    #[test]
    fn datagrams_beyond_the_buffer_are_counted() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            // A machine may have no IPv6.
            let Ok(socket) = UdpSocket::bind(address) else {
                continue;
            };
            let sender = UdpSocket::bind(address).unwrap();
            let place = socket.local_addr().unwrap();
            let datagram = [0; 8_000];
            let sent = (0..2_000)
                .filter(|_| sender.send_to(&datagram, place).is_ok())
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
