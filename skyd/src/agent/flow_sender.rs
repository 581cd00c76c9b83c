//! Sends the flows of an agent to one analyzer, for as long as the analyzer is connected.
//!
//! The senders of all connected analyzers take batches from the same queue.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use rustix::io::Errno;
use skylib::api::address::ServiceAddress;
use skylib::engine::FlowUplink;
use tokio::net::UdpSocket;
use tokio_tungstenite::tungstenite::Message;

use super::Analyzers;
use crate::dial::Server;

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
async fn over_udp(
    analyzer: SocketAddr,
    uplink: &FlowUplink,
) -> anyhow::Result<std::convert::Infallible> {
    let any: SocketAddr = match analyzer {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(analyzer).await?;
    loop {
        let batch = uplink.take(DATAGRAMS).await;
        for (position, message) in batch.iter().enumerate() {
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
                Err(error) => {
                    uplink.put_back(batch[position..].to_vec());
                    return Err(error.into());
                }
            }
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
) -> anyhow::Result<std::convert::Infallible> {
    let headers = [
        ("x-host-id", analyzers.engine().host()),
        ("x-client-type", "agent"),
        ("x-client-protocol", ""),
        ("x-websocket-namespace", "*"),
    ];
    let dialer = &analyzers.options.dialer;
    let (socket, _) = dialer.open(address, "/ws/agent/flow", &headers).await?;
    let (mut sink, mut stream) = socket.split();
    let send = async {
        loop {
            let batch = Batch {
                uplink,
                messages: uplink.take(FLOWS).await,
            };
            // Concatenated protobuf messages are one message with the flows of all.
            let message = Message::Binary(Bytes::from(batch.messages.concat()));
            sink.send(message).await?;
            batch.sent();
        }
    };
    // Reading also answers the pings of the analyzer.
    let read = async {
        while let Some(message) = stream.next().await {
            message?;
        }
        anyhow::bail!("the analyzer closed the connection")
    };
    tokio::select! {
        result = send => result,
        result = read => result,
    }
}

/// Flows being sent, which return to the queue unless they were sent.
struct Batch<'a> {
    uplink: &'a FlowUplink,
    messages: Vec<Bytes>,
}

impl Batch<'_> {
    fn sent(mut self) {
        self.messages.clear();
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        if !self.messages.is_empty() {
            self.uplink.put_back(std::mem::take(&mut self.messages));
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
