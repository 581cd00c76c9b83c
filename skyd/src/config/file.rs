//! Reading a configuration file, which may be a pipe that nobody writes into.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::{ConfigError, yaml};

/// Reads and parses a file; `-` is the standard input.
pub(super) fn read_file(path: &Path) -> Result<Value, ConfigError> {
    let place = path.display().to_string();
    let text = if path == Path::new("-") {
        read_bounded(io::stdin())
    } else {
        read_in_time(path, PATIENCE)
    };
    let text = text.map_err(|source| ConfigError::File {
        path: place.clone(),
        source,
    })?;
    yaml(&text).map_err(|reason| ConfigError::Yaml { place, reason })
}

/// Reads on a thread of its own: opening a pipe waits for a writer, who may never come. The thread
/// is then left behind, waiting.
fn read_in_time(path: &Path, patience: Duration) -> io::Result<String> {
    let (send, text) = mpsc::channel();
    let path = path.to_owned();
    thread::Builder::new()
        .name("configuration".to_owned())
        .spawn(move || send.send(File::open(path).and_then(read_bounded)))?;
    text.recv_timeout(patience).unwrap_or_else(|_| {
        let reason = format!("it has not come to its end within {patience:?}");
        Err(io::Error::new(io::ErrorKind::TimedOut, reason))
    })
}

/// All of a source, which may be one that never ends.
fn read_bounded(source: impl Read) -> io::Result<String> {
    let mut text = String::new();
    source.take(LONGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST {
        let reason = format!("longer than {LONGEST} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    Ok(text)
}

const LONGEST: u64 = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_that_never_ends_is_refused() {
        let error = read_bounded(io::repeat(b' ')).unwrap_err();
        assert_eq!(error.to_string(), "longer than 1048576 bytes");
        let longest = io::repeat(b' ').take(LONGEST);
        assert_eq!(read_bounded(longest).unwrap().len() as u64, LONGEST);
    }

    #[test]
    fn a_pipe_is_read_once_somebody_writes_and_not_waited_for_in_vain() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let folder = std::env::temp_dir().join(format!("skyd-config-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("pipe");
        mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
        let error = read_in_time(&path, Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        std::fs::remove_file(&path).unwrap();
        // The reader left behind still has the former pipe.
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
