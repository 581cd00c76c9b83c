//! Named network namespaces: what `ip netns` shows, as nodes with everything inside.
//!
//! The probe watches a folder, `/var/run/netns` as a rule. A file appears there a moment before
//! the namespace is mounted on it, which no folder watch reports; the probe looks again soon, and
//! whenever the kernel says that mounts have changed. Waiting costs nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
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

/// Watches the namespaces in a folder.
#[derive(Debug)]
pub struct NetnsProbe {
    namespaces: Arc<Namespaces>,
    run_path: PathBuf,
}

impl NetnsProbe {
    /// Watches `run_path`, which need not exist yet; an empty path watches nothing.
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

    fn run(self: Box<Self>, context: &ProbeContext) -> Result<(), ProbeError> {
        let result = if self.run_path.as_os_str().is_empty() {
            context.running();
            wait_readable([context.stop().as_fd()]).map(|_| ())
        } else {
            Watcher::new(&self, context).and_then(|mut watcher| watcher.run())
        };
        self.namespaces.halt();
        let what = "watching the folder of network namespaces";
        result.map_err(|source| ProbeError::System { what, source })
    }
}

struct Watcher<'a> {
    namespaces: &'a Namespaces,
    run_path: &'a Path,
    context: &'a ProbeContext,
    folder: Folder,
    /// Tells when mounts change; a system that cannot tell is asked again and again.
    mounts: Option<File>,
    timer: TimerFd,
    /// Files that are no namespace (yet), with the number of times they were looked at.
    pending: BTreeMap<OsString, u32>,
    /// Files that stand for namespaces.
    known: BTreeSet<OsString>,
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
                    PollFd::new(self.context.stop(), PollFlags::IN),
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
                // Mounts come in bursts where containers start; one look at the end will do.
                self.scan = true;
                self.timer.once(SETTLE)?;
            }
            if changed {
                self.folder_changed();
            }
            if due {
                self.timer.clear();
                if std::mem::take(&mut self.scan) {
                    self.scan_all();
                } else {
                    self.look_again();
                }
            }
        }
    }

    fn folder_changed(&mut self) {
        match self.folder.changes() {
            Some(names) => {
                for name in names {
                    self.pending.remove(&name);
                    self.look(name);
                }
            }
            None => self.scan_all(),
        }
        self.set_timer();
    }

    /// Looks at every file there is and every one there was.
    fn scan_all(&mut self) {
        let watched = self.folder.watch(self.run_path);
        self.report("", watched.err());
        let mut names = self.known.clone();
        names.extend(self.pending.keys().cloned());
        if let Ok(entries) = self.run_path.read_dir() {
            names.extend(entries.flatten().map(|entry| entry.file_name()));
        }
        for name in names {
            self.look(name);
        }
        self.set_timer();
    }

    fn look_again(&mut self) {
        for name in self.pending.keys().cloned().collect::<Vec<_>>() {
            self.look(name);
        }
        self.set_timer();
    }

    /// Makes what is shown of a file what it is.
    fn look(&mut self, name: OsString) {
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
            // Created, and not mounted yet; or an ordinary file that somebody left there.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                *self.pending.entry(name).or_default() += 1;
                None
            }
            Err(error) => {
                *self.pending.entry(name).or_default() += 1;
                Some(error)
            }
        };
        self.report(&label, problem);
    }

    /// Looks again at pending files, soon at first and then less often; in the end only mounts
    /// bring them back, if the system tells of mounts.
    fn set_timer(&self) {
        let tries = self
            .pending
            .values()
            .copied()
            .filter(|n| *n < TRIES || self.mounts.is_none());
        if let Some(tries) = tries.min()
            && !self.scan
        {
            let wait = FIRST_WAIT * 2_u32.pow(tries.min(TRIES)).min(100);
            // Only a time that no clock can hold is refused.
            let _set = self.timer.once(wait);
        }
    }

    fn report(&self, name: &str, error: Option<io::Error>) {
        let path = self.run_path.join(name);
        let text = error.map(|error| format!("{}: {error}", path.display()));
        self.context.problem(&path.to_string_lossy(), text);
    }
}

/// A watch on a folder that may come and go: while it is not there, on the nearest one above it.
struct Folder {
    inotify: OwnedFd,
    watched: Option<i32>,
    /// Whether the watch is on the folder itself.
    is_there: bool,
}

impl Folder {
    fn new() -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Self {
            inotify,
            watched: None,
            is_there: false,
        })
    }

    /// Watches the folder, or what is nearest to it.
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
                // It may be gone with its folder.
                let _removed = inotify::remove_watch(&self.inotify, former);
            }
            self.is_there = path == folder;
            // It may have come between the two looks.
            if self.is_there || !folder.exists() {
                return Ok(());
            }
            return self.watch(folder);
        }
        Ok(())
    }

    /// Names of files that came or went; `None` where only a look at everything will tell.
    fn changes(&mut self) -> Option<BTreeSet<OsString>> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut names = BTreeSet::new();
        let mut is_whole = self.is_there;
        while let Ok(event) = reader.next() {
            let current = Some(event.wd()) == self.watched;
            let lost = ReadFlags::QUEUE_OVERFLOW
                | ReadFlags::DELETE_SELF
                | ReadFlags::MOVE_SELF
                | ReadFlags::UNMOUNT;
            is_whole &= !event.events().intersects(lost);
            if let Some(name) = event.file_name().filter(|_| current) {
                names.insert(OsString::from_vec(name.to_bytes().to_owned()));
            }
        }
        is_whole.then_some(names)
    }
}

/// Waits for one of several things and notes which.
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

/// First pause before a file is looked at again; doubles with each look, up to a second.
const FIRST_WAIT: Duration = Duration::from_millis(10);

/// Looks after which a file waits for the next mount.
const TRIES: u32 = 10;

/// How long mounts are left to settle.
const SETTLE: Duration = Duration::from_millis(50);
