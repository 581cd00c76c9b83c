//! A `skyd` process for one test, on a free port, with a temporary data folder.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Folder that is removed when dropped.
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

/// Running analyzer; ended when dropped.
pub(crate) struct Daemon {
    pub(crate) address: SocketAddr,
    process: Child,
    log: Arc<Mutex<Vec<String>>>,
    _folder: Option<Folder>,
}

impl Daemon {
    /// Starts an analyzer with the defaults.
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// Starts an analyzer with settings, `key=value`.
    pub(crate) fn with(settings: &[&str]) -> Self {
        let folder = Folder::new();
        let mut daemon = Self::in_folder(&folder.0, settings);
        daemon._folder = Some(folder);
        daemon
    }

    /// Starts an analyzer whose data survives it.
    pub(crate) fn in_folder(folder: &Path, settings: &[&str]) -> Self {
        Self::spawn(command("analyzer", folder, settings))
    }

    /// Starts a daemon with this command line.
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
            .recv_timeout(TIMEOUT)
            .unwrap_or_else(|_| panic!("no start: {:?}", log.lock().unwrap()));
        Self {
            address: address.parse().unwrap(),
            process,
            log,
            _folder: None,
        }
    }

    /// Returns the process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Returns whether the process has not ended.
    pub(crate) fn is_running(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// Returns the host id in the graph.
    pub(crate) fn host(&self) -> String {
        let root = crate::client::get(self, "/api").json();
        root["Host"].as_str().unwrap().to_owned()
    }

    /// Returns the log so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// Returns the number of open files and sockets.
    pub(crate) fn descriptors(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.process.id());
        std::fs::read_dir(folder).unwrap().count()
    }

    /// Sends SIGHUP and waits until the log contains a string.
    pub(crate) fn hang_up(&self, text: &str) {
        let before = self.log().matches(text).count();
        kill_process(Pid::from_child(&self.process), Signal::HUP).unwrap();
        until(text, || self.log().matches(text).count() > before);
    }

    /// Sends a signal, waits for the end, and returns the exit status.
    pub(crate) fn stop(&mut self, signal: Signal) -> ExitStatus {
        let began = Instant::now();
        let pid = Pid::from_child(&self.process);
        kill_process(pid, signal).unwrap();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < TIMEOUT, "it does not end: {}", self.log());
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

/// Returns the command line of a daemon.
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
        "agent.listen=127.0.0.1:0",
        &store,
        // On a busy machine, a client of a test may read late.
        "http.ws.pong_timeout=120",
        "http.limits.write_timeout=120",
        "http.limits.transfer_rate=0",
    ];
    for setting in always.iter().chain(settings) {
        command.args(["--set", setting]);
    }
    // Settings of the machine must not affect the tests.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SKYD")) {
        if name != "SKYD_LOG" {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a daemon that must fail to start; returns its standard error.
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

/// Waits until a condition is true.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < TIMEOUT, "not within {TIMEOUT:?}: {what}");
        // Polling without a pause would take CPU time from the daemon.
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Timeout of a test for any single wait; the machine may be busy.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);
