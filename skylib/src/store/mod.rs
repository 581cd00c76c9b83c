//! Storage behind two traits: documents by kind and id, and flows by time.
//!
//! [`DocStore`] stores user configuration (captures, rules, alerts …): small JSON documents, which
//! must survive a crash once their creation was acknowledged. [`MemoryDocStore`] loses them at the
//! end of the process; `RedbStore` (feature `store-local`) stores them in one file.
//!
//! [`FlowStore`] stores flows after they have left the flow tables; [`MemoryFlowStore`] holds a
//! bounded number of them in memory, and `history::LocalFlowStore` (feature `history`) on the disk.
//!
//! ```
//! use skylib::store::{DocStore, MemoryDocStore};
//! let store = MemoryDocStore::default();
//! store.put("capture", "a1", br#"{"UUID":"a1"}"#)?;
//! assert_eq!(store.list("capture")?.len(), 1);
//! assert!(store.delete("capture", "a1")?);
//! # Ok::<(), skylib::store::StoreError>(())
//! ```

#[cfg(feature = "engine")]
mod activity_log;
mod flow_store;
#[cfg(feature = "history")]
pub mod history;
mod memory_doc_store;
mod memory_flow_store;
#[cfg(feature = "store-local")]
mod redb_store;
mod stored_flow;

#[cfg(feature = "engine")]
pub use activity_log::ActivityLog;
pub use flow_store::{FlowStore, FlowStoreLimits, FlowStoreStatus};
pub use memory_doc_store::MemoryDocStore;
pub use memory_flow_store::MemoryFlowStore;
#[cfg(feature = "store-local")]
pub use redb_store::RedbStore;

use std::path::PathBuf;

/// Id of a document and its content.
pub type Document = (String, Vec<u8>);

/// Stores documents by kind and id. When a call returns successfully, its change is durable.
pub trait DocStore: Send + Sync {
    /// Returns the document with this kind and id.
    ///
    /// # Errors
    /// Returns an error if the storage cannot be read.
    fn get(&self, kind: &str, id: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Returns all documents of a kind, ordered by id.
    ///
    /// # Errors
    /// Returns an error if the storage cannot be read.
    fn list(&self, kind: &str) -> Result<Vec<Document>, StoreError>;

    /// Adds or replaces a document.
    ///
    /// # Errors
    /// Returns an error if the storage cannot be written; the document is unchanged in that case.
    fn put(&self, kind: &str, id: &str, document: &[u8]) -> Result<(), StoreError>;

    /// Removes a document. Returns whether it existed.
    ///
    /// # Errors
    /// Returns an error if the storage cannot be written; the document is unchanged in that case.
    fn delete(&self, kind: &str, id: &str) -> Result<bool, StoreError>;

    /// Makes many changes, in one transaction if the storage supports that.
    ///
    /// # Errors
    /// Returns an error if the storage cannot be written. Without transactions, some changes may
    /// have been made in that case.
    fn apply(&self, changes: &[DocumentChange]) -> Result<(), StoreError> {
        for change in changes {
            match &change.document {
                Some(document) => self.put(change.kind, &change.id, document)?,
                None => _ = self.delete(change.kind, &change.id)?,
            }
        }
        Ok(())
    }
}

/// A change to one document.
#[derive(Clone, Debug)]
pub struct DocumentChange {
    /// Kind of the document.
    pub kind: &'static str,
    /// Id of the document.
    pub id: String,
    /// New content; `None` to remove the document.
    pub document: Option<Vec<u8>>,
}

/// Error of a [`DocStore`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A folder or file cannot be created, opened, or renamed.
    #[error("cannot {action} {path}")]
    File {
        /// Attempted operation, such as `open`.
        action: &'static str,
        /// Path of the file or folder.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// Another process has the file open.
    #[error("{path} is in use by another process")]
    InUse {
        /// Path of the file.
        path: PathBuf,
    },
    /// The file was written by a newer version.
    #[error("{path} has format {found}, but this version supports formats up to {supported}")]
    Version {
        /// Path of the file.
        path: PathBuf,
        /// Version of the file format.
        found: u64,
        /// Newest supported format.
        supported: u64,
    },
    /// The database reported an error.
    #[cfg(feature = "store-local")]
    #[error("the database of stored documents failed")]
    Database(#[source] Box<redb::Error>),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the behavior that every implementation must have.
    pub(super) fn check_documents_by_kind_and_id(store: &dyn DocStore) {
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
        let change = |id: &str, document: Option<&[u8]>| DocumentChange {
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
    fn memory_separates_documents_by_kind() {
        check_documents_by_kind_and_id(&MemoryDocStore::default());
    }
}
