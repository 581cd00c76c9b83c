//! `RedbStore`: documents in one file of the local disk.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition,
};

use super::{DocStore, Document, StoreError};

/// Documents in a `redb` file: every change is on the disk before the call returns, and a crash at
/// any moment leaves either the old or the new document.
///
/// A file that is damaged (torn by a failing disk, or something else under that name) is renamed
/// and a new one begun; [`RedbStore::set_aside`] says where the old one went.
#[derive(Debug)]
pub struct RedbStore {
    database: Database,
    set_aside: Option<PathBuf>,
}

impl RedbStore {
    /// Opens or creates the file, and the folders it stands in.
    ///
    /// # Errors
    /// When the folder or the file cannot be written, another process has the file open, or a
    /// newer version wrote it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|e| file_error("create folder", folder, e))?;
        }
        let (database, set_aside) = match Self::database(path) {
            Ok(database) => (database, None),
            Err(error) if is_damage(&error) => {
                let aside = free_name(path);
                fs::rename(path, &aside).map_err(|e| file_error("set aside", path, e))?;
                (
                    Self::database(path).map_err(|e| open_error(path, e))?,
                    Some(aside),
                )
            }
            Err(error) => return Err(open_error(path, error)),
        };
        let store = Self {
            database,
            set_aside,
        };
        store.check_version(path)?;
        Ok(store)
    }

    /// Where a damaged file was moved when this store was opened.
    #[must_use]
    pub fn set_aside(&self) -> Option<&Path> {
        self.set_aside.as_deref()
    }

    fn database(path: &Path) -> Result<Database, DatabaseError> {
        // The file is small, so reading it whole at the start is cheap and finds damage early.
        Database::builder()
            .set_cache_size(CACHE_BYTES)
            .set_check_integrity_on_open(true)
            .create(path)
    }

    /// Writes the format number into a new file, and makes both tables so that reads find them.
    fn check_version(&self, path: &Path) -> Result<(), StoreError> {
        let change = self.database.begin_write().map_err(failed)?;
        {
            change.open_table(DOCUMENTS).map_err(failed)?;
            let mut properties = change.open_table(PROPERTIES).map_err(failed)?;
            let found = properties
                .get(FORMAT)
                .map_err(failed)?
                .map(|number| number.value());
            match found {
                Some(found) if found > FORMAT_NUMBER => {
                    let path = path.to_owned();
                    return Err(StoreError::Version {
                        path,
                        found,
                        supported: FORMAT_NUMBER,
                    });
                }
                Some(_) => return Ok(()),
                None => {
                    properties.insert(FORMAT, FORMAT_NUMBER).map_err(failed)?;
                }
            }
        }
        change.commit().map_err(failed)
    }
}

impl DocStore for RedbStore {
    fn get(&self, kind: &str, id: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let view = self.database.begin_read().map_err(failed)?;
        let documents = view.open_table(DOCUMENTS).map_err(failed)?;
        let document = documents.get((kind, id)).map_err(failed)?;
        Ok(document.map(|bytes| bytes.value().to_vec()))
    }

    fn list(&self, kind: &str) -> Result<Vec<Document>, StoreError> {
        let view = self.database.begin_read().map_err(failed)?;
        let documents = view.open_table(DOCUMENTS).map_err(failed)?;
        let mut found = Vec::new();
        for entry in documents.range((kind, "")..).map_err(failed)? {
            let (key, bytes) = entry.map_err(failed)?;
            let (entry_kind, id) = key.value();
            if entry_kind != kind {
                break;
            }
            found.push((id.to_owned(), bytes.value().to_vec()));
        }
        Ok(found)
    }

    fn put(&self, kind: &str, id: &str, document: &[u8]) -> Result<(), StoreError> {
        let change = self.database.begin_write().map_err(failed)?;
        {
            let mut documents = change.open_table(DOCUMENTS).map_err(failed)?;
            documents.insert((kind, id), document).map_err(failed)?;
        }
        change.commit().map_err(failed)
    }

    fn delete(&self, kind: &str, id: &str) -> Result<bool, StoreError> {
        let change = self.database.begin_write().map_err(failed)?;
        let found = {
            let mut documents = change.open_table(DOCUMENTS).map_err(failed)?;
            let old = documents.remove((kind, id)).map_err(failed)?;
            old.is_some()
        };
        if found {
            change.commit().map_err(failed)?;
        }
        Ok(found)
    }
}

const DOCUMENTS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("documents");
const PROPERTIES: TableDefinition<'_, &str, u64> = TableDefinition::new("properties");
const FORMAT: &str = "format";
const FORMAT_NUMBER: u64 = 1;
const CACHE_BYTES: usize = 4 << 20;

fn failed(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Database(Box::new(error.into()))
}

fn file_error(action: &'static str, path: &Path, source: std::io::Error) -> StoreError {
    StoreError::File {
        action,
        path: path.to_owned(),
        source,
    }
}

fn is_damage(error: &DatabaseError) -> bool {
    match error {
        DatabaseError::Storage(StorageError::Corrupted(_)) => true,
        DatabaseError::Storage(StorageError::Io(e)) => {
            matches!(e.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof)
        }
        _ => false,
    }
}

