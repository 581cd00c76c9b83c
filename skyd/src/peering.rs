//! Connections to other clusters (`analyzer.peers`): this analyzer subscribes to a part of their
//! graphs, publishes a part of its own graph to them, or both.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use skylib::api::address::ServiceAddress;
use skylib::engine::{PeerConnection, Replication, Subscription};
use skylib::graph::{GraphEvent, Metadata};
use skylib::proto::{BroadcastMessage, Encoding, GRAPH, JsonStream, UpdatePolicy};
use tokio::sync::watch;
use tokio::task::block_in_place;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::app::App;
use crate::config::Config;
use crate::dial::{Dialer, Socket};
use crate::graph_dump::GraphDump;
use crate::liveness::Liveness;
use crate::peer_feed::Received;

/// Another cluster.
pub(crate) struct Cluster {
    name: String,
    endpoints: Vec<ServiceAddress>,
    /// Nodes to publish; `None` to publish nothing.
    publish: Option<NodeSelection>,
    /// Gremlin expression of the part of the graph to receive, `*` for all; `None` to receive
    /// nothing.
    subscribe: Option<String>,
    dialer: Dialer,
    /// Maximum time without any frame of the other cluster, which pings regularly.
    silence: Duration,
}

/// Nodes with all of these metadata values: key and value.
#[derive(Clone, Debug, PartialEq, Eq)]
struct NodeSelection(Vec<(String, String)>);

/// Reads `analyzer.peers`.
///
/// # Errors
/// Returns an error if a setting is missing or invalid; the error names the key.
pub(crate) fn clusters(config: &Config, silence: Duration) -> anyhow::Result<Vec<Cluster>> {
    let peers = config.names_below("analyzer.peers");
    if !peers.is_empty() && config.text("analyzer.cluster").is_empty() {
        bail!("analyzer.cluster: not set, but analyzer.peers requires the name of this cluster");
    }
    let read = |name: &String| {
        let read = cluster(config, name, silence);
        read.with_context(|| format!("analyzer.peers.{name}"))
    };
    peers.iter().map(read).collect()
}

fn cluster(config: &Config, name: &str, silence: Duration) -> anyhow::Result<Cluster> {
    let prefix = format!("analyzer.peers.{name}");
    let parse = |text: &String| text.parse().with_context(|| format!("endpoints: {text:?}"));
    let endpoints = config.list(&format!("{prefix}.endpoints"));
    let endpoints: Vec<ServiceAddress> =
        endpoints.iter().map(parse).collect::<anyhow::Result<_>>()?;
    if endpoints.is_empty() {
        bail!("endpoints: not set");
    }
    let publish = match config.text(&format!("{prefix}.publish_filter")).as_str() {
        "" => None,
        filter => Some(NodeSelection::parse(filter).context("publish_filter")?),
    };
    let subscribe = config.text(&format!("{prefix}.subscribe_filter"));
    let subscribe = Some(subscribe).filter(|filter| !filter.is_empty());
    if publish.is_none() && subscribe.is_none() {
        bail!("set publish_filter, subscribe_filter, or both; * selects everything");
    }
    Ok(Cluster {
        name: name.to_owned(),
        endpoints,
        publish,
        subscribe,
        // Another cluster never receives the key of this host.
        dialer: Dialer::from_config(config, &prefix, std::path::PathBuf::new())?,
        silence,
    })
}

impl NodeSelection {
    /// Parses `*` or a list of `key=value`, separated by commas.
    fn parse(text: &str) -> anyhow::Result<Self> {
        if text.trim() == "*" {
            return Ok(Self(Vec::new()));
        }
        let pair = |part: &str| {
            let (key, value) = part
                .split_once('=')
                .with_context(|| format!("{part:?}: expected key=value, or *"))?;
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        };
        Ok(Self(
            text.split(',').map(pair).collect::<anyhow::Result<_>>()?,
        ))
    }

    fn selects(&self, metadata: &Metadata) -> bool {
        self.0.iter().all(|(key, wanted)| {
            let value = metadata.get_path(key);
            value.and_then(|value| value.as_text()) == Some(wanted)
        })
    }
}

/// Connects to all clusters and stays connected until `stop` is set.
pub(crate) fn start(app: &Arc<App>, clusters: Vec<Cluster>, stop: &watch::Receiver<bool>) {
    for cluster in clusters {
        let (app, mut stop) = (Arc::clone(app), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = stay_connected(&app, &cluster) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        });
    }
}

