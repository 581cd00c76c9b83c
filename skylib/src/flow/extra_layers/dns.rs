//! Conversion of DNS messages to [`DnsLayer`] records.

use std::borrow::Cow;

use prost::bytes::Bytes;

use super::records::{
    DnsLayer, DnsMx, DnsOpt, DnsQuestion, DnsRecord, DnsSoa, DnsSrv, DnsTimestamp,
};
use crate::decode::{DnsData, DnsMessage, DnsQuery, DnsResource};
use crate::time::Timestamp;
use crate::value::Text;

/// Returns the record of a message captured at `seen`, or the readable part of a truncated message.
/// `None` if the header is incomplete.
///
/// With `recorded`, numbers for which Skydive has no name become `Unknown`, and records of types
/// that are not parsed are omitted.
pub(super) fn layer(bytes: &[u8], seen: Timestamp, recorded: bool) -> Option<DnsLayer> {
    let mut message = DnsMessage::new(bytes)?;
    let flags = message.flags();
    let has = |bit: u16| flags & bit != 0;
    let [questions, answers, authorities, additionals] = message.counts();
    let texts = Names { recorded };
    let questions_read = (0..questions)
        .map_while(|_| message.question().map(|query| texts.question(query)))
        .collect();
    let mut extended = 0;
    let mut records = |count: u16| -> Vec<DnsRecord> {
        (0..count)
            .map_while(|_| message.record())
            .inspect(|record| {
                // The OPT record holds the upper bits of the response code (RFC 6891, section
                // 6.1.3).
                if record.kind == TYPE_OPT && !recorded {
                    extended = record.ttl >> 24;
                }
            })
            .filter_map(|record| texts.record(record))
            .collect()
    };
    let (answers_read, authorities_read) = (records(answers), records(authorities));
    let additionals_read = records(additionals);
    let code = u32::from(flags & 0xf) | extended << 4;
    Some(DnsLayer {
        id: message.id().into(),
        qr: has(0x8000),
        op_code: operation(flags >> 11 & 0xf).into(),
        aa: has(0x0400),
        tc: has(0x0200),
        rd: has(0x0100),
        ra: has(0x0080),
        z: u32::from(flags >> 4 & 7),
        response_code: texts.response_code(code),
        qd_count: questions.into(),
        an_count: answers.into(),
        ns_count: authorities.into(),
        ar_count: additionals.into(),
        questions: questions_read,
        answers: answers_read,
        authorities: authorities_read,
        additionals: additionals_read,
        timestamp: Some(timestamp(seen)),
    })
}

/// Returns the response code of a message, including its upper bits in an OPT record, and the name
/// of the code.
pub(in crate::flow) fn response_code_of(bytes: &[u8]) -> Option<(u32, Text)> {
    let mut message = DnsMessage::new(bytes)?;
    let [questions, rest @ ..] = message.counts();
    let mut code = u32::from(message.flags() & 0xf);
    (0..questions)
        .map_while(|_| message.question())
        .for_each(drop);
    let count: u32 = rest.into_iter().map(u32::from).sum();
    let mut records = (0..count).map_while(|_| message.record());
    if let Some(options) = records.find(|record| record.kind == TYPE_OPT) {
        code |= options.ttl >> 24 << 4;
    }
    Some((code, Names { recorded: false }.response_code(code)))
}

/// Returns the name of a record type.
pub(in crate::flow) fn type_text(number: u16) -> Text {
    Names { recorded: false }.kind(number)
}

/// Conversion of protocol numbers to names.
#[derive(Clone, Copy)]
struct Names {
    /// Whether numbers for which Skydive has no name become `Unknown`.
    recorded: bool,
}

impl Names {
    /// Returns the record of a question.
    fn question(self, query: DnsQuery) -> DnsQuestion {
        DnsQuestion {
            name: query.name.into(),
            kind: self.kind(query.kind),
            class: self.class(query.class),
        }
    }

