//! Traffic and drops of interfaces for `/metrics`.

use std::collections::HashSet;
use std::sync::LazyLock;

use skylib::engine::{Engine, QueryOptions};
use skylib::gremlin::{Answer, Query};
use skylib::value::{Map, Value};

use crate::prometheus::{MetricKind, MetricsPage};
use crate::queries::Interrupt;

/// Maximum number of interfaces on a page, which bounds the number of series.
const MAX_INTERFACES: usize = 1_000;

/// Query for the interfaces with most received bytes; one more than are shown.
static INTERFACES: LazyLock<Option<Query>> = LazyLock::new(|| {
    let keys: Vec<String> = FAMILIES
        .iter()
        .flat_map(|(.., keys)| keys)
        .map(|key| format!("'Metric.{key}'"))
        .collect();
    let limit = MAX_INTERFACES + 1;
    let text = format!(
        "G.V().Has('Metric.RxBytes', Gte(0)).Sort(DESC, 'Metric.RxBytes').Limit({limit})\
         .ValueMap('Name', {}).Qualified()",
        keys.join(", ")
    );
    Query::parse(&text).ok()
});

/// Name and help text of each family, and the keys of received and sent values.
const FAMILIES: [(&str, &str, [&str; 2]); 4] = [
    (
        "skyd_interface_bytes_total",
        "Bytes received and sent by each interface, by direction, as counted by the kernel.",
        ["RxBytes", "TxBytes"],
    ),
    (
        "skyd_interface_packets_total",
        "Packets received and sent by each interface, by direction, as counted by the kernel.",
        ["RxPackets", "TxPackets"],
    ),
    (
        "skyd_interface_packets_dropped_total",
        "Packets that the kernel dropped at each interface, by direction.",
        ["RxDropped", "TxDropped"],
    ),
    (
        "skyd_interface_errors_total",
        "Packets with errors at each interface, by direction, as counted by the kernel.",
        ["RxErrors", "TxErrors"],
    ),
];

/// Returns the interfaces as objects of names and counters.
pub(super) fn collect(engine: &Engine, stop: &Interrupt) -> Vec<Value> {
    let interrupt = || stop.is_set();
    let options = QueryOptions::default().with_interrupt(&interrupt);
    let Some(query) = &*INTERFACES else {
        return Vec::new();
    };
    match engine.run(query, options) {
        Ok(Answer::Value(value)) => value.as_list().unwrap_or_default().to_vec(),
        _ => Vec::new(),
    }
}

/// Writes the counters of interfaces, at most [`MAX_INTERFACES`].
pub(super) fn write(page: &mut MetricsPage, interfaces: &[Value]) {
    // Series must differ: of two interfaces with the same names, only the first is shown.
    let mut seen = HashSet::new();
    let shown: Vec<&Map> = interfaces
        .iter()
        .filter_map(Value::as_map)
        .filter(|interface| seen.insert(labels(interface)))
        .take(MAX_INTERFACES)
        .collect();
    for (name, help, keys) in FAMILIES {
        let mut family = page.family(MetricKind::Counter, name, help);
        for interface in &shown {
            let [host, namespace, interface_name] = labels(interface);
            for (direction, key) in ["receive", "transmit"].into_iter().zip(keys) {
                let key = format!("Metric.{key}");
                if let Some(value) = interface.get(&key).and_then(Value::to_int) {
                    let labels = [
                        ("host", host),
                        ("namespace", namespace),
                        ("interface", interface_name),
                        ("direction", direction),
                    ];
                    family.sample(&labels, value);
                }
            }
        }
    }
    page.gauge(
        "skyd_interfaces_omitted",
        "1 if interfaces are omitted because of the limit of 1000 per scrape, 0 otherwise.",
        u8::from(interfaces.len() > MAX_INTERFACES),
    );
}

/// Returns the host, the namespace, and the name of an interface.
fn labels(interface: &Map) -> [&str; 3] {
    ["Host", "Namespace", "Name"].map(|key| {
        let value = interface.get(key).and_then(Value::as_text);
        value.unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_interface_has_one_series_per_counter_and_direction() {
        let interface = |namespace: &str, bytes: i64| {
            let map = Map::new()
                .with("Name", "eth0")
                .with("Namespace", namespace)
                .with("Metric.RxBytes", bytes)
                .with("Metric.TxDropped", 3);
            Value::from(map)
        };
        let mut page = MetricsPage::default();
        write(
            &mut page,
            &[interface("web", 7), interface("db", 5), interface("web", 1)],
        );
        let text = page.into_text();
        let series = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(series(&text), 5, "{text}");
        let line = r#"skyd_interface_bytes_total{host="",namespace="web",interface="eth0",direction="receive"} 7"#;
        assert!(text.contains(line), "{text}");
        let mut page = MetricsPage::default();
        let many: Vec<Value> = (0..1_500).map(|i| interface(&i.to_string(), i)).collect();
        write(&mut page, &many);
        let text = page.into_text();
        assert_eq!(series(&text), 2 * MAX_INTERFACES + 1);
        assert!(text.contains("skyd_interfaces_omitted 1"));
        assert!(INTERFACES.is_some());
    }
}
