//! Processes of the servers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::TIMEOUT;

/// Server to measure.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Skyd,
    Peer,
}

/// Running server; killed on drop.
pub(crate) struct Server {
    process: Child,
    address: SocketAddr,
    folder: Option<PathBuf>,
}

impl Server {
    pub(crate) fn start(kind: Kind) -> Self {
        match kind {
            Kind::Skyd => Self::skyd(),
            Kind::Peer => Self::peer(),
        }
    }

    fn skyd() -> Self {
        let folder = std::env::temp_dir().join(format!("skyd-fanout-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for data");
        let program = crate::setting("SKYD", "");
        let mut process = Command::new(&program)
            .arg("analyzer")
            .args(["--set", "analyzer.listen=127.0.0.1:0"])
            .args(["--set", "flow.protocol=websocket"])
            // The clients of the benchmark do not answer pings.
            .args(["--set", "http.ws.pong_timeout=1h"])
            .arg("--set")
            .arg(format!("storage.local.path={}", folder.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        let log = BufReader::new(process.stderr.take().expect("piped"));
        let mut lines = log.lines().map_while(Result::ok);
        let address = lines
            .find_map(|line| {
                let (_, rest) = line.split_once("listening on ")?;
                rest.split_whitespace().next()?.parse().ok()
            })
            .expect("the address in the log");
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            process,
            address,
            folder: Some(folder),
        }
    }

    fn peer() -> Self {
        let program = crate::setting("FANOUT_PEER", "");
        let mut process = Command::new(&program)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("its address");
        Self {
            process,
            address: line.trim().parse().expect("an address"),
            folder: None,
        }
    }

    /// Returns a WebSocket after its first frame, a ping, which confirms that the client is
    /// registered.
    pub(crate) fn open(&self, path: &str, receive_buffer: Option<usize>) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).expect("a connection");
        if let Some(bytes) = receive_buffer {
            rustix::net::sockopt::set_socket_recv_buffer_size(&stream, bytes).expect("a buffer");
        }
        stream.set_nodelay(true).expect("no delay");
        stream.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             X-Client-Type: bench\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("sent");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("an answer");
            head.extend(byte);
        }
        assert!(
            head.starts_with(b"HTTP/1.1 101 "),
            "{}",
            String::from_utf8_lossy(&head)
        );
        let mut ping = [0; 2];
        stream.read_exact(&mut ping).expect("a ping");
        assert_eq!(ping, [0x89, 0], "the first ping");
        stream
    }

    /// Returns the CPU time that all threads have used so far.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let text = self.proc_file("stat");
        // The fields follow the name in parentheses; 14 and 15 are user and system time (proc(5)).
        let (_, rest) = text.rsplit_once(')').expect("a name");
        let ticks: u64 = rest
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|field| field.parse::<u64>().expect("ticks"))
            .sum();
        ticks as f64 / USER_HZ
    }

    pub(crate) fn resident_bytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    pub(crate) fn peak_bytes(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, key: &str) -> u64 {
        let text = self.proc_file("status");
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.expect("memory") << 10
    }

    fn proc_file(&self, name: &str) -> String {
        let path = format!("/proc/{}/{name}", self.process.id());
        std::fs::read_to_string(path).expect("the server runs")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        let began = Instant::now();
        while self.process.try_wait().is_ok_and(|status| status.is_none()) {
            assert!(began.elapsed() < TIMEOUT, "the server does not end");
            std::thread::yield_now();
        }
        if let Some(folder) = &self.folder {
            drop(std::fs::remove_dir_all(folder));
        }
    }
}

/// Clock ticks per second of CPU times in `/proc`; 100 on all common architectures.
const USER_HZ: f64 = 100.0;
