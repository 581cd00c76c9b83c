//! Builders of frames for tests.

/// Returns an Ethernet frame with this type and payload.
pub(crate) fn frame(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    frame.extend(ether_type.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Returns a copy of a frame with a VLAN tag added.
pub(crate) fn tagged(frame: &[u8], protocol: u16, control: u16) -> Vec<u8> {
    let mut tagged = frame[..12].to_vec();
    tagged.extend(protocol.to_be_bytes());
    tagged.extend(control.to_be_bytes());
    tagged.extend(&frame[12..]);
    tagged
}

/// Returns an IPv4 UDP packet with `payload` bytes of payload.
pub(crate) fn udp(source_port: u16, destination_port: u16, payload: usize) -> Vec<u8> {
    let length = |bytes: usize| u16::try_from(bytes).expect("a short packet").to_be_bytes();
    let mut packet = vec![0x45, 0];
    packet.extend(length(28 + payload));
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    packet.extend(source_port.to_be_bytes());
    packet.extend(destination_port.to_be_bytes());
    packet.extend(length(8 + payload));
    packet.extend([0, 0]);
    packet.extend(std::iter::repeat_n(0xaa, payload));
    packet
}
