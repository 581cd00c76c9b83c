"""Writes a small capture file for the examples: a few DNS queries and TCP packets."""

import struct


def write(path: str) -> str:
    """Writes the file and returns its path."""
    packets = []
    for number, name in enumerate(("example.org", "example.net", "example.org")):
        question = b"".join(bytes([len(part)]) + part for part in name.encode().split(b"."))
        message = struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0) + question + struct.pack(">BHH", 0, 1, 1)
        packets.append(_packet(17, 53, struct.pack(
            ">HHHH", 40000 + number, 53, 8 + len(message), 0) + message))
    for number in range(20):
        header = struct.pack(">HHIIBBHHH", 50000, 443, 1 + 1000 * number, 1, 0x50, 0x18, 65535, 0, 0)
        packets.append(_packet(6, 443, header + bytes(1000)))
    with open(path, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for number, packet in enumerate(packets):
            file.write(struct.pack("<IIII", 1_700_000_000, number * 1000, len(packet), len(packet)) + packet)
    return path


def _packet(protocol: int, target: int, segment: bytes) -> bytes:
    """Returns an Ethernet frame with an IPv4 packet from 192.0.2.1 to 192.0.2.53 or 198.51.100.7."""
    end = bytes([192, 0, 2, 53]) if target == 53 else bytes([198, 51, 100, 7])
    ethernet = bytes.fromhex("020000000002" "020000000001" "0800")
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(segment), 0, 0, 64, protocol, 0, bytes([192, 0, 2, 1]), end)
    return ethernet + ip + segment
