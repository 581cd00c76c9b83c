//! Sender of numbered messages.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prost::Message;
use skylib::flow::{FlowMessage, FlowStats};

use crate::server::{Kind, Server};
use crate::{FRAME, Pace, Progress, TIMEOUT};

pub(crate) struct Feed {
    stream: TcpStream,
    kind: Kind,
    stats: FlowStats,
}

impl Feed {
    pub(crate) fn connect(server: &Server, kind: Kind) -> Self {
        // The name of the capture pads the frame to its size.
        let mut stats = FlowStats::default();
        let rest = text_of(&stats, 0).len();
        let key = r#""CaptureID":"","#.len();
        stats.capture_id = "c".repeat(FRAME - rest - key).as_str().into();
        assert_eq!(text_of(&stats, 0).len(), FRAME);
        Self {
            stream: server.open("/ws/agent/flow", None),
            kind,
            stats,
        }
    }

    /// Sends all messages of a run and records their send times.
    pub(crate) fn send(&mut self, progress: &Progress, pace: Pace) {
        let messages = progress.sent.len() as u64;
        let mut bytes = Vec::with_capacity(2 * BURST_BYTES);
        let mut next = 0;
        while next < messages {
            let may = match pace {
                Pace::Window(window) => progress.arrived.load(Ordering::Relaxed) + window,
                Pace::Rate(rate) => (progress.now() as f64 / 1e9 * rate) as u64 + 1,
            }
            .min(messages);
            if may <= next {
                std::thread::park_timeout(Duration::from_micros(200));
                assert!(
                    progress.began.elapsed() < TIMEOUT,
                    "stuck at message {next}"
                );
                continue;
            }
            bytes.clear();
            let now = progress.now();
            while next < may && bytes.len() < BURST_BYTES {
                progress.sent[next as usize].store(now, Ordering::Relaxed);
                self.write_frame(&mut bytes, next);
                next += 1;
            }
            self.stream.write_all(&bytes).expect("sent");
        }
    }

    /// Appends a client frame; the mask is zero, which saves work here but not in the server.
    fn write_frame(&mut self, out: &mut Vec<u8>, number: u64) {
        let payload = match self.kind {
            Kind::Skyd => {
                self.stats.packets_received = number as i64;
                let message = FlowMessage {
                    flows: Vec::new(),
                    stats: Some(self.stats.clone()),
                };
                message.encode_to_vec()
            }
            Kind::Peer => text_of(&self.stats, number).into_bytes(),
        };
        out.extend([0x82, 0x80 | 126]);
        out.extend(u16::try_from(payload.len()).expect("short").to_be_bytes());
        out.extend([0; 4]);
        out.extend(payload);
    }
}

/// Returns the JSON that `skyd` sends for statistics, without its random UUID.
fn text_of(stats: &FlowStats, number: u64) -> String {
    let stats = stats.clone().with_packets_received(number as i64);
    let object = serde_json::to_string(&stats).expect("JSON");
    let uuid = "00000000-0000-0000-0000-000000000000";
    format!(r#"{{"Namespace":"stats","Type":"stats","UUID":"{uuid}","Status":200,"Obj":{object}}}"#)
}

/// Number of bytes sent by one system call.
const BURST_BYTES: usize = 32 << 10;
