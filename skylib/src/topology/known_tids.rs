//! `KnownTids`: the TIDs of the interfaces and namespaces of this host, unique at any time, and the
//! same after a rename or a restart of the daemon.
//!
//! A TID is derived from the first name of an interface. The table maps properties that the kernel
//! never changes during a boot (namespace and interface index) to the TID, and stores this mapping.
//! Thus another interface with this name gets another TID, and a renamed interface has the same TID
//! after a restart. Lookups cost `O(log n)`.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::tid::chained;
use crate::id::Id;
use crate::sys::netns::NetnsId;
use crate::value::Text;

/// Properties that identify an interface or a namespace until the next boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct KernelId {
    pub(crate) namespace: NetnsId,
    /// Index of the interface in the namespace; 0 for the namespace itself.
    pub(crate) index: u32,
}

/// Properties that the TID of an interface or a namespace is derived from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TidSource<'a> {
    /// TID of the owner: the host, or the namespace of the interface.
    pub(crate) owner: &'a str,
    /// Name of the interface, or path of the namespace.
    pub(crate) name: &'a str,
    /// Type of the node, such as `veth`.
    pub(crate) kind: &'a str,
}

/// Receiver of the entries that must survive a restart.
pub(crate) trait TidStore: Send + Sync {
    /// Stores a document, or deletes it. Does not block.
    fn put(&self, id: String, document: Option<Vec<u8>>);
}

/// The TIDs of one host.
#[derive(Default)]
pub(crate) struct KnownTids {
    /// Identifier of the current boot of the kernel.
    boot: Text,
    /// `None` if entries end with the process.
    store: Option<Arc<dyn TidStore>>,
    state: Mutex<State>,
}

/// The TIDs in both directions: `by_tid` is the inverse of `entries`.
#[derive(Default)]
struct State {
    entries: BTreeMap<KernelId, Entry>,
    by_tid: HashMap<Text, KernelId>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    #[serde(rename = "TID")]
    tid: Text,
    #[serde(rename = "Type")]
    kind: Text,
    owner: Text,
    /// Current path of a namespace; empty for an interface.
    #[serde(default)]
    path: Text,
    /// Boot in which the entry was stored.
    boot: Text,
}

