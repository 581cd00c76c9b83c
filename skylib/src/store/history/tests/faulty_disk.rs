//! `FaultyDisk`: a disk that fails a number of calls, or blocks them.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex};

use crate::store::history::disk::{Disk, DiskFile, OsDisk, Space};

/// File system that fails the calls of a range, or every n-th call; writes that fail write a half
/// first.
#[derive(Clone, Debug, Default)]
pub(super) struct FaultyDisk {
    faults: Arc<Faults>,
}

#[derive(Debug, Default)]
struct Faults {
    calls: AtomicU64,
    from: AtomicU64,
    until: AtomicU64,
    /// Every call whose number is a multiple fails; 0 for none.
    every: AtomicU64,
    /// Error number of the operating system.
    error: AtomicU64,
    /// Number of calls that wait until the disk is released; `None` while it does not block.
    blocked: Mutex<Option<usize>>,
    changed: Condvar,
}

impl FaultyDisk {
    /// Lets all calls block until [`FaultyDisk::release`].
    pub(super) fn block(&self) {
        *self.faults.blocked.lock() = Some(0);
    }

    /// Lets blocked calls go on.
    pub(super) fn release(&self) {
        *self.faults.blocked.lock() = None;
        self.faults.changed.notify_all();
    }

    /// Waits until a call is blocked.
    pub(super) fn wait_until_blocked(&self) {
        let mut blocked = self.faults.blocked.lock();
        while *blocked == Some(0) {
            self.faults.changed.wait(&mut blocked);
        }
    }

    /// Lets the calls of a range fail; the next call has the number 0.
    pub(super) fn fail(&self, from: u64, until: u64, error: i32) {
        self.faults.calls.store(0, Ordering::Relaxed);
        self.faults.from.store(from, Ordering::Relaxed);
        self.faults.until.store(until, Ordering::Relaxed);
        self.faults
            .error
            .store(error.cast_unsigned().into(), Ordering::Relaxed);
    }

    /// Lets every n-th call fail; `n` of 0 lets none.
    pub(super) fn fail_every(&self, n: u64, error: i32) {
        self.fail(0, 0, error);
        self.faults.every.store(n, Ordering::Relaxed);
    }

    /// Returns the number of calls since the last [`FaultyDisk::fail`].
    pub(super) fn calls(&self) -> u64 {
        self.faults.calls.load(Ordering::Relaxed)
    }
}

impl Faults {
    fn check(&self) -> io::Result<()> {
        let mut blocked = self.blocked.lock();
        if let Some(calls) = &mut *blocked {
            *calls += 1;
            self.changed.notify_all();
            while blocked.is_some() {
                self.changed.wait(&mut blocked);
            }
        }
        drop(blocked);
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let range = self.from.load(Ordering::Relaxed)..self.until.load(Ordering::Relaxed);
        let every = self.every.load(Ordering::Relaxed);
        if range.contains(&call) || (every > 0 && call % every == every - 1) {
            let error = i32::try_from(self.error.load(Ordering::Relaxed)).unwrap();
            return Err(io::Error::from_raw_os_error(error));
        }
        Ok(())
    }
}

impl Disk for FaultyDisk {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.faults.check()?;
        OsDisk.create_folder(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.faults.check()?;
        Ok(Box::new(FaultyFile {
            file: OsDisk.create(path)?,
            faults: Arc::clone(&self.faults),
        }))
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        self.faults.check()?;
        OsDisk.open(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.faults.check()?;
        OsDisk.read(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.faults.check()?;
        OsDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.faults.check()?;
        OsDisk.remove(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.faults.check()?;
        OsDisk.sync_folder(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.faults.check()?;
        OsDisk.list(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        OsDisk.space(path)
    }
}

struct FaultyFile {
    file: Box<dyn DiskFile>,
    faults: Arc<Faults>,
}

impl Write for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Err(error) = self.faults.check() {
            self.file.write_all(&bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for FaultyFile {
    fn sync(&mut self) -> io::Result<()> {
        self.faults.check()?;
        self.file.sync()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.faults.check()?;
        self.file.truncate(length)
    }
}
