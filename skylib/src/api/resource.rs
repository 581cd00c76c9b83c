//! `ResourceStore`: one kind of resource, in memory for reading and in a `DocStore` for keeps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::json::{JsonError, Members};
use crate::id::Id;
use crate::store::{DocStore, StoreError};
use crate::time::Timestamp;

/// Something clients create, list and delete under an id.
pub trait Resource: Clone + Serialize {
    /// Path segment in the API and kind in the store, such as `capture`.
    const KIND: &'static str;

    /// Identifier; empty before the store has given one.
    fn id(&self) -> &str;

    /// Takes the identifier that the store gives.
    fn set_id(&mut self, id: String);

    /// Reads back what serialising gave.
    ///
    /// # Errors
    /// When the text is something else.
    fn from_stored(text: &str) -> Result<Self, JsonError>;

    /// Whether a second one like this must be refused.
    fn is_duplicate_of(&self, _other: &Self) -> bool {
        false
    }
}

/// All resources of one kind. Reading is from memory; a change is durable before it returns.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use skylib::api::{CaptureSpec, ResourceStore};
/// use skylib::store::MemoryStore;
/// use skylib::time::Timestamp;
///
/// let (mut captures, _) = ResourceStore::<CaptureSpec>::open(Arc::new(MemoryStore::default()))?;
/// let now = Timestamp::from_ms(1_000);
/// let ttl = Some(Duration::from_secs(5));
/// let id = captures.create(CaptureSpec::default(), ttl, now)?.uuid;
/// assert!(captures.get(&id).is_some());
/// assert_eq!(captures.next_expiry(), Some(Timestamp::from_ms(6_000)));
/// assert_eq!(captures.expire(Timestamp::from_ms(6_000))?.len(), 1);
/// assert!(captures.get(&id).is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ResourceStore<R> {
    documents: Arc<dyn DocStore>,
    entries: BTreeMap<String, Entry<R>>,
}

struct Entry<R> {
    resource: R,
    expires_at: Option<Timestamp>,
}

/// A document that is no resource of its kind; it is left in the store.
#[derive(Debug)]
pub struct Unreadable {
    /// Identifier of the document.
    pub id: String,
    /// What is wrong with it.
    pub reason: String,
}

impl<R: Resource> ResourceStore<R> {
    /// Loads what the store holds, and tells which documents could not be read.
    ///
    /// # Errors
    /// When the store fails.
    pub fn open(documents: Arc<dyn DocStore>) -> Result<(Self, Vec<Unreadable>), StoreError> {
        let mut entries = BTreeMap::new();
        let mut unreadable = Vec::new();
        for (id, bytes) in documents.list(R::KIND)? {
            match read_document(&bytes) {
                Ok(entry) => {
                    entries.insert(id, entry);
                }
                Err(reason) => unreadable.push(Unreadable { id, reason }),
            }
        }
        Ok((Self { documents, entries }, unreadable))
    }

    /// Adds a resource under a fresh random id and returns it with that id.
    ///
    /// The time to live is cut to whole seconds (to one second below that); zero means none.
    ///
    /// # Errors
    /// When the resource is a duplicate or cannot be kept; nothing has changed then.
    pub fn create(
        &mut self,
        mut resource: R,
        ttl: Option<Duration>,
        now: Timestamp,
    ) -> Result<R, ResourceError> {
        if self
            .entries
            .values()
            .any(|entry| resource.is_duplicate_of(&entry.resource))
        {
            return Err(ResourceError::Duplicate);
        }
        let id = Id::random().to_string();
        resource.set_id(id.clone());
        let expires_at = ttl
            .filter(|ttl| !ttl.is_zero())
            .map(|ttl| now.plus(Duration::from_secs(ttl.as_secs().max(1))));
        let document = write_document(&resource, expires_at);
        self.documents.put(R::KIND, &id, &document)?;
        self.entries.insert(
            id,
            Entry {
                resource: resource.clone(),
                expires_at,
            },
        );
        Ok(resource)
    }

