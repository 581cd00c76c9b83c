//! `PcapSpec`: the settings of a capture instance.

use std::path::PathBuf;

use super::{PortId, SppError};

/// Settings of a capture instance: the options of SPP's capture process, and additional settings.
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
    /// Id of the instance, 1 to 127.
    pub client_id: u8,
    /// Port to capture.
    pub port: PortId,
    /// Numbers of the logical CPUs: the first is the master (unused here), the second runs the
    /// supervisor, and each other one runs a writer.
    pub cores: Vec<u32>,
    /// Whether threads are pinned to their logical CPUs, if these exist.
    pub pinned: bool,
    /// Folder for the files.
    pub out_dir: PathBuf,
    /// Whether to reject symbolic links in the path of the folder when a file is created.
    pub no_links: bool,
    /// Size of a file before compression, in bytes; the next file starts once it is exceeded. At
    /// least 1024.
    pub fsize: u64,
    /// Whether files are compressed with LZ4.
    pub compressed: bool,
    /// Whether frames sent by this host are captured too.
    pub outgoing: bool,
    /// Whether timestamps have nanosecond resolution, in a format that very old tools do not
    /// support.
    pub nanoseconds: bool,
    /// Whether each file is synced to disk before it is renamed to its final name.
    pub synced: bool,
    /// Size of each writer's ring, in bytes: 256 KiB to 1 GiB.
    pub ring_bytes: u32,
    /// Path of the port's network namespace; `None` for the namespace of the process.
    pub netns: Option<PathBuf>,
    /// Whether packets are also passed to the flow tap ([`FlowTap`](super::FlowTap)).
    pub flows: bool,
}

impl PcapSpec {
    /// Creates settings with SPP's defaults: one writer, files of 1 GiB in `/tmp`.
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

    /// Sets the logical CPUs and pins the threads to them. The first is the master; as in SPP, the
    /// lowest of the others receives.
    #[must_use]
    pub fn with_cores(mut self, cores: Vec<u32>) -> Self {
        self.cores = cores;
        if let Some((_, others)) = self.cores.split_first_mut() {
            others.sort_unstable();
        }
        self.pinned = true;
        self
    }

    /// Sets the folder for the files.
    #[must_use]
    pub fn with_out_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.out_dir = folder.into();
        self
    }

    /// Sets the size of a file before compression, in bytes.
    #[must_use]
    pub const fn with_fsize(mut self, bytes: u64) -> Self {
        self.fsize = bytes;
        self
    }

    /// Sets whether threads are pinned to their logical CPUs.
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

    /// Sets the size of each writer's ring, in bytes.
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

    /// Returns the number of writers.
    #[must_use]
    pub const fn writers(&self) -> usize {
        self.cores.len().saturating_sub(2)
    }

    /// Returns the total size of all rings, in bytes.
    pub(super) const fn rings(&self) -> u64 {
        self.writers() as u64 * self.ring_bytes as u64
    }

    /// Checks the settings, without regard to the machine.
    ///
    /// # Errors
    /// Returns [`SppError::Spec`] with the allowed values if a setting is invalid.
    pub fn check(&self) -> Result<(), SppError> {
        let wrong = |text: String| Err(SppError::Spec(text));
        let id = self.client_id;
        if !(1..=127).contains(&id) {
            return wrong(format!("client id {id} is not allowed; expected 1 to 127"));
        }
        let writers = self.cores.len().saturating_sub(2);
        if !(1..=MAX_WRITERS).contains(&writers) {
            let count = self.cores.len();
            return wrong(format!(
                "{count} cores are not allowed; expected 3 to {} (a master, a receiver, writers)",
                MAX_WRITERS + 2
            ));
        }
        let mut sorted = self.cores.clone();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return wrong(format!("cores: core {} is listed twice", pair[0]));
        }
        if self.fsize < MIN_FILE {
            let bytes = self.fsize;
            return wrong(format!(
                "fsize {bytes} is not allowed; expected {MIN_FILE} or more"
            ));
        }
        if !(MIN_RING..=MAX_RING).contains(&self.ring_bytes) {
            let bytes = self.ring_bytes;
            return wrong(format!(
                "a ring of {bytes} bytes is not allowed; expected {MIN_RING} to {MAX_RING}"
            ));
        }
        Ok(())
    }
}

/// Maximum number of writers of an instance.
const MAX_WRITERS: usize = 64;
/// Minimum size of a file, in bytes.
const MIN_FILE: u64 = 1024;
/// Minimum size of a ring, in bytes.
const MIN_RING: u32 = 256 << 10;
/// Maximum size of a ring, in bytes.
const MAX_RING: u32 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_settings_are_rejected_with_the_allowed_values() {
        let spec = PcapSpec::new(1, "phy:0".parse().unwrap());
        assert!(spec.check().is_ok());
        let refusal = |spec: PcapSpec| spec.check().unwrap_err().to_string();
        let with_id = |client_id| PcapSpec {
            client_id,
            ..spec.clone()
        };
        assert!(refusal(with_id(0)).contains("expected 1 to 127"));
        assert!(refusal(with_id(128)).contains("expected 1 to 127"));
        assert!(refusal(spec.clone().with_cores(vec![1, 2])).contains("expected 3 to 66"));
        assert!(refusal(spec.clone().with_cores((0..67).collect())).contains("expected 3 to 66"));
        assert!(refusal(spec.clone().with_cores(vec![1, 2, 1])).contains("twice"));
        assert!(refusal(spec.clone().with_fsize(1023)).contains("1024 or more"));
        let small = PcapSpec {
            ring_bytes: 1,
            ..spec
        };
        assert!(refusal(small).contains("ring of 1 bytes"));
    }
}
