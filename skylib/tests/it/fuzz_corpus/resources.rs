//! Bodies of resources and their patches.

use super::replay;

#[path = "../../../../fuzz/checks/resource.rs"]
mod resource;

#[path = "../../../../fuzz/checks/patch.rs"]
mod patch;

#[test]
fn patches_of_large_documents() {
    let texts = [
        (
            0,
            "wide",
            r#"[{"op":"replace","path":"/Metadata/k5/a","value":{"b":[1,2]}}]"#.to_owned(),
        ),
        (
            0,
            "move",
            r#"[{"op":"move","from":"/Metadata","path":"/ID"}]"#.to_owned(),
        ),
        (
            1,
            "deeper",
            r#"[{"op":"copy","from":"/a","path":"/a/a/a/x"}]"#.to_owned(),
        ),
        (
            2,
            "insert",
            r#"[{"op":"add","path":"/Metadata/L/0","value":"\u0000"}]"#.to_owned(),
        ),
        (3, "copies", copies(40)),
        (2, "doubling", doubling(20)),
        (3, "no_list", "{}".to_owned()),
    ];
    let seeds = texts.map(|(kind, name, text)| (name, [&[kind], text.as_bytes()].concat()));
    replay("patch", patch::check, &seeds);
}

/// Returns a patch that copies a list into itself repeatedly.
fn doubling(count: usize) -> String {
    let copy = r#"{"op":"copy","from":"/Metadata/M","path":"/Metadata/M/-"}"#;
    format!("[{}]", vec![copy; count].join(","))
}

/// Returns a patch that copies a long string.
fn copies(count: usize) -> String {
    let copy = |n| format!(r#"{{"op":"copy","from":"/Metadata/A","path":"/Metadata/c{n}"}}"#);
    format!("[{}]", (0..count).map(copy).collect::<Vec<_>>().join(","))
}

#[test]
fn bodies_and_patches() {
    replay("resource", resource::check, &seeds());
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let written = SEEDS
        .iter()
        .map(|(name, text)| (*name, text.as_bytes().to_vec()));
    let deep = format!(
        r#"n{{"Action":"update","Metadata":{}1{}}}"#,
        r#"{"a":"#.repeat(200),
        "}".repeat(200)
    );
    let doubling =
        r#"{"op":"copy","from":"/Parameters","path":"/Parameters/0/Default"},"#.repeat(30);
    let doubling = format!(
        "w{{\"Name\":\"x\",\"Parameters\":[{{}}]}}\n[{}]",
        doubling.trim_end_matches(',')
    );
    written
        .chain([
            ("deep", deep.into_bytes()),
            ("doubling", doubling.into_bytes()),
        ])
        .collect()
}

/// Kind, body, and, after a line feed, a patch.
const SEEDS: &[(&str, &str)] = &[
    (
        "alert",
        "a{\"Expression\":\"G.V()\",\"Action\":\"http://h\",\"Trigger\":\"duration:5s\"}\n\
         [{\"op\":\"add\",\"path\":\"/Name\",\"value\":\"n\"},{\"op\":\"remove\",\"path\":\"/Action\"}]",
    ),
    (
        "alert_idle",
        "a{\"Expression\":\"x\"}\n[{\"op\":\"test\",\"path\":\"/Expression\",\"value\":\"x\"},\
         {\"op\":\"replace\",\"path\":\"/UUID\",\"value\":\"u\"}]",
    ),
    (
        "alert_refused",
        "a{\"Expression\":\"x\"}\n[{\"op\":\"move\",\"from\":\"/Expression\",\"path\":\"/Name\"}]",
    ),
    (
        "capture",
        "c{\"GremlinQuery\":\"G.V()\",\"ExtraLayers\":7,\"Count\":5,\"Type\":\"pcap\"}\n[]",
    ),
    (
        "edge",
        "E{\"ID\":\"e\",\"Parent\":\"a\",\"Child\":\"b\",\"Metadata\":{\"RelationType\":\"x\"}}",
    ),
    (
        "edge_rule",
        "e{\"Src\":\"G.V()\",\"Dst\":\"G.V()\",\"Metadata\":{\"RelationType\":\"x\",\"L\":[1,2.5,null]}}\n[]",
    ),
    (
        "injection",
        "i{\"Type\":\"tcp6\",\"SrcIP\":\"::1/64\",\"DstMAC\":\"0200.0000.000a\",\"Pcap\":\"AAEC\",\"TTL\":64,\
         \"StartTime\":\"2030-01-02T03:04:05.6+07:00\"}\n[]",
    ),
    (
        "node",
        "N{\"id\":\"n\",\"ID\":\"m\",\"Metadata\":{\"Name\":\"n\",\"Type\":\"t\",\"F\":1.0,\"B\":1e300},\
         \"CreatedAt\":null,\"DeletedAt\":5} trailing",
    ),
    (
        "node_rule",
        "n{\"action\":\"create\",\"ACTION\":\"update\",\"Query\":\"G.V()\",\"Metadata\":{\"a\":{\"b\":[]}}}\n[]",
    ),
    (
        "workflow",
        "w{\"Name\":\"x\",\"Parameters\":[{\"name\":\"p\",\"Default\":[1e5,18446744073709551615],\
         \"Values\":[{\"Value\":\"v\"}]}]}\n\
         [{\"op\":\"add\",\"path\":\"/Parameters/-\",\"value\":{}},\
         {\"op\":\"copy\",\"from\":\"/Parameters/0\",\"path\":\"/Parameters/0\"}]",
    ),
];
