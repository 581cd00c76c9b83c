//! Receiver of the flows that agents send as UDP datagrams.

use std::io::ErrorKind;
use std::sync::Arc;

use tokio::sync::watch;

use crate::app::App;
use crate::flow_transport::FlowTransport;

/// Receives datagrams until `stop` is set. Invalid datagrams are counted and dropped.
pub(crate) async fn receive(app: Arc<App>, mut stop: watch::Receiver<bool>) {
    let FlowTransport::Udp(socket) = &app.flow_transport else {
        return;
    };
    let mut buffer = vec![0; MAX_DATAGRAM_BYTES];
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut buffer) => received,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match received {
            Ok((_, peer)) if !app.auth.accepts_datagrams_from(peer.ip()) => {
                tracing::debug!(%peer, "dropped a datagram from another machine: analyzer.auth.cluster.backend is not set");
                app.clients.count_dropped(1);
            }
            Ok((length, peer)) => {
                if let Err(reason) = app.engine.flows().ingest(&buffer[..length]) {
                    tracing::debug!(%peer, %reason, "dropped an invalid flow datagram");
                }
            }
            // An ICMP error for a datagram of another socket on this port: the daemon sends none.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(error) => {
                tracing::error!(%error, "cannot receive flow datagrams any more; restart the daemon");
                return;
            }
        }
    }
}

/// Maximum size of a UDP datagram, in bytes.
const MAX_DATAGRAM_BYTES: usize = 65_535;