impl KnownTids {
    /// Returns a table with the stored entries of this boot, and deletes those of earlier boots.
    #[cfg_attr(
        not(feature = "engine"),
        allow(dead_code, reason = "only the engine uses it")
    )]
    pub(crate) fn open(
        boot: &str,
        store: Arc<dyn TidStore>,
        documents: impl IntoIterator<Item = (String, Vec<u8>)>,
    ) -> Self {
        let mut state = State::default();
        for (id, document) in documents {
            let entry = serde_json::from_slice::<Entry>(&document).ok();
            match (KernelId::parse(&id), entry) {
                (Some(key), Some(entry)) if *entry.boot == *boot => state.insert(key, entry),
                _ => store.put(id, None),
            }
        }
        Self {
            boot: boot.into(),
            store: Some(store),
            state: Mutex::new(state),
        }
    }

    /// Returns the path at which a namespace was last found. The kernel reuses the identities of
    /// namespaces: if the path now refers to another namespace, the entry must be removed.
    pub(crate) fn path_of(&self, namespace: NetnsId) -> Option<Text> {
        let entry = self
            .state()
            .entries
            .get(&KernelId::of(namespace))?
            .path
            .clone();
        Some(entry)
    }

    /// Returns the TID of a namespace that was found at the path `source.name`.
    pub(crate) fn of_namespace(&self, namespace: NetnsId, source: TidSource<'_>) -> Text {
        let key = KernelId::of(namespace);
        let mut state = self.state();
        let tid = self.assign(&mut state, key, source);
        self.set_path(&mut state, key, source.name);
        tid
    }

    /// Returns the TID of an interface.
    pub(crate) fn of_interface(&self, key: KernelId, source: TidSource<'_>) -> Text {
        self.assign(&mut self.state(), key, source)
    }

    /// Sets the path of a namespace that is no longer found at the previous path.
    pub(crate) fn move_namespace(&self, namespace: NetnsId, path: &str) {
        self.set_path(&mut self.state(), KernelId::of(namespace), path);
    }

    /// Removes the entry of an interface, or of a namespace (index 0), that was deleted.
    pub(crate) fn forget(&self, key: KernelId) {
        self.remove(&mut self.state(), key);
    }

    /// Removes the entries of the interfaces of a namespace that no longer exist.
    pub(crate) fn retain(&self, namespace: NetnsId, is_present: impl Fn(u32) -> bool) {
        let mut state = self.state();
        let key = |index| KernelId { namespace, index };
        let absent: Vec<KernelId> = state
            .entries
            .range(key(1)..=key(u32::MAX))
            .map(|(key, _)| *key)
            .filter(|key| !is_present(key.index))
            .collect();
        for key in absent {
            self.remove(&mut state, key);
        }
    }

    fn assign(&self, state: &mut State, key: KernelId, source: TidSource<'_>) -> Text {
        let is_known = |entry: &Entry| &*entry.owner == source.owner && &*entry.kind == source.kind;
        if !state.entries.get(&key).is_some_and(is_known) {
            self.remove(state, key);
            let entry = Entry {
                tid: state.free_tid(key, source),
                kind: source.kind.into(),
                owner: source.owner.into(),
                path: Text::default(),
                boot: self.boot.clone(),
            };
            self.save(key, &entry);
            state.insert(key, entry);
        }
        let entry = state.entries.get(&key);
        entry.map_or_else(Text::default, |entry| entry.tid.clone())
    }

    fn set_path(&self, state: &mut State, key: KernelId, path: &str) {
        if let Some(entry) = state.entries.get_mut(&key)
            && *entry.path != *path
        {
            entry.path = path.into();
            self.save(key, entry);
        }
    }

    fn save(&self, key: KernelId, entry: &Entry) {
        if let Some(store) = &self.store {
            // Serializing plain fields into memory cannot fail.
            let document = serde_json::to_vec(entry).unwrap_or_default();
            store.put(key.to_string(), Some(document));
        }
    }

    fn remove(&self, state: &mut State, key: KernelId) {
        let Some(entry) = state.entries.remove(&key) else {
            return;
        };
        state.by_tid.remove(&entry.tid);
        if let Some(store) = &self.store {
            store.put(key.to_string(), None);
        }
    }

    /// Locks the state, even after a panic: each change to an entry leaves both maps consistent.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for KnownTids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KnownTids")
            .field("boot", &self.boot)
            .field("entries", &self.state().entries.len())
            .finish_non_exhaustive()
    }
}

impl State {
    fn insert(&mut self, key: KernelId, entry: Entry) {
        self.by_tid.insert(entry.tid.clone(), key);
        self.entries.insert(key, entry);
    }

    /// Returns the TID derived from the name, or, if another interface has that TID, a TID that
    /// also depends on the index.
    fn free_tid(&self, key: KernelId, source: TidSource<'_>) -> Text {
        let TidSource { owner, name, kind } = source;
        let number = match key.index {
            0 => key.namespace.inode,
            index => index.into(),
        };
        let mut tid = derived(owner, name, kind);
        let mut text = format!("{owner}{name}{kind}/{number}");
        while self.by_tid.contains_key(&tid) {
            tid = Text::from(Id::derived(&text).to_string());
            text.push('/');
        }
        tid
    }
}

impl KernelId {
    /// Returns the identity of a namespace itself.
    pub(crate) const fn of(namespace: NetnsId) -> Self {
        Self {
            namespace,
            index: 0,
        }
    }

    /// Parses the id of a stored document.
    #[cfg_attr(
        not(feature = "engine"),
        allow(dead_code, reason = "only the engine uses it")
    )]
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(':');
        let key = Self {
            namespace: NetnsId {
                device: numbers.next()?.parse().ok()?,
                inode: numbers.next()?.parse().ok()?,
            },
            index: numbers.next()?.parse().ok()?,
        };
        numbers.next().is_none().then_some(key)
    }
}

/// Writes the id of the stored document.
impl fmt::Display for KernelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NetnsId { device, inode } = self.namespace;
        write!(f, "{device}:{inode}:{}", self.index)
    }
}

