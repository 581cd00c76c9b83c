//! Where things are kept, each kind behind a trait: documents by kind and id, flows by time.
//!
//! [`DocStore`] holds what users configure (captures, rules, alerts …): small JSON documents that
//! must survive a crash once their creation was acknowledged. [`MemoryStore`] forgets them at the
//! end of the process, `RedbStore` (feature `store-local`) keeps them in one file.
//!
//! [`FlowStore`] holds flows after they have left the tables; [`MemoryFlowStore`] a bounded number
//! of them in memory.
//!
//! ```
//! use skylib::store::{DocStore, MemoryStore};
//! let store = MemoryStore::default();
//! store.put("capture", "a1", br#"{"UUID":"a1"}"#)?;
//! assert_eq!(store.list("capture")?.len(), 1);
//! assert!(store.delete("capture", "a1")?);
//! # Ok::<(), skylib::store::StoreError>(())
//! ```

mod flow_store;
mod memory_doc_store;
mod memory_flow_store;
#[cfg(feature = "store-local")]
mod redb_store;

pub use flow_store::{FlowStore, FlowStoreLimits, FlowStoreStatus};
pub use memory_doc_store::MemoryStore;
pub use memory_flow_store::MemoryFlowStore;
#[cfg(feature = "store-local")]
pub use redb_store::RedbStore;

use std::path::PathBuf;

/// A document and the id it is kept under.
pub type Document = (String, Vec<u8>);

/// Documents by kind and id. What a call changed is durable when it returns.
pub trait DocStore: Send + Sync {
    /// One document.
    ///
    /// # Errors
    /// When the storage cannot be read.
    fn get(&self, kind: &str, id: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// All documents of a kind, ordered by id.
    ///
    /// # Errors
    /// When the storage cannot be read.
    fn list(&self, kind: &str) -> Result<Vec<Document>, StoreError>;

    /// Adds or replaces a document.
    ///
    /// # Errors
    /// When the storage cannot be written; the document is then as it was before.
    fn put(&self, kind: &str, id: &str, document: &[u8]) -> Result<(), StoreError>;

    /// Removes a document and tells whether it was there.
    ///
    /// # Errors
    /// When the storage cannot be written; the document is then as it was before.
    fn delete(&self, kind: &str, id: &str) -> Result<bool, StoreError>;

    /// Makes many changes; all at once, where the storage can.
    ///
    /// # Errors
    /// When the storage cannot be written; some changes may have been made then, unless the storage
    /// makes them all at once.
    fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        for change in changes {
            match &change.document {
                Some(document) => self.put(change.kind, &change.id, document)?,
                None => _ = self.delete(change.kind, &change.id)?,
            }
        }
        Ok(())
    }
}

/// A change of one document.
#[derive(Clone, Debug)]
pub struct Change {
    /// Kind of the document.
    pub kind: &'static str,
    /// What it is kept under.
    pub id: String,
    /// What it is from now on; `None` for gone.
    pub document: Option<Vec<u8>>,
}

/// Why a store failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A folder or file could not be created, opened or renamed.
    #[error("cannot {action} {path}")]
    File {
        /// What was tried, in words.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process has the file open.
    #[error("{path} is in use by another process")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a version that this one does not understand.
    #[error("{path} has format {found}, this version reads up to {supported}")]
    Version {
        /// The file.
        path: PathBuf,
        /// Format of the file.
        found: u64,
        /// Newest format known here.
        supported: u64,
    },
    /// The database refused or failed.
    #[cfg(feature = "store-local")]
    #[error("the database failed")]
    Database(#[source] Box<redb::Error>),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What every implementation must do.
    pub(super) fn keeps_documents_apart_by_kind_and_id(store: &dyn DocStore) {
        assert_eq!(store.get("alert", "1").unwrap(), None);
        assert!(store.list("alert").unwrap().is_empty());
        for (kind, id, text) in [
            ("alert", "2", "two"),
            ("alert", "1", "one"),
            ("alertx", "1", "x"),
            ("aler", "9", "y"),
        ] {
            store.put(kind, id, text.as_bytes()).unwrap();
        }
        store.put("alert", "2", b"second").unwrap();
        let wanted: Vec<Document> = vec![
            ("1".to_owned(), b"one".to_vec()),
            ("2".to_owned(), b"second".to_vec()),
        ];
        assert_eq!(store.list("alert").unwrap(), wanted);
        assert!(store.delete("alert", "1").unwrap());
        assert!(!store.delete("alert", "1").unwrap());
        assert_eq!(
            store.get("alert", "2").unwrap().as_deref(),
            Some(&b"second"[..])
        );
        assert_eq!(
            store.get("alertx", "1").unwrap().as_deref(),
            Some(&b"x"[..])
        );
        let change = |id: &str, document: Option<&[u8]>| Change {
            kind: "aler",
            id: id.to_owned(),
            document: document.map(<[u8]>::to_vec),
        };
        let changes = [
            change("9", None),
            change("8", Some(b"z")),
            change("7", None),
        ];
        store.apply(&changes).unwrap();
        let wanted: Vec<Document> = vec![("8".to_owned(), b"z".to_vec())];
        assert_eq!(store.list("aler").unwrap(), wanted);
        store.put("alert", "", b"").unwrap();
        assert_eq!(store.get("alert", "").unwrap().as_deref(), Some(&b""[..]));
    }

    #[test]
    fn memory_keeps_documents_apart() {
        keeps_documents_apart_by_kind_and_id(&MemoryStore::default());
    }
}
