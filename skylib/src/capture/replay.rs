//! Whole captures turned into flows at once, by capture time.

use std::ops::ControlFlow;
use std::time::Duration;

use super::{Batch, CaptureError, PacketSource};
use crate::flow::{FlowSink, FlowTable};
use crate::time::Timestamp;

/// Turns all that a source has into flows, on this thread. The table's timers follow the time of
/// the packets; at the end, also after an error, all flows go to the sink.
///
/// `each` is called between batches and can end the work early.
///
/// ```no_run
/// use std::ops::ControlFlow;
/// use skylib::capture::{PcapFile, replay};
/// use skylib::flow::FlowTableOptions;
/// use skylib::FlowTable;
///
/// let mut file = PcapFile::open("trace.pcap")?;
/// let mut table = FlowTable::new(FlowTableOptions::default());
/// let mut flows = Vec::new();
/// replay(&mut file, &mut table, &mut flows, &mut || ControlFlow::Continue(()))?;
/// println!("{} records", flows.len());
/// # Ok::<(), skylib::capture::CaptureError>(())
/// ```
///
/// # Errors
/// When the source cannot go on; the sink has had everything before that.
pub fn replay(
    source: &mut dyn PacketSource,
    table: &mut FlowTable,
    sink: &mut dyn FlowSink,
    each: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<(), CaptureError> {
    let mut latest = Timestamp::ZERO;
    let outcome = loop {
        match source.next_batch(WAIT) {
            Ok(Batch::Packets(batch)) => {
                latest = batch
                    .headers
                    .last()
                    .map_or(latest, |header| header.timestamp);
                table.replay(&batch, sink);
            }
            Ok(Batch::Timeout) => {}
            Ok(Batch::End) => break Ok(()),
            Err(error) => break Err(error),
        }
        if each().is_break() {
            break Ok(());
        }
    };
    table.flush(latest, sink);
    outcome
}

/// How long a source may wait, so that the work can be ended meanwhile.
const WAIT: Duration = Duration::from_millis(200);
