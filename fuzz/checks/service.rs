//! Checks of the messages of services that probes follow. The first byte selects the service; the
//! second is the size of the chunks in which the rest is received.

use skylib::topology::Fabric;
use skylib::topology::docker::{Container, EngineEvent};
use skylib::topology::json_frames::JsonFrames;
use skylib::topology::libvirt::{DomainDevices, Message};
use skylib::topology::lxd::Instance;
use skylib::topology::openflow::{Group, Rule};
use skylib::topology::ovsdb::{Reply, Tables};
use skylib::topology::runc::RuncState;

/// Panics if reading panics.
pub(crate) fn check(input: &[u8]) {
    let [service, size, bytes @ ..] = input else {
        return;
    };
    match service {
        0 => ovsdb(bytes, usize::from(*size).max(1)),
        1 => events(bytes, usize::from(*size).max(1)),
        2 => {
            if let Ok(container) = Container::parse(bytes) {
                assert!(container.display_name().len() <= bytes.len());
            }
            let _state = RuncState::parse(bytes);
            let _instances = (Instance::parse(bytes), Instance::parse_list(bytes));
            let _message = Message::parse(bytes);
        }
        _ => {
            let text = String::from_utf8_lossy(bytes);
            let _rule = Rule::parse(&text).map(|rule| rule.filter());
            let _group = Group::parse(&text);
            let _fabric = Fabric::parse(text.lines());
            let machine = DomainDevices::parse(&text);
            assert!(machine.devices.len() <= text.len());
        }
    }
}

fn ovsdb(bytes: &[u8], size: usize) {
    let (mut frames, mut tables) = (JsonFrames::new(LIMIT), Tables::default());
    for piece in bytes.chunks(size) {
        frames.extend(piece);
        loop {
            match frames.next_frame() {
                Ok(Some(message)) => {
                    assert!(message.len() <= LIMIT);
                    if let Ok(Reply::Send(reply)) = tables.receive(&message) {
                        assert!(reply.starts_with('{'));
                    }
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

fn events(bytes: &[u8], size: usize) {
    let mut frames = JsonFrames::new(LIMIT);
    for piece in bytes.chunks(size) {
        frames.extend(piece);
        while let Ok(Some(frame)) = frames.next_frame() {
            let event = EngineEvent::parse(&frame);
            if let Some(id) = event.ok().as_ref().and_then(EngineEvent::changed_container) {
                assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric()));
            }
        }
    }
}

/// Maximum size of a message, in bytes.
const LIMIT: usize = 4096;
