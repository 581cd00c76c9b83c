//! Reads the settings of the collectors of flow exports: `pipes.in`.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use serde::Deserialize;
use serde_json::Value;
use skylib::api::address::ServiceAddress;
use skylib::engine::{AllowedNetwork, CollectorOptions};

use crate::config::Config;

/// Returns the configured collectors.
///
/// # Errors
/// Returns an error that names the key if a setting is invalid.
pub(crate) fn collectors(config: &Config) -> anyhow::Result<Vec<CollectorOptions>> {
    let entries = match config.tree(KEY) {
        None | Some(Value::Null) => Vec::new(),
        // The short form: an address.
        Some(Value::String(listen)) if listen.is_empty() => Vec::new(),
        Some(Value::String(listen)) => vec![Entry {
            listen: listen.clone(),
            ..Entry::default()
        }],
        Some(Value::Number(port)) => vec![Entry {
            listen: port.to_string(),
            ..Entry::default()
        }],
        Some(list @ Value::Array(_)) => serde_json::from_value::<Vec<EntryForm>>(list.clone())
            .with_context(|| format!("{KEY}: expected addresses or {{listen: ADDRESS, …}}"))?
            .into_iter()
            .map(EntryForm::entry)
            .collect(),
        Some(_) => bail!("{KEY}: expected an address, or a list of {{listen: ADDRESS, …}}"),
    };
    let timeout = config.duration("pipes.node_timeout");
    let options = |(index, entry): (usize, Entry)| {
        let options = entry.options(timeout);
        options.with_context(|| format!("{KEY}[{index}]"))
    };
    entries.into_iter().enumerate().map(options).collect()
}

const KEY: &str = "pipes.in";

/// An entry of the list, in one of its two forms.
#[derive(Deserialize)]
#[serde(untagged)]
enum EntryForm {
    Address(String),
    Full(Box<Entry>),
}

/// Settings of one collector.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    listen: String,
    allow: Option<Vec<String>>,
    receive_buffer: Option<Value>,
    #[serde(default)]
    scale: bool,
    #[serde(default)]
    sampling: Sampling,
    #[serde(default)]
    names: Names,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sampling {
    default: Option<u64>,
    #[serde(default)]
    exporters: HashMap<IpAddr, u64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Names {
    #[serde(default)]
    exporters: HashMap<IpAddr, String>,
    #[serde(default)]
    interfaces: HashMap<IpAddr, HashMap<u32, String>>,
}

impl EntryForm {
    fn entry(self) -> Entry {
        match self {
            Self::Address(listen) => Entry {
                listen,
                ..Entry::default()
            },
            Self::Full(entry) => *entry,
        }
    }
}

impl Entry {
    fn options(self, node_timeout: Duration) -> anyhow::Result<CollectorOptions> {
        let mut options = CollectorOptions::new(resolve(&self.listen)?);
        let networks = self.allow.map(|networks| {
            let parsed = networks.iter().map(|network| parse_network(network));
            parsed.collect::<anyhow::Result<Vec<_>>>()
        });
        options.allow = networks.transpose().context("allow")?;
        if let Some(size) = &self.receive_buffer {
            let error = || anyhow!("receive_buffer: {size} is not a size such as 8MiB");
            options.receive_buffer = Config::size_of(size).ok_or_else(error)?;
        }
        options.scale = self.scale;
        options.default_rate = self.sampling.default.filter(|rate| *rate > 0);
        options.rates = self.sampling.exporters;
        options.names = self.names.exporters;
        let interfaces = self.names.interfaces.into_iter();
        options.interface_names = interfaces
            .flat_map(|(exporter, names)| {
                let named = names.into_iter();
                named.map(move |(index, name)| ((exporter, index), name))
            })
            .collect();
        options.node_timeout = node_timeout;
        Ok(options)
    }
}

/// Returns the socket address of a host and a port; a port alone means all addresses of the machine.
fn resolve(listen: &str) -> anyhow::Result<SocketAddr> {
    let text = listen.trim();
    if let Ok(port) = text.trim_start_matches(':').parse::<u16>() {
        return Ok(SocketAddr::from(([0, 0, 0, 0], port)));
    }
    let address: ServiceAddress = text.parse().context("listen")?;
    let mut found = (address.host.as_str(), address.port)
        .to_socket_addrs()
        .with_context(|| format!("listen: cannot resolve {text}"))?;
    found
        .next()
        .with_context(|| format!("listen: {text} has no address"))
}

fn parse_network(text: &str) -> anyhow::Result<AllowedNetwork> {
    let whole = match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => format!("{text}/32"),
        Ok(IpAddr::V6(_)) => format!("{text}/128"),
        Err(_) => text.to_owned(),
    };
    whole
        .parse()
        .map(AllowedNetwork::V4)
        .or_else(|_| whole.parse().map(AllowedNetwork::V6))
        .with_context(|| format!("{text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> anyhow::Result<Vec<CollectorOptions>> {
        collectors(&Config::parse("skyd.yml", yaml)?)
    }

    #[test]
    fn short_and_full_forms_are_read() {
        assert!(read("").unwrap().is_empty());
        let listen = |yaml: &str| -> Vec<String> {
            let all = read(yaml).unwrap();
            all.iter()
                .map(|options| options.listen.to_string())
                .collect()
        };
        assert_eq!(listen("pipes: {in: '127.0.0.1:2055'}"), ["127.0.0.1:2055"]);
        assert_eq!(listen("pipes: {in: 2055}"), ["0.0.0.0:2055"]);
        let list = "pipes: {in: ['[::1]:2055', {listen: '127.0.0.1:6343'}]}";
        assert_eq!(listen(list), ["[::1]:2055", "127.0.0.1:6343"]);
        let full = r"
            pipes:
              node_timeout: 1h
              in:
              - listen: 127.0.0.1:2055
                allow: [192.0.2.0/24, 2001:db8::1]
                receive_buffer: 1MiB
                scale: true
                sampling: {default: 10, exporters: {192.0.2.7: 1000}}
                names: {exporters: {192.0.2.7: core1}, interfaces: {192.0.2.7: {3: uplink}}}";
        let options = &read(full).unwrap()[0];
        let exporter: IpAddr = "192.0.2.7".parse().unwrap();
        assert!(options.allows(exporter) && options.allows("2001:db8::1".parse().unwrap()));
        assert!(!options.allows("10.0.0.1".parse().unwrap()));
        assert_eq!((options.receive_buffer, options.scale), (1 << 20, true));
        assert_eq!(
            (options.default_rate, options.rates[&exporter]),
            (Some(10), 1_000)
        );
        assert_eq!(options.names[&exporter], "core1");
        assert_eq!(options.interface_names[&(exporter, 3)], "uplink");
        assert_eq!(options.node_timeout, Duration::from_secs(3_600));
    }

    #[test]
    fn mistakes_name_the_key() {
        for (yaml, wanted) in [
            (
                "pipes: {in: [{listen: '127.0.0.1:1', color: red}]}",
                "pipes.in: expected",
            ),
            ("pipes: {in: {listen: 1}}", "pipes.in: expected an address"),
            ("pipes: {in: ['nowhere:port']}", "pipes.in[0]: listen"),
            (
                "pipes: {in: [{listen: '1', allow: [x]}]}",
                r#"pipes.in[0]: allow: "x""#,
            ),
            (
                "pipes: {in: [{listen: '1', receive_buffer: x}]}",
                "pipes.in[0]: receive_buffer",
            ),
        ] {
            let error = format!("{:#}", read(yaml).unwrap_err());
            assert!(error.starts_with(wanted), "{yaml}: {error}");
        }
    }
}
