//! Opens the stores of the past: the topology history and the flows, in memory or on the disk.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use skylib::engine::EngineOptions;
use skylib::graph::history::{History, HistoryLimits};
use skylib::store::FlowStore;
use skylib::store::history::{
    HistoryFolder, HistoryOptions, LocalFlowStore, LocalHistory, LocalStore,
};

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
    pub(crate) local: Option<Arc<LocalStore>>,
}

impl PastStores {
    /// Opens the configured stores in the data folder, and starts the threads that maintain them.
    ///
    /// # Errors
    /// Returns an error if the folder cannot be written, or another process uses it.
    pub(crate) fn open(
        config: &Config,
        data_folder: &Path,
        options: &EngineOptions,
    ) -> anyhow::Result<Self> {
        let is_stored = |key| driver(config, key) != "memory";
        if !is_stored(TOPOLOGY_BACKEND) && !is_stored(FLOW_BACKEND) {
            return Ok(Self::default());
        }
        let path = data_folder.join("history");
        let limits = history_options(config, options);
        let context = || {
            let path = path.display();
            format!("storage.local.path: cannot open the history in {path}")
        };
        let folder = HistoryFolder::open(&path, limits).with_context(context)?;
        let mut stores = Self::default();
        let (mut topology, mut flows) = (None, None);
        if is_stored(TOPOLOGY_BACKEND) {
            let newest = HistoryLimits::default()
                .with_max_age(config.duration("storage.local.max_age"))
                .with_max_bytes(topology_memory(config));
            let opened = LocalHistory::open(Arc::clone(&folder), newest).with_context(context)?;
            let opened = topology.insert(Arc::new(opened));
            stores.topology = Some(Arc::clone(opened) as Arc<dyn History>);
        }
        if is_stored(FLOW_BACKEND) {
            let opened = LocalFlowStore::open(Arc::clone(&folder)).with_context(context)?;
            let opened = flows.insert(Arc::new(opened));
            stores.flows = Some(Arc::clone(opened) as Arc<dyn FlowStore>);
        }
        let local = LocalStore::new(folder, flows, topology);
        local.maintain_in_background(&options.clock)?;
        stores.local = Some(Arc::new(local));
        Ok(stores)
    }
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

/// Returns the maximum memory of the newest part of the topology history, in bytes.
fn topology_memory(config: &Config) -> usize {
    let memory = config.bytes("storage.local.memory");
    memory.min(config.bytes("storage.local.max_bytes"))
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
