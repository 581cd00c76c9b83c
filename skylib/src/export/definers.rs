//! `Definers`: which process of an exporter has last defined a template.
//!
//! Address translation changes the ports of an exporter, so data may come from another port than its
//! template (RFC 7011 section 10.3.7 regards them as different sessions).

use std::net::IpAddr;

use hashbrown::HashMap;

use super::process::ProcessKey;

/// Ports of the processes that last defined templates. Each entry belongs to a template of a known
/// process, so the limits of processes and templates also limit the entries.
#[derive(Debug, Default)]
pub(super) struct Definers(HashMap<TemplateKey, u16>);

/// Identity of a template regardless of the port of its exporter: address, version, domain, and
/// template ID.
type TemplateKey = (IpAddr, u16, u32, u16);

impl Definers {
    /// Records the definition of a template.
    pub(super) fn set(&mut self, process: ProcessKey, template: u16) {
        self.0.insert(key_of(process, template), process.port);
    }

    /// Returns the process that last defined a template of the same exporter, from any port.
    pub(super) fn of(&self, process: ProcessKey, template: u16) -> Option<ProcessKey> {
        let port = *self.0.get(&key_of(process, template))?;
        Some(ProcessKey { port, ..process })
    }

    /// Removes the entry of a template that a process no longer has.
    pub(super) fn remove(&mut self, process: ProcessKey, template: u16) {
        let key = key_of(process, template);
        if self.0.get(&key) == Some(&process.port) {
            self.0.remove(&key);
        }
    }

    /// Returns the number of entries.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

const fn key_of(process: ProcessKey, template: u16) -> TemplateKey {
    (process.address, process.version, process.domain, template)
}
