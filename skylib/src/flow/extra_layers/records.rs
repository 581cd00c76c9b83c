//! Records of the extra layers: DNS, DHCPv4, and VRRP messages as returned to clients.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::flow::message::{is_default, message};
use crate::flow::protobuf::wire_message;
use crate::value::Text;

message! {
    /// Fixed fields (RFC 2131) and options (RFC 2132) of a DHCPv4 message.
    ///
    /// - `contents`, `payload`: not set by this library.
    /// - `hardware_len`: length of a hardware address, in bytes.
    /// - `hardware_opts`: number of relay agents passed (`hops`).
    /// - `xid`: identifier of the transaction.
    /// - `secs`: seconds since the client began to acquire or renew its address.
    /// - `flags`: the highest of 16 bits requests a broadcast reply.
    /// - `server_name`, `file`: names of the server and of the boot file, padded with zeros.
    /// - `client_ip`, `your_ip`, `server_ip`, `relay_ip`, `client_mac`: addresses of the fixed
    ///   fields.
    /// - `message_type`, `requested_ip`, `server_id`, `host_name`, `lease_time` (seconds): options
    ///   53, 50, 54, 12, and 51.
    Dhcpv4Layer {
        1 contents "contents" Bytes, "base64_bytes";
        2 payload "payload" Bytes, "base64_bytes";
        3 hardware_len "hardware_len" u32;
        4 hardware_opts "hardware_opts" u32;
        5 xid "xid" u32;
        6 secs "secs" u32;
        7 flags "flags" u32;
        8 server_name "server_name" Bytes, "base64_bytes";
        9 file "file" Bytes, "base64_bytes";
        100 message_type "message_type" Text;
        101 client_ip "client_ip" Text;
        102 your_ip "your_ip" Text;
        103 server_ip "server_ip" Text;
        104 relay_ip "relay_ip" Text;
        105 client_mac "client_mac" Text;
        106 requested_ip "requested_ip" Text;
        107 server_id "server_id" Text;
        108 host_name "host_name" Text;
        109 lease_time "lease_time" u32;
    }
}

message! {
    /// Fields of the first VRRPv2 advertisement (RFC 3768). `adver_int` is in seconds.
    ///
    /// COMPAT: as in Skydive, `contents`, `payload`, `count_ip_addr`, and `checksum` are not set.
    Vrrpv2Layer {
        1 contents "contents" Bytes, "base64_bytes";
        2 payload "payload" Bytes, "base64_bytes";
        3 version "version" u32;
        4 virtual_rtr_id "virtual_rtrID" u32;
        5 priority "priority" u32;
        6 count_ip_addr "count_ipaddr" u32;
        7 adver_int "adver_int" u32;
        8 checksum "checksum" u32;
    }
}

message! {
    /// Last DNS message of a flow, with the header fields of RFC 1035, section 4.1.1.
    ///
    /// The counts are those of the header; a truncated message may contain fewer questions and
    /// records. `response_code` includes the upper bits of an OPT record (RFC 6891). `timestamp` is
    /// the capture time.
    DnsLayer {
        1 id "ID" u32;
        2 qr "QR" bool;
        3 op_code "op_code" Text;
        4 aa "AA" bool;
        5 tc "TC" bool;
        6 rd "RD" bool;
        7 ra "RA" bool;
        8 z "z" u32;
        9 response_code "response_code" Text;
        10 qd_count "q_d_count" u32;
        11 an_count "a_n_count" u32;
        12 ns_count "n_s_count" u32;
        13 ar_count "a_r_count" u32;
        14 questions "questions" Vec<DnsQuestion>;
        15 answers "answers" Vec<DnsRecord>;
        16 authorities "authorities" Vec<DnsRecord>;
        17 additionals "additionals" Vec<DnsRecord>;
        18 timestamp "timestamp" Option<DnsTimestamp>;
    }
}

message! {
    /// Question of a DNS message.
    DnsQuestion {
        1 name "name" Text;
        2 kind "type" Text;
        3 class "class" Text;
    }
}

