//! A `skyd` process of a test's own, on a free port, with a data folder that goes with it.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A folder that is removed at the end.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("skyd-it-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A running analyzer; dropping it ends it.
pub(crate) struct Daemon {
    pub(crate) address: SocketAddr,
    process: Child,
    log: Arc<Mutex<Vec<String>>>,
    _folder: Option<Folder>,
}

impl Daemon {
    /// An analyzer with the defaults.
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// An analyzer with settings, `key=value`.
    pub(crate) fn with(settings: &[&str]) -> Self {
        let folder = Folder::new();
        let mut daemon = Self::in_folder(&folder.0, settings);
        daemon._folder = Some(folder);
        daemon
    }

    /// An analyzer whose data outlives it.
    pub(crate) fn in_folder(folder: &Path, settings: &[&str]) -> Self {
        Self::spawn(command("analyzer", folder, settings))
    }

    /// What a command line runs.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut process = command.spawn().unwrap();
        let stderr = BufReader::new(process.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(Vec::new()));
        let (found, place) = mpsc::channel();
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if let Some((_, rest)) = line.split_once("listening on ") {
                    let address = rest
                        .split_whitespace()
                        .next()
                        .unwrap_or_default()
                        .to_owned();
                    drop(found.send(address));
                }
                lines.lock().unwrap().push(line);
            }
        });
        let address = place
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|_| panic!("no start: {:?}", log.lock().unwrap()));
        Self {
            address: address.parse().unwrap(),
            process,
            log,
            _folder: None,
        }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Its name in the graph.
    pub(crate) fn host(&self) -> String {
        let root = crate::client::get(self, "/api").json();
        root["Host"].as_str().unwrap().to_owned()
    }

    /// What it has written to its log so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// How many files and sockets it has open.
    pub(crate) fn descriptors(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.process.id());
        std::fs::read_dir(folder).unwrap().count()
    }

    /// Sends SIGHUP and waits until the log says what came of it.
    pub(crate) fn hang_up(&self, told: &str) {
        let before = self.log().matches(told).count();
        kill_process(Pid::from_child(&self.process), Signal::HUP).unwrap();
        until(told, || self.log().matches(told).count() > before);
    }

    /// Sends a signal, waits for the end, and tells how it ended.
    pub(crate) fn stop(&mut self, signal: Signal) -> ExitStatus {
        let began = Instant::now();
        let pid = Pid::from_child(&self.process);
        kill_process(pid, signal).unwrap();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "it does not end: {}",
                self.log()
            );
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A daemon's command line, not yet run.
pub(crate) fn command(role: &str, folder: &Path, settings: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skyd"));
    command
        .arg(role)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let store = format!("storage.local.path={}", folder.join("store").display());
    let always = [
        "analyzer.listen=127.0.0.1:0",
        &store,
        // A client of a test reads when it is its turn, which on a busy machine may be late.
        "http.ws.pong_timeout=120",
    ];
    for setting in always.iter().chain(settings) {
        command.args(["--set", setting]);
    }
    // Settings of the machine must not reach the tests.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SKYD")) {
        if name != "SKYD_LOG" {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a daemon that must not start; what it says.
pub(crate) fn refused(role: &str, settings: &[&str], file: Option<&str>) -> String {
    let folder = Folder::new();
    let mut command = command(role, &folder.0, settings);
    if file.is_some() {
        command.args(["-c", "-"]).stdin(Stdio::piped());
    }
    let mut process = command.spawn().unwrap();
    if let (Some(text), Some(mut stdin)) = (file, process.stdin.take()) {
        stdin.write_all(text.as_bytes()).unwrap();
    }
    let output = process.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

/// Waits for something that must come.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(
            began.elapsed() < PATIENCE,
            "not within {PATIENCE:?}: {what}"
        );
        // Whoever asks without a pause takes the time from the daemon that it asks.
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// How long anything may take before a test fails; the machine may be busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
