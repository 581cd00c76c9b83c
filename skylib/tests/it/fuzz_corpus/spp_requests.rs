//! Messages of SPP's clients and secondary processes.

use super::replay;

#[path = "../../../../fuzz/checks/spp.rs"]
mod spp;

#[test]
fn requests_and_replies_of_spp() {
    replay("spp", spp::check, &spp_seeds());
}

fn spp_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let launch = br#"{"client_id":"4","proc_name":"spp_pcap","eal":{"-l":"1-3","--proc-type":"x"},"app":{"-c":"phy:0"}}"#;
    let outside = br#"{"client_id":4,"proc_name":"spp_pcap","eal":{"-c":"0xe","--proc-type":"x"},"app":{"-c":"phy:0","--out-dir":"../../.."}}"#;
    let reply = br#"{"results":[{"result":"error","error_details":{"message":"Invalid value (command)"}}]}"#;
    let status =
        br#"{"results":[{"result":"success"}],"info":{"client-id":1,"status":"idle","core":[]}}"#;
    let seed = |kind: u8, body: &[u8]| [&[kind], body].concat();
    vec![
        ("start", seed(0, br#"{"action":"start"}"#)),
        (
            "no_action",
            seed(0, br#"{"action":["start"],"action":null}"#),
        ),
        ("launch", seed(1, launch)),
        ("launch_outside", seed(1, outside)),
        ("refusal", seed(2, reply)),
        ("status", seed(2, status)),
        ("array", seed(2, br#"[[{"result":"error"}],1,"pcap"]"#)),
        ("port", seed(3, b"phy:0 nq 1")),
        ("no_port", seed(3, "phy:\u{661} nq".as_bytes())),
    ]
}
