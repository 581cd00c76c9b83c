//! The subcommand `skyd inject-packet`: sends packets on an interface, without a daemon.

use std::io::Write as _;
use std::thread;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, ValueEnum};
use skylib::inject::{PacketMode, PacketRequest, PacketSender, Packets};
use skylib::packet::LinkType;

use crate::packet_args::{PacketArgs, mac_error};

/// Arguments of `skyd inject-packet`.
#[derive(Args, Debug)]
pub(crate) struct InjectPacketArgs {
    /// Interface that sends the packets.
    #[arg(long = "if-name", value_name = "NAME")]
    interface: String,

    /// Header of the packets on the interface: Ethernet, or none for interfaces without hardware
    /// addresses.
    #[arg(long, value_name = "TYPE", default_value = "ether")]
    encap_type: EncapType,

    #[command(flatten)]
    packets: PacketArgs,
}

/// Header of the packets on an interface.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum EncapType {
    Ether,
    None,
}

pub(crate) const EXAMPLES: &str = "Examples:
  skyd inject-packet --if-name eth0 --src-ip 192.0.2.7 --dst-ip 192.0.2.1 \\
    --src-mac 02:00:00:00:00:07 --dst-mac 02:00:00:00:00:01 --type tcp4 --dst-port 80
  skyd inject-packet --if-name eth0 --pcap packets.pcap --interval 10";

/// Sends the packets, and prints their number.
///
/// # Errors
/// Returns an error if an argument is invalid, the interface cannot send, or the process lacks
/// CAP_NET_RAW. The packets before the failure were sent.
pub(crate) fn run(args: &InjectPacketArgs) -> anyhow::Result<()> {
    let link = match args.encap_type {
        EncapType::Ether => LinkType::ETHERNET,
        EncapType::None => LinkType::RAW,
    };
    let request = request(&args.packets)?;
    let mut packets = Packets::new(&request, link, seed())?;
    let sender = PacketSender::open(&args.interface, None, link)?;
    let interval = Duration::from_millis(request.interval);
    for number in 0..request.count {
        if number > 0 {
            thread::sleep(interval);
        }
        sender.send(packets.next_frame()?)?;
    }
    let (count, interface) = (request.count, &args.interface);
    let noun = if count == 1 { "packet" } else { "packets" };
    writeln!(std::io::stdout(), "{count} {noun} sent on {interface}")?;
    Ok(())
}

/// Returns the request that the options describe.
fn request(args: &PacketArgs) -> anyhow::Result<PacketRequest> {
    args.check()?;
    let file = args.file()?;
    let ip = |text: &str| text.split('/').next().unwrap_or_default().to_owned();
    let mut request = PacketRequest::new(args.packet_type.parse()?)
        .with_source(&args.src_mac, &ip(&args.src_ip), args.src_port.max(1))
        .map_err(|_| mac_error("Source", &args.src_mac))?
        .with_destination(&args.dst_mac, &ip(&args.dst_ip), args.dst_port)
        .map_err(|_| mac_error("Destination", &args.dst_mac))?
        .with_payload(args.payload.as_str());
    request.mode = match args.mode.as_str() {
        "unique" => PacketMode::Unique,
        "random" => PacketMode::Random,
        mode => bail!("the mode {mode:?} is not supported: use unique or random"),
    };
    request.count = args.count(file.as_ref());
    request.icmp_id = args.id.max(1);
    request.interval = args.interval;
    request.increment_payload = args.increment_payload;
    request.ttl = args.ttl;
    request.pcap = file.map(|file| file.base64);
    Ok(request)
}

/// Returns a seed for the random parts of packets.
fn seed() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _, RandomState};
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: InjectPacketArgs,
    }

    fn of(words: &[&str]) -> anyhow::Result<PacketRequest> {
        let words = [&["inject-packet", "--if-name", "lo"][..], words].concat();
        request(&Line::try_parse_from(words)?.args.packets)
    }

    #[test]
    fn options_become_a_request() {
        let request = of(&[
            "--type",
            "udp4",
            "--src-ip",
            "192.0.2.7/24",
            "--dst-ip",
            "192.0.2.1",
            "--dst-port",
            "53",
            "--count",
            "3",
            "--mode",
            "random",
            "--payload",
            "x",
        ])
        .unwrap();
        assert_eq!(request.src_ip, Some("192.0.2.7".parse().unwrap()));
        assert_eq!(
            (request.src_port, request.dst_port, request.count),
            (1, 53, 3)
        );
        assert_eq!(
            (request.mode, request.payload.as_str()),
            (PacketMode::Random, "x")
        );
        let packets = Packets::new(&request, LinkType::RAW, 1);
        assert!(packets.unwrap().next_frame().unwrap().ends_with(b"x"));
    }

    #[test]
    fn mistakes_are_errors() {
        for (words, part) in [
            (&["--src-mac", "1:2"][..], "Source MAC parse error"),
            (&["--type", "smtp"], "Type: regular expression mismatch"),
            (&["--mode", "odd"], "use unique or random"),
        ] {
            let error = of(words).unwrap_err().to_string();
            assert!(error.contains(part), "{words:?}: {error}");
        }
    }
}
