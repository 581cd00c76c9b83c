//! `RecordSource`: receives NetFlow of a bridge, for a capture.
//!
//! The source delivers flows, not packets: its batches are empty, and the flows take the path of
//! flows that arrive from elsewhere. It runs in the thread of its capture, like any other source.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use crate::capture::{Batch, CaptureError, CaptureStats, PacketSource, is_harmless_receive_error};
use crate::engine::flow::FlowHub;
use crate::export::{Export, Intake, IntakeLimits};
use crate::flow::{ExportTable, Flow};
use crate::packet::LinkType;
use crate::sys::receive_drops::udp_receive_drops;
use crate::time::{Clock, Timestamp};
use crate::value::Text;

/// A socket that receives flow records of one bridge.
pub(super) struct RecordSource {
    socket: UdpSocket,
    intake: Intake,
    table: ExportTable,
    /// TID of the bridge.
    node_tid: Text,
    flows: Arc<FlowHub>,
    clock: Arc<dyn Clock>,
    datagram: Vec<u8>,
    /// Flows to be sent at the next tick.
    waiting: Vec<Flow>,
    stats: CaptureStats,
    ticked: Timestamp,
}

impl RecordSource {
    /// Receives at an address, in the namespace of the calling thread.
    pub(super) fn open(
        address: SocketAddr,
        table: ExportTable,
        node_tid: &str,
        flows: &Arc<FlowHub>,
        clock: &Arc<dyn Clock>,
    ) -> io::Result<Self> {
        Ok(Self {
            socket: UdpSocket::bind(address)?,
            intake: Intake::new(IntakeLimits::default()),
            table,
            node_tid: node_tid.into(),
            flows: Arc::clone(flows),
            ticked: clock.now(),
            clock: Arc::clone(clock),
            datagram: vec![0; MAX_DATAGRAM],
            waiting: Vec::new(),
            stats: CaptureStats::default(),
        })
    }

    /// Returns the address of the socket.
    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Receives a datagram, if one arrives in time.
    fn receive(&mut self, wait: Duration) -> io::Result<()> {
        self.socket.set_read_timeout(Some(wait.max(MIN_WAIT)))?;
        let (length, from) = match self.socket.recv_from(&mut self.datagram) {
            Ok(received) => received,
            Err(error) if is_harmless_receive_error(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        let now = self.clock.now();
        let Self {
            intake,
            table,
            node_tid,
            datagram,
            waiting,
            stats,
            ..
        } = self;
        intake.datagram(from, &datagram[..length], now, &mut |origin, export| {
            if let Export::Flow(record) = export {
                stats.received += record.counters.packets.unwrap_or(0);
                table.add(origin, record, node_tid, now, waiting);
            }
        });
        Ok(())
    }

    fn tick(&mut self, now: Timestamp) {
        self.ticked = now;
        self.intake.expire(now);
        self.table.tick(now, &mut self.waiting);
        self.send();
    }

    fn send(&mut self) {
        let flows = std::mem::take(&mut self.waiting);
        if !flows.is_empty() {
            self.flows.push_remote(flows);
        }
    }
}

impl PacketSource for RecordSource {
    fn link_type(&self) -> LinkType {
        LinkType::RAW
    }

    fn next_batch(&mut self, wait: Duration) -> Result<Batch<'_>, CaptureError> {
        let received = self.receive(wait.min(TICK));
        received.map_err(|error| CaptureError::io("receive NetFlow", error))?;
        let now = self.clock.now();
        if now.duration_since(self.ticked) >= TICK || now < self.ticked {
            self.tick(now);
        }
        Ok(Batch::Timeout)
    }

    /// Returns the number of packets that the records have counted, and the number of datagrams that
    /// the kernel has dropped.
    fn stats(&mut self) -> CaptureStats {
        CaptureStats {
            dropped: udp_receive_drops(&self.socket).unwrap_or(0),
            ..self.stats
        }
    }
}

impl Drop for RecordSource {
    fn drop(&mut self) {
        self.table.flush(&mut self.waiting);
        self.send();
    }
}

/// Maximum size of a datagram, in bytes.
const MAX_DATAGRAM: usize = 65_535;
/// Interval at which flows are sent.
const TICK: Duration = Duration::from_secs(1);
/// Minimum wait; the system call has no timeout of zero.
const MIN_WAIT: Duration = Duration::from_millis(1);
