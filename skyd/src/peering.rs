//! Connections to other clusters (`analyzer.peers`): this analyzer subscribes to a part of their
//! graphs, publishes a part of its own graph to them, or both.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use skylib::api::address::ServiceAddress;
use skylib::engine::Replication;
use skylib::graph::{Direction, Edge, GraphAccess, GraphEvent, Metadata, Node, NodeId};
use skylib::proto::{BroadcastMessage, Encoding, GRAPH, JsonStream, UpdatePolicy};
use tokio::sync::{mpsc, watch};
use tokio::task::block_in_place;
use tokio_tungstenite::tungstenite::protocol::frame::coding::Data;

use crate::app::App;
use crate::config::Config;
use crate::dial::Dialer;
use crate::graph_dump::GraphDump;
use crate::peer_feed::{PeerIntake, PeerTask, Received, graph_request};
use crate::peer_socket::{self, PeerReader, PeerWriter};

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

/// Connects to the endpoints in turn, repeatedly, with a pause after each round.
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
    let peer = connection.with_context(|| {
        let name = &cluster.name;
        format!("cluster {name} is already connected through another of its endpoints")
    })?;
    tracing::info!(
        cluster = cluster.name,
        analyzer = server.host,
        "connected to the cluster"
    );
    let (reader, mut writer) = peer_socket::split(socket, "the other cluster", cluster.silence);
    let (intake, tasks) = PeerIntake::new(&peer);
    if cluster.subscribe.is_some() {
        let request = graph_request(Encoding::Json);
        writer.send(request).await.map_err(anyhow::Error::msg)?;
    }
    Ok(tokio::select! {
        reason = read(app, cluster, reader, intake) => reason,
        Err(reason) = write(app, cluster, writer, tasks) => reason,
    })
}

/// Applies the messages of the other cluster; returns the reason for the end of the connection.
async fn read(
    app: &App,
    cluster: &Cluster,
    mut reader: PeerReader,
    mut intake: PeerIntake<'_>,
) -> String {
    loop {
        let message = match reader.next().await {
            Ok(message) => message,
            Err(end) => return end,
        };
        let mut received = Received::default();
        received.add(&message, Encoding::Json);
        for error in intake.apply(received) {
            app.clients.count_dropped(1);
            tracing::debug!(
                cluster = cluster.name,
                error,
                "dropped a message of another cluster"
            );
        }
    }
}

/// Publishes the selected nodes, then their changes, and requests the graph of the other cluster if
/// necessary; ends only with an error.
async fn write(
    app: &App,
    cluster: &Cluster,
    mut writer: PeerWriter,
    mut tasks: mpsc::Receiver<PeerTask>,
) -> Result<Infallible, String> {
    loop {
        let Some(selection) = &cluster.publish else {
            match tasks.recv().await {
                Some(PeerTask::RequestGraph) => writer.send(graph_request(Encoding::Json)).await?,
                // Nothing is published.
                Some(PeerTask::SendGraph) => {}
                None => std::future::pending().await,
            }
            continue;
        };
        let options = app.subscribe_options(Some(vec![GRAPH.to_owned()]));
        // Before the snapshot, so that no change is missed.
        let mut events = app.engine.subscribe_graph(options);
        let mut published = Published {
            selection,
            nodes: HashSet::new(),
        };
        let begun = block_in_place(|| published.begin(app));
        let (sync, sequence) = begun.map_err(|error| error.to_string())?;
        writer.send_pieces(sync, Data::Text).await?;
        loop {
            tokio::select! {
                Some(task) = tasks.recv() => match task {
                    PeerTask::SendGraph => break,
                    PeerTask::RequestGraph => writer.send(graph_request(Encoding::Json)).await?,
                },
                event = events.next() => {
                    // The queue has overflowed, or the engine stops.
                    let Some(event) = event else { break };
                    let known = event.sequence() <= sequence;
                    // Elements of another cluster are not passed on.
                    if !known && !Replication::is_of_cluster(&event) {
                        for message in published.follow(app, &event) {
                            let bytes = message.encoded(Encoding::Json, UpdatePolicy::Partial);
                            writer.send(bytes).await?;
                        }
                    }
                }
            }
        }
        // Begins again: a sync of the selected part replaces lost events.
        tokio::time::sleep(PAUSE).await;
    }
}

