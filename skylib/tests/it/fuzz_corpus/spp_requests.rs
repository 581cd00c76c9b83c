//! Messages of SPP's clients and secondary processes.

use super::replay;

#[path = "../../../../fuzz/checks/spp.rs"]
mod spp;

#[path = "../../../../fuzz/checks/spp_secondary.rs"]
mod spp_secondary;

#[test]
fn pieces_of_replies() {
    let whole = br#"{"results":[{"result":"success"}],"client_id":3,"process_type":"pcap"}"#;
    let refusal = br#"{"results":[{"result":"error","error_details":{"message":"no"}}]}"#;
    let in_pieces = |size: u8, bytes: &[u8]| [&[size], bytes].concat();
    let seeds = [
        ("whole", in_pieces(255, whole)),
        ("bytes", in_pieces(1, whole)),
        ("zeros", in_pieces(9, b"{\0\"client_id\":5}\0\0")),
        ("refusal", in_pieces(20, refusal)),
        ("nonsense", in_pieces(4, b"nonsense")),
        ("two", in_pieces(200, b"{}{}")),
        ("blank", in_pieces(64, &[b' '; 300])),
    ];
    replay("spp_secondary", spp_secondary::check, &seeds);
}

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
