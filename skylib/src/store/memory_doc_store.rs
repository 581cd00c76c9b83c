//! `MemoryDocStore`: documents in memory, in B-trees.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{DocStore, Document, StoreError};

/// Documents in memory, for tests and for users who do not want files on the disk. They are lost at
/// the end of the process.
#[derive(Debug, Default)]
pub struct MemoryDocStore {
    /// Documents by kind, then by id.
    kinds: Mutex<BTreeMap<String, BTreeMap<String, Vec<u8>>>>,
}

impl MemoryDocStore {
    fn kinds(&self) -> MutexGuard<'_, BTreeMap<String, BTreeMap<String, Vec<u8>>>> {
        // No code that can panic runs under this lock, so the maps are consistent even if it is poisoned.
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DocStore for MemoryDocStore {
    fn get(&self, kind: &str, id: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self
            .kinds()
            .get(kind)
            .and_then(|documents| documents.get(id))
            .cloned())
    }

    fn list(&self, kind: &str) -> Result<Vec<Document>, StoreError> {
        let kinds = self.kinds();
        let documents = kinds.get(kind).into_iter().flatten();
        Ok(documents
            .map(|(id, document)| (id.clone(), document.clone()))
            .collect())
    }

    fn put(&self, kind: &str, id: &str, document: &[u8]) -> Result<(), StoreError> {
        let mut kinds = self.kinds();
        kinds
            .entry(kind.to_owned())
            .or_default()
            .insert(id.to_owned(), document.to_vec());
        Ok(())
    }

    fn delete(&self, kind: &str, id: &str) -> Result<bool, StoreError> {
        Ok(self
            .kinds()
            .get_mut(kind)
            .is_some_and(|documents| documents.remove(id).is_some()))
    }
}