    /// Returns the record of a resource; with `recorded`, `None` if the type is not parsed.
    fn record(self, resource: DnsResource<'_>) -> Option<DnsRecord> {
        let mut record = DnsRecord {
            name: resource.name.into(),
            kind: self.kind(resource.kind),
            class: self.class(resource.class),
            ttl: resource.ttl,
            data_length: resource.data_len.into(),
            ..DnsRecord::default()
        };
        let Some(data) = resource.data else {
            record.data = Bytes::copy_from_slice(resource.bytes);
            return (!self.recorded).then_some(record);
        };
        match data {
            DnsData::Address(address) => record.ip = address.to_string().into(),
            DnsData::Name(name) => match &*record.kind {
                "NS" => record.ns = name.into(),
                "CNAME" => record.c_name = name.into(),
                _ => record.ptr = name.into(),
            },
            DnsData::Texts(texts) => record.txts = texts.into_iter().map(text).collect(),
            DnsData::Authority(primary, mailbox, [serial, refresh, retry, expire, minimum]) => {
                record.soa = Some(DnsSoa {
                    m_name: primary.into(),
                    r_name: mailbox.into(),
                    serial,
                    refresh,
                    retry,
                    expire,
                    minimum,
                });
            }
            DnsData::Service([priority, weight, port], name) => {
                record.srv = Some(DnsSrv {
                    priority: priority.into(),
                    weight: weight.into(),
                    port: port.into(),
                    name: name.into(),
                });
            }
            DnsData::Exchanger(preference, name) => {
                record.mx = Some(DnsMx {
                    preference: preference.into(),
                    name: name.into(),
                });
            }
            DnsData::Options(options) => {
                let option = |(code, data)| DnsOpt {
                    code: option_code(code).into(),
                    data: text(data),
                };
                record.opt = options.into_iter().map(option).collect();
            }
        }
        Some(record)
    }

    /// Returns the name of a record type; a number without a name in the notation of RFC 3597.
    fn kind(self, number: u16) -> Text {
        match kind(number) {
            "" if self.recorded => "Unknown".into(),
            "" => match registered_kind(number) {
                "" => format!("TYPE{number}").into(),
                name => name.into(),
            },
            name => name.into(),
        }
    }

    /// Returns the name of a class.
    fn class(self, number: u16) -> Text {
        match class(number) {
            "" if self.recorded => "Unknown".into(),
            "" if number == 254 => "NONE".into(),
            "" => format!("CLASS{number}").into(),
            name => name.into(),
        }
    }

    /// Returns the name of a response code.
    fn response_code(self, number: u32) -> Text {
        match response_code(number) {
            "" if self.recorded => "Unknown".into(),
            "" => format!("RCODE{number}").into(),
            name => name.into(),
        }
    }
}

/// Returns bytes as a string, with invalid UTF-8 replaced: records are also encoded as JSON.
fn text(bytes: &[u8]) -> Text {
    match String::from_utf8_lossy(bytes) {
        Cow::Borrowed(text) => text.into(),
        Cow::Owned(text) => text.into(),
    }
}

/// Returns a time as seconds and nanoseconds.
fn timestamp(seen: Timestamp) -> DnsTimestamp {
    let ns = seen.as_ns();
    DnsTimestamp {
        seconds: ns.div_euclid(NS_PER_SECOND),
        nanos: ns.rem_euclid(NS_PER_SECOND) as i32,
    }
}

/// Returns the name of an operation code.
const fn operation(number: u16) -> &'static str {
    match number {
        0 => "Query",
        1 => "Inverse Query",
        2 => "Status",
        4 => "Notify",
        5 => "Update",
        _ => "Unknown",
    }
}

