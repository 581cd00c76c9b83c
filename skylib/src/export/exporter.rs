//! `Exporter`: what one exporter has announced about all of its records.

use hashbrown::HashMap;

use super::record::{OptionRecord, SamplingOption};
use crate::time::Timestamp;

/// Announcements and figures of one exporter.
#[derive(Debug, Default)]
pub(super) struct Exporter {
    /// Sampling rates by domain and selector; at most [`MAX_ANNOUNCEMENTS`].
    samplers: HashMap<(u32, Option<u64>), u64>,
    /// The rate of a domain with one single rate; `None` if rates differ.
    single: HashMap<u32, Option<u64>>,
    /// Start times by domain; at most [`MAX_ANNOUNCEMENTS`].
    system_init: HashMap<u32, Timestamp>,
    pub(super) figures: ExporterFigures,
    /// Number of the last datagram, which orders exporters by use.
    pub(super) used: u64,
}

/// Figures of one exporter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExporterFigures {
    /// Number of datagrams.
    pub datagrams: u64,
    /// Number of lost datagrams (NetFlow 9, sFlow) or records (NetFlow 5 and 7, IPFIX), according
    /// to sequence numbers.
    pub lost: u64,
    /// Number of flow records without a known sampling rate.
    pub unknown_rate: u64,
    /// Last sampling rate of a record.
    pub rate: Option<u64>,
}

impl Exporter {
    /// Remembers the announcements of an options record.
    pub(super) fn announce(&mut self, domain: u32, record: &OptionRecord<'_>) {
        if let Some(SamplingOption { rate, selector, .. }) = record.sampling {
            let key = (domain, selector);
            if self.samplers.len() < MAX_ANNOUNCEMENTS || self.samplers.contains_key(&key) {
                self.samplers.insert(key, rate);
                self.update_single(domain);
            }
        }
        if let Some(init) = record.system_init
            && (self.system_init.len() < MAX_ANNOUNCEMENTS
                || self.system_init.contains_key(&domain))
        {
            self.system_init.insert(domain, init);
        }
    }

    fn update_single(&mut self, domain: u32) {
        let mut rates = self
            .samplers
            .iter()
            .filter(|((of, _), _)| *of == domain)
            .map(|(_, rate)| *rate);
        let first = rates.next();
        let single = first.filter(|first| rates.all(|rate| rate == *first));
        self.single.insert(domain, single);
    }

    /// Returns the rate of records of a domain that name no sampler.
    pub(super) fn rate_of_domain(&self, domain: u32) -> Option<u64> {
        let whole = self.samplers.get(&(domain, None)).copied();
        whole.or_else(|| self.single.get(&domain).copied().flatten())
    }

    /// Returns the sampling rate of a sampler, as announced in this domain, or else the rate of the
    /// domain, or else as announced in any other domain: some routers send the announcement in a
    /// different domain than the data.
    pub(super) fn rate_of_sampler(&self, domain: u32, selector: u64) -> Option<u64> {
        let own = self.samplers.get(&(domain, Some(selector))).copied();
        own.or_else(|| self.rate_of_domain(domain)).or_else(|| {
            let mut all = self.samplers.iter();
            all.find(|((_, of), _)| *of == Some(selector))
                .map(|(_, rate)| *rate)
        })
    }

    /// Returns the start time that a domain has announced.
    pub(super) fn system_init(&self, domain: u32) -> Option<Timestamp> {
        self.system_init.get(&domain).copied()
    }
}

/// Maximum number of samplers, and of start times, of one exporter.
const MAX_ANNOUNCEMENTS: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling(rate: u64, selector: Option<u64>) -> OptionRecord<'static> {
        OptionRecord {
            sampling: Some(SamplingOption { rate, selector }),
            ..OptionRecord::default()
        }
    }

    #[test]
    fn the_rate_is_that_of_the_sampler_then_of_the_domain_then_of_another_domain() {
        let mut exporter = Exporter::default();
        exporter.announce(6, &sampling(1_000, Some(1)));
        assert_eq!(exporter.rate_of_domain(6), Some(1_000), "one single rate");
        assert_eq!(exporter.rate_of_domain(0), None);
        assert_eq!(
            exporter.rate_of_sampler(0, 1),
            Some(1_000),
            "another domain"
        );
        exporter.announce(6, &sampling(100, Some(2)));
        assert_eq!(exporter.rate_of_domain(6), None, "rates differ");
        assert_eq!(exporter.rate_of_sampler(6, 2), Some(100));
        exporter.announce(6, &sampling(7, None));
        assert_eq!(exporter.rate_of_domain(6), Some(7));
        assert_eq!(
            exporter.rate_of_sampler(6, 3),
            Some(7),
            "an unknown sampler"
        );
        exporter.announce(6, &sampling(8, None));
        assert_eq!(
            exporter.rate_of_domain(6),
            Some(8),
            "a later rate applies from then on"
        );
    }

    #[test]
    fn announcements_are_limited() {
        let mut exporter = Exporter::default();
        for selector in 0..2 * MAX_ANNOUNCEMENTS as u64 {
            exporter.announce(1, &sampling(1 + selector, Some(selector)));
        }
        assert_eq!(exporter.samplers.len(), MAX_ANNOUNCEMENTS);
        exporter.announce(1, &sampling(5, Some(0)));
        assert_eq!(
            exporter.rate_of_sampler(1, 0),
            Some(5),
            "a known sampler is updated"
        );
    }
}
