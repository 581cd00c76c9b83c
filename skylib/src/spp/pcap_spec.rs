//! `PcapSpec`: what one instance captures, and where to.

use std::path::PathBuf;

use super::{PortId, SppError};

/// What one instance captures, and where to: the options of SPP's capture process, and some more.
///
/// ```
/// use skylib::spp::PcapSpec;
/// let spec = PcapSpec::new(1, "phy:0".parse()?).with_out_dir("/var/cap").with_cores(vec![1, 2, 3, 4]);
/// assert_eq!(spec.writers(), 2);
/// assert!(spec.check().is_ok());
/// assert!(spec.with_fsize(100).check().is_err());
/// # Ok::<(), skylib::spp::SppError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PcapSpec {
    /// Names the instance, 1 to 127.
    pub client_id: u8,
    /// What is captured.
    pub port: PortId,
    /// Processors: the first stands for the process, the second supervises, each other one writes.
    pub cores: Vec<u32>,
    /// Whether threads stay on their processors, where these exist.
    pub pinned: bool,
    /// Folder of the files.
    pub out_dir: PathBuf,
    /// Whether files are refused once a part of the folder's name is a symbolic link.
    pub no_links: bool,
    /// Bytes of packets in a file, before compression, after which the next one begins.
    pub fsize: u64,
    /// Whether files are compressed (LZ4).
    pub compressed: bool,
    /// Whether frames this host sends are captured too.
    pub outgoing: bool,
    /// Whether times have nanoseconds, in a format that very old tools do not know.
    pub nanoseconds: bool,
    /// Whether each file is on the disk before it gets its name.
    pub synced: bool,
    /// Bytes of each writer's ring.
    pub ring_bytes: u32,
    /// File of the network namespace of the port; none is the present one.
    pub netns: Option<PathBuf>,
    /// Whether the packets go to a flow table as well.
    pub flows: bool,
}

impl PcapSpec {
    /// An instance with SPP's defaults: one writer, files of 1 GiB in `/tmp`.
    #[must_use]
    pub fn new(client_id: u8, port: PortId) -> Self {
        Self {
            client_id,
            port,
            cores: vec![1, 2, 3],
            pinned: false,
            out_dir: PathBuf::from("/tmp"),
            no_links: false,
            fsize: 1 << 30,
            compressed: true,
            outgoing: false,
            nanoseconds: false,
            synced: false,
            ring_bytes: 8 << 20,
            netns: None,
            flows: false,
        }
    }

    /// With other processors, to which the threads are pinned: the first is the master, of the rest
    /// the lowest receives, as in SPP.
    #[must_use]
    pub fn with_cores(mut self, cores: Vec<u32>) -> Self {
        self.cores = cores;
        if let Some((_, others)) = self.cores.split_first_mut() {
            others.sort_unstable();
        }
        self.pinned = true;
        self
    }

