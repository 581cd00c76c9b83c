//! Reads configuration files, with limits on length and time, because a path may be a pipe without
//! a writer.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::{ConfigError, duplicate_key, yaml};

/// Content of a configuration file.
pub(super) struct FileContent {
    /// Settings.
    pub(super) tree: Value,
    /// Description of the first key that an object contains twice; `None` if there is none.
    pub(super) duplicate_key: Option<String>,
}

/// Reads and parses a file; `-` is standard input.
pub(super) fn read_file(path: &Path) -> Result<FileContent, ConfigError> {
    let location = path.display().to_string();
    let text = if path == Path::new("-") {
        read_bounded(io::stdin())
    } else {
        read_in_time(path, READ_TIMEOUT)
    };
    let text = text.map_err(|source| ConfigError::File {
        path: location.clone(),
        source,
    })?;
    let tree = yaml(&text).map_err(|reason| ConfigError::Yaml { location, reason })?;
    Ok(FileContent {
        tree,
        duplicate_key: duplicate_key(&text),
    })
}

/// Reads a file on a separate thread. Opening a pipe blocks until there is a writer; after the
/// timeout, that thread is abandoned and remains blocked.
fn read_in_time(path: &Path, timeout: Duration) -> io::Result<String> {
    let (send, text) = mpsc::channel();
    let path = path.to_owned();
    thread::Builder::new()
        .name("configuration".to_owned())
        .spawn(move || send.send(File::open(path).and_then(read_bounded)))?;
    text.recv_timeout(timeout).unwrap_or_else(|_| {
        let reason = format!("timed out after {timeout:?} while reading the file");
        Err(io::Error::new(io::ErrorKind::TimedOut, reason))
    })
}

/// Reads a source to its end; fails if it is longer than [`MAX_BYTES`].
fn read_bounded(source: impl Read) -> io::Result<String> {
    let mut text = String::new();
    source.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        let reason = format!("file exceeds the limit of {MAX_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    Ok(text)
}

/// Maximum length of a configuration file, in bytes.
const MAX_BYTES: u64 = 1 << 20;
const READ_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_that_never_ends_is_refused() {
        let error = read_bounded(io::repeat(b' ')).unwrap_err();
        assert_eq!(error.to_string(), "file exceeds the limit of 1048576 bytes");
        let longest = io::repeat(b' ').take(MAX_BYTES);
        assert_eq!(read_bounded(longest).unwrap().len() as u64, MAX_BYTES);
    }

    #[test]
    fn a_pipe_is_read_once_it_has_a_writer_and_times_out_otherwise() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let folder = std::env::temp_dir().join(format!("skyd-config-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("pipe");
        mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
        let error = read_in_time(&path, Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        std::fs::remove_file(&path).unwrap();
        // The abandoned reader still has the first pipe open.
        mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
        let written = path.clone();
        let writer = thread::spawn(move || {
            let mut pipe = File::options().write(true).open(written).unwrap();
            pipe.write_all(b"host_id: from-a-pipe\n").unwrap();
        });
        let text = read_in_time(&path, Duration::from_secs(20)).unwrap();
        assert_eq!(text, "host_id: from-a-pipe\n");
        writer.join().unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
