//! Tests of the replication with a graph and connected peers.

use super::*;
use crate::graph::{Metadata, Origin};
use crate::proto::{Encoding, Message, Object};
use crate::time::ManualClock;

const START: Timestamp = Timestamp::from_ms(1_000_000);

struct Fixture {
    clock: Arc<ManualClock>,
    graph: Arc<SharedGraph>,
    agents: Arc<AgentLinks>,
    replication: Arc<Replication>,
}

impl Fixture {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(START));
        let shared = SharedGraph::new(Graph::new(), Arc::clone(&clock) as _, Vec::new());
        let (graph, agents) = (Arc::new(shared), Arc::<AgentLinks>::default());
        let timeout = Duration::from_secs(35);
        let replication = Replication::new(
            "me",
            Arc::clone(&graph),
            Arc::clone(&agents),
            Arc::clone(&clock) as _,
            timeout,
        );
        Self {
            clock,
            graph,
            agents,
            replication: Arc::new(replication),
        }
    }

    fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        self.graph.read_now(|graph| {
            names = graph.nodes().map(|node| node.id.to_string()).collect();
            names.extend(graph.edges().map(|edge| edge.id.to_string()));
        });
        names
    }

    /// Passes the events of the graph to the replication, as the dispatcher does.
    fn dispatch(&self) -> Vec<bool> {
        if self.graph.log_len() == 0 {
            return Vec::new();
        }
        let events = self.graph.take_log().unwrap_or_default();
        events
            .into_iter()
            .map(|logged| {
                self.replication.graph_event(&logged);
                let message = BroadcastMessage::graph_event(logged.event);
                Replication::is_own_change(&message.with_author(logged.author))
            })
            .collect()
    }
}

impl SharedGraph {
    fn read_now(&self, mut work: impl FnMut(&Graph)) {
        crate::graph::GraphAccess::read(self, &mut work);
    }
}

