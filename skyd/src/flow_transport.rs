//! Transport by which agents send their flows: WebSocket or UDP.

use std::io::{self, Error};
use std::net::SocketAddr;

use rustix::net::sockopt;
use skylib::engine::udp_receive_drops;
use tokio::net::UdpSocket;

/// Transport by which agents send their flows (`flow.protocol`).
#[derive(Debug)]
pub(crate) enum FlowTransport {
    /// Messages to `/ws/agent/flow`.
    WebSocket,
    /// UDP datagrams to the port number of the main listener.
    Udp(UdpSocket),
    /// UDP datagrams, but the socket could not be opened.
    NoSocket(Error),
}

impl FlowTransport {
    /// Returns the transport of a protocol, `websocket` or `udp`; opens the UDP socket at `address`.
    ///
    /// The daemon is useful without the flows of agents. Therefore, failure to open the socket is
    /// logged and reported in the status, but is not an error.
    pub(crate) fn open(protocol: &str, address: SocketAddr) -> Self {
        if protocol == "websocket" {
            return Self::WebSocket;
        }
        match bind(address) {
            Ok(socket) => Self::Udp(socket),
            Err(error) => {
                tracing::error!(
                    %address,
                    %error,
                    "cannot open the UDP port for the flows of agents; set flow.protocol=websocket \
                     or free the port"
                );
                Self::NoSocket(error)
            }
        }
    }

    /// Returns the value of `flow.protocol`.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Udp(_) | Self::NoSocket(_) => "udp",
        }
    }

    /// Returns the number of datagrams that the kernel dropped because the receive buffer was full;
    /// `None` without a UDP socket.
    pub(crate) fn dropped_by_kernel(&self) -> Option<u64> {
        match self {
            Self::Udp(socket) => udp_receive_drops(socket),
            Self::WebSocket | Self::NoSocket(_) => None,
        }
    }

    /// Returns the reason why agents cannot send flows; `None` if they can.
    pub(crate) fn problem(&self) -> Option<String> {
        match self {
            Self::NoSocket(error) => Some(error.to_string()),
            Self::WebSocket | Self::Udp(_) => None,
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    // A burst waits in the kernel while other threads use the CPU. FORCE exceeds net.core.rmem_max
    // and needs CAP_NET_ADMIN; the plain option is the fallback.
    let enlarged = sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER)
        .or_else(|_| sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER));
    if let Err(error) = enlarged {
        tracing::debug!(%error, "cannot enlarge the receive buffer of the UDP socket");
    }
    UdpSocket::from_std(socket)
}

/// Size of the kernel's receive buffer, in bytes.
const RECEIVE_BUFFER: usize = 4 << 20;
