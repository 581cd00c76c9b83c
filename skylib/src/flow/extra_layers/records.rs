//! Records of the extra layers: DNS, DHCPv4 and VRRP messages as clients see them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::flow::protobuf::wire_message;
use crate::value::Text;

/// Returns whether a value is the default.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

macro_rules! layer {
    (
        $(#[$meta:meta])*
        $name:ident { $($tag:literal $field:ident $key:literal $type:ty $(, $with:literal)?;)* }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        #[non_exhaustive]
        pub struct $name {
            $(
                #[doc = concat!("Field `", $key, "` of the JSON record.")]
                #[serde(rename = $key, skip_serializing_if = "is_default" $(, with = $with)?)]
                pub $field: $type,
            )*
        }

        wire_message!($name { $($tag => $field,)* });
    };
}

layer! {
    /// Fixed fields of the first DHCPv4 message.
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
    }
}

layer! {
    /// Fields of the first VRRPv2 advertisement.
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

layer! {
    /// Last DNS message of a flow.
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

layer! {
    /// Question of a DNS message.
    DnsQuestion {
        1 name "name" Text;
        2 kind "type" Text;
        3 class "class" Text;
    }
}

layer! {
    /// Resource record of a DNS message.
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
    }
}

layer! {
    /// Start-of-authority (SOA) data.
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

layer! {
    /// Service location (SRV) data.
    DnsSrv {
        1 priority "priority" u32;
        2 weight "weight" u32;
        3 port "port" u32;
        4 name "name" Text;
    }
}

layer! {
    /// Mail exchange (MX) data.
    DnsMx {
        1 preference "preference" u32;
        2 name "name" Text;
    }
}

layer! {
    /// Option of an EDNS (OPT) record.
    DnsOpt {
        1 code "code" Text;
        2 data "data" Text;
    }
}

layer! {
    /// Capture time of the message, since the Unix epoch.
    DnsTimestamp {
        1 seconds "seconds" i64;
        2 nanos "nanos" i32;
    }
}

/// Serde representation of bytes as base64 text in JSON.
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
