//! `ResourceStore`: one kind of resource, in memory for reading and in a `DocStore` for keeps.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use serde::Serialize;

use super::go_json::{JsonError, Members};
use super::{JsonPatch, PatchError, ResourceError, ValidationError};
use crate::error_chain::Chain;
use crate::flow::LayerKeyMode;
use crate::graph::Node;
use crate::id::Id;
use crate::store::{DocStore, StoreError};
use crate::time::Timestamp;

/// Something clients create, list and delete under an id.
pub trait Resource: Clone + PartialEq + Serialize + Send + Sync + 'static {
    /// Path segment in the API and kind in the store, such as `capture`.
    const KIND: &'static str;

    /// Whether clients may change it once it is there.
    const IS_UPDATABLE: bool = false;

    /// Where subscribers are told that one came or went, if anywhere.
    const NAMESPACE: Option<&'static str> = None;

    /// Identifier; empty before the store has given one.
    fn id(&self) -> &str;

    /// Takes the identifier that the store gives.
    fn set_id(&mut self, id: String);

    /// Reads a client's JSON, and what serialising gave.
    ///
    /// # Errors
    /// When the text is no JSON object, or a member has the wrong type.
    fn read(text: &str, defaults: &Defaults) -> Result<Self, JsonError>;

    /// Checks every field by itself, and that they agree.
    ///
    /// # Errors
    /// The first rule that is broken, in the words of the original.
    fn validate(&self, expressions: &dyn ExpressionChecker) -> Result<(), ResourceError>;

    /// Checks that the nodes it needs are there.
    ///
    /// # Errors
    /// What is missing, in the words of the original.
    fn check_nodes(&self, _nodes: &dyn NodeFinder) -> Result<(), ResourceError> {
        Ok(())
    }

    /// Why it cannot be beside another one, if it cannot.
    fn conflict_with(&self, _other: &Self) -> Option<ResourceError> {
        None
    }
}

/// What a resource has where its client says nothing.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Defaults {
    /// The time.
    pub now: Timestamp,
    /// How a capture tells flows apart.
    pub layer_key_mode: LayerKeyMode,
}

impl Defaults {
    /// Sets the time.
    #[must_use]
    pub const fn with_now(self, now: Timestamp) -> Self {
        Self { now, ..self }
    }

    /// Sets how a capture tells flows apart.
    #[must_use]
    pub const fn with_layer_key_mode(self, layer_key_mode: LayerKeyMode) -> Self {
        Self {
            layer_key_mode,
            ..self
        }
    }
}

/// Checks texts whose languages this layer does not know: handed in by the engine.
pub trait ExpressionChecker {
    /// Whether a query parses; the reason if not.
    ///
    /// # Errors
    /// The reason in words, with the place.
    fn check_gremlin(&self, query: &str) -> Result<(), String>;

    /// Whether a packet filter compiles; the reason if not.
    ///
    /// # Errors
    /// The reason in words.
    fn check_bpf(&self, filter: &str) -> Result<(), String>;

    /// Whether a field is a query that parses.
    ///
    /// # Errors
    /// In the words of the original.
    fn check_query(&self, field: &'static str, query: &str) -> Result<(), ValidationError> {
        let checked = match query {
            "" => Err("it is empty".to_owned()),
            query => self.check_gremlin(query),
        };
        checked.map_err(|why| {
            ValidationError::of(field, format!("Not a valid Gremlin expression: {why}"))
        })
    }
}

/// Asks the graph: handed in by the engine.
pub trait NodeFinder {
    /// The first node of a query; none where it yields other things, or fails.
    fn first_node(&self, query: &str) -> Option<Arc<Node>>;
}

/// All resources of one kind. A change is durable before it returns; reading is from memory and
/// never waits for the disk.
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
/// let id = captures.create(CaptureSpec::default(), ttl, now)?.uuid.clone();
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
    /// How many there may be.
    limit: usize,
    /// How many bytes they may take.
    max_bytes: usize,
    /// Held for a whole change, the disk included: changes come one after another.
    changing: Mutex<()>,
    /// Never held while anything waits.
    entries: RwLock<Entries<R>>,
    /// Why the last change could not be kept.
    problem: Mutex<Option<String>>,
}

type Entries<R> = BTreeMap<String, Entry<R>>;

