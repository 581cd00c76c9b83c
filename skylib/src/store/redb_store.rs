//! `RedbStore`: documents in one `redb` file (a copy-on-write B-tree) on the local disk.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition,
};

use super::{DocStore, Document, DocumentChange, StoreError};

/// Documents in a `redb` file. A change is on the disk when the call returns, and a crash at any time
/// leaves either the old or the new document.
///
/// If the file is damaged (by a failing disk, or because it is not a `redb` file), it is renamed
/// when the store is opened, and a new one is created; [`RedbStore::set_aside`] returns its new
/// path. A file that fails later is not renamed.
///
/// After a temporary failure, such as a full disk, the file is opened again by the next call.
#[derive(Debug)]
pub struct RedbStore {
    path: PathBuf,
    create: fn(&Path) -> Result<Database, DatabaseError>,
    /// `None` after a failure, until the file can be opened again.
    database: Mutex<Option<Database>>,
    set_aside: Option<PathBuf>,
}

impl RedbStore {
    /// Opens or creates the file, and creates its folders.
    ///
    /// # Errors
    /// Returns an error if the folder or the file cannot be written, another process has the file
    /// open, or a newer version wrote it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_by(path, create)
    }

    fn open_by(
        path: &Path,
        create: fn(&Path) -> Result<Database, DatabaseError>,
    ) -> Result<Self, StoreError> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|e| file_error("create folder", folder, e))?;
        }
        // redb would treat an empty file, which some file systems leave after a crash, as a new
        // file.
        let is_empty = fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() == 0);
        let opened = (!is_empty).then(|| create(path));
        let (database, set_aside) = match opened {
            Some(Ok(database)) => (database, None),
            Some(Err(error)) if !is_damage(&error) => return Err(open_error(path, error)),
            None | Some(Err(_)) => {
                let aside = free_name(path);
                fs::rename(path, &aside).map_err(|e| file_error("set aside", path, e))?;
                (create(path).map_err(|e| open_error(path, e))?, Some(aside))
            }
        };
        check_version(&database, path)?;
        Ok(Self {
            path: path.to_owned(),
            create,
            database: Mutex::new(Some(database)),
            set_aside,
        })
    }

    /// Returns the new path of a damaged file, if one was renamed when this store was opened.
    #[must_use]
    pub fn set_aside(&self) -> Option<&Path> {
        self.set_aside.as_deref()
    }

    /// Runs `work` on the database. After an I/O error, redb rejects all operations until the file
    /// is closed and opened again; in that case, this function reopens it first.
    fn with<T>(&self, work: impl Fn(&Database) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        let mut database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(opened) = &*database {
            match work(opened) {
                Err(redb::Error::PreviousIo) => {}
                outcome => return outcome.map_err(failed),
            }
            // Closed before it is opened again, because it holds a lock on the file.
            *database = None;
        }
        let opened = (self.create)(&self.path).map_err(|e| open_error(&self.path, e))?;
        work(database.insert(opened)).map_err(failed)
    }
}

fn create(path: &Path) -> Result<Database, DatabaseError> {
    builder().create(path)
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    // The file is small: a full check when it is opened is cheap and finds damage early.
    builder.set_check_integrity_on_open(true);
    builder
}

