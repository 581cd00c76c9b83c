//! `IntakeStats`: counters of a reader of flow exports.

/// Counters of an [`Intake`](super::Intake).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IntakeStats {
    /// Number of datagrams.
    pub datagrams: u64,
    /// Number of datagrams of an unknown format or version.
    pub unknown_format: u64,
    /// Number of errors in datagrams: what could not be read was skipped.
    pub malformed: u64,
    /// Number of flow records.
    pub flow_records: u64,
    /// Number of options records.
    pub option_records: u64,
    /// Number of definitions of templates, including repeated ones.
    pub templates: u64,
    /// Number of definitions of options templates, including repeated ones.
    pub option_templates: u64,
    /// Number of definitions that changed a template.
    pub template_changes: u64,
    /// Number of templates and processes that were removed because of a limit.
    pub evicted: u64,
    /// Number of data sets that were read with a template of another port of the exporter.
    pub foreign_templates: u64,
    /// Number of data sets that could not be read because their template did not arrive.
    pub sets_without_template: u64,
    /// Number of records that were read when their template had arrived.
    pub late_records: u64,
    /// Number of flow samples.
    pub flow_samples: u64,
    /// Number of counter samples.
    pub counter_samples: u64,
    /// Number of samples of discarded packets.
    pub discard_samples: u64,
    /// Number of samples of an unknown type.
    pub other_samples: u64,
    /// Number of lost datagrams (NetFlow 9, sFlow) or records (NetFlow 5 and 7, IPFIX), according
    /// to sequence numbers.
    pub lost: u64,
}
