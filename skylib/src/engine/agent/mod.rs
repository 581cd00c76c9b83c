//! The role of an agent: what it does for its analyzers.
//!
//! ```text
//! analyzer ─ OnDemandCapture Start, Stop ─ AgentService ─ capture::Mailbox ─ reply ─ analyzer
//!          └ Flow TableQuery ───────────── AgentService ─ FlowHub ────────── reply ─┘
//! ```
//!
//! The transport is elsewhere: it connects to the analyzers in the order of [`Mastership`], with the
//! pauses of [`BackOff`](crate::back_off::BackOff), and passes their messages to
//! [`AgentService::handle`].

mod mastership;

pub use mastership::Mastership;

use std::fmt;
use std::sync::Arc;

use super::capture::{CaptureAction, CaptureRequest, Mailbox};
use super::fleet::TaskServer;
use super::flow::FlowHub;
use crate::api::{CaptureSpec, Defaults, Resource};
use crate::flow::{FlowQueryError, FlowSource};
use crate::proto::{
    Encoding, FLOW_TABLE, Message, ON_DEMAND_CAPTURE, ON_DEMAND_INJECTION, OnDemandTask,
    decode_table_query, table_failure, table_result,
};

/// Serves the requests of analyzers; cheap to clone.
///
/// ```
/// use std::sync::mpsc;
/// use skylib::engine::{Engine, EngineOptions, Role};
/// use skylib::proto::{Encoding, Message, ON_DEMAND_CAPTURE, OnDemandTask};
///
/// let engine = Engine::start(EngineOptions::new("edge-01").with_role(Role::Agent))?;
/// let task = OnDemandTask::new("absent".into(), r#"{"UUID":"c1"}"#)?;
/// let start = task.message(ON_DEMAND_CAPTURE, "Start", 200).with_uuid("u1");
/// let (send, replies) = mpsc::channel();
/// let reply = move |message| drop(send.send(message));
/// assert!(engine.agent_service().handle(&start, Encoding::Protobuf, reply).is_ok());
/// let reply: Message = replies.recv()?;
/// assert_eq!((reply.kind.as_str(), reply.status), ("StartReply", 404));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct AgentService {
    pub(super) captures: Arc<Mailbox>,
    pub(super) flows: Arc<FlowHub>,
    pub(super) tasks: Arc<TaskServers>,
}

/// Parts of the engine that run tasks other than captures, by their namespace.
#[derive(Default)]
pub(super) struct TaskServers {
    /// Packet injections; `None` if this engine sends no packets.
    pub(super) injections: Option<Arc<dyn TaskServer>>,
}

/// Status of the reply to a request of an unknown type.
const BAD_REQUEST: i64 = 400;
/// Status of the reply to a task that this host cannot run.
const FAILED: i64 = 500;

impl AgentService {
    /// Handles a message of an analyzer and passes the reply to `reply`, possibly later and on
    /// another thread. Messages that an agent does not serve are ignored. Blocks while a flow query
    /// runs.
    ///
    /// # Errors
    /// Returns a reason if the message is malformed, which has no reply then, or if a flow query
    /// fails, whose reply has the status 500.
    pub fn handle(
        &self,
        message: &Message,
        encoding: Encoding,
        reply: impl FnOnce(Message) + Send + 'static,
    ) -> Result<(), String> {
        match message.namespace.as_str() {
            ON_DEMAND_CAPTURE | ON_DEMAND_INJECTION => self.run_task(message, Box::new(reply)),
            FLOW_TABLE if message.kind == "TableQuery" => {
                let uuid = message.uuid.as_deref().unwrap_or_default();
                let (message, result) = match self.answer(message, encoding, uuid) {
                    Ok(answer) => (answer, Ok(())),
                    Err(reason) => (table_failure(encoding, uuid), Err(reason)),
                };
                reply(message);
                result
            }
            _ => Ok(()),
        }
    }

    fn run_task(
        &self,
        message: &Message,
        reply: Box<dyn FnOnce(Message) + Send>,
    ) -> Result<(), String> {
        let task = OnDemandTask::decode(&message.object).map_err(|error| error.to_string())?;
        let capture = match message.namespace.as_str() {
            ON_DEMAND_CAPTURE => {
                let read = CaptureSpec::read(task.resource.get(), &Defaults::default());
                Some(read.map_err(|error| error.to_string())?)
            }
            _ => None,
        };
        let (namespace, kind) = (message.namespace.clone(), format!("{}Reply", message.kind));
        let (uuid, echo) = (message.uuid.clone(), task.clone());
        let done: Box<dyn FnOnce(i64) + Send> = Box::new(move |status| {
            let mut message = echo.message(&namespace, &kind, status);
            message.uuid = uuid;
            reply(message);
        });
        let action = match message.kind.as_str() {
            "Start" => CaptureAction::Start,
            "Stop" => CaptureAction::Stop,
            _ => {
                done(BAD_REQUEST);
                return Ok(());
            }
        };
        match (capture, &self.tasks.injections) {
            (Some(spec), _) => self.captures.request(CaptureRequest {
                action,
                node: task.node,
                spec: Arc::new(spec),
                done,
            }),
            (None, Some(server)) if action == CaptureAction::Start => server.start(&task, done),
            (None, Some(server)) => server.stop(&task, done),
            (None, None) => done(FAILED),
        }
        Ok(())
    }

    /// Runs a flow query on the tables of this host.
    fn answer(&self, message: &Message, encoding: Encoding, uuid: &str) -> Result<Message, String> {
        let query = decode_table_query(&message.object).map_err(|error| error.to_string())?;
        let sets = match query.map(|query| self.flows.query(&query)).transpose() {
            Ok(set) => set.into_iter().collect(),
            // A flow without the field to sort by; the analyzer has such flows of its own.
            Err(FlowQueryError::FieldNotFound { .. }) => Vec::new(),
            Err(error) => return Err(error.to_string()),
        };
        Ok(table_result(encoding, uuid, &sets))
    }
}

impl fmt::Debug for AgentService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentService")
            .field("flows", &self.flows)
            .field("has_injections", &self.tasks.injections.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::engine::{Engine, EngineOptions, Role};
    use crate::proto::{Object, decode_table_result};

    #[test]
    fn a_flow_query_that_fails_is_answered() {
        let options = EngineOptions::new("edge-01").with_role(Role::Agent);
        let engine = Engine::start(options).unwrap();
        let (send, replies) = mpsc::channel();
        let object = Object::Json(r#"{"Type":7}"#.into());
        let query = Message::new(FLOW_TABLE, "TableQuery", object).with_uuid("u1");
        let reply = move |message| send.send(message).unwrap();
        let service = engine.agent_service();
        assert!(service.handle(&query, Encoding::Protobuf, reply).is_err());
        let reply: Message = replies.try_recv().unwrap();
        assert_eq!((reply.uuid.as_deref(), reply.status), (Some("u1"), 500));
        assert!(decode_table_result(&reply.object).is_err());
        engine.stop();
    }
}
