//! Gives up the capabilities that the configured parts of the daemon do not need.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use skylib::engine::{Privileges, Role};

use crate::config::Config;
use crate::engine_options::{data_folder, listen_ports};

/// Retains only the capabilities that the daemon needs; to be called before it has other threads.
pub(crate) fn retain_needed(role: Role, config: &Config) {
    let privileges = needed(role, config);
    match privileges.retain() {
        Ok(()) => {
            tracing::debug!("retained the capabilities that are needed, if granted: {privileges}");
        }
        Err(error) => tracing::warn!(%error, "cannot give up capabilities that are not needed"),
    }
}

fn needed(role: Role, config: &Config) -> Privileges {
    let mut privileges = Privileges::of_role(role);
    let is_set = |key: &str| !config.text(key).is_empty() || config.tree(key).is_some();
    if role != Role::Agent && ["spp.pcaps", "spp.launch.root"].into_iter().any(is_set) {
        privileges = privileges.with_recordings();
    }
    if role != Role::Agent && belongs_to_other(&data_folder(config)) {
        privileges = privileges.with_files_of_others();
    }
    let ports = listen_ports(role, config);
    if ports.iter().any(|port| (1..FIRST_FREE_PORT).contains(port)) {
        privileges = privileges.with_low_ports();
    }
    privileges
}

/// Returns whether a folder, or the nearest existing one above it, belongs to another user.
fn belongs_to_other(folder: &Path) -> bool {
    let existing = folder.ancestors().find_map(|path| path.metadata().ok());
    let user = rustix::process::geteuid().as_raw();
    existing.is_some_and(|metadata| metadata.uid() != user)
}

/// First port on which every user may listen.
const FIRST_FREE_PORT: u16 = 1024;
