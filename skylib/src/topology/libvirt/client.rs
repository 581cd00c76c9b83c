//! `LibvirtClient`: calls to libvirt over its socket.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use super::message::{DomainId, FAILED, HEADER_BYTES, Message, REPLY, Reader, Writer, call};

/// A connection to libvirt.
#[derive(Debug)]
pub(super) struct LibvirtClient<S> {
    stream: S,
    serial: u32,
    /// Virtual machines of events that arrived while a reply was expected.
    changed: VecDeque<DomainId>,
}

impl<S: Read + Write> LibvirtClient<S> {
    /// Opens a connection to a driver, such as `qemu:///system`, and requests the events of its
    /// virtual machines.
    ///
    /// # Errors
    /// Returns the error of the connection or of libvirt.
    pub(super) fn open(stream: S, driver: &str) -> io::Result<Self> {
        let mut client = Self {
            stream,
            serial: 0,
            changed: VecDeque::new(),
        };
        let name = Writer::default().number(1).text(driver).number(READ_ONLY);
        client.call(CONNECT_OPEN, &name.0)?;
        for event in [LIFECYCLE, DEVICE_REMOVED, DEVICE_ADDED] {
            // For all virtual machines.
            let arguments = Writer::default().number(event).number(0);
            client.call(REGISTER_EVENT, &arguments.0)?;
        }
        Ok(client)
    }

    /// Returns all virtual machines, also those that do not run.
    pub(super) fn domains(&mut self) -> io::Result<Vec<DomainId>> {
        let reply = self.call(LIST_ALL_DOMAINS, &Writer::default().number(1).number(0).0)?;
        let mut reader = Reader(&reply);
        let count = reader.number().ok_or_else(cut)?;
        let mut domains = Vec::new();
        for _ in 0..count {
            domains.push(reader.domain().ok_or_else(cut)?);
        }
        Ok(domains)
    }

    /// Returns the state of a virtual machine (`virDomainState`).
    ///
    /// # Errors
    /// Returns `NotFound` if it does not exist any more.
    pub(super) fn state(&mut self, domain: &DomainId) -> io::Result<u32> {
        let reply = self.call(GET_STATE, &Writer::default().domain(domain).number(0).0)?;
        Reader(&reply).number().ok_or_else(cut)
    }

    /// Returns the description of a virtual machine.
    ///
    /// # Errors
    /// Returns `NotFound` if it does not exist any more.
    pub(super) fn xml(&mut self, domain: &DomainId) -> io::Result<String> {
        let reply = self.call(GET_XML, &Writer::default().domain(domain).number(0).0)?;
        let text = Reader(&reply).text().ok_or_else(cut)?;
        Ok(text.to_owned())
    }

    /// Returns the virtual machine of the next event.
    pub(super) fn next_changed(&mut self) -> io::Result<DomainId> {
        loop {
            if let Some(domain) = self.changed.pop_front() {
                return Ok(domain);
            }
            let message = self.receive()?;
            self.note(message.as_ref());
        }
    }

    /// Returns the virtual machine of an event that has already arrived.
    pub(super) fn take_changed(&mut self) -> Option<DomainId> {
        self.changed.pop_front()
    }

    fn note(&mut self, message: Option<&Message>) {
        let changed = message.and_then(Message::changed_domain);
        if let Some(domain) = changed {
            // An event says only which machine to read again, and once is enough.
            if !self.changed.contains(&domain) && self.changed.len() < MAX_CHANGED {
                self.changed.push_back(domain);
            }
        }
    }

    /// Calls a procedure, and returns its results.
    fn call(&mut self, procedure: u32, arguments: &[u8]) -> io::Result<Vec<u8>> {
        self.serial = self.serial.wrapping_add(1);
        self.stream
            .write_all(&call(procedure, self.serial, arguments))?;
        self.stream.flush()?;
        loop {
            let message = self.receive()?;
            self.note(message.as_ref());
            let Some(message) = message else { continue };
            if message.kind != REPLY || message.serial != self.serial {
                continue;
            }
            if message.status != FAILED {
                return Ok(message.payload);
            }
            let (code, text) = message.error().ok_or_else(cut)?;
            return Err(match code {
                NO_DOMAIN => io::ErrorKind::NotFound.into(),
                _ => io::Error::other(format!("libvirt reports: {text} (error {code})")),
            });
        }
    }

    /// Receives a message; `None` for a message of another program.
    fn receive(&mut self) -> io::Result<Option<Message>> {
        let mut length = [0; 4];
        // A time without messages is usual; a pause within a message is an error.
        let (first, others) = length.split_at_mut(1);
        self.stream.read_exact(first)?;
        self.stream.read_exact(others).map_err(within)?;
        let length = u32::from_be_bytes(length);
        if !(HEADER_BYTES..=MAX_MESSAGE_BYTES).contains(&length) {
            let text = format!("a message of libvirt has the length {length}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let mut bytes = Vec::new();
        let rest = u64::from(length - 4);
        let read = Read::take(&mut self.stream, rest).read_to_end(&mut bytes);
        let count = read.map_err(within)?;
        match count as u64 == rest {
            true => Ok(Message::parse(&bytes)),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Returns the error of a read within a message.
fn within(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::TimedOut => {
            io::Error::other("libvirt sent only a part of a message in time")
        }
        _ => error,
    }
}

fn cut() -> io::Error {
    let text = "a reply of libvirt is too short";
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Procedures of the remote protocol.
pub(super) const CONNECT_OPEN: u32 = 1;
pub(super) const GET_XML: u32 = 14;
pub(super) const GET_STATE: u32 = 212;
pub(super) const LIST_ALL_DOMAINS: u32 = 273;
pub(super) const REGISTER_EVENT: u32 = 316;

/// Flag of a connection that changes nothing (`VIR_CONNECT_RO`).
const READ_ONLY: u32 = 1;

/// Events of virtual machines (`virDomainEventID`).
const LIFECYCLE: u32 = 0;
const DEVICE_REMOVED: u32 = 15;
const DEVICE_ADDED: u32 = 19;

/// Error code for an unknown virtual machine (`VIR_ERR_NO_DOMAIN`).
pub(super) const NO_DOMAIN: u32 = 42;

/// Maximum length of a message, in bytes (`VIR_NET_MESSAGE_MAX`).
const MAX_MESSAGE_BYTES: u32 = 32 << 20;

/// Maximum number of virtual machines that wait to be read again; libvirt lists at most as many.
const MAX_CHANGED: usize = 16_384;
