//! Network namespaces: telling them apart, and doing something inside one.
//!
//! No thread of the caller ever changes its namespace: [`run_in`] makes a short-lived thread that
//! enters, works and ends. Sockets opened by the work stay in that namespace wherever they go.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;
use std::thread;

use rustix::fs::{Mode, OFlags, fstat, fstatfs, open};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// What tells one namespace from another: the numbers of its file in the kernel's `nsfs`.
///
/// They are unique among the namespaces that live at one time; hold the namespace open while you
/// rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetnsId {
    /// `st_dev` of the namespace file.
    pub device: u64,
    /// `st_ino` of the namespace file.
    pub inode: u64,
}

/// An open namespace; it lives at least as long as this does.
#[derive(Debug)]
pub struct Netns {
    file: File,
    id: NetnsId,
}

impl Netns {
    /// Opens a namespace file such as `/var/run/netns/blue` or `/proc/4123/ns/net`.
    ///
    /// A file that is none is looked at but never opened: the names come from outside, and opening
    /// a pipe would wait for its other end, opening a device may do anything.
    ///
    /// # Errors
    /// `InvalidInput` when the file is none (a name that `ip netns add` has created but not yet
    /// mounted), otherwise what the system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        let place = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        if fstatfs(&place)?.f_type != NSFS_MAGIC {
            let text = format!("{} is no namespace", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        // The same file again, whatever stands at the path by now.
        let same = format!("/proc/self/fd/{}", place.as_raw_fd());
        let file = File::from(open(same, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?);
        let stat = fstat(&file)?;
        Ok(Self {
            file,
            id: NetnsId {
                device: stat.st_dev,
                inode: stat.st_ino,
            },
        })
    }

    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// When `/proc` is not mounted.
    pub fn current() -> io::Result<Self> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// Its identity.
    #[must_use]
    pub const fn id(&self) -> NetnsId {
        self.id
    }

    /// Runs `work` on a thread of its own inside the namespace and waits for it.
    ///
    /// # Errors
    /// `PermissionDenied` without `CAP_SYS_ADMIN`
    /// ([`Capability::SysAdmin`](super::capability::Capability)), otherwise what the system says.
    ///
    /// # Panics
    /// When `work` panics.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        let enter = || {
            move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(work())
        };
        thread::scope(|scope| {
            let worker = thread::Builder::new()
                .name("netns".to_owned())
                .stack_size(256 * 1024)
                .spawn_scoped(scope, enter)?;
            match worker.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Runs `work` on a thread of its own inside the namespace of a file and waits for it.
///
/// ```no_run
/// use skylib::sys::netns;
/// let path = std::path::Path::new("/var/run/netns/blue");
/// let names = netns::run_in(path, || std::fs::read_to_string("/proc/thread-self/net/dev"))??;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// As [`Netns::open`] and [`Netns::run`].
///
/// # Panics
/// When `work` panics.
pub fn run_in<T: Send>(path: &Path, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    Netns::open(path)?.run(work)
}

/// The identity of the namespace that a file stands for.
///
/// # Errors
/// As [`Netns::open`].
pub fn identity(path: &Path) -> io::Result<NetnsId> {
    Ok(Netns::open(path)?.id())
}

/// `NSFS_MAGIC` of `linux/magic.h`: the file system of namespace files.
const NSFS_MAGIC: rustix::fs::FsWord = 0x6e73_6673;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn identity_is_device_and_inode_of_the_file() {
        let stat = std::fs::metadata("/proc/self/ns/net").unwrap();
        let id = identity(Path::new("/proc/self/ns/net")).unwrap();
        assert_eq!((id.device, id.inode), (stat.dev(), stat.ino()));
        assert_eq!(Netns::current().unwrap().id(), id);
    }

    #[test]
    fn an_ordinary_file_is_no_namespace() {
        let error = identity(Path::new("/proc/self/stat")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let error = identity(Path::new("/nowhere/at/all")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_pipe_is_no_namespace_and_nobody_waits_for_its_other_end() {
        let path = std::env::temp_dir().join(format!("skylib-fifo-{}", std::process::id()));
        drop(std::fs::remove_file(&path));
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        let there = path.clone();
        thread::spawn(move || tell.send(identity(&there)));
        let found = told.recv_timeout(std::time::Duration::from_secs(10));
        std::fs::remove_file(&path).unwrap();
        let error = found.expect("an answer at once").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn work_runs_inside_and_the_caller_stays_outside() {
        let here = Netns::current().unwrap();
        let Some(other) = tests_support::private() else {
            return;
        };
        let inside = other.run(|| Netns::current().unwrap().id()).unwrap();
        assert_eq!(inside, other.id());
        assert_ne!(inside, here.id());
        assert_eq!(Netns::current().unwrap().id(), here.id());
    }

    #[test]
    fn a_panic_inside_comes_out() {
        let Some(other) = tests_support::private() else {
            return;
        };
        let caught = std::panic::catch_unwind(|| other.run(|| panic!("inside")));
        assert_eq!(
            *caught.unwrap_err().downcast_ref::<&str>().unwrap(),
            "inside"
        );
    }
}

/// Namespaces for kernel tests.
#[cfg(test)]
pub(crate) mod tests_support {
    use super::*;

    /// A new, nameless namespace; `None`, said loudly, where the test may not make one.
    pub(crate) fn private() -> Option<Netns> {
        let made = thread::spawn(|| {
            #[expect(
                unsafe_code,
                reason = "rustix marks unshare unsafe because of CLONE_FILES"
            )]
            // SAFETY: a new network namespace shares no memory and no descriptors anew.
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }?;
            Netns::current()
        });
        match made.join().unwrap() {
            Ok(netns) => Some(netns),
            Err(error) => {
                eprintln!("SKIPPED: no network namespace for the test: {error}");
                None
            }
        }
    }
}