fn node(id: &str, origin: &str) -> String {
    format!(r#"{{"ID":"{id}","Metadata":{{"Name":"{id}"}},"Origin":"{origin}","Revision":1}}"#)
}

fn sync(nodes: &[(&str, &str)]) -> GraphMessage {
    let nodes: Vec<String> = nodes.iter().map(|(id, origin)| node(id, origin)).collect();
    change("Sync", &format!(r#"{{"Nodes":[{}]}}"#, nodes.join(",")))
}

fn change(kind: &str, text: &str) -> GraphMessage {
    let message = Message::new("Graph", kind, Object::Json(text.to_owned().into()));
    GraphMessage::decode(&message).unwrap().unwrap()
}

#[test]
fn changes_of_peers_are_applied_and_not_sent_on() {
    let fixture = Fixture::new();
    let peer = fixture.replication.connect("b", 1, false).unwrap();
    assert!(
        peer.apply(vec![sync(&[("n1", "agent.x"), ("n2", "pub.p")])])
            .rejected
            .is_empty()
    );
    assert_eq!(fixture.names(), ["n1", "n2"]);
    assert_eq!(fixture.dispatch(), [false, false]);
    fixture.graph.update_as(Some(7), |graph, now| {
        let node = Node::new("own", Metadata::new(), now).with_origin(Origin::from_text("pub.q"));
        graph.add_node(node).unwrap();
    });
    assert_eq!(fixture.dispatch(), [true]);
    fixture.graph.read_now(|graph| {
        let is_own = |id: &str| {
            fixture
                .replication
                .is_own_node(graph.node(&id.into()).unwrap())
        };
        assert!(is_own("own") && !is_own("n1"));
    });
}

#[test]
fn a_second_sync_deletes_what_the_peer_no_longer_has() {
    let fixture = Fixture::new();
    let peer = fixture.replication.connect("b", 1, true).unwrap();
    peer.apply(vec![sync(&[("n1", "pub.p"), ("n2", "pub.p")])]);
    fixture.dispatch();
    drop(peer);
    let peer = fixture.replication.connect("b", 2, true).unwrap();
    peer.apply(vec![sync(&[("n2", "pub.p"), ("n3", "pub.p")])]);
    assert_eq!(fixture.names(), ["n2", "n3"]);
    let other = fixture.replication.connect("c", 3, true).unwrap();
    other.apply(vec![sync(&[])]);
    assert_eq!(fixture.names(), ["n2", "n3"], "of another peer");
}

#[test]
fn only_the_writer_of_an_agent_connected_here_owns_its_elements() {
    let fixture = Fixture::new();
    let peer = fixture.replication.connect("b", 1, true).unwrap();
    peer.apply(vec![sync(&[("n1", "agent.x")])]);
    fixture.dispatch();
    // The agent has changed to this analyzer, whose transaction replaces its elements.
    let agent = fixture.agents.connect("x", Encoding::Protobuf);
    fixture.graph.update_as(Some(9), |graph, now| {
        graph.delete_origin("agent.x", now);
        let node = Node::new("n1", Metadata::new(), now).with_origin(Origin::new("agent", "x"));
        graph.add_node(node).unwrap();
    });
    fixture.dispatch();
    let deleted = change("NodeDeleted", &node("n1", "agent.x"));
    assert_eq!(peer.apply(vec![deleted]).rejected.len(), 1);
    peer.apply(vec![sync(&[("old", "agent.x")])]);
    assert_eq!(fixture.names(), ["n1"]);
    drop((peer, agent));
    fixture.clock.advance(Duration::from_secs(60));
    assert_eq!(fixture.replication.expire(), None);
    assert_eq!(
        fixture.names(),
        ["n1"],
        "the element is this analyzer's own"
    );
}

#[test]
fn elements_of_a_lost_peer_expire_unless_it_returns() {
    let fixture = Fixture::new();
    let elements = [("h", "agent.x"), ("p", "pub.p"), ("f", "analyzer.b")];
    let peer = fixture.replication.connect("b", 1, true).unwrap();
    peer.apply(vec![sync(&elements)]);
    fixture.dispatch();
    drop(peer);
    assert_eq!(
        fixture.names(),
        ["h", "p"],
        "the elements of the peer itself end at once"
    );
    fixture.clock.advance(Duration::from_secs(20));
    assert!(fixture.replication.expire().is_some());
    let peer = fixture.replication.connect("b", 2, false).unwrap();
    peer.apply(vec![sync(&elements)]);
    fixture.dispatch();
    fixture.clock.advance(Duration::from_secs(20));
    assert_eq!(fixture.replication.expire(), None);
    assert_eq!(fixture.names(), ["h", "p", "f"]);
    drop(peer);
    assert_eq!(
        fixture.names(),
        ["h", "p", "f"],
        "the peer opened the connection"
    );
    fixture.clock.advance(Duration::from_secs(35));
    assert_eq!(fixture.replication.expire(), None);
    assert_eq!(fixture.names(), ["p"]);
}

#[test]
fn updates_follow_the_revision_and_empty_ones_change_nothing() {
    let fixture = Fixture::new();
    let peer = fixture.replication.connect("b", 1, true).unwrap();
    peer.apply(vec![sync(&[("n", "pub.p")])]);
    let revision = |text: &str| {
        peer.apply(vec![change("NodePartiallyUpdated", text)]);
        let mut revision = 0;
        fixture
            .graph
            .read_now(|graph| revision = graph.node(&"n".into()).unwrap().revision);
        revision
    };
    assert_eq!(revision(r#"{"ID":"n","Revision":5,"Ops":null}"#), 1);
    let ops = r#"{"ID":"n","Revision":2,"Ops":[{"Type":1,"Key":"K","Value":1}]}"#;
    assert_eq!(revision(ops), 2);
    assert_eq!(revision(ops), 2);
    assert_eq!(
        peer.apply(vec![change("NodeUpdated", &node("absent", "pub.p"))])
            .rejected
            .len(),
        1
    );
}

#[test]
fn an_update_without_content_requires_the_whole_graph() {
    let fixture = Fixture::new();
    let peer = fixture.replication.connect("b", 1, true).unwrap();
    peer.apply(vec![sync(&[("n", "pub.p")])]);
    let lacks_content = |revision: u32| {
        let text = format!(r#"{{"ID":"n","Revision":{revision},"Ops":null}}"#);
        let applied = peer.apply(vec![change("NodePartiallyUpdated", &text)]);
        assert!(applied.rejected.is_empty());
        applied.lacks_content
    };
    assert!(!lacks_content(1), "the revision is known");
    assert!(lacks_content(2));
    let newer = r#"{"ID":"n","Metadata":{"Name":"new"},"Origin":"pub.p","Revision":2}"#;
    let whole = change("Sync", &format!(r#"{{"Nodes":[{newer}]}}"#));
    peer.apply(vec![whole]);
    assert!(!lacks_content(2), "the whole graph contained the update");
}

#[test]
fn a_peer_cannot_change_what_captures_read() {
    let fixture = Fixture::new();
    fixture.graph.update_as(None, |graph, now| {
        for (id, origin) in [
            ("own", Origin::new("agent", "me")),
            ("other", Origin::new("pub", "p")),
        ] {
            let metadata = Metadata::from_iter([("Name", "blue"), ("Type", "netns")]);
            graph
                .add_node(Node::new(id, metadata, now).with_origin(origin))
                .unwrap();
        }
        let related = Metadata::from_iter([("RelationType", "layer2")]);
        let edge = Edge::new("e", "own", "other", related, now);
        graph
            .add_edge(edge.with_origin(Origin::new("agent", "me")))
            .unwrap();
    });
    let peer = fixture.replication.connect("b", 1, false).unwrap();
    let cluster = fixture.replication.connect_cluster("east", 2).unwrap();
    for connection in [&peer, &cluster] {
        let rejected = |kind: &str, text: &str| {
            let applied = connection.apply(vec![change(kind, text)]);
            applied.rejected.concat()
        };
        let patch = |id: &str, key: &str| {
            let op = format!(r#"{{"Type":1,"Key":"{key}","Value":"/tmp/x"}}"#);
            format!(r#"{{"ID":"{id}","Revision":9,"Ops":[{op}]}}"#)
        };
        let text = rejected("NodePartiallyUpdated", &patch("own", "Path"));
        assert!(text.contains("Path") && text.contains("agent.me"), "{text}");
        let whole = r#"{"ID":"own","Revision":9,"Metadata":{"Name":"red","Type":"netns"}}"#;
        assert!(rejected("NodeUpdated", whole).contains("Name"));
        let relation = patch("e", "RelationType");
        assert!(rejected("EdgePartiallyUpdated", &relation).contains("RelationType"));
        assert_eq!(rejected("NodePartiallyUpdated", &patch("own", "Note")), "");
        assert_eq!(
            rejected("NodePartiallyUpdated", &patch("other", "Path")),
            ""
        );
        // A whole graph changes no element of this host either.
        let forged = r#"{"Nodes":[{"ID":"own","Revision":99,"Metadata":{"Name":"red"}}]}"#;
        assert_eq!(rejected("Sync", forged), "");
        fixture.graph.read_now(|graph| {
            let own = graph.node(&"own".into()).unwrap();
            assert_eq!(own.metadata.get("Name").unwrap().as_text(), Some("blue"));
            assert!(own.metadata.get("Path").is_none());
        });
    }
}

#[test]
fn elements_of_an_agent_that_has_changed_to_another_peer_stay() {
    for by_sync in [true, false] {
        let fixture = Fixture::new();
        let lost = fixture.replication.connect("b", 1, false).unwrap();
        lost.apply(vec![sync(&[("n1", "agent.x"), ("n2", "agent.y")])]);
        fixture.dispatch();
        drop(lost);
        let new = fixture.replication.connect("c", 2, false).unwrap();
        let node = r#"{"ID":"n1","Metadata":{"Name":"new"},"Origin":"agent.x","Revision":2}"#;
        new.apply(vec![match by_sync {
            true => change("Sync", &format!(r#"{{"Nodes":[{node}]}}"#)),
            false => change("NodeAdded", node),
        }]);
        fixture.dispatch();
        fixture.graph.read_now(|graph| {
            assert_eq!(graph.node(&"n1".into()).unwrap().revision, 2);
        });
        fixture.clock.advance(Duration::from_secs(60));
        assert_eq!(fixture.replication.expire(), None);
        assert_eq!(fixture.names(), ["n1"], "only the other agent is lost");
        let returned = fixture.replication.connect("b", 3, false).unwrap();
        returned.apply(vec![sync(&[])]);
        assert_eq!(fixture.names(), ["n1"], "of the new peer");
    }
}

#[test]
fn elements_of_another_cluster_are_sent_to_peers() {
    let fixture = Fixture::new();
    let cluster = fixture.replication.connect_cluster("east", 1).unwrap();
    assert!(fixture.replication.connect_cluster("east", 2).is_none());
    cluster.apply(vec![sync(&[("n1", "agent.x"), ("n2", "agent.x")])]);
    assert_eq!(fixture.dispatch(), [true, true]);
    fixture.graph.read_now(|graph| {
        assert!(
            fixture
                .replication
                .is_own_node(graph.node(&"n1".into()).unwrap())
        );
    });
    drop(cluster);
    fixture.clock.advance(Duration::from_secs(60));
    assert_eq!(fixture.replication.expire(), None);
    let cluster = fixture.replication.connect_cluster("east", 3).unwrap();
    cluster.apply(vec![sync(&[("n2", "agent.x")])]);
    assert_eq!(fixture.names(), ["n2"]);
}