/// Connects to the endpoints in turn, again and again, with a pause after each round.
async fn stay_connected(app: &Arc<App>, cluster: &Cluster) {
    let mut last_reason = String::new();
    loop {
        for address in &cluster.endpoints {
            let reason = match connect(app, cluster, address).await {
                Ok(reason) => reason,
                Err(error) => format!("{error:#}"),
            };
            // The same reason is not logged for every attempt.
            if reason != last_reason {
                let cluster = &cluster.name;
                tracing::warn!(cluster, %address, reason, "not connected to the cluster; retrying");
                last_reason = reason;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Opens a connection and serves it until its end; returns the reason.
async fn connect(
    app: &Arc<App>,
    cluster: &Cluster,
    address: &ServiceAddress,
) -> anyhow::Result<String> {
    let path = match (&cluster.publish, &cluster.subscribe) {
        (Some(_), Some(_)) => "/ws/pubsub",
        (Some(_), None) => "/ws/publisher",
        (None, _) => "/ws/subscriber",
    };
    let mut headers = vec![
        ("x-host-id", app.engine.host()),
        ("x-client-type", "analyzer"),
        ("x-client-protocol", "json"),
        ("x-persistence-policy", "DeleteOnDisconnect"),
        ("x-websocket-namespace", GRAPH),
        ("x-update-policy", "partial"),
    ];
    let filter = cluster.subscribe.as_deref().filter(|filter| *filter != "*");
    headers.extend(filter.map(|filter| ("x-gremlin-filter", filter)));
    let (socket, server) = cluster.dialer.open(address, path, &headers).await?;
    let author = app.clients.next_connection();
    let connection = app
        .engine
        .replication()
        .connect_cluster(&cluster.name, author);
    let peer = connection.context("the cluster is already connected through another endpoint")?;
    tracing::info!(
        cluster = cluster.name,
        analyzer = server.host,
        "connected to the cluster"
    );
    let (mut sink, stream) = socket.split();
    if cluster.subscribe.is_some() {
        let request =
            r#"{"Namespace":"Graph","Type":"SyncRequest","UUID":"sync","Status":200,"Obj":{}}"#;
        send(&mut sink, tungstenite::Message::text(request))
            .await
            .map_err(anyhow::Error::msg)?;
    }
    Ok(tokio::select! {
        reason = read(app, cluster, &peer, stream) => reason,
        reason = write(app, cluster, sink) => reason,
    })
}

/// Applies the changes that the other cluster sends.
async fn read(
    app: &App,
    cluster: &Cluster,
    peer: &PeerConnection,
    mut stream: SplitStream<Socket>,
) -> String {
    let mut liveness = Liveness::new(cluster.silence);
    loop {
        let limit = liveness.limit();
        let message = match timeout(limit, stream.next()).await {
            Err(_) => return format!("no ping within {limit:?}"),
            Ok(None) => return "the other cluster closed the connection".to_owned(),
            Ok(Some(Err(error))) => return error.to_string(),
            Ok(Some(Ok(message))) => message,
        };
        let bytes: Bytes = match message {
            tungstenite::Message::Text(text) => text.into(),
            tungstenite::Message::Binary(bytes) => bytes,
            tungstenite::Message::Ping(_) => {
                liveness.ping(Instant::now());
                continue;
            }
            _ => continue,
        };
        let mut received = Received::default();
        received.add(&bytes, Encoding::Json);
        for error in received.apply(peer) {
            app.clients.count_dropped(1);
            tracing::debug!(
                cluster = cluster.name,
                error,
                "dropped a message of another cluster"
            );
        }
    }
}

/// Publishes the selected nodes, then their changes.
async fn write(
    app: &App,
    cluster: &Cluster,
    mut sink: SplitSink<Socket, tungstenite::Message>,
) -> String {
    let Some(selection) = &cluster.publish else {
        return std::future::pending().await;
    };
    loop {
        let options = app.subscribe_options(Some(vec![GRAPH.to_owned()]));
        // Before the snapshot, so that no change is missed.
        let events = app.engine.subscribe_graph(options);
        let mut published = Published {
            selection,
            nodes: HashSet::new(),
        };
        let begun = block_in_place(|| published.begin(app));
        let (sync, sequence) = match begun {
            Ok(begun) => begun,
            Err(error) => return error.to_string(),
        };
        let mut pieces = sync.peekable();
        let mut opcode = OpCode::Data(Data::Text);
        while let Some(piece) = pieces.next() {
            let frame = Frame::message(piece, opcode, pieces.peek().is_none());
            if let Err(reason) = send(&mut sink, tungstenite::Message::Frame(frame)).await {
                return reason;
            }
            opcode = OpCode::Data(Data::Continue);
        }
        if let Err(reason) = forward(&mut published, events, sequence, &mut sink).await {
            return reason;
        }
        // Either the engine stops, or the queue has overflowed; then the whole graph replaces the
        // lost events.
        tokio::time::sleep(PAUSE).await;
    }
}

/// Sends changes until the subscription ends.
async fn forward(
    published: &mut Published<'_>,
    mut events: Subscription<BroadcastMessage>,
    sequence: u64,
    sink: &mut SplitSink<Socket, tungstenite::Message>,
) -> Result<(), String> {
    while let Some(event) = events.next().await {
        // Elements of another cluster are not passed on.
        if event.sequence() > sequence
            && !Replication::is_of_cluster(&event)
            && event.event().is_some_and(|event| published.selects(event))
        {
            let bytes = event.encoded(Encoding::Json, UpdatePolicy::Partial);
            send(sink, tungstenite::Message::Binary(bytes)).await?;
        }
    }
    Ok(())
}

/// The published part of the graph.
struct Published<'a> {
    selection: &'a NodeSelection,
    /// Published nodes, between which edges are published.
    nodes: HashSet<String>,
}

impl Published<'_> {
    /// Returns the message with the selected part of the graph, and its sequence number.
    fn begin(&mut self, app: &App) -> Result<(JsonStream, u64), crate::graph_dump::DumpError> {
        let mut graph = GraphDump::collect(&app.engine, &|| false)?;
        graph
            .nodes
            .retain(|node| self.selection.selects(&node.metadata));
        self.nodes = graph.nodes.iter().map(|node| node.id.to_string()).collect();
        let nodes = &self.nodes;
        graph.edges.retain(|edge| {
            nodes.contains(&edge.parent.to_string()) && nodes.contains(&edge.child.to_string())
        });
        let sync = JsonStream::sync(Encoding::Json, "sync", graph.nodes, graph.edges);
        Ok((sync, graph.sequence))
    }

    /// Returns whether a change concerns the published part, and updates the part.
    fn selects(&mut self, event: &GraphEvent) -> bool {
        match event {
            GraphEvent::NodeAdded(node) => {
                let is_selected = self.selection.selects(&node.metadata);
                is_selected && self.nodes.insert(node.id.to_string())
            }
            GraphEvent::NodeUpdated { node, .. } => self.nodes.contains(&node.id.to_string()),
            GraphEvent::NodeDeleted(node) => self.nodes.remove(&node.id.to_string()),
            GraphEvent::EdgeAdded(edge)
            | GraphEvent::EdgeUpdated { edge, .. }
            | GraphEvent::EdgeDeleted(edge) => {
                self.nodes.contains(&edge.parent.to_string())
                    && self.nodes.contains(&edge.child.to_string())
            }
        }
    }
}

async fn send(
    sink: &mut SplitSink<Socket, tungstenite::Message>,
    message: tungstenite::Message,
) -> Result<(), String> {
    match timeout(SEND_TIMEOUT, sink.send(message)).await {
        Ok(sent) => sent.map_err(|error| error.to_string()),
        Err(_) => Err(format!(
            "the other cluster accepts no data for {SEND_TIMEOUT:?}"
        )),
    }
}

/// Time after each round of attempts.
///
/// COMPAT: as in Skydive.
const PAUSE: Duration = Duration::from_secs(3);
/// Maximum time for the other cluster to accept data.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_selected_by_their_metadata() {
        let metadata: Metadata =
            serde_json::from_str(r#"{"Type":"host","Site":{"Name":"east"},"MTU":1500}"#).unwrap();
        let selects = |text: &str| NodeSelection::parse(text).unwrap().selects(&metadata);
        assert!(selects("*") && selects("Type=host") && selects("Type=host, Site.Name=east"));
        assert!(!selects("Type=device") && !selects("Type=host,Site.Name=west"));
        assert!(!selects("MTU=1500"), "only strings");
        assert!(NodeSelection::parse("Type").is_err());
    }

    #[test]
    fn wrong_settings_are_errors_that_name_the_key() {
        let read = |yaml: &str| {
            let config = Config::parse("test", yaml).unwrap();
            let read = clusters(&config, Duration::from_secs(9));
            read.map(|all| all.len())
                .map_err(|error| format!("{error:#}"))
        };
        assert_eq!(read("{}"), Ok(0));
        let good =
            "{analyzer: {cluster: a, peers: {b: {endpoints: ['h:1'], publish_filter: '*'}}}}";
        assert_eq!(read(good), Ok(1));
        for (yaml, expected) in [
            (
                "{analyzer: {peers: {b: {endpoints: ['h:1']}}}}",
                "analyzer.cluster",
            ),
            (
                "{analyzer: {cluster: a, peers: {b: {username: u}}}}",
                "analyzer.peers.b: endpoints",
            ),
            (
                "{analyzer: {cluster: a, peers: {b: {endpoints: ['h:1']}}}}",
                "analyzer.peers.b: set publish_filter",
            ),
            (
                "{analyzer: {cluster: a, peers: {b: {endpoints: ['h:1'], publish_filter: x}}}}",
                "analyzer.peers.b: publish_filter",
            ),
        ] {
            let error = read(yaml).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
