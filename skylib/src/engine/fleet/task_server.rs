//! `TaskServer`: a part of an agent that runs tasks for analyzers.

use crate::proto::OnDemandTask;

/// Part of the engine that runs tasks on the nodes of this host.
pub(crate) trait TaskServer: Send + Sync {
    /// Starts a task; passes the status of the reply to `done`. Must not block.
    fn start(&self, task: &OnDemandTask, done: Box<dyn FnOnce(i64) + Send>);

    /// Stops a task; passes the status of the reply to `done`. Must not block.
    fn stop(&self, task: &OnDemandTask, done: Box<dyn FnOnce(i64) + Send>);
}
