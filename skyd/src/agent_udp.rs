//! Receiver of the flows that agents send as UDP datagrams.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use skylib::back_off::BackOff;
use tokio::net::UdpSocket;
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
    let take = |datagram: &[u8], peer: SocketAddr| {
        if !accepts_all && !senders.trusts(peer, Instant::now()) {
            tracing::debug!(
                %peer,
                "dropped a datagram from another machine or user: analyzer.auth.cluster.backend is not set"
            );
            app.clients.count_dropped(1);
        } else if let Err(reason) = app.engine.flows().ingest(datagram) {
            tracing::debug!(%peer, %reason, "dropped an invalid flow datagram");
        }
    };
    let back_off = BackOff::new(FIRST_PAUSE, MAX_PAUSE);
    tokio::select! {
        () = receive_all(socket, take, back_off) => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

/// Source of datagrams.
trait Datagrams {
    /// Waits for a datagram. Returns its length and its sender.
    fn receive(
        &mut self,
        buffer: &mut [u8],
    ) -> impl Future<Output = io::Result<(usize, SocketAddr)>> + Send;
}

impl Datagrams for &UdpSocket {
    async fn receive(&mut self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.recv_from(buffer).await
    }
}

/// Passes all datagrams to `take`. After an error, such as a lack of memory in the kernel, receiving
/// continues after a pause.
async fn receive_all(
    mut socket: impl Datagrams,
    mut take: impl FnMut(&[u8], SocketAddr),
    mut back_off: BackOff,
) {
    let mut buffer = vec![0; MAX_DATAGRAM_BYTES];
    let mut failures = 0_u64;
    loop {
        match socket.receive(&mut buffer).await {
            Ok((length, peer)) => {
                if failures > 0 {
                    tracing::info!(failures, "receiving flow datagrams again");
                    failures = 0;
                    back_off.reset();
                }
                take(&buffer[..length], peer);
            }
            // An ICMP error about a datagram that another socket sent from this port; the daemon
            // sends none.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(error) => {
                failures += 1;
                if failures == 1 {
                    tracing::error!(%error, "cannot receive flow datagrams; retrying");
                }
                tokio::time::sleep(back_off.next(0)).await;
            }
        }
    }
}

/// Maximum size of a UDP datagram, in bytes.
const MAX_DATAGRAM_BYTES: usize = 65_535;
/// Time after the first error, and maximum time between two attempts to receive; the pause is half of
/// it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Results of receiving; then nothing arrives.
    struct Results(VecDeque<io::Result<(usize, SocketAddr)>>);

    impl Datagrams for Results {
        async fn receive(&mut self, _: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
            match self.0.pop_front() {
                Some(result) => result,
                None => std::future::pending().await,
            }
        }
    }

    #[tokio::test]
    async fn receiving_continues_after_errors() {
        let peer: SocketAddr = "192.0.2.1:5".parse().unwrap();
        let results = vec![
            Err(io::Error::other("no buffer space available")),
            Err(ErrorKind::ConnectionRefused.into()),
            Ok((1, peer)),
            Err(ErrorKind::NetworkDown.into()),
            Ok((2, peer)),
        ];
        let (send, mut lengths) = tokio::sync::mpsc::unbounded_channel();
        let take = move |datagram: &[u8], _| send.send(datagram.len()).unwrap();
        let millisecond = Duration::from_millis(1);
        let receiving = receive_all(
            Results(results.into()),
            take,
            BackOff::new(millisecond, millisecond),
        );
        let both = async { (lengths.recv().await, lengths.recv().await) };
        tokio::select! {
            () = receiving => unreachable!("receiving never ends"),
            received = both => assert_eq!(received, (Some(1), Some(2))),
        }
    }
}
