//! Options of flow tables and readers, as Python passes them.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use skylib::capture::BpfFilter;
use skylib::flow::{ApplicationPorts, ExtraLayers, FlowTableOptions, KeyIgnore, LayerKeyMode};
use skylib::go_duration;
use skylib::packet::LinkType;

/// Options of a flow table.
pub(crate) struct TableOptions<'a> {
    pub(crate) layer_key: &'a str,
    pub(crate) expire: Option<Seconds>,
    pub(crate) update: Option<Seconds>,
    pub(crate) ports: &'a str,
    pub(crate) raw_packets: u32,
    pub(crate) extra_layer: Option<LayerNames>,
    pub(crate) extra_tcp_metric: bool,
    pub(crate) extra_rtt_metric: bool,
    pub(crate) ip_defrag: bool,
    pub(crate) reassemble_tcp: bool,
    pub(crate) max_bytes: usize,
    pub(crate) recorded: bool,
    pub(crate) key_ignore: &'a str,
}

impl TableOptions<'_> {
    /// Returns the options of the library. An invalid value raises `ValueError`.
    pub(crate) fn parse(self) -> PyResult<FlowTableOptions> {
        let Ok(mode) = self.layer_key.parse::<LayerKeyMode>() else {
            return invalid(format!(
                "layer_key must be L2 or L3, not {}",
                self.layer_key
            ));
        };
        if self.raw_packets > MAX_RAW_PACKETS {
            return invalid(format!(
                "raw_packets must be 0 to {MAX_RAW_PACKETS}, not {}",
                self.raw_packets
            ));
        }
        let layers = self
            .extra_layer
            .map_or(Ok(ExtraLayers::NONE), LayerNames::parse)?;
        let mut options = FlowTableOptions::default()
            .with_layer_key_mode(mode)
            .with_application_ports(parse::<ApplicationPorts>(self.ports)?)
            .with_raw_packet_limit(self.raw_packets)
            .with_extra_layers(layers)
            .with_extra_tcp_metric(self.extra_tcp_metric)
            .with_extra_rtt_metric(self.extra_rtt_metric)
            .with_ip_defrag(self.ip_defrag)
            .with_reassemble_tcp(self.reassemble_tcp)
            .with_recorded(self.recorded)
            .with_key_ignore(parse::<KeyIgnore>(self.key_ignore)?)
            .with_final_only(self.update.is_none())
            .with_max_entries(usize::MAX)
            .with_max_bytes(self.max_bytes);
        if let Some(expire) = self.expire {
            options = options.with_expiry_interval(expire.parse("expire")?);
        }
        if let Some(update) = self.update {
            options = options.with_update_interval(update.parse("update")?);
        }
        Ok(options)
    }
}

/// Compiles a packet filter.
pub(crate) fn filter(text: &str) -> PyResult<BpfFilter> {
    BpfFilter::parse(text).map_err(|error| PyValueError::new_err(error.to_string()))
}

/// Returns a `ValueError`.
pub(crate) fn invalid<T>(text: String) -> PyResult<T> {
    Err(PyValueError::new_err(text))
}

/// Parses an option; an invalid value raises `ValueError`.
pub(crate) fn parse<T: FromStr>(text: &str) -> PyResult<T>
where
    T::Err: Display,
{
    text.parse()
        .map_err(|error: T::Err| PyValueError::new_err(error.to_string()))
}

/// Link type as given in Python.
#[derive(FromPyObject)]
pub(crate) enum NumberOrName {
    Number(u16),
    Name(String),
}

impl NumberOrName {
    /// Returns the link type.
    pub(crate) fn parse(self) -> PyResult<LinkType> {
        match self {
            Self::Number(number) => Ok(LinkType(number)),
            Self::Name(name) => parse(&name),
        }
    }
}

/// Duration as given in Python: seconds, or a string with units.
#[derive(FromPyObject)]
pub(crate) enum Seconds {
    Number(f64),
    Text(String),
}

impl Seconds {
    /// Returns whether the duration is zero.
    pub(crate) fn is_zero(&self) -> bool {
        match self {
            Self::Number(seconds) => *seconds == 0.0,
            Self::Text(text) => go_duration::parse(text).is_ok_and(|duration| duration.is_zero()),
        }
    }

    /// Returns the duration; `option` is the name of the option for errors.
    pub(crate) fn parse(self, option: &str) -> PyResult<Duration> {
        let duration = match &self {
            Self::Number(seconds) => Duration::try_from_secs_f64(*seconds).ok(),
            Self::Text(text) => go_duration::parse(text).ok(),
        };
        match duration.filter(|duration| !duration.is_zero()) {
            Some(duration) => Ok(duration),
            None => invalid(format!(
                "{option} must be greater than zero, in seconds or a string such as 90s or 5m"
            )),
        }
    }
}

/// Names of extra layers: a comma-separated string, or a list of strings.
#[derive(FromPyObject)]
pub(crate) enum LayerNames {
    Text(String),
    List(Vec<String>),
}

impl LayerNames {
    /// Returns the set of layers.
    pub(crate) fn parse(self) -> PyResult<ExtraLayers> {
        let names = match self {
            Self::Text(names) => names.split(',').map(str::to_owned).collect(),
            Self::List(names) => names,
        };
        let mut layers = ExtraLayers::NONE;
        for name in names {
            layers = layers.with(ExtraLayers::parse(name.trim()).ok_or_else(|| {
                PyValueError::new_err(format!(
                    "extra_layer must be DNS, DHCPv4, VRRP, or all, not {name}"
                ))
            })?);
        }
        Ok(layers)
    }
}

/// Maximum number of packets stored with a flow, as for captures.
const MAX_RAW_PACKETS: u32 = 10;
