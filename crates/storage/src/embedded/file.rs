//! The file: its tables, how it is opened, and what its failures mean.
//!
//! `versions` maps (revision, place) to what the index needs to know, `values` maps the same to the bytes, `state`
//! holds the format and how far history was compacted. New versions are always at the end of their tables.
//!
//! **Contract:** a file that cannot be understood is left as it is. After a failed write the database is opened again,
//! because redb refuses to go on after an I/O error.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

use super::index::{Index, Version, VersionId};
use crate::{Error, Key, Result, Revision};

/// (revision, place in the transaction) → encoded [`Version`] and key.
pub(super) const VERSIONS: TableDefinition<'_, VersionId, &[u8]> = TableDefinition::new("versions");
/// (revision, place in the transaction) → value.
pub(super) const VALUES: TableDefinition<'_, VersionId, &[u8]> = TableDefinition::new("values");
/// Name → number.
pub(super) const STATE: TableDefinition<'_, &str, u64> = TableDefinition::new("state");

const FORMAT: &str = "format";
const FORMAT_VERSION: u64 = 1;
const COMPACTED: &str = "compacted";
const REVISION: &str = "revision";

/// An open file.
pub(super) struct StoreFile {
    path: PathBuf,
    cache_bytes: usize,
    database: RwLock<Option<Database>>,
}

/// A consistent view of the values.
pub(super) struct Values {
    table: redb::ReadOnlyTable<VersionId, &'static [u8]>,
}

impl Values {
    /// The value of a version.
    pub(super) fn get(&self, file: &StoreFile, id: VersionId) -> Result<Bytes> {
        let value = self.table.get(id).map_err(|e| file.error("read", e))?;
        let value = value.ok_or_else(|| file.missing(id))?;
        Ok(Bytes::copy_from_slice(value.value()))
    }
}

impl StoreFile {
    /// Opens or makes the file and reads its index.
    pub(super) fn open(path: &Path, cache_bytes: usize) -> Result<(Self, Index)> {
        let file = Self { path: path.to_owned(), cache_bytes, database: RwLock::new(None) };
        let index = file.reopen()?;
        Ok((file, index))
    }