/// The published part of the graph.
struct Published<'a> {
    selection: &'a NodeSelection,
    /// Published nodes, between which edges are published.
    nodes: HashSet<NodeId>,
}

impl Published<'_> {
    /// Returns the message with the selected part of the graph, and its sequence number.
    fn begin(&mut self, app: &App) -> Result<(JsonStream, u64), crate::graph_dump::DumpError> {
        let mut graph = GraphDump::collect(&app.engine, &|| false)?;
        graph
            .nodes
            .retain(|node| self.selection.selects(&node.metadata));
        self.nodes = graph.nodes.iter().map(|node| node.id.clone()).collect();
        graph.edges.retain(|edge| self.connects(edge));
        let sync = JsonStream::sync(Encoding::Json, "sync", graph.nodes, graph.edges);
        Ok((sync, graph.sequence))
    }

    /// Updates the published part after a change. Returns the messages about the change: none if it
    /// does not concern the part. A node that an update makes part of the selection is added with its
    /// edges; one that an update removes from the selection is deleted.
    fn follow(&mut self, app: &App, message: &Arc<BroadcastMessage>) -> Vec<Arc<BroadcastMessage>> {
        let Some(event) = message.event() else {
            return Vec::new();
        };
        let unchanged = |is_wanted: bool| match is_wanted {
            true => vec![Arc::clone(message)],
            false => Vec::new(),
        };
        match event {
            GraphEvent::NodeAdded(node) => {
                let is_selected = self.selection.selects(&node.metadata);
                unchanged(is_selected && self.nodes.insert(node.id.clone()))
            }
            GraphEvent::NodeUpdated { node, .. } => {
                match (
                    self.nodes.contains(&node.id),
                    self.selection.selects(&node.metadata),
                ) {
                    (was_selected, is_selected) if was_selected == is_selected => {
                        unchanged(is_selected)
                    }
                    (false, _) => self.enter(app, node),
                    (true, _) => {
                        self.nodes.remove(&node.id);
                        event_message(GraphEvent::NodeDeleted(Arc::clone(node)))
                    }
                }
            }
            GraphEvent::NodeDeleted(node) => unchanged(self.nodes.remove(&node.id)),
            GraphEvent::EdgeAdded(edge)
            | GraphEvent::EdgeUpdated { edge, .. }
            | GraphEvent::EdgeDeleted(edge) => unchanged(self.connects(edge)),
        }
    }

    /// Adds a node to the published part. Returns the messages about the node and its edges.
    fn enter(&mut self, app: &App, node: &Arc<Node>) -> Vec<Arc<BroadcastMessage>> {
        self.nodes.insert(node.id.clone());
        let mut edges = Vec::new();
        app.engine.graph().read(&mut |graph| {
            let found = graph.edges_of(&node.id, Direction::Both);
            edges.extend(found.map(|(edge, _)| Arc::clone(edge)));
        });
        edges.retain(|edge| self.connects(edge));
        let mut messages = event_message(GraphEvent::NodeAdded(Arc::clone(node)));
        for edge in edges {
            messages.extend(event_message(GraphEvent::EdgeAdded(edge)));
        }
        messages
    }

    /// Returns whether both ends of an edge are published.
    fn connects(&self, edge: &Edge) -> bool {
        self.nodes.contains(&edge.parent) && self.nodes.contains(&edge.child)
    }
}

fn event_message(event: GraphEvent) -> Vec<Arc<BroadcastMessage>> {
    vec![Arc::new(BroadcastMessage::graph_event(event))]
}

/// Time after each round of attempts.
///
/// COMPAT: as in Skydive.
const PAUSE: Duration = Duration::from_secs(3);

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
