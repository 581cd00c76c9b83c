//! Builds the SPP part of the daemon from the configuration: recording processes and listeners.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use serde::Deserialize;
use serde_json::Value as Json;
use skylib::api::address::ServiceAddress;
use skylib::engine::Engine;
use skylib::spp::{PcapSpec, Ports, SecondaryServer, SppCtl};
use skylib::time::SystemClock;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::app::App;
use crate::config::Config;
use crate::server::{self, ListenerKind};

/// Running SPP part of the daemon.
pub(crate) struct Spp {
    /// Controller of the SPP processes.
    pub(crate) ctl: Arc<SppCtl>,
    /// Listener of the SPP API; `None` if only the main listener serves it.
    pub(crate) listener: Option<TcpListener>,
    /// Listener to which real SPP processes connect.
    _secondaries: Option<SecondaryServer>,
}

impl Spp {
    /// Serves the API until `stop` is set.
    pub(crate) async fn serve(self, app: Arc<App>, mut stop: watch::Receiver<bool>) {
        match self.listener {
            Some(listener) => server::serve(listener, ListenerKind::Spp, app, stop).await,
            // Meanwhile, the other listener remains open.
            None => drop(stop.wait_for(|stop| *stop).await),
        }
    }
}

/// Starts the configured parts; returns `None` if no `spp` key is set. If the API requires
/// passwords, the listener, which has no authentication, is opened only if it is configured.
///
/// # Errors
/// Returns an error if a setting is invalid or an address cannot be bound; the error names the key.
pub(crate) async fn start(
    config: &Config,
    engine: &Engine,
    has_passwords: bool,
) -> anyhow::Result<Option<Spp>> {
    let launch_root = config.text("spp.launch.root");
    let secondaries = config.address("spp.secondaries.listen");
    let pcaps = config.tree("spp.pcaps");
    let listen = config.address("spp.listen");
    let is_wanted = listen.is_some()
        || secondaries.is_some()
        || !launch_root.is_empty()
        || pcaps
            .and_then(Json::as_array)
            .is_some_and(|entries| !entries.is_empty());
    if !is_wanted && pcaps.is_none_or(Json::is_null) {
        return Ok(None);
    }
    let Settings { ports, specs } = Settings::read(config)?;
    let mut ctl = SppCtl::new(ports, Arc::new(SystemClock)).with_tap(engine.flow_tap());
    if !launch_root.is_empty() {
        ctl = ctl.with_launch_root(launch_root);
    }
    for (index, spec) in specs.into_iter().enumerate() {
        ctl.add(spec)
            .with_context(|| format!("spp.pcaps[{index}]"))?;
    }
    let listener = match listen {
        None if has_passwords => None,
        listen => Some(open_listener(listen).await?),
    };
    let ctl = Arc::new(ctl);
    let secondaries = secondaries
        .map(|address| {
            SecondaryServer::start(resolved(&address)?, Arc::clone(&ctl))
                .with_context(|| format!("spp.secondaries.listen: cannot listen on {address}"))
        })
        .transpose()?;
    if let Some(secondaries) = &secondaries {
        tracing::info!("accepting SPP processes at {}", secondaries.address());
    }
    Ok(Some(Spp {
        ctl,
        listener,
        _secondaries: secondaries,
    }))
}

/// Checks the settings without starting anything.
///
/// # Errors
/// Returns an error if a setting is invalid; the error names the key.
pub(crate) fn check(config: &Config) -> anyhow::Result<()> {
    Settings::read(config).map(drop)
}

/// Checked settings of the recording processes.
struct Settings {
    ports: Ports,
    specs: Vec<PcapSpec>,
}

impl Settings {
    fn read(config: &Config) -> anyhow::Result<Self> {
        let launch_root = config.text("spp.launch.root");
        if !launch_root.is_empty() && !Path::new(&launch_root).is_dir() {
            bail!("spp.launch.root: {launch_root} is not a folder");
        }
        Ok(Self {
            ports: ports(config.tree("spp.ports"))?,
            specs: specs(config.tree("spp.pcaps"))?,
        })
    }
}

