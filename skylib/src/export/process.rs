//! `Process`: templates and waiting data of one exporting process (RFC 7011 section 2), which is
//! identified by the address, port, protocol version, and observation domain of an exporter.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;

use super::record_builder::Clocks;
use super::sequence::Sequence;
use super::template::Template;
use crate::time::Timestamp;

/// Identity of an exporting process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ProcessKey {
    pub(super) address: IpAddr,
    pub(super) port: u16,
    /// Version of the protocol: 5, 7, 9, or 10.
    pub(super) version: u16,
    pub(super) domain: u32,
}

/// State of an exporting process.
#[derive(Debug, Default)]
pub(super) struct Process {
    templates: HashMap<u16, StoredTemplate>,
    /// Memory of the definitions in `templates`, in bytes.
    template_bytes: usize,
    /// Data sets whose template is unknown, in the order of their arrival.
    waiting: VecDeque<WaitingSet>,
    /// Memory of the data sets in `waiting`, in bytes.
    pub(super) waiting_bytes: usize,
    pub(super) sequence: Sequence,
    /// Number of the last datagram, which orders processes by use.
    pub(super) used: u64,
}

#[derive(Debug)]
struct StoredTemplate {
    template: Arc<Template>,
    /// Number of the datagram that last defined or used the template.
    used: u64,
}

/// A data set that waits for its template.
#[derive(Debug)]
pub(super) struct WaitingSet {
    id: u16,
    pub(super) data: Box<[u8]>,
    pub(super) clocks: Clocks,
    arrived_at: Timestamp,
}

impl WaitingSet {
    /// Returns the memory that a data set with this content uses while it waits, in bytes.
    pub(super) const fn bytes_of(content: &[u8]) -> usize {
        content.len() + size_of::<Self>()
    }

    /// Returns the memory of the data set, in bytes.
    pub(super) const fn bytes(&self) -> usize {
        Self::bytes_of(&self.data)
    }
}

/// Effect of a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Defined {
    /// The template was unknown.
    New,
    /// The template had the same definition.
    Renewed,
    /// The template had another definition.
    Changed,
}

impl Process {
    /// Returns a template.
    pub(super) fn template(&mut self, id: u16, used: u64) -> Option<Arc<Template>> {
        let stored = self.templates.get_mut(&id)?;
        stored.used = used;
        Some(Arc::clone(&stored.template))
    }

    /// Adds or replaces a template. Beyond the limits, the least recently used templates are
    /// removed; returns their IDs.
    pub(super) fn define(
        &mut self,
        id: u16,
        template: Template,
        used: u64,
        limits: TemplateLimits,
    ) -> (Defined, Vec<u16>) {
        let known = self.templates.get_mut(&id);
        if let Some(known) = known
            && known.template.is_same(&template)
        {
            known.used = used;
            return (Defined::Renewed, Vec::new());
        }
        let was_known = self.withdraw(id);
        self.template_bytes += template.bytes();
        let template = Arc::new(template);
        self.templates.insert(id, StoredTemplate { template, used });
        let mut removed = Vec::new();
        while self.templates.len() > limits.count
            || (self.template_bytes > limits.bytes && self.templates.len() > 1)
        {
            let others = self.templates.iter().filter(|(other, _)| **other != id);
            let Some((&oldest, _)) = others.min_by_key(|(_, stored)| stored.used) else {
                break;
            };
            self.withdraw(oldest);
            removed.push(oldest);
        }
        let defined = if was_known {
            Defined::Changed
        } else {
            Defined::New
        };
        (defined, removed)
    }

    /// Removes a template; returns whether it was known.
    pub(super) fn withdraw(&mut self, id: u16) -> bool {
        let Some(stored) = self.templates.remove(&id) else {
            return false;
        };
        self.template_bytes -= stored.template.bytes();
        true
    }

    /// Returns the IDs of the templates of a kind: of flows, or of options.
    pub(super) fn template_ids(&self, is_wanted: impl Fn(&Template) -> bool) -> Vec<u16> {
        let wanted = self
            .templates
            .iter()
            .filter(|(_, stored)| is_wanted(&stored.template));
        wanted.map(|(id, _)| *id).collect()
    }

