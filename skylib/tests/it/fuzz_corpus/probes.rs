//! What probes read: LLDP frames, and messages of services.

use super::replay;

#[cfg(feature = "engine")]
#[path = "../../../../fuzz/checks/kubernetes.rs"]
mod kubernetes;

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
    let lxd = r#"{"metadata":{"name":"web","type":"container","status":"Running","config":{"a":"b"},"devices":{"eth0":{"type":"nic"}}}}"#;
    let machine = "<domain><devices><interface type='hostdev'><mac address='a'/><source><address bus='0x03'/></source></interface></devices></domain>";
    let seeds = [
        ("lxd", seed(2, 0, lxd)),
        ("machine", seed(3, 0, machine)),
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

#[cfg(feature = "engine")]
#[test]
fn messages_of_the_kubernetes_api() {
    use skylib::topology::k8s::Kind;

    let lines = |messages: &[(Kind, &str)]| {
        let line = |(kind, text): &(Kind, &str)| {
            let mut kinds = Kind::ALL.iter().filter(|kind| kind.path().is_some());
            let number = kinds.position(|other| other == kind).unwrap();
            [&[number as u8], text.as_bytes(), b"\n"].concat()
        };
        messages.iter().flat_map(line).collect::<Vec<u8>>()
    };
    let namespace = r#"{"metadata":{"uid":"n","name":"a","labels":{"team":"x"}}}"#;
    let pod = r#"{"metadata":{"uid":"p","name":"web","namespace":"a","labels":{"app":"web"}},"spec":{"nodeName":"w1","containers":[{"name":"c","image":"i","envFrom":[{"secretRef":{"name":"s"}}]}],"volumes":[{"persistentVolumeClaim":{"claimName":"d"}}]},"status":{"phase":"Running","containerStatuses":[{"name":"c","containerID":"containerd://ab"}]}}"#;
    let set = format!(r#"{{"type":"ADDED","object":{pod}}}"#);
    let deleted = format!(r#"{{"type":"DELETED","object":{pod}}}"#);
    let list = format!(r#"{{"metadata":{{"resourceVersion":"7"}},"items":[{pod},{{}}]}}"#);
    let service = r#"{"metadata":{"uid":"s","name":"web","namespace":"a"},"spec":{"selector":{"app":"web"},"ports":[{"port":80,"targetPort":"http"}]}}"#;
    let secret = r#"{"metadata":{"uid":"x","name":"s","namespace":"a","annotations":{"a":"b"}},"type":"Opaque","data":{"k":"dg=="},"stringData":{"k":"v"}}"#;
    let policy = r#"{"metadata":{"uid":"np","name":"np","namespace":"b"},"spec":{"podSelector":{},"egress":[{"to":[{"namespaceSelector":{"matchExpressions":[{"key":"team","operator":"In","values":["x"]}]},"podSelector":{}}],"ports":[{"port":53,"protocol":"UDP"}]}]}}"#;
    let expired = r#"{"type":"ERROR","object":{"code":410,"message":"too old"}}"#;
    let seeds = [
        ("object", lines(&[(Kind::Pod, pod)])),
        (
            "events",
            lines(&[
                (Kind::Pod, &set),
                (Kind::Pod, &deleted),
                (Kind::Pod, expired),
            ]),
        ),
        (
            "list",
            lines(&[
                (Kind::Pod, &list),
                (Kind::Pod, r#"{"metadata":{},"items":[]}"#),
            ]),
        ),
        (
            "relations",
            lines(&[
                (Kind::Service, service),
                (Kind::Pod, pod),
                (Kind::Namespace, namespace),
                (Kind::NetworkPolicy, policy),
                (Kind::Secret, secret),
                (Kind::Node, r#"{"metadata":{"uid":"w","name":"w1"}}"#),
            ]),
        ),
        // One identifier for objects of different kinds.
        (
            "identifiers",
            lines(&[(Kind::Pod, pod), (Kind::Service, pod), (Kind::Node, pod)]),
        ),
        ("brackets", lines(&[(Kind::Pod, &"[{".repeat(300))])),
    ];
    replay("kubernetes", kubernetes::check, &seeds);
}