    /// With another folder.
    #[must_use]
    pub fn with_out_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.out_dir = folder.into();
        self
    }

    /// With files of another size.
    #[must_use]
    pub const fn with_fsize(mut self, bytes: u64) -> Self {
        self.fsize = bytes;
        self
    }

    /// Sets whether threads are pinned to their processors.
    #[must_use]
    pub const fn with_pinned(mut self, pinned: bool) -> Self {
        self.pinned = pinned;
        self
    }

    /// Sets whether symbolic links in the path of the folder are rejected.
    #[must_use]
    pub const fn with_no_links(mut self, no_links: bool) -> Self {
        self.no_links = no_links;
        self
    }

    /// Sets whether files are compressed with LZ4.
    #[must_use]
    pub const fn with_compressed(mut self, compressed: bool) -> Self {
        self.compressed = compressed;
        self
    }

    /// Sets whether frames sent by this host are captured.
    #[must_use]
    pub const fn with_outgoing(mut self, outgoing: bool) -> Self {
        self.outgoing = outgoing;
        self
    }

    /// Sets whether timestamps have nanosecond resolution.
    #[must_use]
    pub const fn with_nanoseconds(mut self, nanoseconds: bool) -> Self {
        self.nanoseconds = nanoseconds;
        self
    }

    /// Sets whether each file is synced to disk before it is renamed to its final name.
    #[must_use]
    pub const fn with_synced(mut self, synced: bool) -> Self {
        self.synced = synced;
        self
    }

    /// Sets the size of each writer's ring in bytes.
    #[must_use]
    pub const fn with_ring_bytes(mut self, bytes: u32) -> Self {
        self.ring_bytes = bytes;
        self
    }

    /// Sets the network namespace of the port by its path.
    #[must_use]
    pub fn with_netns(mut self, path: impl Into<PathBuf>) -> Self {
        self.netns = Some(path.into());
        self
    }

    /// Sets whether the packets are also passed to the flow tap.
    #[must_use]
    pub const fn with_flows(mut self, flows: bool) -> Self {
        self.flows = flows;
        self
    }

    /// Threads that write.
    #[must_use]
    pub const fn writers(&self) -> usize {
        self.cores.len().saturating_sub(2)
    }

    /// Bytes of all rings.
    pub(super) const fn rings(&self) -> u64 {
        self.writers() as u64 * self.ring_bytes as u64
    }

    /// Checks what can be checked without looking at the machine.
    ///
    /// # Errors
    /// [`SppError::Spec`], which says what is allowed.
    pub fn check(&self) -> Result<(), SppError> {
        let wrong = |text: String| Err(SppError::Spec(text));
        let id = self.client_id;
        if !(1..=127).contains(&id) {
            return wrong(format!("client id {id} is not allowed, 1 to 127 expected"));
        }
        let writers = self.cores.len().saturating_sub(2);
        if !(1..=MAX_WRITERS).contains(&writers) {
            let count = self.cores.len();
            return wrong(format!(
                "{count} cores are not allowed, 3 to {} expected: a master, a receiver, writers",
                MAX_WRITERS + 2
            ));
        }
        let mut sorted = self.cores.clone();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.len() != self.cores.len() {
            return wrong("a core is named twice".to_owned());
        }
        if self.fsize < MIN_FILE {
            let bytes = self.fsize;
            return wrong(format!(
                "fsize {bytes} is not allowed, {MIN_FILE} or more expected"
            ));
        }
        if !(MIN_RING..=MAX_RING).contains(&self.ring_bytes) {
            let bytes = self.ring_bytes;
            return wrong(format!(
                "a ring of {bytes} bytes is not allowed, {MIN_RING} to {MAX_RING} expected"
            ));
        }
        Ok(())
    }
}

const MAX_WRITERS: usize = 64;
const MIN_FILE: u64 = 1024;
const MIN_RING: u32 = 256 << 10;
const MAX_RING: u32 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused_with_what_is_allowed() {
        let spec = PcapSpec::new(1, "phy:0".parse().unwrap());
        assert!(spec.check().is_ok());
        let refusal = |spec: PcapSpec| spec.check().unwrap_err().to_string();
        let with_id = |client_id| PcapSpec {
            client_id,
            ..spec.clone()
        };
        assert!(refusal(with_id(0)).contains("1 to 127 expected"));
        assert!(refusal(with_id(128)).contains("1 to 127 expected"));
        assert!(refusal(spec.clone().with_cores(vec![1, 2])).contains("3 to 66 expected"));
        assert!(refusal(spec.clone().with_cores((0..67).collect())).contains("3 to 66 expected"));
        assert!(refusal(spec.clone().with_cores(vec![1, 2, 1])).contains("twice"));
        assert!(refusal(spec.clone().with_fsize(1023)).contains("1024 or more"));
        let small = PcapSpec {
            ring_bytes: 1,
            ..spec
        };
        assert!(refusal(small).contains("ring of 1 bytes"));
    }
}
