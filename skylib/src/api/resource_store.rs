//! `ResourceStore`: the resources of one kind, in memory for reading and durable in a `DocStore`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use serde::Serialize;

use super::go_json::{JsonError, Members};
use super::patch::merge;
use super::{Defaults, ExpressionChecker, JsonPatch, PatchError, Resource, ResourceError};
use crate::error_chain::Chain;
use crate::id::Id;
use crate::memory::{MemoryBudget, MemoryUse};
use crate::store::{DocStore, StoreError};
use crate::time::Timestamp;

/// Resources of one kind.
///
/// A change is durable before the call returns. Reads are served from memory and never wait for the
/// disk.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use skylib::api::{CaptureSpec, ResourceStore};
/// use skylib::store::MemoryDocStore;
/// use skylib::time::Timestamp;
///
/// let (captures, _) = ResourceStore::<CaptureSpec>::open(Arc::new(MemoryDocStore::default()))?;
/// let now = Timestamp::from_ms(1_000);
/// let ttl = Some(Duration::from_secs(5));
/// let id = captures.create(CaptureSpec::new("G.V()"), ttl, now)?.uuid.clone();
/// assert!(captures.get(&id).is_some());
/// assert_eq!(captures.next_expiry(), Some(Timestamp::from_ms(6_000)));
/// let (expired, outcome) = captures.expire(Timestamp::from_ms(6_000));
/// outcome?;
/// assert_eq!(expired.len(), 1);
/// assert!(captures.get(&id).is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ResourceStore<R> {
    documents: Arc<dyn DocStore>,
    /// Maximum number of resources.
    limit: usize,
    /// Maximum total size of the documents, in bytes.
    max_bytes: usize,
    /// Serializes changes; held for a whole change, including the write to disk.
    write_lock: Mutex<()>,
    /// Resources by id, equal to the readable content of `documents`. Never locked during I/O.
    resources: RwLock<ResourcesById<R>>,
    /// Error of the last write; `None` if it succeeded.
    problem: Mutex<Option<String>>,
}

type ResourcesById<R> = BTreeMap<String, StoredResource<R>>;

struct StoredResource<R> {
    resource: Arc<R>,
    expires_at: Option<Timestamp>,
    /// Position in the order of creation; unique and ascending. Documents written by earlier
    /// versions have 0.
    number: u64,
    /// Length of the document, in bytes.
    bytes: usize,
}

/// Document that is not a resource of its kind; it remains in the document store.
#[derive(Debug)]
#[non_exhaustive]
pub struct UnreadableDocument {
    /// Identifier of the document.
    pub id: String,
    /// Reason why it cannot be read.
    pub reason: String,
}

impl<R> fmt::Debug for ResourceStore<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResourceStore")
            .field("limit", &self.limit)
            .field("max_bytes", &self.max_bytes)
            .field("problem", &self.problem)
            .finish_non_exhaustive()
    }
}

impl<R: Resource> ResourceStore<R> {
    /// Loads all documents of this kind; also returns the documents that could not be read.
    ///
    /// # Errors
    /// Returns [`StoreError`] if the document store fails.
    pub fn open(
        documents: Arc<dyn DocStore>,
    ) -> Result<(Self, Vec<UnreadableDocument>), StoreError> {
        let mut resources: ResourcesById<R> = BTreeMap::new();
        let mut unreadable = Vec::new();
        for (id, bytes) in documents.list(R::KIND)? {
            match read_document(&bytes) {
                Ok(stored) => {
                    resources.insert(id, stored);
                }
                Err(reason) => unreadable.push(UnreadableDocument { id, reason }),
            }
        }
        // Assigns smaller numbers to these documents than to resources created later.
        let unnumbered = resources.values_mut().filter(|stored| stored.number == 0);
        for (number, stored) in (1..).zip(unnumbered) {
            stored.number = number;
        }
        let store = Self {
            documents,
            limit: usize::MAX,
            max_bytes: usize::MAX,
            write_lock: Mutex::default(),
            resources: RwLock::new(resources),
            problem: Mutex::default(),
        };
        Ok((store, unreadable))
    }

    /// Sets the maximum number of resources; loaded resources above the limit are retained.
    #[must_use]
    pub fn with_limit(self, limit: usize) -> Self {
        Self { limit, ..self }
    }

    /// Sets the maximum total size of the documents, in bytes.
    #[must_use]
    pub fn with_max_bytes(self, max_bytes: usize) -> Self {
        Self { max_bytes, ..self }
    }

    /// Adds a resource under a new random id, and returns it with that id.
    ///
    /// The time to live is truncated to whole seconds, but at least one second; zero means none.
    ///
    /// # Errors
    /// Returns [`ResourceError`] if the resource conflicts with another one, a limit is reached, or
    /// the document store fails; nothing has changed in that case.
    pub fn create(
        &self,
        mut resource: R,
        ttl: Option<Duration>,
        now: Timestamp,
    ) -> Result<Arc<R>, ResourceError> {
        let _guard = self.lock_writes();
        self.check_capacity(&resource)?;
        let id = Id::random().to_string();
        resource.set_id(id.clone());
        let expires_at = ttl
            .filter(|ttl| !ttl.is_zero())
            .map(|ttl| now.saturating_add(Duration::from_secs(ttl.as_secs().max(1))));
        let number = self.read().values().map(|stored| stored.number).max();
        self.store(id, resource, expires_at, number.unwrap_or(0) + 1)
    }

