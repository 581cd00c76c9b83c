//! Flows that agents send as datagrams, to the number of the API's port.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;

use rustix::net::sockopt;
use skylib::engine::udp_receive_drops;
use tokio::net::UdpSocket;
use tokio::sync::watch;

use crate::app::App;

/// How flows of agents come in.
#[derive(Debug)]
pub(crate) enum FlowTransport {
    /// Over `/ws/agent/flow`.
    WebSocket,
    /// As datagrams.
    Udp(UdpSocket),
    /// As datagrams, for which there is no socket, and why.
    NoSocket(Error),
}

impl FlowTransport {
    /// Opens the socket for datagrams. The daemon is of use without it, so it is no reason to end.
    pub(crate) fn udp(place: SocketAddr) -> Self {
        match open(place) {
            Ok(socket) => Self::Udp(socket),
            Err(error) => {
                tracing::error!(%place, %error, "no flows of agents: the UDP port cannot be opened");
                Self::NoSocket(error)
            }
        }
    }

    /// As the configuration names it.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Udp(_) | Self::NoSocket(_) => "udp",
        }
    }

    /// Datagrams that came faster than they were read.
    pub(crate) fn dropped_by_kernel(&self) -> Option<u64> {
        match self {
            Self::Udp(socket) => udp_receive_drops(socket),
            Self::WebSocket | Self::NoSocket(_) => None,
        }
    }

    /// Why there is no way in.
    pub(crate) fn problem(&self) -> Option<String> {
        match self {
            Self::NoSocket(error) => Some(error.to_string()),
            Self::WebSocket | Self::Udp(_) => None,
        }
    }
}

fn open(place: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(place)?;
    socket.set_nonblocking(true)?;
    // A burst waits in the kernel while others have the processor: beyond the usual bound where the
    // daemon may, else up to it.
    let enlarged = sockopt::set_socket_recv_buffer_size_force(&socket, KERNEL_BUFFER)
        .or_else(|_| sockopt::set_socket_recv_buffer_size(&socket, KERNEL_BUFFER));
    if let Err(error) = enlarged {
        tracing::debug!(%error, "the buffer for datagrams stays as it is");
    }
    UdpSocket::from_std(socket)
}

/// Takes datagrams until `stop` says so; those that hold no flows are counted and forgotten.
pub(crate) async fn receive(app: Arc<App>, mut stop: watch::Receiver<bool>) {
    let FlowTransport::Udp(socket) = &app.flow_transport else {
        return;
    };
    let mut buffer = vec![0; LONGEST];
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut buffer) => received,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match received {
            Ok((_, peer)) if !app.auth.takes_datagrams_of(peer.ip()) => {
                tracing::debug!(%peer, "datagram of another machine dropped");
                app.pools.count_dropped(1);
            }
            Ok((length, peer)) => {
                if let Err(reason) = app.engine.flows().ingest(&buffer[..length]) {
                    tracing::debug!(%peer, %reason, "datagram dropped");
                }
            }
            // Something that was sent from this port came back; nothing is.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(error) => {
                tracing::error!(%error, "no more flows of agents");
                return;
            }
        }
    }
}

/// No datagram is longer.
const LONGEST: usize = 65_535;
/// Bytes that may wait in the kernel.
const KERNEL_BUFFER: usize = 4 << 20;
