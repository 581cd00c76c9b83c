//! Process of the analyzer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::TIMEOUT;

/// Running analyzer; killed on drop.
pub(crate) struct Server {
    process: Child,
    address: SocketAddr,
    folder: PathBuf,
}

/// Raises the number of files that this process may open.
pub(crate) fn raise_descriptor_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, limit).expect("the limit of the user");
}

impl Server {
    /// Starts an analyzer, on a free port unless one is given.
    pub(crate) fn start(port: Option<u16>) -> Self {
        let folder = std::env::temp_dir().join(format!("skyd-agents-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for data");
        let program = std::env::var("SKYD").expect("SKYD");
        let listen = format!("analyzer.listen=127.0.0.1:{}", port.unwrap_or(0));
        let mut process = Command::new(&program)
            .args([
                "analyzer",
                "--set",
                &listen,
                "--set",
                "flow.protocol=websocket",
            ])
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
            folder,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Opens a WebSocket connection of an agent.
    pub(crate) fn open(&self, path: &str, host: &str, protocol: &str) -> TcpStream {
        let mut stream = self.connect();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             X-Client-Type: agent\r\nX-Host-ID: {host}\r\nX-Client-Protocol: {protocol}\r\n\
             X-Persistence-Policy: DeleteOnDisconnect\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("sent");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("an answer");
            head.extend(byte);
        }
        let text = String::from_utf8_lossy(&head);
        assert!(text.starts_with("HTTP/1.1 101 "), "{text}");
        stream
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        stream.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
        stream.set_write_timeout(Some(TIMEOUT)).expect("a timeout");
        stream
    }

    /// Returns the result of a query.
    pub(crate) fn query(&self, gremlin: &str) -> Value {
        let body = json!({ "GremlinQuery": gremlin }).to_string();
        self.request("POST", "/api/topology", &body)
    }

    pub(crate) fn status(&self) -> Value {
        self.request("GET", "/api/status", "")
    }

    fn request(&self, method: &str, path: &str, body: &str) -> Value {
        let mut stream = self.connect();
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(" 200 "), "{method} {path}: {answer}");
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"))
    }

    /// Waits until no more flows arrive, and returns their number.
    pub(crate) fn wait_for_flows(&self, sent: u64) -> u64 {
        let began = Instant::now();
        loop {
            let arrived = self.status()["FlowIngestion"]["Flows"]
                .as_u64()
                .unwrap_or(0);
            if arrived >= sent || began.elapsed() > SETTLE {
                return arrived.min(sent);
            }
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }

    /// Returns the CPU time that all threads have used so far.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let text = self.proc_file("stat");
        // The fields follow the name in parentheses; 14 and 15 are user and system time (proc(5)).
        let (_, rest) = text.rsplit_once(')').expect("a name");
        let fields = rest.split_whitespace().skip(11).take(2);
        let ticks: u64 = fields
            .map(|field| field.parse::<u64>().expect("ticks"))
            .sum();
        ticks as f64 / USER_HZ
    }

    pub(crate) fn resident_bytes(&self) -> u64 {
        let text = self.proc_file("status");
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
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
        drop(self.process.wait());
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

/// Maximum time to wait for flows that have been sent to be received.
const SETTLE: Duration = Duration::from_secs(20);
/// Clock ticks per second of CPU times in `/proc`; 100 on all common architectures.
const USER_HZ: f64 = 100.0;