    /// Applies a JSON patch (RFC 6902), or a merge patch (RFC 7396) if `patch` is a JSON object, to a
    /// resource. Returns the changed resource; `None` if it is equal to the previous one.
    ///
    /// The patched document is parsed and validated like a new resource.
    ///
    /// # Errors
    /// Returns [`PatchError`] if the id is unknown, the patch fails, or the patched resource is
    /// invalid or cannot be stored; nothing has changed in that case.
    pub fn patch(
        &self,
        id: &str,
        patch: &str,
        defaults: &Defaults,
        expressions: &dyn ExpressionChecker,
    ) -> Result<Option<Arc<R>>, PatchError> {
        let _guard = self.lock_writes();
        let (before, expires_at, number) = match self.read().get(id) {
            Some(stored) => (
                Arc::clone(&stored.resource),
                stored.expires_at,
                stored.number,
            ),
            None => return Err(PatchError::NotFound),
        };
        let is_merge = R::IS_MERGEABLE && patch.trim_start().starts_with('{');
        let unreadable = |error: JsonError| PatchError::Creating(error.into());
        let document = serde_json::to_value(&*before);
        let mut document = document.map_err(|error| unreadable(JsonError::Syntax(error)))?;
        if is_merge {
            // Members of the patch are checked as strictly as those of a request.
            R::read_request(patch, defaults).map_err(unreadable)?;
            merge(&mut document, patch, R::MEMBERS).map_err(PatchError::Incorrect)?;
        } else {
            let patch = JsonPatch::from_str(patch).map_err(PatchError::Incorrect)?;
            // Resources are small, and only one patch runs at any time, so the limit of the patch is
            // sufficient.
            let memory = MemoryBudget::unlimited().charge(MemoryUse::Patches);
            patch
                .apply(&mut document, &memory)
                .map_err(PatchError::Applying)?;
        }
        let mut after = R::read(&document.to_string(), defaults).map_err(unreadable)?;
        after.set_id(id.to_owned());
        after
            .validate(expressions)
            .map_err(PatchError::Validating)?;
        let is_allowed = is_merge || R::IS_UPDATABLE;
        if !is_allowed || after.is_ephemeral() != before.is_ephemeral() {
            return Err(PatchError::Updating(ResourceError::NotUpdatable));
        }
        if after == *before {
            return Ok(None);
        }
        let conflict = self.conflict(&after, Some(id));
        conflict.map_or(Ok(()), |error| Err(PatchError::Updating(error)))?;
        let stored = self.store(id.to_owned(), after, expires_at, number);
        stored.map(Some).map_err(PatchError::Updating)
    }

    /// Writes the document of a resource, then makes the resource visible to readers.
    fn store(
        &self,
        id: String,
        resource: R,
        expires_at: Option<Timestamp>,
        number: u64,
    ) -> Result<Arc<R>, ResourceError> {
        let document = write_document(&resource, expires_at, number);
        let bytes = document.len();
        let others = self
            .read()
            .iter()
            .filter(|(other, _)| **other != id)
            .map(|(_, stored)| stored.bytes)
            .sum::<usize>();
        if others + bytes > self.max_bytes {
            return Err(ResourceError::TooLarge {
                kind: R::KIND,
                limit: self.max_bytes,
            });
        }
        if !resource.is_ephemeral() {
            self.record(self.documents.put(R::KIND, &id, &document))?;
        }
        let resource = Arc::new(resource);
        let stored = StoredResource {
            resource: Arc::clone(&resource),
            expires_at,
            number,
            bytes,
        };
        self.write().insert(id, stored);
        Ok(resource)
    }

    /// Returns the first conflict with a stored resource; the resource with the id `except` is ignored.
    fn conflict(&self, resource: &R, except: Option<&str>) -> Option<ResourceError> {
        let resources = self.read();
        let mut others = resources
            .iter()
            .filter(|(id, _)| except != Some(id.as_str()));
        others.find_map(|(_, stored)| resource.conflict_with(&stored.resource))
    }

    fn check_capacity(&self, resource: &R) -> Result<(), ResourceError> {
        self.conflict(resource, None).map_or(Ok(()), Err)?;
        if self.len() >= self.limit {
            return Err(ResourceError::Full {
                kind: R::KIND,
                limit: self.limit,
            });
        }
        Ok(())
    }

    /// Deletes a resource and returns it; `None` if the id is unknown.
    ///
    /// # Errors
    /// Returns [`StoreError`] if the document store fails; the resource still exists in that case.
    pub fn delete(&self, id: &str) -> Result<Option<Arc<R>>, StoreError> {
        let _guard = self.lock_writes();
        if !self.read().contains_key(id) {
            return Ok(None);
        }
        self.record(self.documents.delete(R::KIND, id))?;
        Ok(self.write().remove(id).map(|stored| stored.resource))
    }

