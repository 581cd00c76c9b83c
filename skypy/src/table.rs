//! `FlowTable`: a flow table that Python controls: packets in, flows out.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use skylib::flow::{Flow, FlowQuery, FlowQueryError, FlowSet, FlowSource};
use skylib::packet::{CapturePoint, LinkType, PacketBatch, PacketHeader};
use skylib::time::Timestamp;

use crate::flow::{Flows, loads};
use crate::gremlin;
use crate::options::{LayerNames, Seconds, TableOptions};

/// Flow table to which packets are added individually or in lists.
///
/// The table reads no clock: packets have times in Unix nanoseconds, and `advance` runs the timers.
/// The options are those of `flows`. Several threads may call all methods.
///
/// >>> import skypy
/// >>> table = skypy.FlowTable()
/// >>> arp = bytes(6) + bytes.fromhex("020000000001" "0806" "0001080006040001") + bytes(20)
/// >>> table.process([(1_700_000_000_000_000_000, arp)])
/// >>> table.query("G.Flows().Values('LayersPath')")
/// ['Ethernet/ARP']
#[pyclass(frozen, module = "skypy")]
pub(crate) struct FlowTable {
    table: Mutex<State>,
}

struct State {
    table: skylib::FlowTable,
    /// Flows that have left the table since the last `flush` or `advance`.
    ended: Vec<Flow>,
    packets: u64,
}

impl FlowTable {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl FlowTable {
    #[new]
    #[pyo3(signature = (
        *, layer_key = "L2", expire = None, update = None, ports = "", raw_packets = 0, extra_layer = None,
        extra_tcp_metric = false, extra_rtt_metric = false, ip_defrag = false, reassemble_tcp = false,
        max_bytes = 2_147_483_648, recorded = false, key_ignore = "",
    ))]
    #[expect(clippy::too_many_arguments, reason = "keywords of Python")]
    fn new(
        layer_key: &str,
        expire: Option<Seconds>,
        update: Option<Seconds>,
        ports: &str,
        raw_packets: u32,
        extra_layer: Option<LayerNames>,
        extra_tcp_metric: bool,
        extra_rtt_metric: bool,
        ip_defrag: bool,
        reassemble_tcp: bool,
        max_bytes: usize,
        recorded: bool,
        key_ignore: &str,
    ) -> PyResult<Self> {
        let options = TableOptions {
            layer_key,
            expire,
            update,
            ports,
            raw_packets,
            extra_layer,
            extra_tcp_metric,
            extra_rtt_metric,
            ip_defrag,
            reassemble_tcp,
            max_bytes,
            recorded,
            key_ignore,
        };
        Ok(Self {
            table: Mutex::new(State {
                table: skylib::FlowTable::new(options.parse()?),
                ended: Vec::new(),
                packets: 0,
            }),
        })
    }

    /// Processes packets: a list of (time in Unix nanoseconds, bytes starting with the first
    /// header). `link_type` is the protocol of the first header, a number of the LINKTYPE_ list; 1
    /// for Ethernet.
    #[pyo3(signature = (packets, *, link_type = 1))]
    fn process(
        &self,
        py: Python<'_>,
        packets: Vec<(i64, PyBackedBytes)>,
        link_type: u16,
    ) -> PyResult<()> {
        let mut buffer = Vec::new();
        let mut headers = Vec::with_capacity(packets.len());
        for (time, data) in &packets {
            let too_long = |_| PyValueError::new_err("the packets of one call exceed 4 GiB");
            let (offset, len) = (u32::try_from(buffer.len()), u32::try_from(data.len()));
            let len = len.map_err(too_long)?;
            headers.push(PacketHeader {
                timestamp: Timestamp::from_ns(*time),
                offset: offset.map_err(too_long)?,
                captured_len: len,
                wire_len: len,
                point: CapturePoint::ONLY,
            });
            buffer.extend_from_slice(data);
        }
        py.detach(|| {
            let mut state = self.lock();
            state.packets += headers.len() as u64;
            state.table.process(&PacketBatch {
                link_type: LinkType(link_type),
                buffer: &buffer,
                headers: &headers,
            });
        });
        Ok(())
    }

    /// Runs the timers up to a time in Unix nanoseconds; returns the flows that expired.
    fn advance(&self, py: Python<'_>, time: i64) -> Flows {
        py.detach(|| {
            let mut state = self.lock();
            let State { table, ended, .. } = &mut *state;
            table.tick(Timestamp::from_ns(time), ended);
            state.take()
        })
    }

    /// Ends all flows and returns them.
    fn flush(&self, py: Python<'_>) -> Flows {
        py.detach(|| {
            let mut state = self.lock();
            let State { table, ended, .. } = &mut *state;
            table.flush(ended);
            state.take()
        })
    }

    /// Returns the flows in the table.
    fn flows(&self, py: Python<'_>) -> PyResult<Flows> {
        py.detach(|| {
            let state = self.lock();
            let set = state.table.query(&FlowQuery::default());
            let set = set.map_err(|error| PyValueError::new_err(error.to_string()))?;
            Ok(Flows::new(set.flows, state.packets))
        })
    }

    /// Runs a Gremlin query on the flows in the table; returns its result as parsed JSON.
    fn query<'py>(
        &self,
        py: Python<'py>,
        gremlin: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let text = gremlin.str()?.to_cow()?.into_owned();
        let json = py.detach(|| gremlin::run(&text, &skylib::Graph::new(), self))?;
        loads(py, &json)
    }

    /// Number of packets that were processed.
    #[getter]
    fn packets(&self) -> u64 {
        self.lock().packets
    }

    fn __len__(&self) -> usize {
        self.lock().table.len()
    }

    fn __repr__(&self) -> String {
        let state = self.lock();
        let (flows, packets) = (state.table.len(), state.packets);
        format!("<skypy.FlowTable: {flows} flows of {packets} packets>")
    }
}

impl State {
    fn take(&mut self) -> Flows {
        Flows::new(std::mem::take(&mut self.ended), self.packets)
    }
}

impl FlowSource for FlowTable {
    fn query(&self, query: &FlowQuery) -> Result<FlowSet, FlowQueryError> {
        self.lock().table.query(query)
    }
}
