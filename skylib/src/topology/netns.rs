//! Named network namespaces, as listed by `ip netns`, as nodes with all their links.
//!
//! The probe watches a folder with inotify, usually `/var/run/netns`. A file appears there shortly
//! before the namespace is mounted on it, and inotify does not report mounts. Therefore the probe
//! checks such a file again with exponential backoff, and after each change to the mount table. It
//! blocks in `poll` otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use super::netlink::Namespaces;
use super::{Probe, ProbeContext, ProbeError};
use crate::graph::Metadata;
use crate::sys::eventfd::wait_readable;
use crate::sys::netns::Netns;
use crate::sys::timerfd::TimerFd;

/// A probe of the network namespaces in a folder.
#[derive(Debug)]
pub struct NetnsProbe {
    namespaces: Arc<Namespaces>,
    run_path: PathBuf,
}

impl NetnsProbe {
    /// Returns a probe of the folder `run_path`, which need not exist yet; an empty path disables
    /// the watch.
    #[must_use]
    pub fn new(namespaces: &Arc<Namespaces>, run_path: impl Into<PathBuf>) -> Self {
        Self {
            namespaces: Arc::clone(namespaces),
            run_path: run_path.into(),
        }
    }
}

impl Probe for NetnsProbe {
    fn name(&self) -> &'static str {
        "netns"
    }

    fn run(&mut self, context: &ProbeContext) -> Result<(), ProbeError> {
        let result = if self.run_path.as_os_str().is_empty() {
            context.running();
            wait_readable([context.stop()]).map(|_| ())
        } else {
            Watcher::new(self, context).and_then(|mut watcher| watcher.run())
        };
        if result.is_ok() {
            self.namespaces.halt();
        }
        let action = "cannot watch the folder of network namespaces";
        result.map_err(|error| ProbeError::system(action, error))
    }
}

struct Watcher<'a> {
    namespaces: &'a Namespaces,
    run_path: &'a Path,
    context: &'a ProbeContext,
    folder: Folder,
    /// Mount table, whose changes `poll` reports; `None` if the system cannot report them. In that
    /// case, pending files are checked until they are namespaces.
    mounts: Option<File>,
    timer: TimerFd,
    /// Files that are not namespaces (yet), with the number of checks. Disjoint from `known`.
    pending: BTreeMap<OsString, u32>,
    /// Files that are registered namespaces.
    known: BTreeSet<OsString>,
    /// Whether the timer triggers a scan of the folder, and not only of pending files.
    scan: bool,
}

