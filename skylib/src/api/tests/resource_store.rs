use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use super::support::WordChecker;
use crate::api::{AlertSpec, CaptureSpec, Defaults, ResourceError, ResourceStore};
use crate::store::{DocStore, Document, MemoryDocStore, StoreError};
use crate::time::Timestamp;

type Captures = ResourceStore<CaptureSpec>;

const NOW: Timestamp = Timestamp::from_ms(1_700_000_000_000);

fn capture(query: &str) -> CaptureSpec {
    CaptureSpec::new(query)
}

fn open(documents: &Arc<MemoryDocStore>) -> Captures {
    let (captures, unreadable) = Captures::open(Arc::clone(documents) as _).unwrap();
    assert!(unreadable.is_empty(), "{unreadable:?}");
    captures
}

#[test]
fn resources_survive_a_restart() {
    let documents = Arc::new(MemoryDocStore::default());
    let captures = open(&documents);
    let mut mine = capture("G.V()");
    mine.uuid = "mine".to_owned();
    let stored = captures.create(mine, None, NOW).unwrap();
    assert_eq!(stored.uuid.len(), 36, "a client's own id is replaced");
    let deleted = captures.create(capture("G.E()"), None, NOW).unwrap();
    assert_eq!(
        captures.delete(&deleted.uuid).unwrap(),
        Some(Arc::clone(&deleted))
    );
    assert_eq!(captures.delete(&deleted.uuid).unwrap(), None);
    drop(captures);
    let captures = open(&documents);
    assert_eq!(captures.all(), [Arc::clone(&stored)]);
    assert_eq!(captures.get(&stored.uuid), Some(stored));
    assert_eq!(captures.len(), 1);
}

#[test]
fn ephemeral_captures_end_with_the_process() {
    let documents = Arc::new(MemoryDocStore::default());
    let captures = open(&documents);
    let mine = captures.create(capture("G.V()").with_ephemeral(true), None, NOW);
    let mine = mine.unwrap();
    assert_eq!(captures.get(&mine.uuid), Some(Arc::clone(&mine)));
    assert!(open(&documents).is_empty(), "not after a restart");
    assert_eq!(captures.delete(&mine.uuid).unwrap(), Some(mine));
}

#[test]
fn duplicates_are_refused_and_change_nothing() {
    let captures = open(&Arc::default());
    let first = captures.create(capture("G"), None, NOW).unwrap();
    let error = captures.create(capture("G"), None, NOW).unwrap_err();
    assert_eq!(error.to_string(), "duplicated resource");
    let is_named =
        matches!(&error, ResourceError::Duplicate { existing } if *existing == first.uuid);
    assert!(is_named, "{error:?}");
    assert_eq!(captures.len(), 1);
}

#[test]
fn one_too_many_is_refused_until_another_is_deleted() {
    let captures = open(&Arc::default()).with_limit(2);
    let first = captures.create(capture("a"), None, NOW).unwrap();
    captures.create(capture("b"), None, NOW).unwrap();
    let error = captures.create(capture("c"), None, NOW).unwrap_err();
    assert_eq!(
        error.to_string(),
        "limit of 2 capture resources reached (http.limits.captures); delete one first"
    );
    captures.delete(&first.uuid).unwrap();
    captures.create(capture("c"), None, NOW).unwrap();
}

/// A store whose disk waits for a signal before each write.
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
        let timeout = Duration::from_secs(10);
        let signal = self.go_on.lock().unwrap().recv_timeout(timeout);
        signal.expect("readers that do not wait");
        self.documents.put(kind, id, document)
    }

    fn delete(&self, kind: &str, id: &str) -> Result<bool, StoreError> {
        self.documents.delete(kind, id)
    }
}

#[test]
fn reading_never_waits_for_the_disk() {
    let (began, has_begun) = mpsc::sync_channel(1);
    let (signal, go_on) = mpsc::channel();
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
        signal.send(()).unwrap();
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

#[test]
fn the_order_of_creation_survives_a_restart() {
    let documents: Arc<dyn DocStore> = Arc::new(MemoryDocStore::default());
    for id in ["b", "a"] {
        let text = format!(r#"{{"ExpiresAt":null,"Object":{{"UUID":"{id}","Expression":"old"}}}}"#);
        documents.put("alert", id, text.as_bytes()).unwrap();
    }
    let open = || {
        ResourceStore::<AlertSpec>::open(Arc::clone(&documents))
            .unwrap()
            .0
    };
    let expressions = |store: &ResourceStore<AlertSpec>| -> Vec<String> {
        let all = store.in_order();
        assert!(all.is_sorted_by(|(one, _), (other, _)| one < other));
        all.iter().map(|(_, a)| a.expression.clone()).collect()
    };
    let store = open();
    for expression in ["z", "y", "x"] {
        let alert = AlertSpec::new(expression);
        store.create(alert, None, Timestamp::ZERO).unwrap();
    }
    let order = ["old", "old", "z", "y", "x"];
    assert_eq!(expressions(&store), order);
    let (store, z) = (open(), store.in_order()[2].1.uuid.clone());
    assert_eq!(expressions(&store), order);
    let patch = r#"[{"op":"add","path":"/Expression","value":"changed"}]"#;
    let patched = store.patch(&z, patch, &Defaults::default(), &WordChecker);
    assert!(patched.unwrap().is_some());
    assert_eq!(
        expressions(&open())[2],
        "changed",
        "a patch retains the position"
    );
}

#[test]
fn a_merge_patch_changes_options_of_a_capture() {
    let documents = Arc::new(MemoryDocStore::default());
    let captures = open(&documents);
    let first = CaptureSpec {
        name: "uplink".to_owned(),
        description: "old".to_owned(),
        ..capture("G.V()")
    };
    let id = captures.create(first, None, NOW).unwrap().uuid.clone();
    let patch = |text: &str| captures.patch(&id, text, &Defaults::default(), &WordChecker);
    let text = r#"{"bpffilter": "udp", "Description": null, "UUID": "other"}"#;
    let changed = patch(text).unwrap().unwrap();
    let fields = (
        changed.uuid.as_str(),
        changed.name.as_str(),
        changed.bpf_filter.as_str(),
        changed.description.as_str(),
    );
    assert_eq!(fields, (id.as_str(), "uplink", "udp", ""));
    assert_eq!(patch(r#"{"Name": "uplink"}"#).unwrap(), None, "no change");
    assert_eq!(open(&documents).get(&id), Some(changed), "it is durable");
    let refusals = [
        (r#"{"Nam": "x"}"#, "creating a new resource"),
        (r#"{"Name": 3}"#, "creating a new resource"),
        (r#"{"Name": "x"} {}"#, "incorrect JSON patch"),
        (r#"{"Ephemeral": true}"#, "updating resource"),
        (
            r#"[{"op": "add", "path": "/Name", "value": "x"}]"#,
            "updating resource",
        ),
    ];
    for (text, start) in refusals {
        let error = patch(text).unwrap_err().to_string();
        assert!(error.starts_with(start), "{text}: {error}");
    }
    assert_eq!(captures.get(&id).unwrap().name, "uplink");
}
