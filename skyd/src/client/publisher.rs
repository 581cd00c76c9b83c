//! WebSocket client that adds elements to the graph.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use hyper::header::{AUTHORIZATION, COOKIE, HeaderValue};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::connect::{Socket, connect};
use super::failure::Refusal;
use super::target::Target;

/// Connection to a publisher endpoint.
pub(super) struct Publisher {
    sink: SplitSink<WebSocketStream<Box<dyn Socket>>, Message>,
    /// Reader, which answers pings until the connection ends; returns the reason of the server for
    /// the end.
    reader: JoinHandle<Option<String>>,
}

/// Message of the namespace `Graph`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct GraphMessage<'a> {
    namespace: &'a str,
    #[serde(rename = "Type")]
    message_type: &'a str,
    #[serde(rename = "UUID")]
    uuid: String,
    status: u16,
    obj: &'a RawValue,
}

impl Publisher {
    /// Connects to an endpoint; elements that this client adds have the origin `CLI.<host>` and
    /// remain after it disconnects.
    ///
    /// # Errors
    /// Returns an error if the server cannot be reached or rejects the connection.
    pub(super) async fn connect(
        target: &Target,
        endpoint: &str,
        host: &str,
    ) -> anyhow::Result<Self> {
        let slash = if endpoint.starts_with('/') { "" } else { "/" };
        let url = format!("ws://{}{slash}{endpoint}", target.address);
        let mut request = url.into_client_request().context("--endpoint")?;
        let headers = request.headers_mut();
        for (name, value) in [
            ("x-host-id", host),
            ("x-client-type", "CLI"),
            ("x-persistence-policy", "Persistent"),
        ] {
            let value = HeaderValue::from_str(value);
            headers.insert(name, value.with_context(|| format!("{name}: {host:?}"))?);
        }
        if let Some(value) = &target.authorization {
            headers.insert(AUTHORIZATION, value.clone());
        }
        if let Some(value) = &target.cookies {
            headers.insert(COOKIE, value.clone());
        }
        let stream = connect(target).await?;
        let opened = tokio_tungstenite::client_async(request, stream).await;
        let (socket, _) = opened.map_err(refusal)?;
        let (sink, mut stream) = socket.split();
        let reader = tokio::spawn(async move {
            let mut reason = None;
            while let Some(Ok(message)) = stream.next().await {
                if let Message::Close(Some(frame)) = message {
                    reason = Some(frame.reason.to_string()).filter(|text| !text.is_empty());
                }
            }
            reason
        });
        Ok(Self { sink, reader })
    }

    /// Sends a message about an element.
    ///
    /// # Errors
    /// Returns an error if the connection ends.
    pub(super) async fn send(
        &mut self,
        message_type: &str,
        object: &RawValue,
    ) -> anyhow::Result<()> {
        let text = serde_json::to_vec(&GraphMessage {
            namespace: "Graph",
            message_type,
            uuid: uuid::Uuid::new_v4().to_string(),
            status: 200,
            obj: object,
        })?;
        // COMPAT: JSON in binary frames, as from Skydive's client.
        let message = Message::Binary(Bytes::from(text));
        if let Err(error) = self.sink.feed(message).await {
            return Err(self.reason(error).await);
        }
        Ok(())
    }

    /// Closes the connection after the server has received everything.
    ///
    /// # Errors
    /// Returns an error if the server does not confirm the closure.
    pub(super) async fn close(mut self) -> anyhow::Result<()> {
        if let Err(error) = self.sink.close().await {
            return Err(self.reason(error).await);
        }
        match tokio::time::timeout(CLOSE_TIMEOUT, self.reader).await {
            Ok(_) => Ok(()),
            Err(_) => bail!("the server did not confirm the closure within {CLOSE_TIMEOUT:?}"),
        }
    }

    /// Returns the error of a connection that has ended, with the reason given by the server.
    async fn reason(&mut self, error: Error) -> anyhow::Error {
        let reason = tokio::time::timeout(REASON_TIMEOUT, &mut self.reader).await;
        match reason {
            Ok(Ok(Some(reason))) => anyhow::anyhow!("the server ended the connection: {reason}"),
            _ => anyhow::Error::from(error).context("the connection ended"),
        }
    }
}

/// Returns the refusal of an upgrade, or any other error.
fn refusal(error: Error) -> anyhow::Error {
    match error {
        Error::Http(response) => {
            let body = response.body().as_deref().unwrap_or_default();
            let body = String::from_utf8_lossy(body).trim_end().to_owned();
            let status = response.status();
            anyhow::Error::from(Refusal { status, body }).context("cannot open the WebSocket")
        }
        error => anyhow::Error::from(error).context("cannot open the WebSocket"),
    }
}

/// Maximum time for the server to process the messages that it has received before the closure.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum time to wait for the reason of the server.
const REASON_TIMEOUT: Duration = Duration::from_secs(1);
