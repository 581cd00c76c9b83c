//! `Intake`: reads the datagrams of all exporters.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;

use super::definers::Definers;
use super::exporter::{Exporter, ExporterFigures};
use super::netflow5;
use super::process::{Defined, Process, ProcessKey, TemplateLimits, WaitingSet};
use super::reader::Reader;
use super::record::{ExportFormat, FlowRecord, OptionRecord, RecordOrigin};
use super::record_builder::Clocks;
use super::sets::{
    self, Definition, InvalidDefinition, Set, SetFormat, next_options_template, next_set,
    next_template,
};
use super::sflow::{self, CounterSample, DiscardSample, FlowSample, Sample};
use super::stats::IntakeStats;
use super::template::{Positions, Template, TemplateKind};
use crate::time::Timestamp;

/// A record of an exporter.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Export<'a> {
    /// A flow (NetFlow, IPFIX).
    Flow(&'a FlowRecord<'a>),
    /// Announcements about the exporter (NetFlow 9, IPFIX).
    Option(&'a OptionRecord<'a>),
    /// A sampled packet (sFlow).
    Sample(&'a FlowSample<'a>),
    /// Counters (sFlow).
    Counters(&'a CounterSample<'a>),
    /// A packet that was discarded (sFlow).
    Discard(&'a DiscardSample<'a>),
}

/// Limits of the memory of an [`Intake`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IntakeLimits {
    /// Maximum number of exporting processes, and of exporters.
    pub processes: usize,
    /// Maximum number of templates of one process.
    pub templates: usize,
    /// Maximum size of the templates of one process, in bytes.
    pub template_bytes: usize,
    /// Maximum memory of the data sets of one process that wait for templates, in bytes.
    pub waiting_bytes: usize,
    /// Maximum memory of all data sets that wait for templates, in bytes.
    pub waiting_bytes_total: usize,
    /// Time for which data waits for its template.
    pub waiting_time: Duration,
}

impl Default for IntakeLimits {
    /// Returns limits of 1024 processes with 512 templates in 64 KiB each, and of 64 KiB of waiting
    /// data for each process, 1 MiB in total, and 30 s.
    fn default() -> Self {
        Self {
            processes: 1_024,
            templates: 512,
            template_bytes: 64 << 10,
            waiting_bytes: 64 << 10,
            waiting_bytes_total: 1 << 20,
            waiting_time: Duration::from_secs(30),
        }
    }
}

/// Reader of the datagrams of all exporters.
#[derive(Debug)]
pub struct Intake {
    limits: IntakeLimits,
    /// At most `limits.processes`.
    processes: HashMap<ProcessKey, Process>,
    /// At most `limits.processes`.
    exporters: HashMap<IpAddr, Exporter>,
    definers: Definers,
    /// Memory of all data sets that wait for templates, in bytes.
    waiting_bytes: usize,
    /// Number of datagrams, which orders processes and templates by use.
    clock: u64,
    positions: Positions,
    stats: IntakeStats,
}

/// Callback for each decoded record.
type Emit<'f> = dyn FnMut(&RecordOrigin, Export<'_>) + 'f;

impl Intake {
    /// Creates a reader without memory of any exporter.
    #[must_use]
    pub fn new(limits: IntakeLimits) -> Self {
        Self {
            limits,
            processes: HashMap::new(),
            exporters: HashMap::new(),
            definers: Definers::default(),
            waiting_bytes: 0,
            clock: 0,
            positions: Positions::default(),
            stats: IntakeStats::default(),
        }
    }

    /// Returns the counters.
    #[must_use]
    pub const fn stats(&self) -> IntakeStats {
        self.stats
    }

    /// Returns the figures of an exporter; `None` if it is unknown.
    #[must_use]
    pub fn exporter(&self, address: IpAddr) -> Option<ExporterFigures> {
        self.exporters
            .get(&address)
            .map(|exporter| exporter.figures)
    }

    /// Returns the number of templates whose definer is known.
    #[cfg(test)]
    pub(super) fn definers(&self) -> usize {
        self.definers.len()
    }

