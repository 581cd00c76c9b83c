//! Flows that agents send as datagrams, to the number of the API's port.

use std::io::ErrorKind;
use std::sync::Arc;

use tokio::sync::watch;

use crate::app::App;
use crate::flow_transport::FlowTransport;

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
                app.clients.count_dropped(1);
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
