//! Scripts of alerts: programs on this host, with limits on time and output.

use std::io::{self, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::engine::monotonic;

/// Runs a program with JSON on its standard input. At most [`MAX_OUTPUT`] bytes of its output are
/// logged. After [`TIMEOUT`], the program and its children are killed; children that keep its input
/// or output open are killed [`OUTPUT_TIMEOUT`] after its end.
///
/// COMPAT: the rest of the URL is the path. The program receives no arguments, and the path is not
/// interpreted by a shell. The program runs as the user of the daemon, in the same working
/// directory and environment.
///
/// # Errors
/// Returns the reason if the program cannot be started, fails, or is killed.
pub(super) fn run(alert: &str, path: &Path, json: &Bytes) -> Result<(), String> {
    run_within(alert, path, json, TIMEOUT)
}

fn run_within(alert: &str, path: &Path, json: &Bytes, timeout: Duration) -> Result<(), String> {
    let failed = |error: io::Error| format!("cannot run {}: {error}", path.display());
    let (mut output, writer) = io::pipe().map_err(failed)?;
    let mut command = Command::new(path);
    command
        .stdin(Stdio::piped())
        .stdout(writer.try_clone().map_err(failed)?)
        .stderr(writer)
        .process_group(0);
    let mut child = command.spawn().map_err(failed)?;
    // Drop the write ends of the pipe, so that the output ends when the program exits.
    drop(command);
    // Disconnected when both threads have ended.
    let (send, ended) = mpsc::channel();
    if let Some(mut stdin) = child.stdin.take() {
        let (json, until_end) = (json.clone(), send.clone());
        // A program that does not read its input must not block the caller; the write ends when the
        // program and its children end.
        spawn("alert-script-input", move || {
            stdin.write_all(&json).ok();
            drop((stdin, until_end));
        });
    }
    spawn("alert-script-output", move || {
        let mut text = Vec::new();
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = output.read(&mut chunk) {
            let room = MAX_OUTPUT.saturating_sub(text.len());
            text.extend_from_slice(&chunk[..count.min(room)]);
        }
        // The output is not received after the timeout.
        drop(send.send(text));
    });
    let status = wait(&mut child, &ended, timeout);
    let (status, text) = status.map_err(failed)?;
    let text = String::from_utf8_lossy(&text);
    let output = text.trim_end();
    if !output.is_empty() {
        tracing::info!(alert, script = %path.display(), output, "output of the script of an alert");
    }
    match status {
        None => Err(format!(
            "{} was killed because it took longer than {timeout:?}",
            path.display()
        )),
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(format!("{} ended with {status}", path.display())),
    }
}

/// Waits for the end of a program and of its input and output. At the timeout, kills the program and
/// returns no status.
fn wait(
    child: &mut Child,
    output: &mpsc::Receiver<Vec<u8>>,
    timeout: Duration,
) -> io::Result<(Option<ExitStatus>, Vec<u8>)> {
    let mut deadline = monotonic::now() + timeout;
    let (mut text, mut has_ended, mut was_killed) = (None, false, false);
    loop {
        match output.recv_timeout(POLL) {
            Ok(all) => text = Some(all),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            // No event wakes this thread when the program ends.
            Err(mpsc::RecvTimeoutError::Disconnected) if has_ended => break,
            Err(mpsc::RecvTimeoutError::Disconnected) => std::thread::park_timeout(POLL),
        }
        if !has_ended && is_over(child)? {
            has_ended = true;
            deadline = deadline.min(monotonic::now() + OUTPUT_TIMEOUT);
        }
        if monotonic::now() < deadline {
            continue;
        }
        if was_killed {
            // A child in another process group keeps the output open.
            break;
        }
        // The program has not been waited for, so that its process ID is still valid.
        if let Some(group) = Pid::from_raw(child.id().cast_signed()) {
            kill_process_group(group, Signal::KILL)?;
        }
        if !has_ended {
            child.wait()?;
            let text = text.or_else(|| output.recv_timeout(OUTPUT_TIMEOUT).ok());
            return Ok((None, text.unwrap_or_default()));
        }
        was_killed = true;
        deadline = monotonic::now() + OUTPUT_TIMEOUT;
    }
    Ok((Some(child.wait()?), text.unwrap_or_default()))
}

/// Returns whether a program has ended, without waiting for it: until then, no other process can have
/// its ID.
fn is_over(child: &Child) -> io::Result<bool> {
    let Some(id) = Pid::from_raw(child.id().cast_signed()) else {
        return Ok(true);
    };
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    Ok(waitid(WaitId::Pid(id), options)?.is_some())
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().name(name.to_owned());
    if let Err(error) = thread.spawn(work) {
        tracing::error!(%error, thread = name, "cannot start a thread");
    }
}

/// Maximum duration of a script.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum time to wait for the end of a script's input and output after the end of the script.
const OUTPUT_TIMEOUT: Duration = Duration::from_millis(100);
/// Interval at which a script is checked for its end.
const POLL: Duration = Duration::from_millis(20);
/// Maximum number of bytes of output that are logged.
const MAX_OUTPUT: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    use super::*;

    /// Writes a program to a new folder and returns its path.
    fn program(name: &str, text: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("skyd-alert-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn a_script_gets_the_message_and_no_arguments() {
        let path = program("with blank; touch x", r#"cat > "$0.got"; echo "$#""#);
        let json = Bytes::from_static(b"{}");
        run("a", &path, &json).unwrap();
        let got = PathBuf::from(format!("{}.got", path.display()));
        assert_eq!(std::fs::read(&got).unwrap(), b"{}");
    }

    #[test]
    fn a_script_that_hangs_is_killed_with_its_children() {
        let path = program("hangs", "sleep 1000 & sleep 1000");
        let large = Bytes::from(vec![b' '; 1 << 20]);
        let began = monotonic::now();
        let error = run_within("a", &path, &large, Duration::from_millis(100)).unwrap_err();
        assert!(error.contains("was killed"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn children_that_keep_the_output_open_end_with_the_program() {
        let path = program(
            "leaves",
            "sleep 1000 & echo $! > \"$0.pid\"; echo out; exit 3",
        );
        let json = Bytes::from_static(b"{}");
        let error = run("a", &path, &json).unwrap_err();
        assert!(error.ends_with("exit status: 3"), "{error}");
        let id = std::fs::read_to_string(format!("{}.pid", path.display())).unwrap();
        let stat = format!("/proc/{}/stat", id.trim());
        let began = monotonic::now();
        // A zombie until its new parent has waited for it.
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z")) {
            assert!(began.elapsed() < Duration::from_secs(10), "the child runs");
            std::thread::sleep(POLL);
        }
    }

    #[test]
    fn children_that_keep_nothing_open_survive() {
        let text = "sleep 1000 > /dev/null 2>&1 < /dev/null & echo $! > \"$0.pid\"";
        let path = program("starts", text);
        run("a", &path, &Bytes::from_static(b"{}")).unwrap();
        let id = std::fs::read_to_string(format!("{}.pid", path.display())).unwrap();
        let id = Pid::from_raw(id.trim().parse().unwrap()).unwrap();
        rustix::process::kill_process(id, Signal::KILL).unwrap();
    }

    #[test]
    fn failures_are_reported() {
        let json = Bytes::from_static(b"{}");
        let error = run("a", Path::new("/nonexistent"), &json).unwrap_err();
        assert!(error.starts_with("cannot run /nonexistent"), "{error}");
        let error = run("a", &program("fails", "exit 3"), &json).unwrap_err();
        assert!(error.ends_with("exit status: 3"), "{error}");
        let endless = program("floods", "yes | head -c 10000000");
        run("a", &endless, &json).unwrap();
    }
}