    /// Returns the number of data sets that wait for their template.
    #[must_use]
    pub fn waiting_sets(&self) -> usize {
        self.processes.values().map(Process::waiting_count).sum()
    }

    /// Reads a datagram that arrived at `now` and passes its records to `emit`, in order.
    ///
    /// Errors in a datagram are counted; all records that can be read are passed on.
    pub fn datagram(
        &mut self,
        from: SocketAddr,
        datagram: &[u8],
        now: Timestamp,
        emit: &mut Emit<'_>,
    ) {
        self.stats.datagrams += 1;
        self.clock += 1;
        let mut reader = Reader::new(datagram);
        let version = reader.u16();
        match version {
            Some(5) => self.netflow5(from, reader, ExportFormat::NetFlow5, emit),
            Some(7) => self.netflow5(from, reader, ExportFormat::NetFlow7, emit),
            Some(9) => self.netflow9(from, reader, now, emit),
            Some(10) => self.ipfix(from, reader, datagram.len(), now, emit),
            Some(0) if reader.u16() == Some(5) => self.sflow(from, reader, now, emit),
            _ => self.stats.unknown_format += 1,
        }
    }

    /// Counts and drops the data sets that have waited too long for a template. Call this about once
    /// per second.
    pub fn expire(&mut self, now: Timestamp) {
        if self.waiting_bytes == 0 {
            return;
        }
        let time = i64::try_from(self.limits.waiting_time.as_millis()).unwrap_or(i64::MAX);
        let deadline = Timestamp::from_ms(now.as_ms().saturating_sub(time));
        for process in self.processes.values_mut() {
            let (sets, bytes) = process.expire(deadline);
            self.stats.sets_without_template += sets;
            self.waiting_bytes -= bytes;
        }
    }

    fn netflow5(
        &mut self,
        from: SocketAddr,
        mut reader: Reader<'_>,
        format: ExportFormat,
        emit: &mut Emit<'_>,
    ) {
        let is_version_7 = format == ExportFormat::NetFlow7;
        let Some(header) = netflow5::read_header(&mut reader, is_version_7) else {
            self.stats.malformed += 1;
            return;
        };
        let origin = RecordOrigin {
            exporter: from.ip(),
            format,
            domain: header.domain,
            template: 0,
            exported_at: header.exported_at,
        };
        let mut count = 0;
        while count < header.claimed {
            let Some(record) = netflow5::read_record(&mut reader, &header, is_version_7) else {
                self.stats.malformed += 1;
                break;
            };
            count += 1;
            self.exporter_of(from.ip()).count_rate(record.sampling);
            emit(&origin, Export::Flow(&record));
        }
        self.stats.flow_records += u64::from(count);
        let version = if is_version_7 { 7 } else { 5 };
        let key = ProcessKey::new(from, version, header.domain);
        self.take_sequence(key, header.sequence, Some(u32::from(header.claimed)));
    }

    fn netflow9(
        &mut self,
        from: SocketAddr,
        mut reader: Reader<'_>,
        now: Timestamp,
        emit: &mut Emit<'_>,
    ) {
        let header = (|| {
            let _count = reader.u16()?;
            Some([reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?])
        })();
        let Some([uptime, seconds, sequence, domain]) = header else {
            self.stats.malformed += 1;
            return;
        };
        let exported_at = i64::from(seconds) * 1_000;
        let clocks = Clocks {
            exported_at: Timestamp::from_ms(exported_at),
            booted_at: Some(Timestamp::from_ms(exported_at - i64::from(uptime))),
        };
        let key = ProcessKey::new(from, 9, domain);
        self.take_sequence(key, sequence, Some(1));
        self.sets(key, reader, SetFormat::NetFlow9, clocks, now, emit);
    }

