//! `PacketArgs`: the options that describe packets to send.

use std::fs;
use std::net::IpAddr;

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Args;
use skylib::inject::{InjectError, MAX_REPLAY_BYTES, MAX_REPLAY_PACKETS};
use skylib::pcap_file::CaptureReader;

/// Options that describe packets to send.
#[derive(Args, Debug)]
pub(crate) struct PacketArgs {
    /// Source IP address; the default of `client injection create` is the first address of the
    /// sending interface.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) src_ip: String,

    /// Destination IP address; the default of `client injection create` is the first address of the
    /// receiving node.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) dst_ip: String,

    /// Source MAC address; the default of `client injection create` is the address of the sending
    /// interface.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) src_mac: String,

    /// Destination MAC address; the default of `client injection create` is the address of the next
    /// hop or, if unknown, of the receiving node.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) dst_mac: String,

    /// Source port of TCP and UDP packets; 0 means port 1.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(crate) src_port: u16,

    /// Destination port of TCP and UDP packets; 0 means a random port for TCP.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(crate) dst_port: u16,

    /// Packet type: icmp4, icmp6, tcp4, tcp6, udp4, or udp6.
    #[arg(long = "type", value_name = "TYPE", default_value = "icmp4")]
    pub(crate) packet_type: String,

    /// Payload of the packets.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    pub(crate) payload: String,

    /// Capture file whose packets are sent, instead of packets described by other options; at most
    /// 1000000 packets and 64 MiB, of the link type of the interfaces.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) pcap: String,

    /// Identifier of ICMP echo requests; 0 means 1.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) id: u16,

    /// Number of bytes by which the payload of each packet is longer than that of the previous one.
    #[arg(
        long = "inc-payload",
        value_name = "BYTES",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    pub(crate) increment_payload: i64,

    /// Interval between packets, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub(crate) interval: u64,

    /// Variation of ports and ICMP identifiers between packets: unique or random.
    #[arg(long, value_name = "MODE", default_value = "unique")]
    pub(crate) mode: String,

    /// Number of packets that each interface sends; the default is 1 or, with --pcap, the number of
    /// packets in the file. A shorter file is sent repeatedly.
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,

    /// Time to live of the IP packets, in hops.
    #[arg(long, value_name = "HOPS", default_value_t = 64)]
    pub(crate) ttl: u8,
}

impl PacketArgs {
    /// Checks the options that Skydive's client checks.
    ///
    /// # Errors
    /// Returns an error if an option is invalid. COMPAT: the messages are those of Skydive's
    /// client, which differ from those of the server.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        if !PACKET_TYPES.contains(&self.packet_type.as_str()) {
            bail!(
                "Type: regular expression mismatch, expected one of {}",
                PACKET_TYPES.join(", ")
            );
        }
        if self.count == Some(0) {
            bail!("Count: less than min, expected at least 1");
        }
        check_address("Source", &self.src_ip)?;
        check_address("Destination", &self.dst_ip)
    }

    /// Returns the number of packets to send.
    pub(crate) fn count(&self, file: Option<&CaptureFile>) -> u64 {
        let in_file = file.map_or(1, |file| file.packets);
        self.count.unwrap_or(in_file)
    }

    /// Reads the capture file; `None` without one.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read, is not a capture file, or exceeds a limit.
    pub(crate) fn file(&self) -> anyhow::Result<Option<CaptureFile>> {
        if self.pcap.is_empty() {
            return Ok(None);
        }
        let bytes = fs::read(&self.pcap)
            .with_context(|| format!("Failed to open pcap file, err: open {}", self.pcap))?;
        let packets =
            count_packets(&bytes).with_context(|| format!("Failed to read {}", self.pcap))?;
        let base64 = BASE64.encode(bytes);
        Ok(Some(CaptureFile { base64, packets }))
    }
}

/// Capture file whose packets are sent.
pub(crate) struct CaptureFile {
    /// Content in Base64.
    pub(crate) base64: String,
    /// Number of packets.
    packets: u64,
}

/// Returns the number of packets of a capture file, which must be within the limits of the server.
fn count_packets(file: &[u8]) -> anyhow::Result<u64> {
    let mut reader = CaptureReader::new(file)?;
    let (mut packets, mut bytes) = (0, 0);
    while let Some(batch) = reader.next_batch()? {
        packets += batch.headers.len();
        bytes += batch.iter().map(|packet| packet.data.len()).sum::<usize>();
    }
    match packets {
        0 => bail!(InjectError::EmptyFile),
        _ if packets > MAX_REPLAY_PACKETS || bytes > MAX_REPLAY_BYTES => bail!(
            "the file has {packets} packets with {bytes} bytes; at most {MAX_REPLAY_PACKETS} packets \
             with {MAX_REPLAY_BYTES} bytes can be sent; split it with: editcap -c \
             {MAX_REPLAY_PACKETS} FILE PART.pcap"
        ),
        _ => Ok(packets as u64),
    }
}

/// Checks an IP address, which may have a prefix length.
fn check_address(end: &str, text: &str) -> anyhow::Result<()> {
    let address = text.split_once('/').map_or(text, |(address, _)| address);
    if text.is_empty() || address.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    bail!("{end} IP parse error, err: {text:?} is not an IP address")
}

/// Returns the error for an invalid hardware address. COMPAT: the text of Skydive's client.
pub(crate) fn mac_error(end: &str, text: &str) -> anyhow::Error {
    anyhow::anyhow!("{end} MAC parse error, err: address {text}: invalid MAC address")
}

const PACKET_TYPES: [&str; 6] = ["icmp4", "icmp6", "tcp4", "tcp6", "udp4", "udp6"];
