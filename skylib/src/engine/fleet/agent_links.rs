//! `AgentLinks`: registry of connected agents, requests to them, and their replies.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::{Mutex, RwLock};

use super::outbox::Outbox;
use crate::graph::Node;
use crate::id::Id;
use crate::proto::{
    Encoding, FLOW_TABLE, Message, ON_DEMAND_CAPTURE, ON_DEMAND_INJECTION, OnDemandTask,
};

/// Connected agents.
///
/// ```
/// use skylib::engine::{Engine, EngineOptions};
/// use skylib::proto::Encoding;
///
/// let engine = Engine::start(EngineOptions::new("an-1"))?;
/// let agents = engine.agents();
/// let connection = agents.connect("edge-01", Encoding::Protobuf);
/// assert!(agents.is_connected("edge-01"));
/// drop(connection);
/// assert!(!agents.is_connected("edge-01"));
/// # Ok::<(), skylib::Error>(())
/// ```
#[derive(Default)]
pub struct AgentLinks {
    links: RwLock<BTreeMap<String, Arc<Link>>>,
    /// Weak, because observers send requests to the agents.
    observers: Mutex<Vec<Weak<dyn AgentObserver>>>,
    /// Number of requests that were not queued because the queue of the agent was full.
    refused: AtomicU64,
    /// Number of flow queries that an agent did not answer in time.
    unanswered: AtomicU64,
    /// Number of invalid answers to flow queries.
    invalid: AtomicU64,
}

/// Counters of the connected agents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AgentLinkStatus {
    /// Number of connected agents.
    pub connected: usize,
    /// Number of requests that were dropped because the queue of an agent was full.
    pub requests_dropped: u64,
    /// Number of flow queries that an agent did not answer in time.
    pub queries_unanswered: u64,
    /// Number of invalid answers of agents to flow queries.
    pub answers_invalid: u64,
    /// Connected agents that did not answer their last flow query.
    pub silent: Vec<String>,
}

/// Component that starts and stops tasks on agents. Its methods must not block.
pub(crate) trait AgentObserver: Send + Sync {
    /// Handles the whole graph that an agent sent.
    fn synced(&self, _host: &str) {}

    /// Handles the end of the connection of an agent.
    fn lost(&self, _host: &str) {}

    /// Handles the reply of an agent to a `Start` or `Stop`; `kind` is the type of the reply.
    fn replied(&self, host: &str, namespace: &str, kind: &str, status: i64, task: &OnDemandTask);
}

/// Connection of one agent.
#[derive(Debug)]
struct Link {
    host: String,
    encoding: Encoding,
    outbox: Outbox,
    /// Requests that wait for a reply, by their identifier.
    pending: Mutex<HashMap<String, Sender<Message>>>,
    /// Whether the agent has replied to a request.
    has_answered: AtomicBool,
    /// Whether the agent did not answer its last flow query.
    is_silent: AtomicBool,
}

impl AgentLinks {
    /// Adds an observer of all agents, until it is dropped.
    pub(crate) fn observe(&self, observer: &Arc<dyn AgentObserver>) {
        self.observers.lock().push(Arc::downgrade(observer));
    }

    /// Registers the connection of an agent, which ends when the returned value is dropped.
    #[must_use]
    pub fn connect(self: &Arc<Self>, host: &str, encoding: Encoding) -> AgentConnection {
        let link = Arc::new(Link {
            host: host.to_owned(),
            encoding,
            outbox: Outbox::default(),
            pending: Mutex::default(),
            has_answered: AtomicBool::new(false),
            is_silent: AtomicBool::new(false),
        });
        let before = self
            .links
            .write()
            .insert(host.to_owned(), Arc::clone(&link));
        if let Some(before) = before {
            before.end();
        }
        AgentConnection {
            links: Arc::clone(self),
            link,
        }
    }

