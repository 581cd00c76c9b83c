//! Decoders of flow exports: NetFlow 5, 7, and 9, IPFIX, and sFlow 5.
//!
//! Switches and routers send the flows or packets that they observe in UDP datagrams. An [`Intake`]
//! reads the datagrams of any number of exporters and formats and passes their records to a
//! function. It remembers what later datagrams depend on: templates, sampling rates, and sequence
//! numbers. It reads no clock and no socket, and its memory is bounded ([`IntakeLimits`]).
//!
//! ```
//! use skylib::export::{Export, Intake, IntakeLimits};
//! use skylib::time::Timestamp;
//! # let mut datagram = vec![0, 5, 0, 1, 0, 0, 3, 0xe8, 0x65, 0x53, 0xf1, 0];
//! # datagram.resize(24 + 48, 0);
//! let mut intake = Intake::new(IntakeLimits::default());
//! let mut flows = 0;
//! let from = "192.0.2.1:2055".parse()?;
//! intake.datagram(from, &datagram, Timestamp::ZERO, &mut |_, export| {
//!     flows += u32::from(matches!(export, Export::Flow(_)));
//! });
//! assert_eq!((flows, intake.stats().malformed), (1, 0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | File | Contents |
//! |---|---|
//! | `intake` | entry point; recognizes the format |
//! | `netflow5` | NetFlow 5 and 7 |
//! | `sets` | NetFlow 9 and IPFIX: messages, sets, templates, options |
//! | `template`, `element` | compiled templates; meaning of the information elements |
//! | `record_builder` | values of the elements to a record |
//! | `process` | templates and waiting data of one exporting process |
//! | `definers` | templates that are used from another port of the exporter |
//! | `exporter` | sampling rates and start times of one exporter |
//! | `sflow` | sFlow: samples, counters |

mod definers;
mod element;
mod exporter;
mod intake;
mod netflow5;
mod process;
mod reader;
mod record;
mod record_builder;
mod section;
mod sequence;
mod sets;
mod sflow;
mod stats;
mod template;
#[cfg(test)]
mod tests;

pub use exporter::ExporterFigures;
pub use intake::{Export, Intake, IntakeLimits};
pub use record::{
    ApplicationOption, ExportCounters, ExportFormat, FlowRecord, InterfaceOption, OptionRecord,
    RecordOrigin, SamplingOption, Translation,
};
pub use section::PacketSummary;
pub use sflow::{
    ApplicationResources, CounterSample, DiscardSample, EthernetCounters, FlowSample,
    InterfaceCounters, OvsDatapathCounters, SampledHeader, SampledPacket, SflowInterface,
    VlanCounters,
};
pub use stats::IntakeStats;