message! {
    /// Resource record of a DNS message.
    ///
    /// `ttl` is in seconds, `data_length` in bytes. Of the other fields, only that of the record's
    /// type is set: `ip` for A and AAAA, `txts` for TXT and HINFO, `opt` for OPT, `data` for types
    /// that are not parsed.
    DnsRecord {
        1 name "name" Text;
        2 kind "type" Text;
        3 class "class" Text;
        4 ttl "TTL" u32;
        5 data_length "data_length" u32;
        6 ip "IP" Text;
        7 ns "NS" Text;
        8 c_name "c_name" Text;
        9 ptr "PTR" Text;
        10 txts "TXTs" Vec<Text>;
        11 soa "SOA" Option<DnsSoa>;
        12 srv "SRV" Option<DnsSrv>;
        13 mx "MX" Option<DnsMx>;
        14 opt "OPT" Vec<DnsOpt>;
        100 data "data" Bytes, "base64_bytes";
    }
}

message! {
    /// Start-of-authority (SOA) data: primary server, mailbox, serial number, and times in seconds
    /// (RFC 1035, section 3.3.13).
    DnsSoa {
        1 m_name "m_name" Text;
        2 r_name "r_name" Text;
        3 serial "serial" u32;
        4 refresh "refresh" u32;
        5 retry "retry" u32;
        6 expire "expire" u32;
        7 minimum "minimum" u32;
    }
}

message! {
    /// Service location (SRV) data (RFC 2782).
    DnsSrv {
        1 priority "priority" u32;
        2 weight "weight" u32;
        3 port "port" u32;
        4 name "name" Text;
    }
}

message! {
    /// Mail exchange (MX) data (RFC 1035, section 3.3.9).
    DnsMx {
        1 preference "preference" u32;
        2 name "name" Text;
    }
}

message! {
    /// Option of an EDNS (OPT) record (RFC 6891): name of the code, and data.
    DnsOpt {
        1 code "code" Text;
        2 data "data" Text;
    }
}

message! {
    /// Capture time of the message, since the Unix epoch.
    DnsTimestamp {
        1 seconds "seconds" i64;
        2 nanos "nanos" i32;
    }
}

message! {
    /// Counters of all DNS messages of a flow, and its last failed response.
    ///
    /// `responses` excludes repeated responses; `failures` are responses with a response code other
    /// than `NoError`; `unanswered` is the number of queries without a response.
    DnsMetric {
        1 queries "Queries" i64;
        2 responses "Responses" i64;
        3 failures "Failures" i64;
        4 unanswered "Unanswered" i64;
        5 last_failure "LastFailure" Option<DnsFailure>;
    }
}

message! {
    /// DNS response with a response code other than `NoError`: identifier of the message, and name
    /// and type of its first question.
    DnsFailure {
        1 id "ID" u32;
        2 name "name" Text;
        3 kind "type" Text;
        4 response_code "response_code" Text;
    }
}

/// Serde representation of bytes as a base64 string in JSON.
pub(in crate::flow) mod base64_bytes {
    use super::{Bytes, Deserialize, Deserializer, Engine, STANDARD, Serializer};

    pub(in crate::flow) fn serialize<S: Serializer>(
        bytes: &Bytes,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&base64::display::Base64Display::new(bytes, &STANDARD))
    }

    pub(in crate::flow) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Bytes, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        STANDARD
            .decode(text.as_bytes())
            .map(Bytes::from)
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_only_fields_that_are_set() {
        let dhcp = Dhcpv4Layer {
            secs: 3,
            file: Bytes::from_static(&[0, 1]),
            ..Default::default()
        };
        let json = serde_json::to_string(&dhcp).unwrap();
        assert_eq!(json, r#"{"secs":3,"file":"AAE="}"#);
        assert_eq!(serde_json::from_str::<Dhcpv4Layer>(&json).unwrap(), dhcp);
    }

    #[test]
    fn dns_survives_protobuf() {
        let record = DnsRecord {
            name: "c.go-mpulse.net".into(),
            txts: vec!["".into(), "two".into()],
            soa: Some(DnsSoa {
                serial: 1_559_791_419,
                ..Default::default()
            }),
            ..Default::default()
        };
        let dns = DnsLayer {
            id: 38125,
            qr: true,
            answers: vec![record],
            timestamp: Some(DnsTimestamp {
                seconds: 1,
                nanos: 2,
            }),
            ..Default::default()
        };
        let bytes = prost::Message::encode_to_vec(&dns);
        assert_eq!(
            <DnsLayer as prost::Message>::decode(&bytes[..]).unwrap(),
            dns
        );
    }
}