    /// Returns whether an agent is connected.
    #[must_use]
    pub fn is_connected(&self, host: &str) -> bool {
        self.links.read().contains_key(host)
    }

    /// Returns the agent of a node's host, which requests for the node are sent to, if it is
    /// connected. The node may have another origin, for example a client that added it.
    pub(crate) fn host_of_node<'a>(&self, node: &'a Node) -> Option<&'a str> {
        let host = Some(&*node.host).filter(|host| !host.is_empty())?;
        self.is_connected(host).then_some(host)
    }

    /// Returns the agent that writes elements with an origin, if it is connected.
    pub(crate) fn host_of_origin<'a>(&self, origin: &'a str) -> Option<&'a str> {
        let host = origin.strip_prefix("agent.")?;
        self.is_connected(host).then_some(host)
    }

    /// Returns whether no agent is connected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.links.read().is_empty()
    }

    /// Returns the names of the connected agents.
    #[must_use]
    pub fn hosts(&self) -> Vec<String> {
        self.links.read().keys().cloned().collect()
    }

    /// Returns the counters.
    #[must_use]
    pub fn status(&self) -> AgentLinkStatus {
        let links = self.links.read();
        let silent = |link: &&Arc<Link>| link.is_silent.load(Ordering::Relaxed);
        AgentLinkStatus {
            connected: links.len(),
            requests_dropped: self.refused.load(Ordering::Relaxed),
            queries_unanswered: self.unanswered.load(Ordering::Relaxed),
            answers_invalid: self.invalid.load(Ordering::Relaxed),
            silent: links
                .values()
                .filter(silent)
                .map(|link| link.host.clone())
                .collect(),
        }
    }

    /// Sends a message to an agent. Returns `false` if the agent is not connected or its queue is
    /// full.
    pub(crate) fn send(&self, host: &str, message: Message) -> bool {
        let link = self.links.read().get(host).cloned();
        link.is_some_and(|link| self.queue(&link, message))
    }

    fn queue(&self, link: &Link, message: Message) -> bool {
        let message = match message.uuid {
            Some(_) => message,
            None => message.with_uuid(Id::random().to_string()),
        };
        let is_queued = link.outbox.push(message.encode(link.encoding).into());
        if !is_queued {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        is_queued
    }

    /// Sends a request to an agent; `message` builds it from the encoding and the identifier.
    /// Returns the pending reply; `None` if the agent is not connected or its queue is full.
    pub(crate) fn request(
        &self,
        host: &str,
        message: impl FnOnce(Encoding, &str) -> Message,
    ) -> Option<PendingReply> {
        let link = Arc::clone(self.links.read().get(host)?);
        let (sender, receiver) = bounded(1);
        let uuid = Id::random().to_string();
        let message = message(link.encoding, &uuid);
        link.pending.lock().insert(uuid.clone(), sender);
        let reply = PendingReply {
            link,
            uuid,
            receiver,
        };
        self.queue(&reply.link, message).then_some(reply)
    }

    /// Counts a flow query that an agent did not answer in time.
    pub(crate) fn count_unanswered(&self, reply: &PendingReply) {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
        if !reply.link.is_silent.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                agent = reply.host(),
                "the agent does not answer flow queries"
            );
        }
    }

    /// Counts an invalid answer to a flow query, or one that the end of the connection prevented.
    pub(crate) fn count_invalid(&self, reply: &PendingReply, reason: &str) {
        self.invalid.fetch_add(1, Ordering::Relaxed);
        let reason: String = reason.chars().take(MAX_REASON).collect();
        tracing::warn!(
            agent = reply.host(),
            reason,
            "the agent gave no valid answer to a flow query"
        );
    }

    /// Returns whether an agent did not answer its last flow query.
    pub(crate) fn is_silent(&self, host: &str) -> bool {
        let links = self.links.read();
        links
            .get(host)
            .is_some_and(|link| link.is_silent.load(Ordering::Relaxed))
    }

    /// Returns whether an agent answers flow queries: it has answered one, and the last one in time.
    pub(crate) fn is_answering(&self, host: &str) -> bool {
        let links = self.links.read();
        links.get(host).is_some_and(|link| {
            link.has_answered.load(Ordering::Relaxed) && !link.is_silent.load(Ordering::Relaxed)
        })
    }

    fn each_observer(&self, notify: impl Fn(&dyn AgentObserver)) {
        let observers = self.observers.lock().clone();
        let observers = observers.iter().filter_map(Weak::upgrade);
        observers.for_each(|observer| notify(&*observer));
    }
}

