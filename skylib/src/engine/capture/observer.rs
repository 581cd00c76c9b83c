//! What happens to captures is told to the thread that starts and stops them.

use std::sync::Arc;
use std::time::Duration;

use super::mailbox::Controller;
use crate::api::{AlertSpec, CaptureSpec, EdgeRule, Injection, NodeRule, Workflow};
use crate::engine::resource::resources::Watcher;

impl Watcher<CaptureSpec> for Controller {
    fn created(&self, _: &CaptureSpec, _: Option<Duration>) {
        Self::created(self);
    }

    fn deleted(&self, capture: &CaptureSpec) {
        Self::deleted(self, &capture.uuid);
    }

    /// Each with the number of nodes it is active on.
    fn shown(&self, captures: Vec<Arc<CaptureSpec>>) -> Vec<Arc<CaptureSpec>> {
        let counts = self.active_counts();
        let with_count = |capture: Arc<CaptureSpec>| match counts.get(&capture.uuid) {
            Some(&count) => Arc::new(CaptureSpec {
                count,
                ..Arc::unwrap_or_clone(capture)
            }),
            None => capture,
        };
        captures.into_iter().map(with_count).collect()
    }
}

/// The thread that starts and stops captures also ends resources whose time is over.
macro_rules! mortal {
    ($($resource:ty)*) => {
        $(impl Watcher<$resource> for Controller {
            fn created(&self, _: &$resource, ttl: Option<Duration>) {
                if ttl.is_some() {
                    self.time_set();
                }
            }
        })*
    };
}

mortal!(AlertSpec EdgeRule Injection NodeRule Workflow);