/// Returns Skydive's name of a response code; empty if Skydive has none.
const fn response_code(number: u32) -> &'static str {
    match number {
        0 => "No Error",
        1 => "Format Error",
        // COMPAT: Skydive has the trailing blank.
        2 => "Server Failure ",
        3 => "Non-Existent Domain",
        4 => "Not Implemented",
        5 => "Query Refused",
        6 => "Name Exists when it should not",
        7 => "RR Set Exists when it should not",
        8 => "RR Set that should exist does not",
        9 => "Server Not Authoritative for zone",
        10 => "Name not contained in zone",
        16 => "Bad OPT Version",
        17 => "Key not recognized",
        18 => "Signature out of time window",
        19 => "Bad TKEY Mode",
        20 => "Duplicate key name",
        21 => "Algorithm not supported",
        22 => "Bad Truncation",
        _ => "",
    }
}

/// Returns Skydive's name of a class; empty if Skydive has none.
const fn class(number: u16) -> &'static str {
    match number {
        1 => "IN",
        2 => "CS",
        3 => "CH",
        4 => "HS",
        255 => "Any",
        _ => "",
    }
}

/// Returns Skydive's name of a record type; empty if Skydive has none.
const fn kind(number: u16) -> &'static str {
    match number {
        1 => "A",
        2 => "NS",
        3 => "MD",
        4 => "MF",
        5 => "CNAME",
        6 => "SOA",
        7 => "MB",
        8 => "MG",
        9 => "MR",
        10 => "NULL",
        11 => "WKS",
        12 => "PTR",
        13 => "HINFO",
        14 => "MINFO",
        15 => "MX",
        16 => "TXT",
        28 => "AAAA",
        33 => "SRV",
        41 => "OPT",
        _ => "",
    }
}

/// Returns the name of a record type in IANA's registry that Skydive does not support; empty if
/// there is none.
const fn registered_kind(number: u16) -> &'static str {
    match number {
        17 => "RP",
        18 => "AFSDB",
        19 => "X25",
        20 => "ISDN",
        21 => "RT",
        22 => "NSAP",
        23 => "NSAP-PTR",
        24 => "SIG",
        25 => "KEY",
        26 => "PX",
        27 => "GPOS",
        29 => "LOC",
        30 => "NXT",
        31 => "EID",
        32 => "NIMLOC",
        34 => "ATMA",
        35 => "NAPTR",
        36 => "KX",
        37 => "CERT",
        38 => "A6",
        39 => "DNAME",
        40 => "SINK",
        42 => "APL",
        43 => "DS",
        44 => "SSHFP",
        45 => "IPSECKEY",
        46 => "RRSIG",
        47 => "NSEC",
        48 => "DNSKEY",
        49 => "DHCID",
        50 => "NSEC3",
        51 => "NSEC3PARAM",
        52 => "TLSA",
        53 => "SMIMEA",
        55 => "HIP",
        56 => "NINFO",
        57 => "RKEY",
        58 => "TALINK",
        59 => "CDS",
        60 => "CDNSKEY",
        61 => "OPENPGPKEY",
        62 => "CSYNC",
        63 => "ZONEMD",
        64 => "SVCB",
        65 => "HTTPS",
        99 => "SPF",
        104 => "NID",
        105 => "L32",
        106 => "L64",
        107 => "LP",
        108 => "EUI48",
        109 => "EUI64",
        249 => "TKEY",
        250 => "TSIG",
        251 => "IXFR",
        252 => "AXFR",
        253 => "MAILB",
        254 => "MAILA",
        255 => "ANY",
        256 => "URI",
        257 => "CAA",
        258 => "AVC",
        259 => "DOA",
        260 => "AMTRELAY",
        32768 => "TA",
        32769 => "DLV",
        _ => "",
    }
}

/// Returns the name of an EDNS option code.
const fn option_code(number: u16) -> &'static str {
    match number {
        3 => "NSID",
        5 => "DAU",
        6 => "DHU",
        7 => "N3U",
        8 => "EDNSClientSubnet",
        9 => "EDNSExpire",
        10 => "Cookie",
        11 => "EDNSKeepAlive",
        12 => "CodePadding",
        13 => "CodeChain",
        14 => "CodeEDNSKeyTag",
        16 => "EDNSClientTag",
        _ => "Unknown",
    }
}

