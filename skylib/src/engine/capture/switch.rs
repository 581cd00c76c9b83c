//! Captures on a switch (Open vSwitch): what they configure there, and what receives its exports.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::sources::{ListenAddresses, OpenedSource};
use crate::api::CaptureSpec;
use crate::topology::netlink::set_link_up;
use crate::topology::ovsdb::{BridgeExport, SwitchExports};

/// The switch of this host, and the addresses on which captures receive its exports.
#[derive(Debug)]
pub(crate) struct SwitchCaptures {
    exports: SwitchExports,
    sflow: ListenAddresses,
    netflow: ListenAddresses,
    /// Whether the configuration of an earlier run has been removed.
    is_clean: AtomicBool,
}

/// Configuration of a capture on the switch, which is removed on drop.
#[derive(Debug)]
pub(super) struct SwitchClaim {
    exports: SwitchExports,
    owner: String,
}

impl SwitchCaptures {
    pub(crate) const fn new(
        exports: SwitchExports,
        sflow: ListenAddresses,
        netflow: ListenAddresses,
    ) -> Self {
        Self {
            exports,
            sflow,
            netflow,
            is_clean: AtomicBool::new(false),
        }
    }

    /// Removes the configuration that an earlier run left on the switch, unless this has already
    /// been done.
    ///
    /// # Errors
    /// Returns an error if the switch cannot be changed, for example because there is none.
    pub(super) fn remove_leftovers(&self) -> Result<(), String> {
        if !self.is_clean.load(Ordering::Relaxed) {
            self.exports.remove(|_| true).map_err(configuration_error)?;
            self.is_clean.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Makes a bridge export samples or flows to a socket of this process, or to the receiver that
    /// the capture names. `open` opens the socket.
    pub(super) fn open_export(
        &self,
        bridge: &str,
        owner: &str,
        receiver: Option<SocketAddr>,
        export: BridgeExport,
        open: impl FnMut(SocketAddr) -> Result<OpenedSource, String>,
    ) -> Result<OpenedSource, String> {
        self.remove_leftovers()?;
        let listen = match (receiver, &export) {
            // The exports go to another collector; this socket receives nothing.
            (Some(_), _) => ListenAddresses::local(0..=0),
            (None, BridgeExport::Sflow { .. }) => self.sflow.clone(),
            (None, BridgeExport::NetFlow { .. }) => self.netflow.clone(),
        };
        let mut opened = listen.first_free(open)?;
        let external =
            receiver.map(|receiver| SocketAddr::new(receiver.ip().to_canonical(), receiver.port()));
        let target = external.or_else(|| opened.socket.as_ref()?.1.parse().ok());
        opened.claim = Some(self.start(bridge, export, target, owner)?);
        Ok(opened)
    }

    /// Mirrors a port to a new interface of this host, sets it up, and returns its name.
    pub(super) fn start_mirror(
        &self,
        port: &str,
        owner: &str,
    ) -> Result<(SwitchClaim, String), String> {
        self.remove_leftovers()?;
        let name = self
            .exports
            .start_mirror(port, owner)
            .map_err(configuration_error)?;
        let claim = self.claim(owner);
        let up = set_link_up(&name, MIRROR_TIMEOUT);
        up.map_err(|error| format!("cannot set the mirror interface up: {error}"))?;
        Ok((claim, name))
    }

    fn start(
        &self,
        bridge: &str,
        export: BridgeExport,
        target: Option<SocketAddr>,
        owner: &str,
    ) -> Result<SwitchClaim, String> {
        let target = target.map(|target| target.to_string()).unwrap_or_default();
        let started = self.exports.start_export(bridge, export, &target, owner);
        started.map_err(configuration_error)?;
        Ok(self.claim(owner))
    }

    fn claim(&self, owner: &str) -> SwitchClaim {
        SwitchClaim {
            exports: self.exports.clone(),
            owner: owner.to_owned(),
        }
    }
}

impl Drop for SwitchClaim {
    fn drop(&mut self) {
        if let Err(error) = self.exports.remove(|owner| owner == self.owner) {
            let owner = &self.owner;
            tracing::warn!(owner, %error, "cannot remove the configuration of a capture on the switch");
        }
    }
}

/// Returns the settings of the sFlow of a bridge.
pub(super) fn sflow_export(spec: &CaptureSpec) -> BridgeExport {
    BridgeExport::Sflow {
        header: if spec.header_size == 0 {
            DEFAULT_SAMPLE_BYTES
        } else {
            spec.header_size
        },
        // COMPAT: with 0, Skydive samples practically nothing but the counters.
        sampling: match spec.sampling_rate {
            0 => u32::MAX.into(),
            rate => rate.into(),
        },
        polling: spec.polling_interval.into(),
    }
}

/// Returns the settings of the NetFlow of a bridge.
pub(super) fn netflow_export(active_timeout: Duration) -> BridgeExport {
    BridgeExport::NetFlow {
        active_timeout: i64::try_from(active_timeout.as_secs()).unwrap_or(1).max(1),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "an argument of map_err")]
fn configuration_error(error: std::io::Error) -> String {
    format!("cannot configure the switch (ovs.ovsdb): {error}")
}

/// Number of bytes of a sampled packet if the capture does not set it.
const DEFAULT_SAMPLE_BYTES: i64 = 256;

/// Maximum time until the switch has added the interface of a mirror.
const MIRROR_TIMEOUT: Duration = Duration::from_secs(3);
