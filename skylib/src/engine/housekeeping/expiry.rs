//! `Expiry`: deletes resources whose time to live has ended, with exponential backoff while the store
//! fails.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::resource::Expirable;
use crate::error_chain::Chain;
use crate::time::Timestamp;

/// Deletes expired resources of one kind.
pub(super) struct Expiry {
    resources: Arc<dyn Expirable>,
    /// Last failure; `None` if the last attempt succeeded.
    failure: Option<Failure>,
}

/// A failed attempt and its backoff.
struct Failure {
    text: String,
    /// Time from the failed attempt to the next one.
    backoff: Duration,
    retry_at: Timestamp,
}

impl Expiry {
    /// Returns the expiry of the resources of one kind.
    pub(super) fn new(resources: Arc<dyn Expirable>) -> Self {
        Self {
            resources,
            failure: None,
        }
    }

    /// Returns the time at which [`Expiry::expire`] must be called next; `None` if nothing expires.
    pub(super) fn next(&self) -> Option<Timestamp> {
        let due = self.resources.next_expiry()?;
        let retry_at = self.failure.as_ref().map(|failure| failure.retry_at);
        Some(due.max(retry_at.unwrap_or(due)))
    }

    /// Deletes the resources that have expired at `now`, unless the backoff is in progress.
    pub(super) fn expire(&mut self, now: Timestamp) {
        if self.next().is_none_or(|next| now < next) {
            return;
        }
        let outcome = self.resources.expire(now);
        let before = self.failure.take();
        let kind = self.resources.kind();
        if let Err(error) = outcome {
            let text = Chain(&error).to_string();
            if before.as_ref().is_none_or(|before| before.text != text) {
                tracing::error!(
                    error = text,
                    kind,
                    "cannot delete expired resources; retrying"
                );
            }
            let backoff =
                before.map_or(MIN_BACKOFF, |before| (before.backoff * 2).min(MAX_BACKOFF));
            self.failure = Some(Failure {
                text,
                backoff,
                retry_at: now.saturating_add(backoff),
            });
        } else if before.is_some() {
            tracing::info!(kind, "deleted the expired resources; the store works again");
        }
    }
}

const MIN_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use super::*;
    use crate::api::{AlertSpec, ResourceStore};
    use crate::store::{DocStore, Document, MemoryDocStore, StoreError};

    type Alerts = ResourceStore<AlertSpec>;

    impl Expirable for Alerts {
        fn kind(&self) -> &'static str {
            "alert"
        }

        fn len(&self) -> usize {
            Self::len(self)
        }

        fn store_problem(&self) -> Option<String> {
            self.problem()
        }

        fn next_expiry(&self) -> Option<Timestamp> {
            Self::next_expiry(self)
        }

        fn expire(&self, now: Timestamp) -> Result<(), StoreError> {
            Self::expire(self, now).1
        }
    }

    /// A store that fails to delete, and counts the attempts.
    #[derive(Default)]
    struct Failing {
        documents: MemoryDocStore,
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
    fn a_failing_store_is_retried_with_exponential_backoff() {
        let documents = Arc::new(Failing::default());
        let (resources, _) = Alerts::open(Arc::clone(&documents) as _).unwrap();
        let resources = Arc::new(resources);
        let at = |seconds| Timestamp::from_ms(1_000).saturating_add(Duration::from_secs(seconds));
        let second = Some(Duration::from_secs(1));
        let alert = AlertSpec::default();
        resources.create(alert, second, at(0)).unwrap();
        let mut expiry = Expiry::new(Arc::clone(&resources) as _);
        assert_eq!(expiry.next(), Some(at(1)));
        let mut tried = Vec::new();
        for now in 0..200 {
            let before = documents.deletes.load(Ordering::Relaxed);
            for _ in 0..3 {
                expiry.expire(at(now));
                assert_eq!(resources.len(), 1);
            }
            assert!(expiry.next() > Some(at(now)), "no busy loop at {now}");
            if documents.deletes.load(Ordering::Relaxed) != before {
                tried.push(now);
            }
        }
        assert_eq!(tried, [1, 2, 4, 8, 16, 32, 64, 124, 184]);
        documents.works.store(true, Ordering::Relaxed);
        expiry.expire(at(243));
        assert_eq!(resources.len(), 1);
        expiry.expire(at(244));
        assert!(resources.is_empty());
        assert_eq!(expiry.next(), None);
    }
}
