//! Many WebSocket clients on one thread: parses frame headers and checks the numbers of the
//! messages.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::event::epoll;
use rustix::fd::OwnedFd;

use crate::server::Server;
use crate::{Progress, TIMEOUT};

pub(crate) struct Clients {
    poll: OwnedFd,
    clients: Vec<Client>,
}

struct Client {
    stream: TcpStream,
    /// Bytes received but not parsed yet.
    buffer: Box<[u8]>,
    filled: usize,
    /// Number of the next message.
    next: u64,
}

/// Totals of all clients.
pub(crate) struct Received {
    pub(crate) frames: u64,
    /// 99th percentile of the time from sending by the feed to arrival at the client.
    pub(crate) p99: Duration,
}

impl Clients {
    pub(crate) fn connect(server: &Server, count: usize, receive_buffer: Option<usize>) -> Self {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll");
        let clients: Vec<Client> = (0..count)
            .map(|_| Client {
                stream: server.open("/ws/subscriber/flow", receive_buffer),
                buffer: vec![0; BUFFER].into(),
                filled: 0,
                next: 0,
            })
            .collect();
        for (at, client) in clients.iter().enumerate() {
            client.stream.set_nonblocking(true).expect("non-blocking");
            let data = epoll::EventData::new_u64(at as u64);
            epoll::add(&poll, &client.stream, data, epoll::EventFlags::IN).expect("epoll");
        }
        Self { poll, clients }
    }

    /// Reads until all clients have received all messages.
    pub(crate) fn receive_all(&mut self, progress: &Progress) -> Received {
        let messages = progress.sent.len() as u64;
        let mut lags = Vec::with_capacity(self.clients.len() * messages as usize);
        let mut done = 0;
        let mut events = Vec::with_capacity(128);
        while done < self.clients.len() {
            assert!(progress.began.elapsed() < TIMEOUT, "frames are missing");
            events.clear();
            let timeout = rustix::time::Timespec {
                tv_sec: 1,
                tv_nsec: 0,
            };
            let spare = rustix::buffer::spare_capacity(&mut events);
            epoll::wait(&self.poll, spare, Some(&timeout)).expect("epoll");
            for event in &events {
                let client = &mut self.clients[event.data.u64() as usize];
                let had_all = client.next == messages;
                client.read(progress, &mut lags);
                done += usize::from(!had_all && client.next == messages);
            }
            let slowest = self.clients.iter().map(|client| client.next).min();
            progress
                .arrived
                .store(slowest.unwrap_or_default(), Ordering::Relaxed);
        }
        let frames = lags.len() as u64;
        let at = lags.len() * 99 / 100;
        let (_, p99, _) = lags.select_nth_unstable(at);
        Received {
            frames,
            p99: Duration::from_nanos(*p99),
        }
    }
}

impl Client {
    /// Reads once and parses the complete frames.
    fn read(&mut self, progress: &Progress, lags: &mut Vec<u64>) {
        match self.stream.read(&mut self.buffer[self.filled..]) {
            Ok(0) => panic!("the server hung up after {} frames", self.next),
            Ok(length) => self.filled += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("{error}"),
        }
        let now = progress.now();
        let mut at = 0;
        while let Some((opcode, payload)) = frame(&self.buffer[at..self.filled]) {
            let end = at + payload.end;
            if opcode == TEXT {
                let number = number_of(&self.buffer[at + payload.start..end]);
                assert_eq!(number, self.next, "a frame is missing");
                let sent = progress.sent[number as usize].load(Ordering::Relaxed);
                lags.push(now - sent);
                self.next += 1;
            }
            at = end;
        }
        self.buffer.copy_within(at..self.filled, 0);
        self.filled -= at;
    }
}

/// Returns opcode and payload range of the first frame; `None` if it is incomplete.
fn frame(bytes: &[u8]) -> Option<(u8, std::ops::Range<usize>)> {
    let (&first, &length) = (bytes.first()?, bytes.get(1)?);
    let (start, length) = match length {
        126 => (
            4,
            usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?])),
        ),
        127 => panic!("no frame is that long"),
        short => (2, usize::from(short)),
    };
    (bytes.len() >= start + length).then(|| (first & 0x0f, start..start + length))
}

/// Returns the number before the closing braces.
fn number_of(text: &[u8]) -> u64 {
    let text = text.strip_suffix(b"}}").expect("statistics");
    let digits = text.iter().rev().take_while(|byte| byte.is_ascii_digit());
    let start = text.len() - digits.count();
    text[start..]
        .iter()
        .fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}

const TEXT: u8 = 1;
/// Number of bytes read by one system call.
const BUFFER: usize = 64 << 10;
