//! `ActivityRecorder`: records the events of resources for the step `Changes`.

use std::sync::Arc;

use super::observer::Observer;
use crate::api::Resource;
use crate::engine::query::QueryRunner;
use crate::graph::history::Activity;
use crate::store::ActivityLog;
use crate::time::{Clock, Timestamp};

/// Observer that records the events of all resources.
pub(crate) struct ActivityRecorder {
    log: Arc<ActivityLog>,
    clock: Arc<dyn Clock>,
}

impl ActivityRecorder {
    /// Returns a recorder for the log that queries read.
    pub(crate) fn new(queries: &QueryRunner) -> Self {
        Self {
            log: Arc::clone(&queries.activities),
            clock: Arc::clone(&queries.clock),
        }
    }

    fn record<R: Resource>(&self, change: &str, resource: &R) {
        let activity = Activity::new(self.clock.now(), change, R::KIND, resource.id());
        self.log.record(activity.with_name(resource.name()));
    }
}

impl<R: Resource> Observer<R> for ActivityRecorder {
    fn created(&self, resource: &R, _: Option<Timestamp>) {
        self.record("added", resource);
    }

    fn updated(&self, resource: &R) {
        self.record("changed", resource);
    }

    fn deleted(&self, resource: &R) {
        self.record("removed", resource);
    }
}
