//! `Privileges`: the capabilities that a process with an engine retains.

use std::io;

use rustix::thread::CapabilitySet;

use super::options::Role;
use crate::sys::capability::retain_only;

/// Capabilities that a process retains (`capabilities(7)`).
///
/// ```
/// use skylib::engine::{Privileges, Role};
/// let analyzer = Privileges::of_role(Role::Analyzer);
/// assert_eq!(analyzer.to_string(), "DAC_READ_SEARCH");
/// let agent = Privileges::of_role(Role::Agent).with_low_ports();
/// assert!(agent.to_string().contains("NET_RAW") && agent.to_string().contains("NET_BIND_SERVICE"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Privileges(CapabilitySet);

impl Privileges {
    /// Returns the capabilities that the probes and captures of a role need. An analyzer has neither; it
    /// reads its certificates and passwords, which may belong to other users.
    #[must_use]
    pub const fn of_role(role: Role) -> Self {
        match role {
            Role::Analyzer => Self(CapabilitySet::DAC_READ_SEARCH),
            Role::AllInOne | Role::Agent => Self(PROBES),
        }
    }

    /// Adds the capabilities of recordings: to capture on interfaces, and to write to folders of
    /// other users.
    #[must_use]
    pub const fn with_recordings(self) -> Self {
        Self(self.0.union(PROBES)).with_files_of_others()
    }

    /// Adds the capability to write to files and folders of other users.
    #[must_use]
    pub const fn with_files_of_others(self) -> Self {
        Self(self.0.union(CapabilitySet::DAC_OVERRIDE))
    }

    /// Adds the capability to listen on ports below 1024.
    #[must_use]
    pub const fn with_low_ports(self) -> Self {
        Self(self.0.union(CapabilitySet::NET_BIND_SERVICE))
    }

    /// Removes all other capabilities from the calling thread, and from the threads and programs that it
    /// starts later. Call this before the process has other threads. `CAP_SYS_ADMIN` is effective only
    /// while a thread enters a network namespace.
    ///
    /// # Errors
    /// Returns the error of the kernel; some capabilities may have been removed.
    pub fn retain(self) -> io::Result<()> {
        retain_only(self.0)
    }
}

impl std::fmt::Display for Privileges {
    /// Writes the names of the capabilities.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.0.iter_names().map(|(name, _)| name).collect();
        f.write_str(&names.join(" "))
    }
}

/// Capabilities of probes and captures; `docs/SECURITY.md` explains each.
const PROBES: CapabilitySet = CapabilitySet::NET_RAW
    .union(CapabilitySet::NET_ADMIN)
    .union(CapabilitySet::SYS_ADMIN)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::DAC_READ_SEARCH);
