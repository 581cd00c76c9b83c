//! Sends the flows of an agent to one analyzer, for as long as the analyzer is connected.
//!
//! The senders of all connected analyzers take batches from the same queue.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustix::io::Errno;
use skylib::api::address::ServiceAddress;
use skylib::engine::FlowUplink;
use tokio::net::UdpSocket;

use super::Analyzers;
use crate::dial::Server;
use crate::peer_socket;

/// Sends flows until the connection of the analyzer ends; returns the reason if that is noticed
/// here.
pub(super) async fn run(
    analyzers: &Arc<Analyzers>,
    address: &ServiceAddress,
    server: &Server,
) -> String {
    let Some(uplink) = analyzers.engine().flows().uplink() else {
        return std::future::pending().await;
    };
    let mut last_error = String::new();
    loop {
        let result = match analyzers.options.flows_over_websocket {
            true => over_websocket(analyzers, address, uplink).await,
            false => over_udp(server.address, uplink).await,
        };
        let Err(error) = result;
        let error = format!("{error:#}");
        // For example, flow.protocol of the analyzer is udp. Flows wait meanwhile.
        if error != last_error {
            tracing::warn!(%address, error, "cannot send flows to the analyzer; retrying");
            last_error = error;
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Sends each flow as a datagram.
async fn over_udp(analyzer: SocketAddr, uplink: &FlowUplink) -> anyhow::Result<Infallible> {
    let any: SocketAddr = match analyzer {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(analyzer).await?;
    loop {
        let mut batch = Batch::new(uplink, uplink.take(DATAGRAMS).await);
        while let Some(message) = batch.first() {
            match socket.send(message).await {
                Ok(_) => {}
                Err(error) if is_too_long(&error) => {
                    uplink.lose(1);
                    tracing::warn!(
                        bytes = message.len(),
                        "dropped a flow that does not fit into a datagram; set \
                         flow.protocol=websocket or fewer raw packets"
                    );
                }
                Err(error) => return Err(error.into()),
            }
            batch.sent(1);
        }
        // Lets the receiver take the datagrams before the next ones arrive.
        tokio::task::yield_now().await;
    }
}

fn is_too_long(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::MSGSIZE.raw_os_error())
}

/// Sends up to ten flows in a message.
async fn over_websocket(
    analyzers: &Analyzers,
    address: &ServiceAddress,
    uplink: &FlowUplink,
) -> anyhow::Result<Infallible> {
    let headers = [
        ("x-host-id", analyzers.engine().host()),
        ("x-client-type", "agent"),
        ("x-client-protocol", ""),
        ("x-websocket-namespace", "*"),
    ];
    let dialer = &analyzers.options.dialer;
    let (socket, _) = dialer.open(address, "/ws/agent/flow", &headers).await?;
    let silence = analyzers.options.silence;
    let (mut reader, mut writer) = peer_socket::split(socket, "the analyzer", silence);
    let send = async {
        loop {
            let mut batch = Batch::new(uplink, uplink.take(FLOWS).await);
            // Concatenated protobuf messages are one message with the flows of all.
            writer.send(batch.concatenated()).await?;
            batch.sent(FLOWS);
        }
    };
    // Reading also answers the pings of the analyzer.
    let read = async {
        loop {
            reader.next().await?;
        }
    };
    let result: Result<Infallible, String> = tokio::select! {
        result = send => result,
        result = read => result,
    };
    result.map_err(anyhow::Error::msg)
}

/// Flows being sent; those that were not sent return to the queue.
struct Batch<'a> {
    uplink: &'a FlowUplink,
    messages: VecDeque<Bytes>,
}

impl<'a> Batch<'a> {
    fn new(uplink: &'a FlowUplink, messages: Vec<Bytes>) -> Self {
        let messages = messages.into();
        Self { uplink, messages }
    }

    fn first(&self) -> Option<&Bytes> {
        self.messages.front()
    }

    fn concatenated(&mut self) -> Bytes {
        Bytes::from(self.messages.make_contiguous().concat())
    }

    /// Removes the first messages, up to `count`, which were sent.
    fn sent(&mut self, count: usize) {
        self.messages.drain(..count.min(self.messages.len()));
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        if !self.messages.is_empty() {
            self.uplink
                .put_back(std::mem::take(&mut self.messages).into());
        }
    }
}

/// Number of datagrams taken from the queue at once.
const DATAGRAMS: usize = 32;
/// Number of flows in one message.
const FLOWS: usize = 10;
/// Time between two attempts to open the connection for flows: an analyzer may open its endpoint
/// for flows later than the others.
const RETRY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use skylib::flow::Flow;

    use super::*;

    #[test]
    fn flows_of_an_interrupted_batch_are_sent_later() {
        let uplink = FlowUplink::new(1 << 20);
        let flows = ["f1", "f2", "f3"].map(|uuid| Flow::default().with_uuid(uuid));
        uplink.push(&flows);
        let mut batch = Batch::new(&uplink, uplink.try_take(DATAGRAMS));
        batch.sent(1);
        let rest: Vec<Bytes> = batch.messages.iter().cloned().collect();
        drop(batch);
        let status = uplink.status();
        assert_eq!((status.waiting, status.sent, status.lost), (2, 1, 0));
        assert_eq!(uplink.try_take(DATAGRAMS), rest, "in their order");
    }
}