/// Checks the format number. Writes it into a new file, and creates both tables, so that reads find
/// them.
fn check_version(database: &Database, path: &Path) -> Result<(), StoreError> {
    let change = database.begin_write().map_err(failed)?;
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

impl DocStore for RedbStore {
    fn get(&self, kind: &str, id: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.with(|database| {
            let view = database.begin_read()?;
            let documents = view.open_table(DOCUMENTS)?;
            let document = documents.get((kind, id))?;
            Ok(document.map(|bytes| bytes.value().to_vec()))
        })
    }

    fn list(&self, kind: &str) -> Result<Vec<Document>, StoreError> {
        self.with(|database| {
            let view = database.begin_read()?;
            let documents = view.open_table(DOCUMENTS)?;
            let mut found = Vec::new();
            for entry in documents.range((kind, "")..)? {
                let (key, bytes) = entry?;
                let (entry_kind, id) = key.value();
                if entry_kind != kind {
                    break;
                }
                found.push((id.to_owned(), bytes.value().to_vec()));
            }
            Ok(found)
        })
    }

    fn put(&self, kind: &str, id: &str, document: &[u8]) -> Result<(), StoreError> {
        self.with(|database| {
            let change = database.begin_write()?;
            change.open_table(DOCUMENTS)?.insert((kind, id), document)?;
            Ok(change.commit()?)
        })
    }

    fn delete(&self, kind: &str, id: &str) -> Result<bool, StoreError> {
        self.with(|database| {
            let change = database.begin_write()?;
            let found = change.open_table(DOCUMENTS)?.remove((kind, id))?.is_some();
            if found {
                change.commit()?;
            }
            Ok(found)
        })
    }

    fn apply(&self, changes: &[DocumentChange]) -> Result<(), StoreError> {
        self.with(|database| {
            let all = database.begin_write()?;
            {
                let mut documents = all.open_table(DOCUMENTS)?;
                for change in changes {
                    let key = (change.kind, change.id.as_str());
                    match &change.document {
                        Some(document) => drop(documents.insert(key, document.as_slice())?),
                        None => drop(documents.remove(key)?),
                    }
                }
            }
            Ok(all.commit()?)
        })
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

/// Returns whether the file is damaged, rather than unavailable.
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

/// Returns the first unused path of the form `meta.redb.damaged-1`.
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
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use redb::StorageBackend;
    use redb::backends::FileBackend;

    use super::*;
    use crate::error_chain::Chain;
    use crate::store::tests::check_documents_by_kind_and_id;

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
    fn redb_separates_documents_by_kind() {
        let folder = Folder::new();
        check_documents_by_kind_and_id(&RedbStore::open(&folder.file()).unwrap());
    }

    #[test]
    fn documents_exist_after_a_reopen() {
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
        // State after a process was killed: the bytes of the file at this time.
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
    fn a_damaged_file_is_renamed_and_a_new_one_created() {
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
    fn an_empty_file_is_renamed() {
        let folder = Folder::new();
        fs::create_dir_all(folder.file().parent().unwrap()).unwrap();
        fs::write(folder.file(), b"").unwrap();
        let store = RedbStore::open(&folder.file()).unwrap();
        let aside = store.set_aside().unwrap();
        assert_eq!(fs::metadata(aside).unwrap().len(), 0);
        store.put("capture", "a", b"1").unwrap();
    }

    #[test]
    fn a_torn_file_is_renamed() {
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

    /// A file on a disk that fails while `FAILS` is set.
    #[derive(Debug)]
    struct Disk(FileBackend);

    static FAILS: AtomicBool = AtomicBool::new(false);

    impl Disk {
        fn create(path: &Path) -> Result<Database, DatabaseError> {
            let mut options = fs::File::options();
            let options = options.read(true).write(true).create(true).truncate(false);
            let file = options.open(path).map_err(StorageError::from)?;
            builder().create_with_backend(Self(FileBackend::new(file)?))
        }

        fn check() -> std::io::Result<()> {
            if FAILS.load(Ordering::Relaxed) {
                return Err(ErrorKind::StorageFull.into());
            }
            Ok(())
        }
    }

    impl StorageBackend for Disk {
        fn len(&self) -> std::io::Result<u64> {
            self.0.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
            self.0.read(offset, out)
        }

        fn set_len(&self, len: u64) -> std::io::Result<()> {
            Self::check()?;
            self.0.set_len(len)
        }

        fn sync_data(&self) -> std::io::Result<()> {
            self.0.sync_data()
        }

        fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
            Self::check()?;
            self.0.write(offset, data)
        }
    }

    #[test]
    fn the_file_is_reopened_after_a_temporary_failure() {
        let folder = Folder::new();
        let store = RedbStore::open_by(&folder.file(), Disk::create).unwrap();
        store.put("capture", "a", b"1").unwrap();
        FAILS.store(true, Ordering::Relaxed);
        for _ in 0..3 {
            let error = store.put("capture", "b", b"2").unwrap_err();
            assert!(
                Chain(&error).to_string().contains("no storage space"),
                "{error:?}"
            );
        }
        FAILS.store(false, Ordering::Relaxed);
        store.put("capture", "c", b"3").unwrap();
        let stored = [("a", b"1"), ("c", b"3")].map(|(id, text)| (id.to_owned(), text.to_vec()));
        assert_eq!(store.list("capture").unwrap(), stored);
        drop(store);
        let store = RedbStore::open(&folder.file()).unwrap();
        assert_eq!(
            (store.set_aside(), store.list("capture").unwrap().len()),
            (None, 2)
        );
    }

    #[test]
    fn a_newer_format_is_refused_and_not_changed() {
        let folder = Folder::new();
        let store = RedbStore::open(&folder.file()).unwrap();
        let write_format = |database: &Database| {
            let change = database.begin_write()?;
            change.open_table(PROPERTIES)?.insert(FORMAT, 9)?;
            Ok(change.commit()?)
        };
        store.with(write_format).unwrap();
        drop(store);
        let error = RedbStore::open(&folder.file()).unwrap_err().to_string();
        assert!(
            error.ends_with("has format 9, but this version supports formats up to 1"),
            "{error}"
        );
    }

    #[test]
    fn the_error_names_a_folder_in_place_of_the_file() {
        let folder = Folder::new();
        fs::create_dir_all(folder.file()).unwrap();
        let error = RedbStore::open(&folder.file()).unwrap_err().to_string();
        assert!(
            error.starts_with("cannot open ") && error.ends_with("meta.redb"),
            "{error}"
        );
    }
}
