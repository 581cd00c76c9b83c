//! A probe that shows the load of the host in the graph: `cargo run --example custom_probe`

use std::fs;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use skylib::Graph;
use skylib::graph::MetadataOp;
use skylib::topology::{Probe, ProbeContext, ProbeError, ProbeSet, ProbeTarget};

struct LoadProbe(ProbeTarget);

impl Probe for LoadProbe {
    fn name(&self) -> &'static str {
        "load"
    }

    fn run(&mut self, context: &ProbeContext) -> Result<(), ProbeError> {
        while !context.wait(Duration::from_secs(1)) {
            let load = fs::read_to_string("/proc/loadavg")
                .map_err(|error| ProbeError::system("cannot read /proc/loadavg", error))?;
            let op = MetadataOp::set("Load", load.trim_end());
            let update = |graph: &mut Graph, now| graph.patch_node(&self.0.root, &[op], now);
            self.0.update(update).transpose()?;
            context.running();
        }
        Ok(())
    }
}

fn main() -> anyhow::Result<()> {
    let graph = Arc::new(Mutex::new(Graph::new()));
    let target = ProbeTarget::for_host(graph.clone(), "edge-01")?;
    let mut probes = ProbeSet::new();
    probes.start(LoadProbe(target))?;
    thread::sleep(Duration::from_secs(3));
    probes.stop();
    for node in graph.lock().expect("no thread panics").nodes() {
        println!("{}", serde_json::to_string(&**node)?);
    }
    Ok(())
}
