//! Virtual primary: status of SPP's primary process, from the kernel's counters.

use std::fs;
use std::path::Path;

use serde::Serialize;

use super::Ports;

/// Status of the virtual primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PrimaryStatus {
    /// Always 0: the virtual primary has no core.
    #[serde(rename = "master-lcore")]
    pub master_lcore: u32,
    /// Always `[0]`.
    pub lcores: Vec<u32>,
    /// Interfaces of `phy:0`, `phy:1` …
    pub phy_ports: Vec<PhyPort>,
    /// Always empty: rings have no counters in this library.
    pub ring_ports: [u32; 0],
    /// Always empty.
    pub pipes: [u32; 0],
}

/// Interface with its counters since system start or the last reset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PhyPort {
    /// Number of the port.
    pub id: usize,
    /// Number of packets received.
    pub rx: u64,
    /// Number of packets sent.
    pub tx: u64,
    /// Number of packets dropped while sending.
    pub tx_drop: u64,
    /// MAC address.
    pub eth: String,
    /// Number of queues, by direction.
    pub nof_queues: Queues,
}

/// Number of queues of an interface, by direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Queues {
    /// Number of receive queues.
    pub rx: usize,
    /// Number of transmit queues.
    pub tx: usize,
}

impl PrimaryStatus {
    /// Reads the status from a folder such as `/sys/class/net`; missing values are 0.
    pub(super) fn read(ports: &Ports, folder: &Path) -> Self {
        let phy_ports = ports
            .phy()
            .iter()
            .enumerate()
            .map(|(id, name)| PhyPort::read(id, &folder.join(name)))
            .collect();
        Self {
            master_lcore: 0,
            lcores: vec![0],
            phy_ports,
            ring_ports: [],
            pipes: [],
        }
    }

    /// Subtracts the counters of an earlier status of the same ports.
    pub(super) fn since(mut self, cleared: &Self) -> Self {
        let ports = self.phy_ports.into_iter().zip(&cleared.phy_ports);
        self.phy_ports = ports.map(|(port, cleared)| port.since(cleared)).collect();
        self
    }
}

impl PhyPort {
    /// Subtracts earlier counters, unless they are larger because the interface was recreated.
    fn since(self, cleared: &Self) -> Self {
        let is_same = self.rx >= cleared.rx && self.tx >= cleared.tx;
        if !is_same || self.tx_drop < cleared.tx_drop {
            return self;
        }
        Self {
            rx: self.rx - cleared.rx,
            tx: self.tx - cleared.tx,
            tx_drop: self.tx_drop - cleared.tx_drop,
            ..self
        }
    }

    /// Reads an interface from its folder.
    fn read(id: usize, folder: &Path) -> Self {
        let text = |file: &str| {
            let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
            text.trim().to_owned()
        };
        let counter = |name: &str| text(&format!("statistics/{name}")).parse().unwrap_or(0);
        let queues: Vec<String> = fs::read_dir(folder.join("queues"))
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        let count = |kind| queues.iter().filter(|name| name.starts_with(kind)).count();
        Self {
            id,
            rx: counter("rx_packets"),
            tx: counter("tx_packets"),
            tx_drop: counter("tx_dropped"),
            eth: text("address"),
            nof_queues: Queues {
                rx: count("rx-"),
                tx: count("tx-"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::folder;
    use super::*;

    #[test]
    fn the_keys_are_those_that_the_command_line_of_spp_reads() {
        let folder = folder("primary");
        let eth0 = folder.path().join("eth0");
        for queue in ["rx-0", "rx-1", "tx-0"] {
            fs::create_dir_all(eth0.join("queues").join(queue)).unwrap();
        }
        fs::create_dir(eth0.join("statistics")).unwrap();
        fs::write(eth0.join("statistics/rx_packets"), "17\n").unwrap();
        fs::write(eth0.join("address"), "02:00:00:00:00:01\n").unwrap();
        let status = PrimaryStatus::read(&Ports::new(["eth0", "gone"]), folder.path());
        fs::write(eth0.join("statistics/rx_packets"), "20\n").unwrap();
        let rx = |ports: &Ports| {
            let later = PrimaryStatus::read(ports, folder.path());
            later.since(&status).phy_ports[0].rx
        };
        let ports = Ports::new(["eth0", "gone"]);
        assert_eq!(rx(&ports), 3);
        fs::write(eth0.join("statistics/rx_packets"), "2\n").unwrap();
        assert_eq!(rx(&ports), 2, "a new interface of that name");
        assert_eq!(
            serde_json::to_string(&status).unwrap(),
            r#"{"master-lcore":0,"lcores":[0],"phy_ports":[{"id":0,"rx":17,"tx":0,"tx_drop":0,"eth":"02:00:00:00:00:01","nof_queues":{"rx":2,"tx":1}},{"id":1,"rx":0,"tx":0,"tx_drop":0,"eth":"","nof_queues":{"rx":0,"tx":0}}],"ring_ports":[],"pipes":[]}"#
        );
    }
}
