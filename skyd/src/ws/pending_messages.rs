//! Memory charges of messages that have been received but not yet processed.

use std::sync::{Arc, Mutex, PoisonError};

use skylib::memory::MemoryCharge;

/// Memory charges of messages that have been received but not yet processed. Clones share the
/// charges.
#[derive(Clone, Debug, Default)]
pub(crate) struct PendingMessages(Arc<Mutex<Vec<MemoryCharge>>>);

impl PendingMessages {
    /// Adds the charge of a received message.
    pub(crate) fn add(&self, charge: MemoryCharge) {
        if charge.bytes() > 0 {
            let mut charges = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            charges.push(charge);
        }
    }

    /// Releases all charges, after the messages have been processed.
    pub(crate) fn clear(&self) {
        let mut charges = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        charges.clear();
    }
}