fn open_error(path: &Path, error: DatabaseError) -> StoreError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse {
            path: path.to_owned(),
        },
        DatabaseError::Storage(StorageError::Io(e)) => file_error("open", path, e),
        other => failed(other),
    }
}

/// `meta.redb.damaged-1`, or the first such number that is free.
fn free_name(path: &Path) -> PathBuf {
    let name = |n: u32| {
        let mut text = path.as_os_str().to_owned();
        text.push(format!(".damaged-{n}"));
        PathBuf::from(text)
    };
    (1..u32::MAX)
        .map(name)
        .find(|candidate| !candidate.exists())
        .unwrap_or_else(|| name(u32::MAX))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::store::tests::keeps_documents_apart_by_kind_and_id;

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let n = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("skylib-store-{}-{n}", std::process::id());
            let path = std::env::temp_dir().join(name);
            drop(fs::remove_dir_all(&path));
            Self(path)
        }

        fn file(&self) -> PathBuf {
            self.0.join("sub").join("meta.redb")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    #[test]
    fn disk_keeps_documents_apart() {
        let folder = Folder::new();
        keeps_documents_apart_by_kind_and_id(&RedbStore::open(&folder.file()).unwrap());
    }

    #[test]
    fn documents_are_there_after_a_reopen() {
        let folder = Folder::new();
        let store = RedbStore::open(&folder.file()).unwrap();
        store.put("capture", "a", b"1").unwrap();
        store.put("capture", "b", b"2").unwrap();
        store.delete("capture", "a").unwrap();
        drop(store);
        let store = RedbStore::open(&folder.file()).unwrap();
        assert_eq!(store.set_aside(), None);
        assert_eq!(
            store.list("capture").unwrap(),
            vec![("b".to_owned(), b"2".to_vec())]
        );
    }

    #[test]
    fn acknowledged_documents_survive_without_an_orderly_end() {
        let folder = Folder::new();
        let store = RedbStore::open(&folder.file()).unwrap();
        store.put("capture", "a", b"1").unwrap();
        // What a killed process leaves: the bytes of the file as they are at this moment.
        let copy = folder.0.join("copy.redb");
        fs::copy(folder.file(), &copy).unwrap();
        let again = RedbStore::open(&copy).unwrap();
        assert_eq!(
            again.get("capture", "a").unwrap().as_deref(),
            Some(&b"1"[..])
        );
    }

    #[test]
    fn a_file_that_is_open_elsewhere_is_refused() {
        let folder = Folder::new();
        let _first = RedbStore::open(&folder.file()).unwrap();
        let error = RedbStore::open(&folder.file()).unwrap_err();
        assert!(matches!(error, StoreError::InUse { .. }), "{error:?}");
        assert!(
            error
                .to_string()
                .ends_with("meta.redb is in use by another process")
        );
    }

    #[test]
    fn a_damaged_file_is_set_aside_and_a_new_one_begun() {
        let folder = Folder::new();
        fs::create_dir_all(folder.file().parent().unwrap()).unwrap();
        for n in 1..=2 {
            fs::write(
                folder.file(),
                b"this is no database, whatever its name says",
            )
            .unwrap();
            let store = RedbStore::open(&folder.file()).unwrap();
            let aside = store.set_aside().unwrap().to_owned();
            assert!(
                aside
                    .to_string_lossy()
                    .ends_with(&format!("meta.redb.damaged-{n}"))
            );
            assert!(
                fs::read(&aside)
                    .unwrap()
                    .starts_with(b"this is no database")
            );
            store.put("capture", "a", b"1").unwrap();
            drop(store);
        }
    }

    #[test]
    fn a_torn_file_is_set_aside() {
        let folder = Folder::new();
        let store = RedbStore::open(&folder.file()).unwrap();
        for n in 0..200 {
            store.put("capture", &format!("{n:04}"), &[7; 500]).unwrap();
        }
        drop(store);
        let bytes = fs::read(folder.file()).unwrap();
        fs::write(folder.file(), &bytes[..bytes.len() / 3]).unwrap();
        let store = RedbStore::open(&folder.file()).unwrap();
        assert!(store.set_aside().is_some());
        store.put("capture", "a", b"1").unwrap();
    }

    #[test]
    fn a_newer_format_is_left_alone() {
        let folder = Folder::new();
        let store = RedbStore::open(&folder.file()).unwrap();
        let change = store.database.begin_write().unwrap();
        change
            .open_table(PROPERTIES)
            .unwrap()
            .insert(FORMAT, 9)
            .unwrap();
        change.commit().unwrap();
        drop(store);
        let error = RedbStore::open(&folder.file()).unwrap_err().to_string();
        assert!(
            error.ends_with("has format 9, this version reads up to 1"),
            "{error}"
        );
    }

    #[test]
    fn a_folder_in_the_way_is_named() {
        let folder = Folder::new();
        fs::create_dir_all(folder.file()).unwrap();
        let error = RedbStore::open(&folder.file()).unwrap_err().to_string();
        assert!(
            error.starts_with("cannot open ") && error.ends_with("meta.redb"),
            "{error}"
        );
    }
}