    /// Deletes the resources whose time to live has ended, and returns them.
    ///
    /// Stops at the first failure of the document store; the next call retries the remaining
    /// resources.
    pub fn expire(&self, now: Timestamp) -> (Vec<Arc<R>>, Result<(), StoreError>) {
        let is_due = |stored: &StoredResource<R>| stored.expires_at.is_some_and(|end| end <= now);
        let ids: Vec<String> = self
            .read()
            .iter()
            .filter(|(_, stored)| is_due(stored))
            .map(|(id, _)| id.clone())
            .collect();
        let mut expired = Vec::with_capacity(ids.len());
        for id in ids {
            match self.delete(&id) {
                Ok(resource) => expired.extend(resource),
                Err(error) => return (expired, Err(error)),
            }
        }
        (expired, Ok(()))
    }

    /// Returns the earliest end of a time to live; `None` if no resource has one.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.read()
            .values()
            .filter_map(|stored| stored.expires_at)
            .min()
    }

    /// Returns the resource with this id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Arc<R>> {
        self.read()
            .get(id)
            .map(|stored| Arc::clone(&stored.resource))
    }

    /// Returns all resources, ordered by id.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<R>> {
        self.read()
            .values()
            .map(|stored| Arc::clone(&stored.resource))
            .collect()
    }

    /// Returns all resources in the order of their creation, each with its position, a number that
    /// never changes.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use skylib::api::{CaptureSpec, ResourceStore};
    /// use skylib::store::MemoryDocStore;
    /// use skylib::time::Timestamp;
    ///
    /// let (captures, _) = ResourceStore::<CaptureSpec>::open(Arc::new(MemoryDocStore::default()))?;
    /// for query in ["G.V('z')", "G.V('a')"] {
    ///     captures.create(CaptureSpec::new(query), None, Timestamp::ZERO)?;
    /// }
    /// let queries: Vec<_> = captures.in_order().iter().map(|(_, c)| c.gremlin_query.clone()).collect();
    /// assert_eq!(queries, ["G.V('z')", "G.V('a')"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn in_order(&self) -> Vec<(u64, Arc<R>)> {
        let mut all: Vec<(u64, Arc<R>)> = self
            .read()
            .values()
            .map(|stored| (stored.number, Arc::clone(&stored.resource)))
            .collect();
        all.sort_by_key(|(number, _)| *number);
        all
    }

    /// Returns the number of resources.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read().len()
    }

    /// Returns whether the store has no resources.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.read().is_empty()
    }

    /// Returns the error of the last write to the document store; `None` if it succeeded.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let problem = self.problem.lock();
        problem.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stores the error of a write for [`ResourceStore::problem`], or clears it.
    fn record<T>(&self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        let problem = outcome.as_ref().err().map(|error| Chain(error).to_string());
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
        outcome
    }

    // Each change to the map is a single call, so a panic of another thread leaves it consistent:
    // poisoned locks are usable.

    fn lock_writes(&self) -> MutexGuard<'_, ()> {
        self.write_lock
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> RwLockReadGuard<'_, ResourcesById<R>> {
        self.resources
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, ResourcesById<R>> {
        self.resources
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the document of a resource: `{"ExpiresAt":<Unix ms or null>,"Number":…,"Object":{…}}`.
fn write_document<R: Resource>(
    resource: &R,
    expires_at: Option<Timestamp>,
    number: u64,
) -> Vec<u8> {
    #[derive(Serialize)]
    struct Document<'a, R> {
        #[serde(rename = "ExpiresAt")]
        expires_at: Option<i64>,
        #[serde(rename = "Number")]
        number: u64,
        #[serde(rename = "Object")]
        object: &'a R,
    }

    let document = Document {
        expires_at: expires_at.map(Timestamp::as_ms),
        number,
        object: resource,
    };
    // Plain fields always serialize; an empty document would be reported as unreadable.
    serde_json::to_vec(&document).unwrap_or_default()
}

/// Parses a document that [`write_document`] returned.
///
/// # Errors
/// Returns the reason if the bytes are not such a document.
fn read_document<R: Resource>(bytes: &[u8]) -> Result<StoredResource<R>, String> {
    let text = std::str::from_utf8(bytes).map_err(|e| e.to_string())?;
    let members = Members::parse_whole(text).map_err(|e| e.to_string())?;
    let mut expires_at: Option<i64> = None;
    members
        .read("ExpiresAt", &mut expires_at)
        .map_err(|e| e.to_string())?;
    let mut number = 0;
    members
        .read("Number", &mut number)
        .map_err(|e| e.to_string())?;
    let object = members.get("Object").ok_or("no member Object")?;
    let resource = R::read(object.get(), &Defaults::default()).map_err(|e| e.to_string())?;
    Ok(StoredResource {
        bytes: bytes.len(),
        resource: Arc::new(resource),
        expires_at: expires_at.map(Timestamp::from_ms),
        number,
    })
}
