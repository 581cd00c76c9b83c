//! Filter of a replay: it selects the packets that the flow tables count, while the clock of the
//! file follows all packets.

use std::cell::RefCell;

use crate::capture::{BpfFilter, BpfProgram, CaptureError};
use crate::flow::PacketFilter;
use crate::packet::{LinkType, PacketRef};

/// Filter, and its program for the link type of the latest batch.
#[derive(Clone, Debug)]
pub(super) struct ReplayFilter {
    source: BpfFilter,
    program: BpfProgram,
}

impl ReplayFilter {
    /// Returns the filter for packets of a first link type.
    pub(super) fn new(source: &BpfFilter, link_type: LinkType) -> Result<Self, CaptureError> {
        Ok(Self {
            source: source.clone(),
            program: source.program(link_type, 0)?,
        })
    }

    /// Verifies that the filter is valid for a link type, before a table receives packets of it.
    pub(super) fn check(&mut self, link_type: LinkType) -> Result<(), CaptureError> {
        if self.program.link_type() != link_type {
            self.program = self.source.program(link_type, 0)?;
        }
        Ok(())
    }

    /// Returns the filter of a table.
    pub(super) fn for_table(&self) -> Box<dyn PacketFilter> {
        Box::new(TableFilter {
            source: self.source.clone(),
            program: RefCell::new(self.program.clone()),
        })
    }
}

/// Filter of one table; it compiles its program again when the link type changes.
struct TableFilter {
    source: BpfFilter,
    program: RefCell<BpfProgram>,
}

impl PacketFilter for TableFilter {
    fn matches(&self, packet: &PacketRef<'_>) -> bool {
        let mut program = self.program.borrow_mut();
        if program.link_type() != packet.link_type {
            // Invalid filters have ended the replay in `ReplayFilter::check`.
            match self.source.program(packet.link_type, 0) {
                Ok(other) => *program = other,
                Err(_) => return false,
            }
        }
        program.matches(packet)
    }
}
