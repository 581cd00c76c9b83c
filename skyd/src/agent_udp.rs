//! Receiver of the flows that agents send as UDP datagrams.

use std::io::ErrorKind;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::app::App;
use crate::flow_transport::FlowTransport;
use crate::trusted_senders::TrustedSenders;

/// Receives datagrams until `stop` is set. Invalid datagrams are counted and dropped.
pub(crate) async fn receive(app: Arc<App>, mut stop: watch::Receiver<bool>) {
    let FlowTransport::Udp(socket) = &app.flow_transport else {
        return;
    };
    let accepts_all = app.auth.accepts_all_datagrams();
    let mut senders = TrustedSenders::new(Instant::now());
    let mut buffer = vec![0; MAX_DATAGRAM_BYTES];
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut buffer) => received,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match received {
            Ok((_, peer)) if !accepts_all && !senders.trusts(peer, Instant::now()) => {
                tracing::debug!(
                    %peer,
                    "dropped a datagram from another machine or user: analyzer.auth.cluster.backend is not set"
                );
                app.clients.count_dropped(1);
            }
            Ok((length, peer)) => {
                if let Err(reason) = app.engine.flows().ingest(&buffer[..length]) {
                    tracing::debug!(%peer, %reason, "dropped an invalid flow datagram");
                }
            }
            // An ICMP error about a datagram that another socket sent from this port; the daemon
            // sends none.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(error) => {
                tracing::error!(%error, "cannot receive flow datagrams of agents; restart the daemon");
                return;
            }
        }
    }
}

/// Maximum size of a UDP datagram, in bytes.
const MAX_DATAGRAM_BYTES: usize = 65_535;
