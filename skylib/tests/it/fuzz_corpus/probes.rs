//! What probes read: LLDP frames, and messages of services.

use super::replay;

#[path = "../../../../fuzz/checks/lldp.rs"]
mod lldp;

#[path = "../../../../fuzz/checks/service.rs"]
mod service;

#[test]
fn lldp_frames() {
    let header = b"\x01\x80\xc2\x00\x00\x0e\x02\x00\x11\x22\x33\x0a\x88\xcc";
    let mandatory = b"\x02\x07\x04\x02\x00\x11\x22\x33\x0a\x04\x06\x05Gi0/7\x06\x02\x00\x78";
    let values = b"\x08\x04port\x0a\x03lab\x0c\x02os\x10\x0c\x05\x01\xc6\x33\x64\x01\x02\0\0\0\x01\0\
        \xfe\x06\x00\x80\xc2\x01\x00\x0a\xfe\x06\x00\x12\x0f\x04\x05\xf2\xfe\x0b\x00\x80\xc2\x03\x00\x1e\x04blue\0\0";
    let all = [&header[..], mandatory, values].concat();
    let seeds = [
        ("mandatory", [&header[..], mandatory].concat()),
        ("cut", all[..all.len() - 9].to_vec()),
        ("all", all),
        ("header", header.to_vec()),
    ];
    replay("lldp", lldp::check, &seeds);
}

#[test]
fn messages_of_services() {
    let seed = |service: u8, size: u8, text: &str| [&[service, size], text.as_bytes()].concat();
    let update = r#"{"method":"update","id":null,"params":[null,{"Bridge":{"u":{"new":{"name":"br0","ports":["set",[["uuid","p"]]]}}}}]}"#;
    let schema = r#"{"id":"schema","error":null,"result":{"tables":{"Port":{"columns":{"tag":{}}}}}} {"method":"echo","id":"echo","params":[]}"#;
    let event = "{\"Type\":\"container\",\"Action\":\"start\",\"Actor\":{\"ID\":\"ab12\"}}\n";
    let container = r#"{"Id":"ab","Name":"/web","State":{"Status":"running","Pid":7},"Config":{"Labels":{"a":"b"}}}"#;
    let runc = r#"{"id":"c","init_process_pid":7,"config":{"labels":["bundle=/b"],"mounts":[{"source":"/h","destination":"/etc/hosts"}]}}"#;
    let rule = " cookie=0x1, table=2, priority=3,ip,nw_src=10.0.0.0/8 actions=ct(commit,nat(src=1.2.3.4)),set_field:02:00->eth_dst";
    let group =
        " group_id=7,type=select,bucket=bucket_id:0,weight:1,actions=output:1,bucket=actions=drop";
    let seeds = [
        ("ovsdb_update", seed(0, 255, update)),
        ("ovsdb_schema", seed(0, 7, schema)),
        ("event", seed(1, 9, event)),
        ("container", seed(2, 0, container)),
        ("runc", seed(2, 0, runc)),
        ("rule", seed(3, 0, rule)),
        ("group", seed(3, 0, group)),
        ("fabric", seed(3, 0, "A[x=1] --> [y=2] *[Type=host]/*[z=3]")),
        ("brackets", seed(0, 255, &"[{".repeat(300))),
    ];
    replay("service", service::check, &seeds);
}
