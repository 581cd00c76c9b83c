//! Captures of an engine: one thread reconciles the running captures with the capture resources.
//!
//! ```text
//! resource API ─ created, deleted ─┐
//! dispatcher ─── graph events ─────┼ Mailbox ─ Reconciler ─ Selector ─ query → nodes
//! analyzer ───── requests ─────────┤                    ├─ Opener ── NodeCapture, one per node
//! agent ──────── replies ──────────┘                    └─ AgentLinks ── RemoteCaptures
//! ```

mod control_traffic;
mod mailbox;
mod mirror_node;
mod node_capture;
mod node_status;
mod on_agents;
mod opener;
mod reconciler;
mod record_source;
mod remote_captures;
mod requests;
mod ring_memory;
mod selector;
mod shards;
mod sources;
#[cfg(feature = "spp")]
mod spp_tap;
mod stop_reason;
mod switch;
mod target;
mod target_addresses;
mod totals;

pub use totals::CaptureTotals;

pub(super) use control_traffic::ControlTraffic;
pub(super) use mailbox::Mailbox;
pub(super) use opener::Opener;
pub(super) use reconciler::{Reconciler, ReconcilerOptions};
pub(super) use requests::{CaptureAction, CaptureRequest};
pub(super) use ring_memory::RingMemory;
pub(super) use sources::ListenAddresses;
#[cfg(feature = "spp")]
pub(super) use spp_tap::SppTap;
pub(super) use switch::SwitchCaptures;
pub(super) use target_addresses::TargetAddresses;
