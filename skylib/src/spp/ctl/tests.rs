use super::*;
use crate::spp::tests::folder;
use crate::time::SystemClock;

fn ctl() -> SppCtl {
    SppCtl::new(Ports::new(["nothing"]), Arc::new(SystemClock))
}

fn spec(id: u8) -> PcapSpec {
    PcapSpec::new(id, "phy:0".parse().unwrap())
}

#[test]
fn ids_are_numbers_however_they_are_written() {
    let ctl = ctl();
    ctl.add(spec(12)).unwrap();
    for id in ["12", "0012"] {
        assert!(ctl.pcap(id).unwrap().get().contains(r#""client-id":12"#));
    }
    for (id, shown) in [
        ("0", "0"),
        ("-0", "0"),
        ("-12", "-12"),
        ("-00", "0"),
        ("268", "268"),
    ] {
        let error = ctl.pcap(id).unwrap_err();
        assert_eq!(error.to_string(), format!("sec_id {shown} not found."));
    }
    let huge = "9".repeat(5_000);
    assert_eq!(
        ctl.pcap(&huge).unwrap_err().to_string(),
        format!("sec_id {huge} not found.")
    );
}

#[test]
fn processes_are_listed_in_order_and_ids_are_unique() {
    let ctl = ctl();
    for id in [9, 2] {
        ctl.add(spec(id)).unwrap();
    }
    assert!(matches!(ctl.add(spec(9)), Err(SppError::IdInUse(9))));
    assert!(matches!(ctl.add(spec(0)), Err(SppError::Spec(_))));
    let json = serde_json::to_string(&ctl.processes()).unwrap();
    assert_eq!(
        json,
        r#"[{"type":"pcap","client-id":9},{"type":"pcap","client-id":2}]"#
    );
    ctl.delete("9").unwrap();
    ctl.add(spec(9)).unwrap();
    let json = serde_json::to_string(&ctl.cpu_usage()).unwrap();
    assert!(
        json.contains(r#"{"proc-type":"pcap","client-id":2,"master-lcore":1,"lcores":[1,2,3]}"#)
    );
    assert_eq!(ctl.instances().len(), 2);
    assert!(ctl.stop(Duration::ZERO), "none of them ran");
}

#[test]
fn an_idle_instance_looks_as_spp_shows_it() {
    let ctl = ctl();
    ctl.add(spec(1).with_cores(vec![5, 9, 7, 8])).unwrap();
    assert_eq!(
        ctl.pcap("1").unwrap().get(),
        concat!(
            r#"{"client-id":1,"status":"idle","master-lcore":5,"core":[{"core":7,"role":"receive","#,
            r#""rx_port":[{"port":"phy:0"}]},{"core":8,"role":"write","filename":""},"#,
            r#"{"core":9,"role":"write","filename":""}],"#,
            r#""stats":{"rx":0,"written":0,"drop":0,"files":0},"#,
            r#""totals":{"rx":0,"written":0,"drop":0,"files":0},"interface":"nothing"}"#
        )
    );
}

#[test]
fn the_id_is_checked_before_the_body() {
    let ctl = ctl();
    assert_eq!(
        ctl.capture("1", b"{bad").unwrap_err().to_string(),
        "sec_id 1 not found."
    );
    assert_eq!(
        ctl.launch(b"{}").unwrap_err().to_string(),
        "key(client_id) required."
    );
    let launch =
        br#"{"client_id":"4","proc_name":"spp_pcap","eal":{"-l":"1-3"},"app":{"-c":"phy:0"}}"#;
    assert!(matches!(ctl.launch(launch), Err(SppError::NoPrimary)));
    assert!(matches!(ctl.primary_status(), Err(SppError::NoPrimary)));
}

#[test]
fn the_virtual_primary_launches_instances() {
    let root = folder("primary");
    let ctl = ctl().with_launch_root(root.path());
    let launch = br#"{"client_id":"4","proc_name":"spp_pcap",
        "eal":{"-l":"1,2,3","--proc-type":"secondary"},"app":{"--client-id":"4","-c":"phy:0"}}"#;
    ctl.launch(launch).unwrap();
    assert!(matches!(ctl.launch(launch), Err(SppError::IdInUse(4))));
    let json = serde_json::to_string(&ctl.processes()).unwrap();
    assert_eq!(
        json,
        r#"[{"type":"primary"},{"type":"pcap","client-id":4}]"#
    );
    assert_eq!(ctl.primary_status().unwrap().phy_ports.len(), 1);
    assert!(ctl.clear_primary().is_ok());
    ctl.delete("4").unwrap();
    ctl.launch(launch).unwrap();
}

#[test]
fn what_is_launched_cannot_take_all_memory() {
    let root = folder("rings");
    let ctl = ctl().with_launch_root(root.path());
    let launch = |id: u8, cores: &str| {
        let body = serde_json::json!({
            "client_id": id, "proc_name": "spp_pcap",
            "eal": {"-l": cores, "--proc-type": "secondary"}, "app": {"-c": "phy:0"},
        });
        ctl.launch(body.to_string().as_bytes())
    };
    launch(1, "1-66").unwrap();
    launch(2, "1-66").unwrap();
    let refusal = launch(3, "1-3").unwrap_err().to_string();
    assert!(
        refusal.contains("1032 MiB, more than the limit of 1024 MiB"),
        "{refusal}"
    );
    ctl.delete("2").unwrap();
    for id in 2..=65 {
        launch(id, "1-3").unwrap();
    }
}

#[test]
fn what_is_deleted_does_not_start_any_more() {
    let ctl = ctl();
    ctl.add(spec(1)).unwrap();
    // A request finds the process before another request deletes it.
    let found = ctl.instances().remove(0);
    assert!(matches!(
        found.start(),
        Err(SppError::PortNotAvailable { .. })
    ));
    ctl.delete("1").unwrap();
    assert!(matches!(found.start(), Err(SppError::NoProcess(_))));
}