/// Number of the record type that holds EDNS options.
const TYPE_OPT: u16 = 41;
const NS_PER_SECOND: i64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_options_is_complete() {
        let mut bytes = vec![0, 7, 0xac, 0xb2, 0, 1, 0, 1, 0, 0, 0, 2];
        bytes.extend(b"\x01a\0\0\x01\0\x01");
        bytes.extend(b"\xc0\x0c\0\x0f\0\x01\0\0\0\x09\0\x06\0\x0a\x01m\xc0\x0c");
        // A resource record of an unsupported type, and an OPT record with a cookie.
        bytes.extend(b"\0\0\x2e\0\x01\0\0\0\0\0\x01x");
        bytes.extend(b"\0\0\x29\x10\0\0\0\0\0\0\x06\0\x0a\0\x02\xffy");
        let recorded = layer(&bytes, Timestamp::from_ns(-1), true).unwrap();
        let json = serde_json::to_value(recorded).unwrap();
        let wanted = serde_json::json!({
            "ID": 7, "QR": true, "op_code": "Update", "AA": true, "RA": true, "z": 3,
            "response_code": "Server Failure ",
            "q_d_count": 1, "a_n_count": 1, "a_r_count": 2,
            "questions": [{"name": "a", "type": "A", "class": "IN"}],
            "answers": [{"name": "a", "type": "MX", "class": "IN", "TTL": 9, "data_length": 6,
                "MX": {"preference": 10, "name": "m.a"}}],
            "additionals": [{"type": "OPT", "class": "Unknown", "data_length": 6,
                "OPT": [{"code": "Cookie", "data": "\u{fffd}y"}]}],
            "timestamp": {"seconds": -1, "nanos": 999_999_999},
        });
        assert_eq!(json, wanted);
        let full = layer(&bytes, Timestamp::from_ns(-1), false).unwrap();
        let json = serde_json::to_value(full.additionals).unwrap();
        let wanted = serde_json::json!([
            {"type": "RRSIG", "class": "IN", "data_length": 1, "data": "eA=="},
            {"type": "OPT", "class": "CLASS4096", "data_length": 6,
                "OPT": [{"code": "Cookie", "data": "\u{fffd}y"}]},
        ]);
        assert_eq!(json, wanted);
    }

    #[test]
    fn numbers_without_a_name_are_shown_as_numbers() {
        let mut bytes = vec![0, 7, 0x80, 7, 0, 2, 0, 0, 0, 0, 0, 1];
        bytes.extend(b"\x01a\0\xff\0\0\x07\x01b\0\0\x41\0\x01");
        bytes.extend(b"\0\0\x29\x02\0\x01\0\0\0\0\0");
        let layer = layer(&bytes, Timestamp::ZERO, false).unwrap();
        let [first, second] = &layer.questions[..] else {
            panic!("two questions");
        };
        assert_eq!((&*first.kind, &*first.class), ("TYPE65280", "CLASS7"));
        assert_eq!((&*second.kind, &*second.class), ("HTTPS", "IN"));
        assert_eq!(&*layer.response_code, "RCODE23");
        let (code, text) = response_code_of(&bytes).unwrap();
        assert_eq!((code, &*text, &*type_text(46)), (23, "RCODE23", "RRSIG"));
    }

    #[test]
    fn a_truncated_message_has_its_readable_part() {
        let mut bytes = vec![0, 7, 1, 0, 0, 2, 0, 1, 0, 0, 0, 0];
        bytes.extend(b"\x01a\0\0\x01\0\x01\x03ab");
        let layer = layer(&bytes, Timestamp::ZERO, false).unwrap();
        assert_eq!((layer.qd_count, layer.questions.len()), (2, 1));
        assert!(layer.answers.is_empty());
    }
}