impl<'a> Watcher<'a> {
    fn new(probe: &'a NetnsProbe, context: &'a ProbeContext) -> io::Result<Self> {
        Ok(Self {
            namespaces: &probe.namespaces,
            run_path: &probe.run_path,
            context,
            folder: Folder::new()?,
            mounts: File::open("/proc/thread-self/mountinfo").ok(),
            timer: TimerFd::new()?,
            pending: BTreeMap::new(),
            known: BTreeSet::new(),
            scan: false,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        self.scan_all();
        self.context.running();
        loop {
            let (mut stopped, mut changed, mut due, mut mounted) = (false, false, false, false);
            let mut fds = vec![
                (
                    PollFd::from_borrowed_fd(self.context.stop(), PollFlags::IN),
                    &mut stopped,
                ),
                (
                    PollFd::new(&self.folder.inotify, PollFlags::IN),
                    &mut changed,
                ),
                (PollFd::new(&self.timer, PollFlags::IN), &mut due),
            ];
            if let Some(mounts) = &self.mounts {
                fds.push((PollFd::new(mounts, PollFlags::PRI), &mut mounted));
            }
            wait(&mut fds)?;
            if stopped {
                return Ok(());
            }
            if mounted {
                // Starting containers cause bursts of mounts; one scan at the end is sufficient.
                self.scan = true;
                self.timer.once(MOUNT_DELAY)?;
            }
            if changed {
                self.folder_changed();
            }
            if due {
                self.timer.clear();
                if std::mem::take(&mut self.scan) {
                    self.scan_all();
                } else {
                    self.check_pending();
                }
            }
        }
    }

    fn folder_changed(&mut self) {
        match self.folder.changes() {
            Some(names) => {
                for name in names {
                    self.pending.remove(&name);
                    self.check(name);
                }
            }
            None => self.scan_all(),
        }
        self.set_timer();
    }

    /// Checks every file in the folder, and every known or pending file.
    fn scan_all(&mut self) {
        let watched = self.folder.watch(self.run_path);
        self.report("", watched.err());
        let mut names = self.known.clone();
        names.extend(self.pending.keys().cloned());
        if let Ok(entries) = self.run_path.read_dir() {
            names.extend(entries.flatten().map(|entry| entry.file_name()));
        }
        for name in names {
            self.check(name);
        }
        self.set_timer();
    }

    fn check_pending(&mut self) {
        for name in self.pending.keys().cloned().collect::<Vec<_>>() {
            self.check(name);
        }
        self.set_timer();
    }

    /// Registers or unregisters the namespace of a file according to its current state.
    fn check(&mut self, name: OsString) {
        let path = self.run_path.join(&name);
        let label = name.to_string_lossy().into_owned();
        let found = Netns::open(&path);
        if let Ok(netns) = &found
            && self.namespaces.registered(&path) == Some(netns.id())
        {
            return;
        }
        if self.known.remove(&name) {
            self.namespaces.unregister(&path);
        }
        let registered = found.and_then(|_| {
            self.namespaces
                .register(&path, &label, &Metadata::new(), self.context)
        });
        let problem = match registered {
            Ok(_) => {
                self.pending.remove(&name);
                self.known.insert(name);
                None
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.pending.remove(&name);
                None
            }
            // The namespace is not mounted yet, or this is an ordinary file.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                let tries = self.pending.entry(name).or_default();
                *tries += 1;
                if *tries == TRIES_BEFORE_LOG {
                    tracing::info!(
                        path = %path.display(),
                        "not a network namespace; ignored until one is mounted there"
                    );
                }
                None
            }
            Err(error) => {
                *self.pending.entry(name).or_default() += 1;
                Some(error)
            }
        };
        self.report(&label, problem);
    }

    /// Sets the time of the next check of pending files, with exponential backoff.
    ///
    /// After [`TRIES`] checks, only a change to the mount table triggers another check, if the
    /// system reports such changes.
    fn set_timer(&self) {
        let tries = self
            .pending
            .values()
            .copied()
            .filter(|n| *n < TRIES || self.mounts.is_none());
        if let Some(tries) = tries.min()
            && !self.scan
        {
            let wait = INITIAL_BACKOFF * 2_u32.pow(tries.min(TRIES)).min(100);
            // Fails only for a time out of range.
            let _set = self.timer.once(wait);
        }
    }

    fn report(&self, name: &str, error: Option<io::Error>) {
        let path = self.run_path.join(name);
        let text = error.map(|error| format!("{}: {error}", path.display()));
        self.context.problem(&path.to_string_lossy(), text);
    }
}

/// An inotify watch on a folder, or on its nearest existing ancestor while it does not exist.
struct Folder {
    inotify: OwnedFd,
    /// Descriptor of the current watch.
    watched: Option<i32>,
    /// Whether the watch is on the folder itself.
    exists: bool,
}

impl Folder {
    fn new() -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Self {
            inotify,
            watched: None,
            exists: false,
        })
    }

    /// Watches the folder, or its nearest existing ancestor.
    fn watch(&mut self, folder: &Path) -> io::Result<()> {
        let flags = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        for path in folder.ancestors() {
            let path = if path.as_os_str().is_empty() {
                Path::new(".")
            } else {
                path
            };
            let watched = match inotify::add_watch(&self.inotify, path, flags) {
                Ok(watched) => watched,
                Err(Errno::NOENT | Errno::NOTDIR) => continue,
                Err(error) => return Err(error.into()),
            };
            if let Some(former) = self.watched.replace(watched).filter(|f| *f != watched) {
                // Fails if the watch was removed together with its folder.
                let _removed = inotify::remove_watch(&self.inotify, former);
            }
            self.exists = path == folder;
            // The folder may have been created between the two calls.
            if self.exists || !folder.exists() {
                return Ok(());
            }
            return self.watch(folder);
        }
        Ok(())
    }

    /// Returns the names of created and deleted files; `None` if a scan of the folder is necessary.
    fn changes(&mut self) -> Option<BTreeSet<OsString>> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut names = BTreeSet::new();
        let mut is_complete = self.exists;
        while let Ok(event) = reader.next() {
            let current = Some(event.wd()) == self.watched;
            let lost = ReadFlags::QUEUE_OVERFLOW
                | ReadFlags::DELETE_SELF
                | ReadFlags::MOVE_SELF
                | ReadFlags::UNMOUNT;
            is_complete &= !event.events().intersects(lost);
            if let Some(name) = event.file_name().filter(|_| current) {
                names.insert(OsString::from_vec(name.to_bytes().to_owned()));
            }
        }
        is_complete.then_some(names)
    }
}

/// Waits until at least one descriptor is ready, and sets the flags of the ready descriptors.
fn wait(fds: &mut [(PollFd<'_>, &mut bool)]) -> io::Result<()> {
    let mut polled: Vec<PollFd<'_>> = fds.iter().map(|(fd, _)| fd.clone()).collect();
    loop {
        match poll(&mut polled, None) {
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    for (fd, (_, flag)) in polled.iter().zip(fds) {
        **flag = !fd.revents().is_empty();
    }
    Ok(())
}

/// Time before the second check of a file; doubles with each check, up to one second.
const INITIAL_BACKOFF: Duration = Duration::from_millis(10);

/// Number of checks, which take about 0.6 s, after which a file is logged.
const TRIES_BEFORE_LOG: u32 = 6;

/// Number of checks after which a file waits for the next change to the mount table.
const TRIES: u32 = 10;

/// Time from a change to the mount table to the scan.
const MOUNT_DELAY: Duration = Duration::from_millis(50);