/// Opens the listener of the SPP API at the configured address, or at [`DEFAULT_ADDRESS`].
async fn open_listener(address: Option<ServiceAddress>) -> anyhow::Result<TcpListener> {
    let address = match address {
        Some(address) => address,
        None => DEFAULT_ADDRESS
            .parse::<ServiceAddress>()
            .context("spp.listen")?,
    };
    server::listen("spp.listen", &address).await
}

/// Resolves a host name and returns its first socket address.
fn resolved(address: &ServiceAddress) -> anyhow::Result<SocketAddr> {
    let mut found = (address.host.as_str(), address.port).to_socket_addrs()?;
    found
        .next()
        .ok_or_else(|| anyhow!("cannot resolve {address}"))
}

/// Reads `{phy: [eth0, eth1], ring: {"0": br0}}`. Without `phy`, the network cards of this machine are
/// used.
fn ports(tree: Option<&Json>) -> anyhow::Result<Ports> {
    #[derive(Deserialize, Default)]
    #[serde(deny_unknown_fields)]
    struct PortsEntry {
        phy: Option<Vec<String>>,
        #[serde(default)]
        ring: std::collections::BTreeMap<String, String>,
    }

    let entry: PortsEntry = match tree {
        None | Some(Json::Null) => PortsEntry::default(),
        Some(tree) => serde_json::from_value(tree.clone())
            .context("spp.ports: expected phy: [interface…] and ring: {number: interface}")?,
    };
    let mut ports = match entry.phy {
        Some(phy) => Ports::new(phy),
        None => Ports::of_host(),
    };
    for (number, interface) in entry.ring {
        let number = number
            .parse()
            .map_err(|_| anyhow!("spp.ports.ring: {number} is not allowed; expected a number"))?;
        ports = ports.with_ring(number, interface);
    }
    Ok(ports)
}

/// Entry of `spp.pcaps`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PcapEntry {
    client_id: u8,
    port: String,
    cores: Option<Vec<u32>>,
    out_dir: Option<PathBuf>,
    fsize: Option<u64>,
    compress: Option<bool>,
    outgoing: Option<bool>,
    nanoseconds: Option<bool>,
    sync: Option<bool>,
    ring_bytes: Option<u32>,
    netns: Option<PathBuf>,
    flows: Option<bool>,
}

/// Reads and checks `spp.pcaps`.
fn specs(tree: Option<&Json>) -> anyhow::Result<Vec<PcapSpec>> {
    let entries = match tree {
        None | Some(Json::Null) => return Ok(Vec::new()),
        Some(Json::Array(entries)) => entries,
        Some(_) => bail!("spp.pcaps: expected a list"),
    };
    let mut specs: Vec<PcapSpec> = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let key = || format!("spp.pcaps[{index}]");
        let spec = PcapEntry::deserialize(entry)
            .map_err(anyhow::Error::from)
            .and_then(PcapEntry::spec)
            .with_context(key)?;
        spec.check().with_context(key)?;
        let id = spec.client_id;
        if let Some(former) = specs.iter().position(|former| former.client_id == id) {
            bail!(
                "spp.pcaps[{index}].client_id: {id} is already used by spp.pcaps[{former}]; choose another id"
            );
        }
        specs.push(spec);
    }
    Ok(specs)
}

