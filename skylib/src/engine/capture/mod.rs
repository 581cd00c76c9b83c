//! Captures of an engine: one thread reconciles the running captures with the capture resources.
//!
//! ```text
//! resource API ─ created, deleted ─┐
//! dispatcher ─── graph events ─────┼ Mailbox ─ Reconciler ─ Selector ─ query → nodes
//! analyzer ───── requests ─────────┤                    ├─ Opener ── NodeCapture, one per node
//! agent ──────── replies ──────────┘                    └─ AgentLinks ── RemoteCaptures
//! ```

mod mailbox;
mod node_capture;
mod node_status;
mod on_agents;
mod opener;
mod reconciler;
mod remote_captures;
mod requests;
mod ring_memory;
mod selector;
#[cfg(feature = "spp")]
mod spp_tap;
mod target;
mod totals;

pub use totals::CaptureTotals;

pub(super) use mailbox::Mailbox;
pub(super) use opener::Opener;
pub(super) use reconciler::{Reconciler, ReconcilerOptions};
pub(super) use requests::{CaptureAction, CaptureRequest};
pub(super) use ring_memory::RingMemory;
#[cfg(feature = "spp")]
pub(super) use spp_tap::SppTap;