/// Maximum length of a reason in the log, in characters.
const MAX_REASON: usize = 300;

impl fmt::Debug for AgentLinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentLinks")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

impl Link {
    /// Ends the queue and all pending requests.
    fn end(&self) {
        self.outbox.close();
        self.pending.lock().clear();
    }
}

/// The registered connection of an agent; dropping it removes the agent.
#[derive(Debug)]
pub struct AgentConnection {
    links: Arc<AgentLinks>,
    link: Arc<Link>,
}

impl AgentConnection {
    /// Waits for the next message to the agent; returns `None` once the connection has been
    /// replaced by another one.
    pub async fn next(&self) -> Option<Bytes> {
        self.link.outbox.next().await
    }

    /// Returns the next message to the agent, if one waits.
    #[cfg(test)]
    pub(crate) fn try_next(&self) -> Option<Bytes> {
        self.link.outbox.try_next()
    }

    /// Handles a message of the agent that is not about the graph. Returns whether the message was
    /// a reply or belongs to a namespace of replies.
    ///
    /// # Errors
    /// Returns a reason if the message is malformed.
    pub fn receive(&self, message: &Message) -> Result<bool, String> {
        let uuid = message.uuid.as_deref().unwrap_or_default();
        let pending = self.link.pending.lock().remove(uuid);
        if let Some(pending) = pending {
            self.link.has_answered.store(true, Ordering::Relaxed);
            self.link.is_silent.store(false, Ordering::Relaxed);
            // The query may have ended in the meantime.
            drop(pending.send(message.clone()));
            return Ok(true);
        }
        match message.namespace.as_str() {
            ON_DEMAND_CAPTURE | ON_DEMAND_INJECTION => {
                let task = OnDemandTask::decode(&message.object);
                let task = task.map_err(|error| format!("{}: {error}", message.namespace))?;
                let (host, namespace) = (&self.link.host, &message.namespace);
                self.links.each_observer(|observer| {
                    observer.replied(host, namespace, &message.kind, message.status, &task);
                });
                Ok(true)
            }
            FLOW_TABLE => Ok(true),
            _ => Ok(false),
        }
    }

    /// Reports that the whole graph of the agent has been applied.
    pub fn synced(&self) {
        self.links
            .each_observer(|observer| observer.synced(&self.link.host));
    }
}

impl Drop for AgentConnection {
    fn drop(&mut self) {
        let mut links = self.links.links.write();
        let is_current = links
            .get(&self.link.host)
            .is_some_and(|current| Arc::ptr_eq(current, &self.link));
        if is_current {
            links.remove(&self.link.host);
        }
        drop(links);
        self.link.end();
        if is_current {
            self.links
                .each_observer(|observer| observer.lost(&self.link.host));
        }
    }
}

/// A reply that an agent has not sent yet; dropping it forgets the request.
#[derive(Debug)]
pub(crate) struct PendingReply {
    link: Arc<Link>,
    uuid: String,
    receiver: Receiver<Message>,
}

/// State of a pending reply after a wait.
#[derive(Debug)]
pub(crate) enum Wait {
    /// The agent replied.
    Reply(Box<Message>),
    /// No reply has arrived yet.
    TimedOut,
    /// The connection of the agent has ended.
    Lost,
}