    fn ipfix(
        &mut self,
        from: SocketAddr,
        mut reader: Reader<'_>,
        available: usize,
        now: Timestamp,
        emit: &mut Emit<'_>,
    ) {
        const HEADER: usize = 16;
        let header = (|| {
            let length = usize::from(reader.u16()?);
            Some((length, reader.u32()?, reader.u32()?, reader.u32()?))
        })();
        let Some((length, seconds, sequence, domain)) =
            header.filter(|(length, ..)| *length >= HEADER)
        else {
            self.stats.malformed += 1;
            return;
        };
        if length > available {
            self.stats.malformed += 1;
        }
        let message = Reader::new(reader.up_to(length - HEADER));
        let clocks = Clocks {
            exported_at: Timestamp::from_ms(i64::from(seconds) * 1_000),
            booted_at: None,
        };
        let key = ProcessKey::new(from, 10, domain);
        let before = self.stats.flow_records + self.stats.option_records - self.stats.late_records;
        let is_complete = self.sets(key, message, SetFormat::Ipfix, clocks, now, emit);
        let after = self.stats.flow_records + self.stats.option_records - self.stats.late_records;
        let count = is_complete.then_some((after - before) as u32);
        self.take_sequence(key, sequence, count);
    }

    /// Reads the sets of a message. Returns whether all data was read.
    fn sets(
        &mut self,
        key: ProcessKey,
        mut message: Reader<'_>,
        format: SetFormat,
        clocks: Clocks,
        now: Timestamp,
        emit: &mut Emit<'_>,
    ) -> bool {
        self.prepare(key);
        let mut is_complete = true;
        while let Some(set) = next_set(&mut message, format) {
            match set {
                Set::Templates(content) => {
                    self.definitions(key, content, format, false, emit);
                }
                Set::OptionsTemplates(content) => {
                    self.definitions(key, content, format, true, emit);
                }
                Set::Data(id, content) => {
                    is_complete &= self.data_set(key, id, content, clocks, now, emit);
                }
                Set::Cut(id, content) => {
                    self.stats.malformed += 1;
                    is_complete = false;
                    if let Some(template) = self.find_template(key, id) {
                        self.records(key, id, &template, content, clocks, emit);
                    }
                }
                Set::Reserved => {}
                Set::Invalid => self.stats.malformed += 1,
            }
        }
        is_complete
    }

    /// Applies the definitions of a set, and reads the data that waits for them.
    fn definitions(
        &mut self,
        key: ProcessKey,
        content: &[u8],
        format: SetFormat,
        is_options: bool,
        emit: &mut Emit<'_>,
    ) {
        let next = if is_options {
            next_options_template
        } else {
            next_template
        };
        let mut set = Reader::new(content);
        while let Some(definition) = next(&mut set, format) {
            match definition {
                Ok(Definition::Template(id, Some(template))) => {
                    self.define(key, id, template, emit);
                }
                // The old definition is wrong as well: data waits for a valid definition.
                Ok(Definition::Template(id, None)) => {
                    self.stats.malformed += 1;
                    self.withdraw(key, id);
                }
                Ok(Definition::Withdrawal(id)) => self.withdraw(key, id),
                Ok(Definition::WithdrawalOfAll) => {
                    let process = self.processes.entry(key).or_default();
                    let ids = process.template_ids(|template| {
                        (template.kind == TemplateKind::Flow) != is_options
                    });
                    ids.into_iter().for_each(|id| self.withdraw(key, id));
                }
                Err(InvalidDefinition) => {
                    self.stats.malformed += 1;
                    return;
                }
            }
        }
    }

    fn define(&mut self, key: ProcessKey, id: u16, template: Template, emit: &mut Emit<'_>) {
        match template.kind {
            TemplateKind::Flow => self.stats.templates += 1,
            TemplateKind::Options { .. } => self.stats.option_templates += 1,
        }
        let limits = TemplateLimits {
            count: self.limits.templates,
            bytes: self.limits.template_bytes,
        };
        let process = self.processes.entry(key).or_default();
        let (defined, removed) = process.define(id, template, self.clock, limits);
        let waiting = process.take_waiting(id);
        self.stats.evicted += removed.len() as u64;
        removed.iter().for_each(|id| self.definers.remove(key, *id));
        self.stats.template_changes += u64::from(defined == Defined::Changed);
        self.definers.set(key, id);
        for set in waiting {
            self.waiting_bytes -= set.bytes();
            if let Some(template) = self.find_template(key, id) {
                let records = self.records(key, id, &template, &set.data, set.clocks, emit);
                self.stats.late_records += records;
            }
        }
    }

