//! Tests on captures outside the repository, in `SHARED_PCAP` or else in `shared/pcap` next to it.
//!
//! They are ignored by default; `make test` runs them if the folder exists.

use std::path::PathBuf;

use serde_json::json;

use crate::client::query;
use crate::daemon::Daemon;
use crate::pcap::upload;

/// The recorded scenario `pcap-upload`, with the capture it names.
#[test]
#[ignore = "needs captures: SHARED_PCAP or ../shared/pcap"]
fn scenario_pcap_upload() {
    let folder = std::env::var_os("SHARED_PCAP").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/pcap"),
        PathBuf::from,
    );
    let path = folder.join("eth-ip4-arp-dns-req-http-google.pcap");
    let file = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let daemon = Daemon::start();
    assert_eq!(upload(&daemon, &file).status, 202);
    let flows = query(
        &daemon,
        "G.At(1454659514).Flows().Has('Application', 'DNS')",
    );
    assert_eq!(flows.as_array().unwrap().len(), 2, "{flows}");
    for flow in flows.as_array().unwrap() {
        assert_eq!(
            (&flow["FinishType"], flow.get("NodeTID")),
            (&json!(1), None),
            "{flow}"
        );
        assert_eq!(
            flow["LastUpdateMetric"]["ABBytes"], flow["Metric"]["ABBytes"],
            "{flow}"
        );
    }
}
