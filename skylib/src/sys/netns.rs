//! Network namespaces: their identity, and running code inside one.
//!
//! The calling thread never changes its namespace: [`run_in`] starts a short-lived thread that
//! enters the namespace. Sockets opened there belong to that namespace, even if other threads use
//! them.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;
use std::thread;

use rustix::fs::{Mode, OFlags, fstat, fstatfs, open};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Identity of a namespace: the device and inode numbers of its file in the kernel's `nsfs`.
///
/// The identity is unique among existing namespaces. The kernel may reuse it; hold the namespace
/// open while relying on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NetnsId {
    /// `st_dev` of the namespace file.
    pub(crate) device: u64,
    /// `st_ino` of the namespace file.
    pub(crate) inode: u64,
}

/// Open namespace, which exists at least as long as this value.
#[derive(Debug)]
pub(crate) struct Netns {
    file: File,
    id: NetnsId,
}

impl Netns {
    /// Opens a namespace file such as `/var/run/netns/blue` or `/proc/4123/ns/net`.
    ///
    /// A file of another kind is inspected but never opened, because paths are external input:
    /// opening a pipe would block until its other end is opened, and opening a device may have side
    /// effects.
    ///
    /// # Errors
    /// Returns `InvalidInput` if the file is not a namespace (such as a file that `ip netns add`
    /// has created but not mounted yet), and otherwise the error of the system call.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let handle = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        if fstatfs(&handle)?.f_type != NSFS_MAGIC {
            let text = format!("{} is not a network namespace", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        // Opens the same file again, even if the path has been replaced in the meantime.
        let same = format!("/proc/self/fd/{}", handle.as_raw_fd());
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

    /// Opens the namespace of the calling thread.
    ///
    /// # Errors
    /// Returns an error if `/proc` is not mounted.
    pub(crate) fn current() -> io::Result<Self> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// Returns the identity of the namespace.
    #[must_use]
    pub(crate) const fn id(&self) -> NetnsId {
        self.id
    }

    /// Runs `work` on a new thread inside the namespace and waits for its result.
    ///
    /// # Errors
    /// Returns `PermissionDenied` if the thread lacks `CAP_SYS_ADMIN`
    /// ([`Capability::SysAdmin`](super::capability::Capability)), and otherwise the error of the
    /// system call.
    ///
    /// # Panics
    /// Resumes a panic of `work`.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
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

/// Runs `work` inside each namespace of a list, one after the other on one new thread, and waits
/// for the results.
///
/// # Errors
/// Returns the errors of [`Netns::run`]; `work` then does not run in the remaining namespaces.
///
/// # Panics
/// Resumes a panic of `work`.
pub(crate) fn run_in_each<T: Send>(
    namespaces: &[BorrowedFd<'_>],
    mut work: impl FnMut() -> T + Send,
) -> io::Result<Vec<T>> {
    let run = || {
        let mut results = Vec::with_capacity(namespaces.len());
        for namespace in namespaces {
            move_into_link_name_space(*namespace, Some(LinkNameSpaceType::Network))?;
            results.push(work());
        }
        Ok(results)
    };
    thread::scope(|scope| {
        let worker = thread::Builder::new()
            .name("netns-each".to_owned())
            .stack_size(256 * 1024)
            .spawn_scoped(scope, run)?;
        match worker.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Runs `work` on a new thread inside the namespace of a file and waits for its result.
///
/// # Errors
/// Returns the errors of [`Netns::open`] and [`Netns::run`].
///
/// # Panics
/// Resumes a panic of `work`.
pub(crate) fn run_in<T: Send>(path: &Path, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    Netns::open(path)?.run(work)
}

/// File system type of namespace files (`NSFS_MAGIC` of `linux/magic.h`).
const NSFS_MAGIC: rustix::fs::FsWord = 0x6e73_6673;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn identity(path: &Path) -> io::Result<NetnsId> {
        Ok(Netns::open(path)?.id())
    }

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
    fn a_pipe_is_no_namespace_and_is_not_opened() {
        let path = std::env::temp_dir().join(format!("skylib-fifo-{}", std::process::id()));
        drop(std::fs::remove_file(&path));
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let fifo = path.clone();
        thread::spawn(move || sender.send(identity(&fifo)));
        let found = receiver.recv_timeout(std::time::Duration::from_secs(10));
        std::fs::remove_file(&path).unwrap();
        let error = found.expect("an answer at once").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    #[ignore = "needs root: creates a network namespace"]
    fn work_runs_inside_and_the_caller_stays_outside() {
        let here = Netns::current().unwrap();
        let other = tests_support::private();
        let inside = other.run(|| Netns::current().unwrap().id()).unwrap();
        assert_eq!(inside, other.id());
        assert_ne!(inside, here.id());
        assert_eq!(Netns::current().unwrap().id(), here.id());
    }

    #[test]
    #[ignore = "needs root: creates a network namespace"]
    fn work_runs_in_each_of_several_namespaces() {
        let others = [tests_support::private(), tests_support::private()];
        let fds = others.each_ref().map(AsFd::as_fd);
        let inside = run_in_each(&fds, || Netns::current().unwrap().id()).unwrap();
        assert_eq!(inside, others.each_ref().map(Netns::id));
    }

    #[test]
    #[ignore = "needs root: creates a network namespace"]
    fn a_panic_inside_is_resumed_outside() {
        let other = tests_support::private();
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

    /// Creates an unnamed namespace.
    pub(crate) fn private() -> Netns {
        let created = thread::spawn(|| {
            #[expect(
                unsafe_code,
                reason = "rustix marks unshare unsafe because of CLONE_FILES"
            )]
            // SAFETY: only the network namespace of this thread changes; no descriptors are
            // unshared.
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }?;
            Netns::current()
        });
        let outcome: io::Result<Netns> = created.join().unwrap();
        outcome.expect("root, for a network namespace")
    }
}