    fn withdraw(&mut self, key: ProcessKey, id: u16) {
        if let Some(process) = self.processes.get_mut(&key) {
            process.withdraw(id);
        }
        self.definers.remove(key, id);
    }

    /// Reads a data set, or stores it until its template arrives. Returns whether all its records were
    /// read.
    fn data_set(
        &mut self,
        key: ProcessKey,
        id: u16,
        content: &[u8],
        clocks: Clocks,
        now: Timestamp,
        emit: &mut Emit<'_>,
    ) -> bool {
        if let Some(template) = self.find_template(key, id) {
            self.records(key, id, &template, content, clocks, emit);
            return true;
        }
        if content.is_empty() {
            // Without content, a set has no records, whatever its template is.
            return true;
        }
        let Some(process) = self.processes.get_mut(&key) else {
            return false;
        };
        let bytes = WaitingSet::bytes_of(content);
        let is_within = process.waiting_bytes + bytes <= self.limits.waiting_bytes
            && self.waiting_bytes + bytes <= self.limits.waiting_bytes_total;
        if is_within {
            process.wait(id, content, clocks, now);
            self.waiting_bytes += bytes;
        } else {
            self.stats.sets_without_template += 1;
        }
        false
    }

    /// Returns a template of a process, or else the newest one that the same exporter has defined
    /// from another port: address translation changes ports.
    fn find_template(&mut self, key: ProcessKey, id: u16) -> Option<Arc<Template>> {
        let process = self.processes.get_mut(&key)?;
        if let Some(template) = process.template(id, self.clock) {
            return Some(template);
        }
        let definer = self.definers.of(key, id)?;
        let template = self.processes.get_mut(&definer)?.template(id, self.clock)?;
        self.stats.foreign_templates += 1;
        Some(template)
    }

    /// Reads the records of a data set; returns their number.
    fn records(
        &mut self,
        key: ProcessKey,
        id: u16,
        template: &Template,
        content: &[u8],
        mut clocks: Clocks,
        emit: &mut Emit<'_>,
    ) -> u64 {
        let (format, set_format) = match key.version {
            9 => (ExportFormat::NetFlow9, SetFormat::NetFlow9),
            _ => (ExportFormat::Ipfix, SetFormat::Ipfix),
        };
        let origin = RecordOrigin {
            exporter: key.address,
            format,
            domain: key.domain,
            template: id,
            exported_at: clocks.exported_at,
        };
        let mut positions = std::mem::take(&mut self.positions);
        let exporter = self.exporters.entry(key.address).or_default();
        clocks.booted_at = clocks
            .booted_at
            .or_else(|| exporter.system_init(key.domain));
        let domain_rate = exporter.rate_of_domain(key.domain);
        let mut data = Reader::new(content);
        let mut count = 0;
        while let Some(record) = template.next_record(&mut data, &mut positions) {
            let Ok(record) = record else {
                self.stats.malformed += 1;
                break;
            };
            count += 1;
            if template.kind == TemplateKind::Flow {
                let mut flow = sets::read_flow(template, record, &positions, clocks);
                if flow.sampling.is_none() {
                    flow.sampling = match flow.sampler {
                        Some(sampler) => exporter.rate_of_sampler(key.domain, sampler),
                        None => domain_rate,
                    };
                }
                exporter.count_rate(flow.sampling);
                emit(&origin, Export::Flow(&flow));
            } else {
                let options = sets::read_options(template, record, &positions, set_format);
                exporter.announce(key.domain, &options);
                emit(&origin, Export::Option(&options));
            }
        }
        match template.kind {
            TemplateKind::Flow => self.stats.flow_records += count,
            TemplateKind::Options { .. } => self.stats.option_records += count,
        }
        self.positions = positions;
        count
    }