struct Entry<R> {
    resource: Arc<R>,
    expires_at: Option<Timestamp>,
    /// Length of the document.
    bytes: usize,
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
        let store = Self {
            documents,
            limit: usize::MAX,
            max_bytes: usize::MAX,
            changing: Mutex::default(),
            entries: RwLock::new(entries),
            problem: Mutex::default(),
        };
        Ok((store, unreadable))
    }

    /// Sets how many resources there may be; those that were kept before stay.
    #[must_use]
    pub fn with_limit(self, limit: usize) -> Self {
        Self { limit, ..self }
    }

    /// Sets how many bytes they may take together as they are kept.
    #[must_use]
    pub fn with_max_bytes(self, max_bytes: usize) -> Self {
        Self { max_bytes, ..self }
    }

    /// Adds a resource under a fresh random id and returns it with that id.
    ///
    /// The time to live is cut to whole seconds (to one second below that); zero means none.
    ///
    /// # Errors
    /// When the resource is a duplicate, one too many, or cannot be kept; nothing has changed then.
    pub fn create(
        &self,
        mut resource: R,
        ttl: Option<Duration>,
        now: Timestamp,
    ) -> Result<Arc<R>, ResourceError> {
        let _changing = self.change();
        self.check_room_for(&resource)?;
        let id = Id::random().to_string();
        resource.set_id(id.clone());
        let expires_at = ttl
            .filter(|ttl| !ttl.is_zero())
            .map(|ttl| now.saturating_add(Duration::from_secs(ttl.as_secs().max(1))));
        self.keep(id, resource, expires_at)
    }

    /// Changes a resource by a JSON patch; what comes out is read and checked as one that comes
    /// new.
    ///
    /// Returns it, or `None` where nothing changed.
    ///
    /// # Errors
    /// When there is none of that id, the patch fails, or what comes out is not taken; nothing has
    /// changed then.
    pub fn patch(
        &self,
        id: &str,
        patch: &str,
        defaults: &Defaults,
        expressions: &dyn ExpressionChecker,
    ) -> Result<Option<Arc<R>>, PatchError> {
        let _changing = self.change();
        let (before, expires_at) = match self.read().get(id) {
            Some(entry) => (Arc::clone(&entry.resource), entry.expires_at),
            None => return Err(PatchError::NotFound),
        };
        let patch = JsonPatch::parse(patch).map_err(PatchError::Incorrect)?;
        let unreadable = |error: JsonError| PatchError::Creating(error.into());
        let document = serde_json::to_value(&*before);
        let mut document = document.map_err(|error| unreadable(JsonError::Syntax(error)))?;
        patch.apply(&mut document).map_err(PatchError::Applying)?;
        let mut after = R::read(&document.to_string(), defaults).map_err(unreadable)?;
        after.set_id(id.to_owned());
        after
            .validate(expressions)
            .map_err(PatchError::Validating)?;
        if !R::IS_UPDATABLE {
            return Err(PatchError::Updating(ResourceError::NotUpdatable));
        }
        if after == *before {
            return Ok(None);
        }
        let conflict = self.conflict(&after, Some(id));
        conflict.map_or(Ok(()), |error| Err(PatchError::Updating(error)))?;
        let kept = self.keep(id.to_owned(), after, expires_at);
        kept.map(Some).map_err(PatchError::Updating)
    }

    /// Writes a resource down, then shows it.
    fn keep(
        &self,
        id: String,
        resource: R,
        expires_at: Option<Timestamp>,
    ) -> Result<Arc<R>, ResourceError> {
        let document = write_document(&resource, expires_at);
        let bytes = document.len();
        let others = self
            .read()
            .iter()
            .filter(|(other, _)| **other != id)
            .map(|(_, e)| e.bytes)
            .sum::<usize>();
        if others + bytes > self.max_bytes {
            return Err(ResourceError::TooLarge {
                kind: R::KIND,
                limit: self.max_bytes,
            });
        }
        self.note(self.documents.put(R::KIND, &id, &document))?;
        let resource = Arc::new(resource);
        let entry = Entry {
            resource: Arc::clone(&resource),
            expires_at,
            bytes,
        };
        self.write().insert(id, entry);
        Ok(resource)
    }

    /// Why one cannot be beside those that are there, but for one.
    fn conflict(&self, resource: &R, but: Option<&str>) -> Option<ResourceError> {
        let entries = self.read();
        let mut others = entries.iter().filter(|(id, _)| but != Some(id.as_str()));
        others.find_map(|(_, entry)| resource.conflict_with(&entry.resource))
    }

    fn check_room_for(&self, resource: &R) -> Result<(), ResourceError> {
        self.conflict(resource, None).map_or(Ok(()), Err)?;
        if self.len() >= self.limit {
            return Err(ResourceError::Full {
                kind: R::KIND,
                limit: self.limit,
            });
        }
        Ok(())
    }

    /// Removes a resource and returns it; `None` if there is none of that id.
    ///
    /// # Errors
    /// When the store fails; the resource is still there then.
    pub fn delete(&self, id: &str) -> Result<Option<Arc<R>>, StoreError> {
        let _changing = self.change();
        if !self.read().contains_key(id) {
            return Ok(None);
        }
        self.note(self.documents.delete(R::KIND, id))?;
        Ok(self.write().remove(id).map(|entry| entry.resource))
    }

    /// Removes everything whose time to live is over and returns it, up to the first failure of
    /// the store; what is left is tried again by the next call.
    pub fn expire(&self, now: Timestamp) -> (Vec<Arc<R>>, Result<(), StoreError>) {
        let due = |entry: &Entry<R>| entry.expires_at.is_some_and(|end| end <= now);
        let ids: Vec<String> = self
            .read()
            .iter()
            .filter(|(_, entry)| due(entry))
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

    /// When the next time to live ends, if any has one.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.read()
            .values()
            .filter_map(|entry| entry.expires_at)
            .min()
    }

    /// One resource.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Arc<R>> {
        self.read().get(id).map(|entry| Arc::clone(&entry.resource))
    }

    /// All resources, ordered by id.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<R>> {
        self.read()
            .values()
            .map(|entry| Arc::clone(&entry.resource))
            .collect()
    }

    /// Number of resources.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.read().is_empty()
    }

    /// Why the last change could not be kept, if it could not.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let problem = self.problem.lock();
        problem.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Remembers how a change of the store went.
    fn note<T>(&self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        let problem = outcome.as_ref().err().map(|error| Chain(error).to_string());
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
        outcome
    }

    // The map is changed by single calls, so that a panic elsewhere leaves it whole.

    fn change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> RwLockReadGuard<'_, Entries<R>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Entries<R>> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
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
    let resource = R::read(object.get(), &Defaults::default()).map_err(|e| e.to_string())?;
    Ok(Entry {
        bytes: bytes.len(),
        resource: Arc::new(resource),
        expires_at: expires_at.map(Timestamp::from_ms),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::api::CaptureSpec;
    use crate::store::{Document, MemoryDocStore};

    type Captures = ResourceStore<CaptureSpec>;

    const NOW: Timestamp = Timestamp::from_ms(1_700_000_000_000);

    fn capture(query: &str) -> CaptureSpec {
        CaptureSpec {
            gremlin_query: query.to_owned(),
            ..CaptureSpec::default()
        }
    }

    fn open(documents: &Arc<MemoryDocStore>) -> Captures {
        let (captures, unreadable) = Captures::open(Arc::clone(documents) as _).unwrap();
        assert!(unreadable.is_empty(), "{unreadable:?}");
        captures
    }

    #[test]
    fn resources_come_back_after_a_restart() {
        let documents = Arc::new(MemoryDocStore::default());
        let captures = open(&documents);
        let mut mine = capture("G.V()");
        mine.uuid = "mine".to_owned();
        let kept = captures.create(mine, None, NOW).unwrap();
        assert_eq!(kept.uuid.len(), 36, "a client's own id is replaced");
        let gone = captures.create(capture("G.E()"), None, NOW).unwrap();
        assert_eq!(
            captures.delete(&gone.uuid).unwrap(),
            Some(Arc::clone(&gone))
        );
        assert_eq!(captures.delete(&gone.uuid).unwrap(), None);
        drop(captures);
        let captures = open(&documents);
        assert_eq!(captures.all(), [Arc::clone(&kept)]);
        assert_eq!(captures.get(&kept.uuid), Some(kept));
        assert_eq!(captures.len(), 1);
    }

    #[test]
    fn duplicates_are_refused_and_change_nothing() {
        let captures = open(&Arc::default());
        captures.create(capture("G"), None, NOW).unwrap();
        let error = captures.create(capture("G"), None, NOW).unwrap_err();
        assert_eq!(error.to_string(), "duplicated resource");
        assert_eq!(captures.len(), 1);
    }

    #[test]
    fn one_too_many_is_refused_until_another_goes() {
        let captures = open(&Arc::default()).with_limit(2);
        let first = captures.create(capture("a"), None, NOW).unwrap();
        captures.create(capture("b"), None, NOW).unwrap();
        let error = captures.create(capture("c"), None, NOW).unwrap_err();
        assert_eq!(
            error.to_string(),
            "there are 2 capture resources already, as many as may be, delete one first"
        );
        captures.delete(&first.uuid).unwrap();
        captures.create(capture("c"), None, NOW).unwrap();
    }

    /// A store whose disk answers when it is told to.
    struct Slow {
        documents: MemoryDocStore,
        began: mpsc::SyncSender<()>,
        go_on: Mutex<mpsc::Receiver<()>>,
    }

    impl DocStore for Slow {
        fn get(&self, kind: &str, id: &str) -> Result<Option<Vec<u8>>, StoreError> {
            self.documents.get(kind, id)
        }

        fn list(&self, kind: &str) -> Result<Vec<Document>, StoreError> {
            self.documents.list(kind)
        }

        fn put(&self, kind: &str, id: &str, document: &[u8]) -> Result<(), StoreError> {
            self.began.send(()).unwrap();
            let patience = Duration::from_secs(10);
            let told = self.go_on.lock().unwrap().recv_timeout(patience);
            told.expect("readers that do not wait");
            self.documents.put(kind, id, document)
        }

        fn delete(&self, kind: &str, id: &str) -> Result<bool, StoreError> {
            self.documents.delete(kind, id)
        }
    }

    #[test]
    fn reading_never_waits_for_the_disk() {
        let (began, has_begun) = mpsc::sync_channel(1);
        let (tell, go_on) = mpsc::channel();
        let slow = Slow {
            documents: MemoryDocStore::default(),
            began,
            go_on: Mutex::new(go_on),
        };
        let (captures, _) = Captures::open(Arc::new(slow)).unwrap();
        let ttl = Some(Duration::from_secs(1));
        std::thread::scope(|scope| {
            let create = scope.spawn(|| captures.create(capture("G"), ttl, NOW).unwrap());
            has_begun.recv().unwrap();
            assert!(captures.all().is_empty() && captures.is_empty());
            assert_eq!((captures.get("a"), captures.next_expiry()), (None, None));
            tell.send(()).unwrap();
            create.join().unwrap();
        });
        assert_eq!(captures.len(), 1);
    }

    #[test]
    fn times_to_live_are_whole_seconds_and_survive_a_restart() {
        let documents = Arc::new(MemoryDocStore::default());
        let captures = open(&documents);
        let ms = |ms| Some(Duration::from_millis(ms));
        captures.create(capture("a"), ms(2_900), NOW).unwrap();
        captures.create(capture("b"), ms(250), NOW).unwrap();
        captures.create(capture("c"), ms(0), NOW).unwrap();
        captures.create(capture("d"), None, NOW).unwrap();
        drop(captures);
        let captures = open(&documents);
        let at = |seconds| NOW.saturating_add(Duration::from_secs(seconds));
        let expire = |captures: &Captures, now| {
            let (expired, outcome) = captures.expire(now);
            outcome.unwrap();
            let names = expired.iter().map(|c| c.gremlin_query.clone());
            names.collect::<Vec<_>>()
        };
        assert!(expire(&captures, NOW).is_empty());
        assert_eq!(captures.next_expiry(), Some(at(1)));
        assert_eq!(expire(&captures, at(1)), ["b"]);
        assert_eq!(expire(&captures, at(2)), ["a"]);
        assert_eq!(captures.next_expiry(), None);
        assert_eq!(open(&documents).len(), 2);
    }

    #[test]
    fn documents_that_cannot_be_read_are_named_and_left() {
        let documents = Arc::new(MemoryDocStore::default());
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
        assert_eq!(captures.all(), [good]);
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
        let (captures, _) = Captures::open(Arc::new(Full)).unwrap();
        assert!(matches!(
            captures.create(capture("G"), None, NOW),
            Err(ResourceError::Store(StoreError::File { .. }))
        ));
        assert!(captures.delete("a").is_err());
        assert!(captures.expire(NOW).1.is_err());
        assert_eq!(captures.len(), 1);
    }
}
