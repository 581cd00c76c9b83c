//! Conversion of DNS messages to [`DnsLayer`] records.

use std::borrow::Cow;

use super::records::{
    DnsLayer, DnsMx, DnsOpt, DnsQuestion, DnsRecord, DnsSoa, DnsSrv, DnsTimestamp,
};
use crate::decode::{DnsData, DnsMessage, DnsQuery, DnsResource};
use crate::time::Timestamp;
use crate::value::Text;

/// Returns the record of a message captured at `seen`; of a truncated message, the readable part.
/// `None` if the header is incomplete.
pub(super) fn layer(bytes: &[u8], seen: Timestamp) -> Option<DnsLayer> {
    let mut message = DnsMessage::new(bytes)?;
    let flags = message.flags();
    let has = |bit: u16| flags & bit != 0;
    let [questions, answers, authorities, additionals] = message.counts();
    Some(DnsLayer {
        id: message.id().into(),
        qr: has(0x8000),
        op_code: operation(flags >> 11 & 0xf).into(),
        aa: has(0x0400),
        tc: has(0x0200),
        rd: has(0x0100),
        ra: has(0x0080),
        z: u32::from(flags >> 4 & 7),
        response_code: response_code(flags & 0xf).into(),
        qd_count: questions.into(),
        an_count: answers.into(),
        ns_count: authorities.into(),
        ar_count: additionals.into(),
        questions: (0..questions)
            .map_while(|_| message.question().map(question))
            .collect(),
        answers: records(&mut message, answers),
        authorities: records(&mut message, authorities),
        additionals: records(&mut message, additionals),
        timestamp: Some(timestamp(seen)),
    })
}

/// Returns up to `count` resource records of a section, without those of unsupported types.
fn records(message: &mut DnsMessage<'_>, count: u16) -> Vec<DnsRecord> {
    (0..count)
        .map_while(|_| message.record())
        .filter_map(record)
        .collect()
}

/// Returns the record of a question.
fn question(query: DnsQuery) -> DnsQuestion {
    DnsQuestion {
        name: query.name.into(),
        kind: kind(query.kind).into(),
        class: class(query.class).into(),
    }
}

/// Returns the record of a resource; `None` if its type is not supported.
fn record(resource: DnsResource<'_>) -> Option<DnsRecord> {
    let mut record = DnsRecord {
        name: resource.name.into(),
        kind: kind(resource.kind).into(),
        class: class(resource.class).into(),
        ttl: resource.ttl,
        data_length: resource.data_len.into(),
        ..DnsRecord::default()
    };
    match resource.data? {
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

/// Returns bytes as text, with invalid UTF-8 replaced: records are also encoded as JSON.
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

/// Returns the name of a response code.
const fn response_code(number: u16) -> &'static str {
    match number {
        0 => "No Error",
        1 => "Format Error",
        // COMPAT: the trailing blank is the original's.
        2 => "Server Failure ",
        3 => "Non-Existent Domain",
        4 => "Not Implemented",
        5 => "Query Refused",
        6 => "Name Exists when it should not",
        7 => "RR Set Exists when it should not",
        8 => "RR Set that should exist does not",
        9 => "Server Not Authoritative for zone",
        10 => "Name not contained in zone",
        _ => "Unknown",
    }
}

/// Returns the name of a class.
const fn class(number: u16) -> &'static str {
    match number {
        1 => "IN",
        2 => "CS",
        3 => "CH",
        4 => "HS",
        255 => "Any",
        _ => "Unknown",
    }
}

/// Returns the name of a record type.
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
        _ => "Unknown",
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

const NS_PER_SECOND: i64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_options_is_complete() {
        let mut bytes = vec![0, 7, 0xac, 0xb2, 0, 1, 0, 1, 0, 0, 0, 2];
        bytes.extend(b"\x01a\0\0\x01\0\x01");
        bytes.extend(b"\xc0\x0c\0\x0f\0\x01\0\0\0\x09\0\x06\0\x0a\x01m\xc0\x0c");
        // A type that is not supported, and the extended header with a cookie.
        bytes.extend(b"\0\0\x2e\0\x01\0\0\0\0\0\x01x");
        bytes.extend(b"\0\0\x29\x10\0\0\0\0\0\0\x06\0\x0a\0\x02\xffy");
        let layer = layer(&bytes, Timestamp::from_ns(-1)).unwrap();
        let json = serde_json::to_value(layer).unwrap();
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
    }

    #[test]
    fn a_truncated_message_has_its_readable_part() {
        let mut bytes = vec![0, 7, 1, 0, 0, 2, 0, 1, 0, 0, 0, 0];
        bytes.extend(b"\x01a\0\0\x01\0\x01\x03ab");
        let layer = layer(&bytes, Timestamp::ZERO).unwrap();
        assert_eq!((layer.qd_count, layer.questions.len()), (2, 1));
        assert!(layer.answers.is_empty());
    }
}