    /// Opens the file (again) and reads its index.
    pub(super) fn reopen(&self) -> Result<Index> {
        let mut slot = self.database.write().unwrap_or_else(PoisonError::into_inner);
        *slot = None;
        // A damaged file may make redb panic; to the caller that is the same as an error.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let database = self.open_database()?;
            let index = self.load(&database)?;
            Ok((database, index))
        }));
        let (database, index) = opened.unwrap_or_else(|panic| Err(self.corrupt(panic_text(&*panic))))?;
        *slot = Some(database);
        Ok(index)
    }

    /// Releases the file.
    pub(super) fn close(&self) {
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn open_database(&self) -> Result<Database> {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&self.path)
            .map_err(|source| self.io("open", source))?;
        let database = Database::builder().set_cache_size(self.cache_bytes).create_file(file);
        let database = database.map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => Error::Locked { path: self.path.clone() },
            DatabaseError::Storage(error) => self.error("open", error),
            other => self.corrupt(other),
        })?;
        Ok(database)
    }

    fn load(&self, database: &Database) -> Result<Index> {
        if !self.has_format(database)? {
            let txn = database.begin_write().map_err(|e| self.error("write", e))?;
            self.initialize(&txn)?;
            txn.commit().map_err(|e| self.error("write", e))?;
        }
        let read = |e: redb::Error| self.error("read", e);
        let txn = database.begin_read().map_err(|e| read(e.into()))?;
        let state = txn.open_table(STATE).map_err(|e| read(e.into()))?;
        let number = |name| -> Result<u64> {
            let value = state.get(name).map_err(|e| self.error("read", e))?;
            Ok(value.map_or(0, |value| value.value()))
        };
        let format = number(FORMAT)?;
        if format != FORMAT_VERSION {
            return Err(self.corrupt(format!("unknown format {format}")));
        }
        let mut index = Index::new(number(COMPACTED)?);
        let versions = txn.open_table(VERSIONS).map_err(|e| read(e.into()))?;
        for row in versions.iter().map_err(|e| self.error("read", e))? {
            let (id, encoded) = row.map_err(|e| self.error("read", e))?;
            let decoded = decode(id.value(), encoded.value());
            let (key, version) =
                decoded.ok_or_else(|| self.corrupt(format!("version {:?} is malformed", id.value())))?;
            index.apply(key, version);
        }
        index.revision = index.revision.max(number(REVISION)?);
        Ok(index)
    }

    /// Whether the database was made by us; a new one has no tables at all.
    fn has_format(&self, database: &Database) -> Result<bool> {
        let txn = database.begin_read().map_err(|e| self.error("read", e))?;
        let mut tables = txn.list_tables().map_err(|e| self.error("read", e))?;
        if tables.next().is_none() {
            return Ok(false);
        }
        match txn.open_table(STATE) {
            Ok(_) => Ok(true),
            Err(error) => Err(self.corrupt(error)),
        }
    }

    fn initialize(&self, txn: &WriteTransaction) -> Result<()> {
        let write = |e: redb::Error| self.error("write", e);
        let mut state = txn.open_table(STATE).map_err(|e| write(e.into()))?;
        state.insert(FORMAT, FORMAT_VERSION).map_err(|e| write(e.into()))?;
        txn.open_table(VERSIONS).map_err(|e| write(e.into()))?;
        txn.open_table(VALUES).map_err(|e| write(e.into()))?;
        Ok(())
    }

    /// The values as they are committed now.
    pub(super) fn values(&self) -> Result<Values> {
        let slot = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = slot.as_ref().ok_or_else(|| self.not_open())?;
        let txn = database.begin_read().map_err(|e| self.error("read", e))?;
        let table = txn.open_table(VALUES).map_err(|e| self.error("read", e))?;
        Ok(Values { table })
    }

    /// A transaction for the writer.
    pub(super) fn begin_write(&self) -> Result<WriteTransaction> {
        let slot = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = slot.as_ref().ok_or_else(|| self.not_open())?;
        database.begin_write().map_err(|e| self.error("write", e))
    }

    /// Whether the file is open.
    pub(super) fn is_open(&self) -> bool {
        self.database.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Writes down how far history is compacted.
    pub(super) fn write_compacted(
        &self,
        txn: &WriteTransaction,
        compacted: Revision,
        revision: Revision,
    ) -> Result<()> {
        let mut state = txn.open_table(STATE).map_err(|e| self.error("write", e))?;
        state.insert(COMPACTED, compacted).map_err(|e| self.error("write", e))?;
        state.insert(REVISION, revision).map_err(|e| self.error("write", e))?;
        Ok(())
    }

    /// What a failure of redb means.
    pub(super) fn error(&self, operation: &'static str, error: impl Into<redb::Error>) -> Error {
        match error.into() {
            redb::Error::Io(source) => self.io(operation, source),
            redb::Error::Corrupted(text) => self.corrupt(text),
            redb::Error::DatabaseAlreadyOpen => Error::Locked { path: self.path.clone() },
            redb::Error::DatabaseClosed => Error::Closed,
            other => Error::Backend { operation, source: Box::new(other) },
        }
    }

    fn io(&self, operation: &'static str, source: io::Error) -> Error {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Error::Full
            }
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => self.corrupt(source),
            _ => Error::Io { operation, path: self.path.clone(), source },
        }
    }

    fn not_open(&self) -> Error {
        let path = self.path.display();
        Error::Unavailable { operation: "use", source: format!("{path} is not open").into() }
    }

    /// The error of a version without a value.
    pub(super) fn missing(&self, id: VersionId) -> Error {
        self.corrupt(format!("version {id:?} has no value"))
    }

    fn corrupt(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::Corrupt { path: self.path.clone(), source: source.into() }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unreadable").to_owned()
}

const DELETED: u8 = 1;
const HEAD: usize = 1 + 8 + 8 + 4;

/// flags, create revision, deadline, bytes of key and value (little endian), key.
pub(super) fn encode(key: &Key, version: &Version) -> Vec<u8> {
    let mut row = Vec::with_capacity(HEAD + key.len());
    row.push(if version.deleted { DELETED } else { 0 });
    row.extend_from_slice(&version.create_revision.to_le_bytes());
    row.extend_from_slice(&version.deadline.to_le_bytes());
    row.extend_from_slice(&version.bytes.to_le_bytes());
    row.extend_from_slice(key.as_bytes());
    row
}

fn decode(id: VersionId, row: &[u8]) -> Option<(Key, Version)> {
    let (head, key) = row.split_at_checked(HEAD)?;
    let key = std::str::from_utf8(key).ok()?;
    let version = Version {
        id,
        create_revision: Revision::from_le_bytes(head[1..9].try_into().ok()?),
        deadline: u64::from_le_bytes(head[9..17].try_into().ok()?),
        bytes: u32::from_le_bytes(head[17..21].try_into().ok()?),
        deleted: head[0] & DELETED != 0,
    };
    Some((Key::from(key), version))
}
