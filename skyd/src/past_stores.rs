//! Opens the stores of the past: the topology history and the flows, in memory or on the disk.

use std::path::Path;
use std::sync::Arc;

use skylib::engine::EngineOptions;
use skylib::graph::history::{History, HistoryLimits, MemoryHistory};
use skylib::store::history::{
    HistoryFolder, HistoryOptions, LocalFlowStore, LocalHistory, LocalStore,
};
use skylib::store::{FlowStore, FlowStoreLimits, MemoryFlowStore};

use crate::config::Config;

/// Stores of the past; `None` with the backend `memory`.
///
/// COMPAT: as in Skydive, the backend `memory` rejects queries about the past.
#[derive(Default)]
pub(crate) struct PastStores {
    /// Topology history.
    pub(crate) topology: Option<Arc<dyn History>>,
    /// Store of past flows.
    pub(crate) flows: Option<Arc<dyn FlowStore>>,
    /// Files of both.
    pub(crate) files: HistoryFiles,
}

/// Files of the stores of the past.
#[derive(Default)]
pub(crate) enum HistoryFiles {
    /// The configured backends have no files, or the process is an agent.
    #[default]
    Disabled,
    Open(Arc<LocalStore>),
    /// The files could not be opened for this reason; the past is in memory.
    Unavailable(String),
}

impl HistoryFiles {
    /// Returns the files if they are open.
    pub(crate) fn store(&self) -> Option<&Arc<LocalStore>> {
        match self {
            Self::Open(store) => Some(store),
            Self::Disabled | Self::Unavailable(_) => None,
        }
    }
}

impl PastStores {
    /// Opens the configured stores in the data folder, and starts the threads that maintain them.
    ///
    /// A folder that cannot be opened does not stop the daemon: the error is logged and shown in the
    /// status, and the past is in memory until the next start.
    pub(crate) fn open(config: &Config, data_folder: &Path, options: &EngineOptions) -> Self {
        let backends = Backends {
            topology: driver(config, TOPOLOGY_BACKEND) != "memory",
            flows: driver(config, FLOW_BACKEND) != "memory",
        };
        if !backends.topology && !backends.flows {
            return Self::default();
        }
        let path = data_folder.join("history");
        Self::on_disk(&backends, config, &path, options).unwrap_or_else(|error| {
            let reason = format!("{error:#}");
            tracing::error!(
                "storage.local.path: cannot open the history in {}: {reason}; the past is in memory \
                 only until the daemon is started again",
                path.display()
            );
            Self::in_memory(&backends, config, options, reason)
        })
    }

    fn on_disk(
        backends: &Backends,
        config: &Config,
        path: &Path,
        options: &EngineOptions,
    ) -> anyhow::Result<Self> {
        let folder = HistoryFolder::open(path, history_options(config, options))?;
        let mut stores = Self::default();
        let (mut topology, mut flows) = (None, None);
        if backends.topology {
            let opened = LocalHistory::open(Arc::clone(&folder), topology_limits(config))?;
            let opened = topology.insert(Arc::new(opened));
            stores.topology = Some(Arc::clone(opened) as Arc<dyn History>);
        }
        if backends.flows {
            let opened = LocalFlowStore::open(Arc::clone(&folder))?;
            let opened = flows.insert(Arc::new(opened));
            stores.flows = Some(Arc::clone(opened) as Arc<dyn FlowStore>);
        }
        let local = LocalStore::new(folder, flows, topology);
        local.maintain_in_background(&options.clock)?;
        stores.files = HistoryFiles::Open(Arc::new(local));
        Ok(stores)
    }

    fn in_memory(
        backends: &Backends,
        config: &Config,
        options: &EngineOptions,
        reason: String,
    ) -> Self {
        let topology = || Arc::new(MemoryHistory::new(topology_limits(config)));
        let flows = || {
            let limits = FlowStoreLimits::default()
                .with_max_age(config.duration("storage.local.max_age"))
                .with_max_bytes(config.bytes("storage.local.memory"))
                .with_grace(options.table.expiry_interval);
            Arc::new(MemoryFlowStore::new(limits))
        };
        Self {
            topology: backends.topology.then(|| topology() as Arc<dyn History>),
            flows: backends.flows.then(|| flows() as Arc<dyn FlowStore>),
            files: HistoryFiles::Unavailable(reason),
        }
    }
}

/// Whether the configured backends store the past.
struct Backends {
    topology: bool,
    flows: bool,
}

/// Returns the limits of the part of the topology history that is in memory: all of it without a
/// folder, otherwise the newest part.
fn topology_limits(config: &Config) -> HistoryLimits {
    let memory = config.bytes("storage.local.memory");
    HistoryLimits::default()
        .with_max_age(config.duration("storage.local.max_age"))
        .with_max_bytes(memory.min(config.bytes("storage.local.max_bytes")))
}

fn history_options(config: &Config, options: &EngineOptions) -> HistoryOptions {
    let min_free = config.bytes("storage.local.min_free") as u64;
    HistoryOptions::default()
        .with_max_age(config.duration("storage.local.max_age"))
        .with_max_bytes(config.bytes("storage.local.max_bytes") as u64)
        .with_min_free((min_free > 0).then_some(min_free))
        .with_memory(config.bytes("storage.local.memory"))
        .with_sync(config.duration("storage.local.sync"))
        .with_grace(options.table.expiry_interval)
        .with_host(options.host.clone())
}

/// Returns the driver of the backend that a key names.
pub(crate) fn driver(config: &Config, key: &str) -> String {
    let name = config.text(key);
    match config.text(&format!("storage.{name}.driver")) {
        empty if empty.is_empty() => name,
        driver => driver,
    }
}

/// Key of the backend of the topology history.
pub(crate) const TOPOLOGY_BACKEND: &str = "analyzer.topology.backend";
/// Key of the backend of past flows.
pub(crate) const FLOW_BACKEND: &str = "analyzer.flow.backend";