impl PcapEntry {
    /// Returns the specification, with defaults for missing members.
    fn spec(self) -> anyhow::Result<PcapSpec> {
        let mut spec = PcapSpec::new(self.client_id, self.port.parse()?);
        if let Some(cores) = self.cores {
            spec = spec.with_cores(cores);
        }
        let set = |into: &mut bool, from: Option<bool>| *into = from.unwrap_or(*into);
        set(&mut spec.compressed, self.compress);
        set(&mut spec.outgoing, self.outgoing);
        set(&mut spec.nanoseconds, self.nanoseconds);
        set(&mut spec.synced, self.sync);
        set(&mut spec.flows, self.flows);
        spec.out_dir = self.out_dir.unwrap_or(spec.out_dir);
        spec.fsize = self.fsize.unwrap_or(spec.fsize);
        spec.ring_bytes = self.ring_bytes.unwrap_or(spec.ring_bytes);
        spec.netns = self.netns;
        Ok(spec)
    }
}

/// Default address of spp-ctl.
const DEFAULT_ADDRESS: &str = "127.0.0.1:7777";

#[cfg(test)]
mod tests {
    use super::*;

    fn of_yaml(text: &str) -> anyhow::Result<Vec<PcapSpec>> {
        specs(Some(&crate::config::yaml(text).unwrap()))
    }

    #[test]
    fn an_entry_overrides_the_defaults() {
        let specs = of_yaml(
            "- {client_id: 1, port: 'phy:0'}\n\
             - {client_id: 2, port: 'phy:1 nq 3', cores: [4, 6, 5], out_dir: /var/cap, fsize: 5000, \
                compress: false, outgoing: true, nanoseconds: true, sync: true, flows: true, \
                ring_bytes: 1048576, netns: /run/netns/blue}",
        )
        .unwrap();
        assert_eq!(specs[0], PcapSpec::new(1, "phy:0".parse().unwrap()));
        let second = &specs[1];
        assert_eq!((&second.cores[..], second.pinned), (&[4, 5, 6][..], true));
        assert_eq!((second.fsize, second.ring_bytes), (5000, 1 << 20));
        assert!(!second.compressed && second.outgoing && second.nanoseconds);
        assert!(second.synced && second.flows);
        assert_eq!(second.out_dir, Path::new("/var/cap"));
        assert_eq!(second.netns.as_deref(), Some(Path::new("/run/netns/blue")));
    }

    #[test]
    fn an_invalid_entry_is_named() {
        for (text, wanted) in [
            ("x", "expected a list"),
            ("[{port: 'phy:0'}]", "client_id"),
            ("[{client_id: 1}]", "port"),
            ("[{client_id: 1, port: eth0}]", "phy:0"),
            ("[{client_id: 1, port: 'phy:0', fsise: 5}]", "fsise"),
            ("[{client_id: 300, port: 'phy:0'}]", "300"),
            ("[{client_id: 0, port: 'phy:0'}]", "client"),
            ("[{client_id: 1, port: 'phy:0', cores: [0, 1]}]", "core"),
            ("[{client_id: 1, port: 'phy:0', cores: [1, 1, 2]}]", "core"),
            ("[{client_id: 1, port: 'phy:0', fsize: 10}]", "fsize"),
            ("[{client_id: 1, port: 'phy:0', ring_bytes: 1}]", "ring"),
            (
                "[{client_id: 1, port: 'phy:0'}, {client_id: 1, port: 'phy:1'}]",
                "spp.pcaps[1].client_id: 1 is already used by spp.pcaps[0]",
            ),
        ] {
            let error = format!("{:#}", of_yaml(text).unwrap_err());
            assert!(
                error.contains("spp.pcaps") && error.contains(wanted),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn ports_are_what_is_written() {
        let tree = crate::config::yaml("{phy: [a, b], ring: {'3': c}}").unwrap();
        assert_eq!(
            ports(Some(&tree)).unwrap(),
            Ports::new(["a", "b"]).with_ring(3, "c")
        );
        for text in ["[a]", "{phy: a}", "{ring: {x: c}}", "{vhost: [a]}"] {
            let tree = crate::config::yaml(text).unwrap();
            let error = format!("{:#}", ports(Some(&tree)).unwrap_err());
            assert!(error.contains("spp.ports"), "{text}: {error}");
        }
    }
}