    /// Removes a resource and returns it; `None` if there is none of that id.
    ///
    /// # Errors
    /// When the store fails; the resource is still there then.
    pub fn delete(&mut self, id: &str) -> Result<Option<R>, StoreError> {
        if !self.entries.contains_key(id) {
            return Ok(None);
        }
        self.documents.delete(R::KIND, id)?;
        Ok(self.entries.remove(id).map(|entry| entry.resource))
    }

    /// Removes everything whose time to live is over and returns it.
    ///
    /// # Errors
    /// When the store fails; what is left is tried again by the next call.
    pub fn expire(&mut self, now: Timestamp) -> Result<Vec<R>, StoreError> {
        let due = |entry: &Entry<R>| entry.expires_at.is_some_and(|end| end <= now);
        let ids: Vec<String> = self
            .entries
            .iter()
            .filter(|(_, entry)| due(entry))
            .map(|(id, _)| id.clone())
            .collect();
        let mut expired = Vec::with_capacity(ids.len());
        for id in ids {
            expired.extend(self.delete(&id)?);
        }
        Ok(expired)
    }

    /// When the next time to live ends, if any has one.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.entries
            .values()
            .filter_map(|entry| entry.expires_at)
            .min()
    }

    /// One resource.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&R> {
        self.entries.get(id).map(|entry| &entry.resource)
    }

    /// All resources, ordered by id.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &R> {
        self.entries.values().map(|entry| &entry.resource)
    }

    /// Number of resources.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// `{"ExpiresAt":<ms or null>,"Object":{…}}`
fn write_document<R: Resource>(resource: &R, expires_at: Option<Timestamp>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Document<'a, R> {
        #[serde(rename = "ExpiresAt")]
        expires_at: Option<i64>,
        #[serde(rename = "Object")]
        object: &'a R,
    }

    let document = Document {
        expires_at: expires_at.map(Timestamp::as_ms),
        object: resource,
    };
    // Writing plain fields into memory cannot fail; an empty document would show as unreadable.
    serde_json::to_vec(&document).unwrap_or_default()
}

fn read_document<R: Resource>(bytes: &[u8]) -> Result<Entry<R>, String> {
    let text = std::str::from_utf8(bytes).map_err(|e| e.to_string())?;
    let members = Members::whole(text).map_err(|e| e.to_string())?;
    let mut expires_at: Option<i64> = None;
    members
        .read("ExpiresAt", &mut expires_at)
        .map_err(|e| e.to_string())?;
    let object = members.get("Object").ok_or("no Object in it")?;
    let resource = R::from_stored(object.get()).map_err(|e| e.to_string())?;
    Ok(Entry {
        resource,
        expires_at: expires_at.map(Timestamp::from_ms),
    })
}