impl PendingReply {
    /// Returns the name of the agent.
    pub(crate) fn host(&self) -> &str {
        &self.link.host
    }

    /// Returns the identifier of the request.
    #[cfg(test)]
    pub(crate) fn uuid(&self) -> &str {
        &self.uuid
    }

    /// Waits for the reply for at most `timeout`.
    pub(crate) fn wait(&self, timeout: Duration) -> Wait {
        match self.receiver.recv_timeout(timeout) {
            Ok(message) => Wait::Reply(Box::new(message)),
            Err(RecvTimeoutError::Timeout) => Wait::TimedOut,
            Err(RecvTimeoutError::Disconnected) => Wait::Lost,
        }
    }
}

impl Drop for PendingReply {
    fn drop(&mut self) {
        self.link.pending.lock().remove(&self.uuid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Object;

    #[derive(Default)]
    struct Seen(Mutex<Vec<String>>);

    impl AgentObserver for Seen {
        fn synced(&self, host: &str) {
            self.0.lock().push(format!("synced {host}"));
        }

        fn lost(&self, host: &str) {
            self.0.lock().push(format!("lost {host}"));
        }

        fn replied(&self, host: &str, _: &str, kind: &str, status: i64, task: &OnDemandTask) {
            let text = format!(
                "{host} {kind} {status} {} {}",
                task.node,
                task.resource_id()
            );
            self.0.lock().push(text);
        }
    }

    fn query(_: Encoding, uuid: &str) -> Message {
        Message::new(FLOW_TABLE, "TableQuery", Object::Json("{}".into())).with_uuid(uuid)
    }

    fn reply(uuid: &str) -> Message {
        Message::new(FLOW_TABLE, "TableResult", Object::Json("{}".into())).with_uuid(uuid)
    }

    #[test]
    fn a_reply_reaches_its_request_by_its_identifier() {
        let links = Arc::<AgentLinks>::default();
        assert!(links.request("a", query).is_none(), "not connected");
        let connection = links.connect("a", Encoding::Json);
        let pending = links.request("a", query).unwrap();
        assert!(matches!(pending.wait(Duration::ZERO), Wait::TimedOut));
        assert_eq!(connection.receive(&reply("other")), Ok(true));
        assert!(matches!(pending.wait(Duration::ZERO), Wait::TimedOut));
        assert_eq!(connection.receive(&reply(&pending.uuid)), Ok(true));
        assert!(matches!(pending.wait(Duration::ZERO), Wait::Reply(_)));
        let pending = links.request("a", query).unwrap();
        links.count_unanswered(&pending);
        assert_eq!(links.status().silent, ["a"]);
        drop(connection);
        assert!(matches!(pending.wait(Duration::ZERO), Wait::Lost));
        assert_eq!(links.status().connected, 0);
    }

    #[test]
    fn observers_receive_replies_and_the_end_of_the_current_connection() {
        let links = Arc::<AgentLinks>::default();
        let seen = Arc::<Seen>::default();
        links.observe(&(Arc::clone(&seen) as _));
        let old = links.connect("a", Encoding::Json);
        let connection = links.connect("a", Encoding::Json);
        drop(old);
        assert!(links.is_connected("a"), "the new connection");
        connection.synced();
        let task = OnDemandTask::new("n".into(), r#"{"UUID":"c"}"#).unwrap();
        let message = task.message(ON_DEMAND_CAPTURE, "StartReply", 404);
        assert_eq!(connection.receive(&message), Ok(true));
        let garbage = Message::new(ON_DEMAND_CAPTURE, "StartReply", Object::Json("[]".into()));
        assert!(connection.receive(&garbage).is_err());
        let graph = Message::new("Graph", "NodeAdded", Object::Json("{}".into()));
        assert_eq!(connection.receive(&graph), Ok(false));
        drop(connection);
        let seen = seen.0.lock();
        assert_eq!(*seen, ["synced a", "a StartReply 404 n c", "lost a"]);
    }
}
