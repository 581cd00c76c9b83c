//! Ends captures whose time to live is over, as often as a store that fails allows.

use std::sync::Arc;
use std::time::Duration;

use crate::api::{CaptureSpec, ResourceStore};
use crate::error::with_causes;
use crate::time::Timestamp;

/// Deletes captures in time; after a failure of the store it waits, longer each time.
pub(super) struct Expiry {
    resources: Arc<ResourceStore<CaptureSpec>>,
    failure: Option<Failure>,
}

struct Failure {
    text: String,
    wait: Duration,
    retry_at: Timestamp,
}

impl Expiry {
    pub(super) const fn new(resources: Arc<ResourceStore<CaptureSpec>>) -> Self {
        Self {
            resources,
            failure: None,
        }
    }

    /// When there is something to do next.
    pub(super) fn next(&self) -> Option<Timestamp> {
        let due = self.resources.next_expiry()?;
        let retry_at = self.failure.as_ref().map(|failure| failure.retry_at);
        Some(due.max(retry_at.unwrap_or(due)))
    }

    /// Deletes what is due and returns it.
    pub(super) fn expire(&mut self, now: Timestamp) -> Vec<Arc<CaptureSpec>> {
        if self.next().is_none_or(|next| now < next) {
            return Vec::new();
        }
        let (expired, outcome) = self.resources.expire(now);
        let before = self.failure.take();
        if let Err(error) = outcome {
            let text = with_causes(&error);
            if before.as_ref().is_none_or(|before| before.text != text) {
                tracing::error!(error = text, "expired captures stay until the store works");
            }
            let wait = before.map_or(FIRST_WAIT, |before| (before.wait * 2).min(LONGEST_WAIT));
            self.failure = Some(Failure {
                text,
                wait,
                retry_at: now.plus(wait),
            });
        } else if before.is_some() {
            tracing::info!("the store works again, expired captures are gone");
        }
        expired
    }
}

const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use super::*;
    use crate::store::{DocStore, Document, MemoryStore, StoreError};

    /// A store that fails to delete, and counts how often it was asked to.
    #[derive(Default)]
    struct Failing {
        documents: MemoryStore,
        works: AtomicBool,
        deletes: AtomicU32,
    }

    impl DocStore for Failing {
        fn get(&self, kind: &str, id: &str) -> Result<Option<Vec<u8>>, StoreError> {
            self.documents.get(kind, id)
        }

        fn list(&self, kind: &str) -> Result<Vec<Document>, StoreError> {
            self.documents.list(kind)
        }

        fn put(&self, kind: &str, id: &str, document: &[u8]) -> Result<(), StoreError> {
            self.documents.put(kind, id, document)
        }

        fn delete(&self, kind: &str, id: &str) -> Result<bool, StoreError> {
            self.deletes.fetch_add(1, Ordering::Relaxed);
            if self.works.load(Ordering::Relaxed) {
                return self.documents.delete(kind, id);
            }
            Err(StoreError::File {
                action: "write",
                path: "meta.redb".into(),
                source: std::io::ErrorKind::StorageFull.into(),
            })
        }
    }

    #[test]
    fn a_failing_store_is_tried_again_less_and_less_often() {
        let documents = Arc::new(Failing::default());
        let (resources, _) = ResourceStore::open(Arc::clone(&documents) as _).unwrap();
        let resources = Arc::new(resources);
        let at = |seconds| Timestamp::from_ms(1_000).plus(Duration::from_secs(seconds));
        let second = Some(Duration::from_secs(1));
        let spec = CaptureSpec::default();
        resources.create(spec, second, at(0)).unwrap();
        let mut expiry = Expiry::new(resources);
        assert_eq!(expiry.next(), Some(at(1)));
        let mut tried = Vec::new();
        for now in 0..200 {
            let before = documents.deletes.load(Ordering::Relaxed);
            for _ in 0..3 {
                assert!(expiry.expire(at(now)).is_empty());
            }
            assert!(expiry.next() > Some(at(now)), "nobody spins at {now}");
            if documents.deletes.load(Ordering::Relaxed) != before {
                tried.push(now);
            }
        }
        assert_eq!(tried, [1, 2, 4, 8, 16, 32, 64, 124, 184]);
        documents.works.store(true, Ordering::Relaxed);
        assert!(expiry.expire(at(243)).is_empty());
        assert_eq!(expiry.expire(at(244)).len(), 1);
        assert_eq!(expiry.next(), None);
    }
}