fn derived(owner: &str, name: &str, kind: &str) -> Text {
    Text::from(chained(owner, name, kind).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store in memory.
    #[derive(Default)]
    struct Documents(Mutex<BTreeMap<String, Vec<u8>>>);

    impl TidStore for Documents {
        fn put(&self, id: String, document: Option<Vec<u8>>) {
            let mut documents = self.0.lock().unwrap();
            match document {
                Some(document) => drop(documents.insert(id, document)),
                None => drop(documents.remove(&id)),
            }
        }
    }

    impl Documents {
        fn open(self: &Arc<Self>, boot: &str) -> KnownTids {
            let documents = self.0.lock().unwrap().clone();
            KnownTids::open(boot, Arc::clone(self) as _, documents)
        }

        fn count(&self) -> usize {
            self.0.lock().unwrap().len()
        }
    }

    const NAMESPACE: NetnsId = NetnsId {
        device: 4,
        inode: 4_026_531_840,
    };

    fn key(index: u32) -> KernelId {
        KernelId {
            namespace: NAMESPACE,
            index,
        }
    }

    fn veth(name: &str) -> TidSource<'_> {
        TidSource {
            owner: "host",
            name,
            kind: "veth",
        }
    }

    #[test]
    fn interfaces_that_had_the_same_name_have_different_tids() {
        let store = Arc::new(Documents::default());
        let tids = store.open("boot-1");
        let first = tids.of_interface(key(5), veth("eth0"));
        assert_eq!(*first, *derived("host", "eth0", "veth"));
        let second = tids.of_interface(key(6), veth("eth0"));
        assert_ne!(first, second);
        assert_eq!(tids.of_interface(key(5), veth("enx001")), first, "renamed");

        let tids = store.open("boot-1");
        // An interface that was added meanwhile and is listed first.
        let third = tids.of_interface(key(3), veth("eth0"));
        assert!(third != first && third != second);
        assert_eq!(tids.of_interface(key(6), veth("enx002")), second);
        assert_eq!(tids.of_interface(key(5), veth("enx001")), first);

        let tids = store.open("boot-2");
        assert_eq!(store.count(), 0, "indexes mean nothing in another boot");
        assert_eq!(tids.of_interface(key(9), veth("eth0")), first);
    }

    #[test]
    fn a_deleted_interface_releases_its_tid() {
        let store = Arc::new(Documents::default());
        let tids = store.open("boot-1");
        let first = tids.of_interface(key(5), veth("eth0"));
        tids.forget(key(5));
        assert_eq!(store.count(), 0);
        assert_eq!(tids.of_interface(key(6), veth("eth0")), first);
        // Deleted while the daemon was not running.
        let tids = store.open("boot-1");
        tids.retain(NAMESPACE, |index| index == 7);
        assert_eq!(tids.of_interface(key(7), veth("eth0")), first);
        assert_eq!(store.count(), 1);
    }

    #[test]
    fn an_index_that_was_reused_does_not_inherit() {
        let tids = KnownTids::default();
        let first = tids.of_interface(key(5), veth("a"));
        let bridge = TidSource {
            kind: "bridge",
            ..veth("b")
        };
        let second = tids.of_interface(key(5), bridge);
        assert_eq!(*second, *derived("host", "b", "bridge"));
        let moved = TidSource {
            owner: "ns",
            ..bridge
        };
        assert_ne!(tids.of_interface(key(5), moved), second);
        assert_eq!(tids.of_interface(key(6), veth("a")), first);
    }

    #[test]
    fn a_namespace_has_its_tid_under_any_of_its_paths() {
        let store = Arc::new(Documents::default());
        let source = |name| TidSource {
            owner: "host",
            name,
            kind: "netns",
        };
        let other = NetnsId {
            inode: 7,
            ..NAMESPACE
        };
        let tids = store.open("boot-1");
        let first = tids.of_namespace(NAMESPACE, source("/run/a"));
        tids.move_namespace(NAMESPACE, "/run/b");
        assert_ne!(tids.of_namespace(other, source("/run/a")), first);

        let tids = store.open("boot-1");
        assert_eq!(tids.path_of(NAMESPACE).as_deref(), Some("/run/b"));
        assert_eq!(tids.of_namespace(NAMESPACE, source("/run/c")), first);
        assert_eq!(tids.path_of(NAMESPACE).as_deref(), Some("/run/c"));
        tids.forget(KernelId::of(NAMESPACE));
        assert_eq!(tids.path_of(NAMESPACE), None);
        assert_ne!(tids.of_namespace(NAMESPACE, source("/run/d")), first);
    }

    #[test]
    fn documents_that_cannot_be_read_are_deleted() {
        let store = Arc::new(Documents::default());
        for (id, document) in [("1:2:3", "{"), ("x", "{}"), ("1:2", "{}")] {
            store.put(id.to_owned(), Some(document.into()));
        }
        store.open("boot-1");
        assert_eq!(store.count(), 0);
    }
}
