//! Captures as clients manage them: create, list, look at, delete.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::controller::Controller;
use super::on_demand::notify;
use super::subscription::Bus;
use crate::api::{CaptureSpec, ExpressionChecker, ResourceError, ResourceStore, ValidationError};
use crate::capture::BpfProgram;
use crate::gremlin::Query;
use crate::packet::LinkType;
use crate::proto::Outgoing;
use crate::store::StoreError;
use crate::time::Clock;

/// The capture resources of an engine; changes reach the running captures by themselves.
#[derive(Clone)]
pub struct Captures {
    store: Arc<ResourceStore<CaptureSpec>>,
    controller: Arc<Controller>,
    graph_bus: Arc<Bus<Outgoing>>,
    clock: Arc<dyn Clock>,
}

impl Captures {
    pub(super) fn new(
        store: Arc<ResourceStore<CaptureSpec>>,
        controller: Arc<Controller>,
        graph_bus: Arc<Bus<Outgoing>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            store,
            controller,
            graph_bus,
            clock,
        }
    }

    /// Validates and keeps a capture, which then starts on every node of its query.
    ///
    /// Returns it with its id; it is durable by then. It starts soon after, not before: whether it
    /// could be opened shows in the `Captures` of the nodes.
    ///
    /// # Errors
    /// When it is invalid, a duplicate, or cannot be kept; nothing has changed then.
    pub fn create(
        &self,
        spec: CaptureSpec,
        ttl: Option<Duration>,
    ) -> Result<CaptureSpec, CaptureCreateError> {
        spec.validate(&Checker)?;
        let spec = CaptureSpec { count: 0, ..spec };
        let spec = self.store.create(spec, ttl, self.clock.now())?;
        self.controller.created();
        notify(&self.graph_bus, "Added", &spec);
        Ok(Arc::unwrap_or_clone(spec))
    }

    /// All captures by id, with the number of nodes each is active on.
    #[must_use]
    pub fn list(&self) -> BTreeMap<String, CaptureSpec> {
        let counts = self.controller.active_counts();
        let with_count = |spec: Arc<CaptureSpec>| {
            let count = counts.get(&spec.uuid).copied().unwrap_or(0);
            let spec = Arc::unwrap_or_clone(spec);
            (spec.uuid.clone(), CaptureSpec { count, ..spec })
        };
        self.store.all().into_iter().map(with_count).collect()
    }

    /// Number of captures.
    #[must_use]
    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Why the last change could not be kept, if it could not.
    #[must_use]
    pub fn store_problem(&self) -> Option<String> {
        self.store.problem()
    }

    /// One capture.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<CaptureSpec> {
        let spec = Arc::unwrap_or_clone(self.store.get(id)?);
        let count = self
            .controller
            .active_counts()
            .get(id)
            .copied()
            .unwrap_or(0);
        Some(CaptureSpec { count, ..spec })
    }

    /// Removes a capture, which then stops; `false` if there is none of that id.
    ///
    /// # Errors
    /// When the store fails; the capture goes on then.
    pub fn delete(&self, id: &str) -> Result<bool, StoreError> {
        let deleted = self.store.delete(id)?;
        if let Some(spec) = &deleted {
            self.controller.deleted(&spec.uuid);
            notify(&self.graph_bus, "Deleted", spec);
        }
        Ok(deleted.is_some())
    }
}

/// Why a capture was not created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureCreateError {
    /// It breaks a rule.
    #[error(transparent)]
    Invalid(#[from] ValidationError),
    /// It is one too many, or could not be kept.
    #[error(transparent)]
    Resource(#[from] ResourceError),
}

/// Checks queries with our parser and packet filters with libpcap.
struct Checker;

impl ExpressionChecker for Checker {
    fn check_gremlin(&self, query: &str) -> Result<(), String> {
        Query::parse(query).map(|_| ()).map_err(|e| e.to_string())
    }

    fn check_bpf(&self, filter: &str) -> Result<(), String> {
        check_bpf(filter)
    }
}

fn check_bpf(filter: &str) -> Result<(), String> {
    BpfProgram::compile(filter, LinkType::ETHERNET, MAX_SNAP_LEN)
        .map(|_| ())
        .map_err(|e| e.to_string())
}

const MAX_SNAP_LEN: u32 = 4096;