    /// Stores a data set until its template arrives.
    pub(super) fn wait(&mut self, id: u16, data: &[u8], clocks: Clocks, now: Timestamp) {
        self.waiting_bytes += WaitingSet::bytes_of(data);
        self.waiting.push_back(WaitingSet {
            id,
            data: data.into(),
            clocks,
            arrived_at: now,
        });
    }

    /// Takes the data sets that wait for a template.
    pub(super) fn take_waiting(&mut self, id: u16) -> Vec<WaitingSet> {
        let (taken, others) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition::<VecDeque<_>, _>(|set| set.id == id);
        self.waiting = others;
        self.waiting_bytes -= taken.iter().map(WaitingSet::bytes).sum::<usize>();
        taken.into()
    }

    /// Removes the data sets that arrived before `deadline`; returns their number and their memory in
    /// bytes.
    pub(super) fn expire(&mut self, deadline: Timestamp) -> (u64, usize) {
        let (mut sets, mut bytes) = (0, 0);
        while let Some(set) = self.waiting.pop_front_if(|set| set.arrived_at < deadline) {
            sets += 1;
            bytes += set.bytes();
        }
        self.waiting_bytes -= bytes;
        if self.waiting.is_empty() {
            // An idle process keeps no queue.
            self.waiting = VecDeque::new();
        }
        (sets, bytes)
    }

    /// Returns the number of data sets that wait.
    pub(super) fn waiting_count(&self) -> usize {
        self.waiting.len()
    }
}

/// Limits of the templates of one process.
#[derive(Clone, Copy, Debug)]
pub(super) struct TemplateLimits {
    pub(super) count: usize,
    pub(super) bytes: usize,
}

#[cfg(test)]
mod tests {
    use super::super::reader::Reader;
    use super::super::template::{TemplateKind, read_fields};
    use super::*;

    fn template(length: u8) -> Template {
        let mut fields = Vec::new();
        let definition = [0, 2, 0, length];
        read_fields(&mut Reader::new(&definition), 1, false, &mut fields).unwrap();
        Template::new(TemplateKind::Flow, fields).unwrap()
    }

    #[test]
    fn the_least_recently_used_template_makes_room() {
        let limits = TemplateLimits {
            count: 2,
            bytes: usize::MAX,
        };
        let mut process = Process::default();
        assert_eq!(
            process.define(256, template(1), 1, limits),
            (Defined::New, vec![])
        );
        assert_eq!(
            process.define(257, template(1), 2, limits),
            (Defined::New, vec![])
        );
        assert_eq!(
            process.define(256, template(1), 3, limits),
            (Defined::Renewed, vec![])
        );
        assert_eq!(
            process.define(256, template(2), 3, limits),
            (Defined::Changed, vec![])
        );
        assert_eq!(
            process.define(258, template(1), 4, limits),
            (Defined::New, vec![257])
        );
        assert!(process.template(257, 5).is_none());
        assert!(process.template(256, 5).is_some());
        let limits = TemplateLimits {
            count: 10,
            bytes: 1,
        };
        let (defined, mut removed) = process.define(259, template(1), 6, limits);
        removed.sort_unstable();
        assert_eq!((defined, removed), (Defined::New, vec![256, 258]));
        assert!(
            process.template(259, 7).is_some(),
            "the new template remains"
        );
    }

    #[test]
    fn waiting_data_is_taken_by_template_and_expires_by_time() {
        let clocks = Clocks {
            exported_at: Timestamp::ZERO,
            booted_at: None,
        };
        let mut process = Process::default();
        for (second, id) in [(1, 256), (2, 257), (3, 256)] {
            process.wait(id, &[0; 10], clocks, Timestamp::from_ms(second * 1_000));
        }
        let bytes = WaitingSet::bytes_of(&[0; 10]);
        assert_eq!(process.expire(Timestamp::from_ms(1_500)), (1, bytes));
        assert_eq!(process.take_waiting(256).len(), 1);
        assert_eq!((process.waiting_bytes, process.waiting_count()), (bytes, 1));
    }
}