/// Why a resource was not created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResourceError {
    /// There is one like it. COMPAT: clients of the original know this text.
    #[error("duplicated resource")]
    Duplicate,
    /// It could not be kept.
    #[error("cannot keep the resource")]
    Store(#[from] StoreError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::CaptureSpec;
    use crate::store::{Document, MemoryStore};

    type Captures = ResourceStore<CaptureSpec>;

    const NOW: Timestamp = Timestamp::from_ms(1_700_000_000_000);

    fn capture(query: &str) -> CaptureSpec {
        CaptureSpec {
            gremlin_query: query.to_owned(),
            ..CaptureSpec::default()
        }
    }

    fn open(documents: &Arc<MemoryStore>) -> Captures {
        let (captures, unreadable) = Captures::open(Arc::clone(documents) as _).unwrap();
        assert!(unreadable.is_empty(), "{unreadable:?}");
        captures
    }

    #[test]
    fn resources_come_back_after_a_restart() {
        let documents = Arc::new(MemoryStore::default());
        let mut captures = open(&documents);
        let mut mine = capture("G.V()");
        mine.uuid = "mine".to_owned();
        let kept = captures.create(mine, None, NOW).unwrap();
        assert_eq!(kept.uuid.len(), 36, "a client's own id is replaced");
        let gone = captures.create(capture("G.E()"), None, NOW).unwrap();
        assert_eq!(captures.delete(&gone.uuid).unwrap(), Some(gone.clone()));
        assert_eq!(captures.delete(&gone.uuid).unwrap(), None);
        drop(captures);
        let captures = open(&documents);
        assert_eq!(captures.iter().collect::<Vec<_>>(), [&kept]);
        assert_eq!(captures.get(&kept.uuid), Some(&kept));
        assert_eq!(captures.len(), 1);
    }

    #[test]
    fn duplicates_are_refused_and_change_nothing() {
        let mut captures = open(&Arc::default());
        captures.create(capture("G"), None, NOW).unwrap();
        let error = captures.create(capture("G"), None, NOW).unwrap_err();
        assert_eq!(error.to_string(), "duplicated resource");
        assert_eq!(captures.len(), 1);
    }

    #[test]
    fn times_to_live_are_whole_seconds_and_survive_a_restart() {
        let documents = Arc::new(MemoryStore::default());
        let mut captures = open(&documents);
        let ms = |ms| Some(Duration::from_millis(ms));
        captures.create(capture("a"), ms(2_900), NOW).unwrap();
        captures.create(capture("b"), ms(250), NOW).unwrap();
        captures.create(capture("c"), ms(0), NOW).unwrap();
        captures.create(capture("d"), None, NOW).unwrap();
        drop(captures);
        let mut captures = open(&documents);
        let at = |seconds| NOW.plus(Duration::from_secs(seconds));
        let names = |expired: Vec<CaptureSpec>| {
            expired
                .into_iter()
                .map(|c| c.gremlin_query)
                .collect::<Vec<_>>()
        };
        assert!(captures.expire(NOW).unwrap().is_empty());
        assert_eq!(captures.next_expiry(), Some(at(1)));
        assert_eq!(names(captures.expire(at(1)).unwrap()), ["b"]);
        assert_eq!(names(captures.expire(at(2)).unwrap()), ["a"]);
        assert_eq!(captures.next_expiry(), None);
        assert_eq!(open(&documents).len(), 2);
    }

    #[test]
    fn documents_that_cannot_be_read_are_named_and_left() {
        let documents = Arc::new(MemoryStore::default());
        let good = open(&documents).create(capture("G"), None, NOW).unwrap();
        for (id, text) in [
            ("1", "{"),
            ("2", "{}"),
            ("3", r#"{"Object":{"Count":"x"}}"#),
        ] {
            documents.put("capture", id, text.as_bytes()).unwrap();
        }
        documents.put("capture", "4", b"\xff").unwrap();
        let (captures, unreadable) = Captures::open(Arc::clone(&documents) as _).unwrap();
        assert_eq!(captures.iter().collect::<Vec<_>>(), [&good]);
        let ids: Vec<&str> = unreadable.iter().map(|u| u.id.as_str()).collect();
        assert_eq!(ids, ["1", "2", "3", "4"]);
        assert_eq!(documents.list("capture").unwrap().len(), 5);
    }

    /// A store whose disk is full.
    struct Full;

    impl DocStore for Full {
        fn get(&self, _: &str, _: &str) -> Result<Option<Vec<u8>>, StoreError> {
            Ok(None)
        }

        fn list(&self, _: &str) -> Result<Vec<Document>, StoreError> {
            let id = "a".to_owned();
            Ok(vec![(
                id,
                br#"{"ExpiresAt":1,"Object":{"UUID":"a"}}"#.to_vec(),
            )])
        }

        fn put(&self, _: &str, _: &str, _: &[u8]) -> Result<(), StoreError> {
            Err(full())
        }

        fn delete(&self, _: &str, _: &str) -> Result<bool, StoreError> {
            Err(full())
        }
    }

    fn full() -> StoreError {
        let source = std::io::ErrorKind::StorageFull.into();
        StoreError::File {
            action: "write",
            path: "meta.redb".into(),
            source,
        }
    }

    #[test]
    fn a_failing_store_leaves_everything_as_it_was() {
        let (mut captures, _) = Captures::open(Arc::new(Full)).unwrap();
        assert!(matches!(
            captures.create(capture("G"), None, NOW),
            Err(ResourceError::Store(StoreError::File { .. }))
        ));
        assert!(captures.delete("a").is_err());
        assert!(captures.expire(NOW).is_err());
        assert_eq!(captures.len(), 1);
    }
}