    fn sflow(
        &mut self,
        from: SocketAddr,
        mut reader: Reader<'_>,
        now: Timestamp,
        emit: &mut Emit<'_>,
    ) {
        let Some(header) = sflow::read_header(&mut reader) else {
            self.stats.malformed += 1;
            return;
        };
        let origin = RecordOrigin {
            exporter: header.agent,
            format: ExportFormat::Sflow5,
            domain: header.sub_agent,
            template: 0,
            exported_at: now,
        };
        // The agent states its address, so several agents may share a port.
        let agent = SocketAddr::new(header.agent, from.port());
        let key = ProcessKey::new(agent, SFLOW, header.sub_agent);
        self.take_sequence(key, header.sequence, Some(1));
        for _ in 0..header.samples {
            match sflow::next_sample(&mut reader, &header, &mut self.stats.malformed) {
                Some(Sample::Flow(sample)) => {
                    self.stats.flow_samples += 1;
                    self.exporter_of(header.agent)
                        .count_rate(Some(u64::from(sample.rate)));
                    emit(&origin, Export::Sample(&sample));
                }
                Some(Sample::Counters(sample)) => {
                    self.stats.counter_samples += 1;
                    emit(&origin, Export::Counters(&sample));
                }
                Some(Sample::Discard(sample)) => {
                    self.stats.discard_samples += 1;
                    emit(&origin, Export::Discard(&sample));
                }
                Some(Sample::Other) => self.stats.other_samples += 1,
                Some(Sample::Malformed) => self.stats.malformed += 1,
                None => {
                    // Fewer samples than claimed.
                    self.stats.malformed += 1;
                    break;
                }
            }
        }
    }

    /// Counts the losses before a message.
    fn take_sequence(&mut self, key: ProcessKey, number: u32, count: Option<u32>) {
        self.prepare(key);
        let process = self.processes.entry(key).or_default();
        let lost = process.sequence.take(number, count);
        self.stats.lost += lost;
        let figures = &mut self.exporter_of(key.address).figures;
        figures.lost += lost;
        figures.datagrams += 1;
    }

    /// Adds a process and its exporter, and removes the least recently used ones beyond the limit.
    fn prepare(&mut self, key: ProcessKey) {
        if self.processes.len() >= self.limits.processes && !self.processes.contains_key(&key) {
            let oldest = self.processes.iter().min_by_key(|(_, known)| known.used);
            if let Some(oldest) = oldest.map(|(oldest, _)| *oldest)
                && let Some(removed) = self.processes.remove(&oldest)
            {
                self.stats.evicted += 1;
                self.stats.sets_without_template += removed.waiting_count() as u64;
                self.waiting_bytes -= removed.waiting_bytes;
                for id in removed.template_ids(|_| true) {
                    self.definers.remove(oldest, id);
                }
            }
        }
        self.processes.entry(key).or_default().used = self.clock;
        self.exporter_of(key.address);
    }

    fn exporter_of(&mut self, address: IpAddr) -> &mut Exporter {
        if self.exporters.len() >= self.limits.processes && !self.exporters.contains_key(&address) {
            let oldest = self.exporters.iter().min_by_key(|(_, known)| known.used);
            if let Some(oldest) = oldest.map(|(oldest, _)| *oldest) {
                self.exporters.remove(&oldest);
            }
        }
        let exporter = self.exporters.entry(address).or_default();
        exporter.used = self.clock;
        exporter
    }
}

impl ProcessKey {
    const fn new(from: SocketAddr, version: u16, domain: u32) -> Self {
        Self {
            address: from.ip(),
            port: from.port(),
            version,
            domain,
        }
    }
}

impl Exporter {
    /// Counts the sampling rate of a record.
    fn count_rate(&mut self, rate: Option<u64>) {
        match rate {
            Some(_) => self.figures.rate = rate,
            None => self.figures.unknown_rate += 1,
        }
    }
}

/// Version in the key of an sFlow agent; no version of NetFlow has this number.
const SFLOW: u16 = 0;
