//! Programs whose output a probe reads, such as `ovs-ofctl`. A program ends with the probe, and its
//! time and output are limited.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::connect::stopped;
use crate::sys::eventfd::wait_readable;
use crate::sys::timerfd::TimerFd;

/// Limits of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct ToolLimits {
    /// Maximum time of a run.
    pub(super) timeout: Duration,
    /// Maximum size of the standard output, in bytes.
    pub(super) output_bytes: usize,
}

/// Standard output of a program.
#[derive(Debug)]
pub(super) struct ToolOutput {
    /// Invalid UTF-8 is replaced.
    pub(super) text: String,
    /// Whether the limit was reached, so that the text is truncated.
    pub(super) is_cut: bool,
}

/// Runs a program, and returns what it prints. A program that prints too much is killed.
///
/// # Errors
/// Returns `ConnectionAborted` if `stop` becomes readable, `TimedOut` after the maximum time, and
/// the error output of a program that fails; the program has ended in any case.
pub(super) fn run(
    mut command: Command,
    limits: ToolLimits,
    stop: BorrowedFd<'_>,
) -> io::Result<ToolOutput> {
    let deadline = TimerFd::new()?;
    deadline.once(limits.timeout)?;
    let process = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut run = Run {
        process: Process(process),
        limits,
        stop,
        deadline,
        output: Vec::new(),
        errors: Vec::new(),
    };
    let is_complete = run.read()?;
    if is_complete && !run.wait()?.success() {
        let text = String::from_utf8_lossy(&run.errors);
        return Err(io::Error::other(text.trim().to_owned()));
    }
    Ok(ToolOutput {
        text: String::from_utf8_lossy(&run.output).into_owned(),
        is_cut: !is_complete,
    })
}

/// A running program.
struct Run<'a> {
    process: Process,
    limits: ToolLimits,
    stop: BorrowedFd<'a>,
    deadline: TimerFd,
    output: Vec<u8>,
    errors: Vec<u8>,
}

impl Run<'_> {
    /// Reads both outputs to their ends; returns `false` if the limit of the output is reached.
    fn read(&mut self) -> io::Result<bool> {
        let mut stdout = self.process.0.stdout.take();
        let mut stderr = self.process.0.stderr.take();
        let mut buffer = [0; 16 << 10];
        while stdout.is_some() || stderr.is_some() {
            let fds = [
                stdout.as_ref().map(AsFd::as_fd),
                stderr.as_ref().map(AsFd::as_fd),
            ];
            let [has_output, has_errors] = self.wait_for(fds)?;
            if has_output && let Some(pipe) = &mut stdout {
                let length = pipe.read(&mut buffer)?;
                let free = self.limits.output_bytes - self.output.len();
                self.output.extend(&buffer[..length.min(free)]);
                if length > free {
                    return Ok(false);
                }
                stdout = stdout.filter(|_| length > 0);
            }
            if has_errors && let Some(pipe) = &mut stderr {
                let length = pipe.read(&mut buffer)?;
                let free = MAX_ERROR_BYTES - self.errors.len();
                self.errors.extend(&buffer[..length.min(free)]);
                stderr = stderr.filter(|_| length > 0);
            }
        }
        Ok(true)
    }

    /// Waits until at least one pipe has data or has ended; returns which of them.
    fn wait_for(&self, pipes: [Option<BorrowedFd<'_>>; 2]) -> io::Result<[bool; 2]> {
        // `stop` takes the place of a pipe that has ended.
        let [first, second] = pipes.map(|pipe| pipe.unwrap_or(self.stop));
        let fds = [self.stop, self.deadline.as_fd(), first, second];
        let [is_stopping, is_late, first, second] = wait_readable(fds)?;
        self.check(is_stopping, is_late)?;
        Ok([first && pipes[0].is_some(), second && pipes[1].is_some()])
    }

    /// Waits until the program, which has closed its outputs, has ended.
    fn wait(&mut self) -> io::Result<ExitStatus> {
        let pause = TimerFd::new()?;
        pause.every(END_PAUSE)?;
        loop {
            if let Some(status) = self.process.0.try_wait()? {
                return Ok(status);
            }
            pause.clear();
            let [is_stopping, is_late, _] =
                wait_readable([self.stop, self.deadline.as_fd(), pause.as_fd()])?;
            self.check(is_stopping, is_late)?;
        }
    }

    fn check(&self, is_stopping: bool, is_late: bool) -> io::Result<()> {
        if is_stopping {
            return Err(stopped());
        }
        if is_late {
            let text = format!("no result within {:?}", self.limits.timeout);
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        Ok(())
    }
}

/// A process that is killed on drop.
#[derive(Debug)]
pub(super) struct Process(pub(super) Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Fails if the process has ended.
        let _killed = self.0.kill();
        let _ended = self.0.wait();
    }
}

/// Maximum size of the error output that is reported, in bytes.
const MAX_ERROR_BYTES: usize = 4 << 10;

/// Time between two checks whether a program without outputs has ended.
const END_PAUSE: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::eventfd::EventFd;

    fn shell(script: &str, milliseconds: u64, stop: &EventFd) -> io::Result<ToolOutput> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let limits = ToolLimits {
            timeout: Duration::from_millis(milliseconds),
            output_bytes: 100_000,
        };
        run(command, limits, stop.as_fd())
    }

    #[test]
    fn the_output_or_the_error_of_a_program_is_returned() {
        let stop = EventFd::new().unwrap();
        let output = shell("echo a; echo b >&2; echo c", 60_000, &stop).unwrap();
        assert_eq!((output.text.as_str(), output.is_cut), ("a\nc\n", false));
        let error = shell("echo a; echo broken >&2; exit 3", 60_000, &stop).unwrap_err();
        assert_eq!(error.to_string(), "broken");
        let missing = Command::new("/nowhere/tool");
        let limits = ToolLimits {
            timeout: Duration::from_secs(1),
            output_bytes: 1,
        };
        let error = run(missing, limits, stop.as_fd()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn endless_output_is_cut_and_does_not_block_the_program() {
        let stop = EventFd::new().unwrap();
        let output = shell("exec yes", 60_000, &stop).unwrap();
        assert_eq!((output.text.len(), output.is_cut), (100_000, true));
        let noisy = "i=0; while [ $i -lt 3000 ]; do echo 'a long line of error output' >&2; \
                     i=$((i+1)); done; echo done";
        let output = shell(noisy, 60_000, &stop).unwrap();
        assert_eq!(output.text, "done\n");
    }

    #[test]
    fn a_silent_program_ends_at_its_deadline_or_with_the_probe() {
        let stop = EventFd::new().unwrap();
        for script in ["exec sleep 600", "exec >/dev/null 2>&1; exec sleep 600"] {
            let error = shell(script, 50, &stop).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        }
        stop.raise();
        for script in ["exec sleep 600", "exec >/dev/null 2>&1; exec sleep 600"] {
            let error = shell(script, 60_000, &stop).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        }
    }
}
