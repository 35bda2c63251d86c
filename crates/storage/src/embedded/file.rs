//! The file: its tables, how it is opened, and what its failures mean.
//!
//! `versions` maps (revision, place) to what the index needs to know, `values` maps the same to the bytes, `state`
//! holds the format, how far history was compacted, and the epoch of the log. New versions are always at the end of their
//! tables. What the log has and the tables do not have yet is kept in memory as well.
//!
//! **Contract:** a file that cannot be understood is left as it is. After a failed write everything is opened again,
//! because redb refuses to go on after an I/O error.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use imbl::OrdMap;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

use super::index::{Index, Version, VersionId};
use super::log::{Log, Record, Row};
use crate::{Error, Key, Result, Revision};

/// (revision, place in the transaction) → encoded [`Version`] and key.
pub(super) const VERSIONS: TableDefinition<'_, VersionId, &[u8]> = TableDefinition::new("versions");
/// (revision, place in the transaction) → value.
pub(super) const VALUES: TableDefinition<'_, VersionId, &[u8]> = TableDefinition::new("values");
/// Name → number.
pub(super) const STATE: TableDefinition<'_, &str, u64> = TableDefinition::new("state");

const FORMAT: &str = "format";
/// 2 has a log beside the database; 1 had none and is read as well.
const FORMAT_VERSION: u64 = 2;
const COMPACTED: &str = "compacted";
const REVISION: &str = "revision";
const EPOCH: &str = "log-epoch";

/// A checkpoint is due when the log has this many bytes, or changes.
const MOST_LOGGED_BYTES: u64 = 1 << 20;
const MOST_LOGGED_ROWS: usize = 1024;
/// Or when so many forgotten versions are still in the database.
const MOST_GARBAGE: usize = 4096;

/// An open file.
pub(super) struct StoreFile {
    path: PathBuf,
    cache_bytes: usize,
    database: RwLock<Option<Database>>,
    log: Mutex<Option<Log>>,
    /// What is in the log and not in the database.
    recent: RwLock<OrdMap<VersionId, Row>>,
    /// After a checkpoint that failed, how long the log gets before the next.
    patience: Mutex<u64>,
}

/// What was found when the file was opened.
pub(super) struct Opened {
    pub(super) index: Index,
    /// Versions in the file that nobody needs.
    pub(super) garbage: Vec<VersionId>,
}

/// A consistent view of the values.
pub(super) struct Values {
    recent: OrdMap<VersionId, Row>,
    table: redb::ReadOnlyTable<VersionId, &'static [u8]>,
}

impl Values {
    /// The value of a version.
    pub(super) fn get(&self, file: &StoreFile, id: VersionId) -> Result<Bytes> {
        if let Some(row) = self.recent.get(&id) {
            return row.value.clone().ok_or_else(|| file.missing(id));
        }
        let value = self.table.get(id).map_err(|e| file.error("read", e))?;
        let value = value.ok_or_else(|| file.missing(id))?;
        Ok(Bytes::copy_from_slice(value.value()))
    }
}

impl StoreFile {
    /// Opens or makes the file and reads its index.
    pub(super) fn open(path: &Path, cache_bytes: usize) -> Result<(Self, Opened)> {
        let file = Self {
            path: path.to_owned(),
            cache_bytes,
            database: RwLock::new(None),
            log: Mutex::new(None),
            recent: RwLock::default(),
            patience: Mutex::new(MOST_LOGGED_BYTES),
        };
        let opened = file.reopen()?;
        Ok((file, opened))
    }

    /// Opens the file (again) and reads its index.
    pub(super) fn reopen(&self) -> Result<Opened> {
        let mut log_slot = self.log();
        *log_slot = None;
        let mut slot = self.database.write().unwrap_or_else(PoisonError::into_inner);
        *slot = None;
        // A damaged file may make redb panic; to the caller that is the same as an error.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let database = self.open_database()?;
            let (index, epoch) = self.load(&database)?;
            Ok((database, index, epoch))
        }));
        let (database, mut index, epoch) =
            opened.unwrap_or_else(|panic| Err(self.corrupt(panic_text(&*panic))))?;
        let (log, records) =
            Log::open(&Log::path(&self.path), epoch).map_err(|source| self.io("open", source))?;
        let (mut recent, mut garbage) = (OrdMap::new(), Vec::new());
        for record in records {
            for (id, row) in record.rows {
                let decoded = decode(id, &row.version);
                let (key, version) =
                    decoded.ok_or_else(|| self.corrupt(format!("version {id:?} is malformed")))?;
                index.apply(key, version);
                recent.insert(id, row);
            }
            index.revision = index.revision.max(record.revision);
            garbage.extend(index.compact(record.compacted));
        }
        *self.recent.write().unwrap_or_else(PoisonError::into_inner) = recent;
        *log_slot = Some(log);
        *slot = Some(database);
        Ok(Opened { index, garbage })
    }

    fn log(&self) -> MutexGuard<'_, Option<Log>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a flush durable.
    pub(super) fn append(&self, record: Record) -> Result<()> {
        let mut log = self.log();
        let log = log.as_mut().ok_or_else(|| self.not_open())?;
        log.append(&record).map_err(|source| self.io("write", source))?;
        self.recent.write().unwrap_or_else(PoisonError::into_inner).extend(record.rows);
        Ok(())
    }

    /// Whether the log is so long, or so much forgotten, that the database should have it.
    pub(super) fn checkpoint_is_due(&self, garbage: usize) -> bool {
        let logged = self.log().as_ref().map_or(0, Log::size);
        let rows = self.recent.read().unwrap_or_else(PoisonError::into_inner).len();
        let patience = *self.patience.lock().unwrap_or_else(PoisonError::into_inner);
        let failed_before = patience > MOST_LOGGED_BYTES;
        logged >= patience || !failed_before && (rows >= MOST_LOGGED_ROWS || garbage >= MOST_GARBAGE)
    }

    /// Moves what the log has into the database, leaves out and removes what is forgotten, and begins the log anew.
    pub(super) fn checkpoint(
        &self,
        garbage: &[VersionId],
        compacted: Revision,
        revision: Revision,
    ) -> Result<()> {
        let done = self.write_checkpoint(garbage, compacted, revision);
        let mut log = self.log();
        let mut patience = self.patience.lock().unwrap_or_else(PoisonError::into_inner);
        match (&done, log.as_mut()) {
            (Ok(()), Some(log)) => {
                log.restart();
                self.recent.write().unwrap_or_else(PoisonError::into_inner).clear();
                *patience = MOST_LOGGED_BYTES;
            }
            (_, log) => *patience = log.map_or(0, |log| log.size()) + MOST_LOGGED_BYTES,
        }
        done
    }

    fn write_checkpoint(&self, garbage: &[VersionId], compacted: Revision, revision: Revision) -> Result<()> {
        let recent = self.recent.read().unwrap_or_else(PoisonError::into_inner).clone();
        let epoch = self.log().as_ref().ok_or_else(|| self.not_open())?.epoch() + 1;
        let forgotten: HashSet<_> = garbage.iter().collect();
        let write = |e: redb::Error| self.error("write", e);
        let txn = self.begin_write()?;
        {
            let mut versions = txn.open_table(VERSIONS).map_err(|e| write(e.into()))?;
            let mut values = txn.open_table(VALUES).map_err(|e| write(e.into()))?;
            for (id, row) in recent.iter().filter(|(id, _)| !forgotten.contains(id)) {
                versions.insert(*id, row.version.as_ref()).map_err(|e| write(e.into()))?;
                if let Some(value) = &row.value {
                    values.insert(*id, value.as_ref()).map_err(|e| write(e.into()))?;
                }
            }
            for id in garbage.iter().filter(|id| !recent.contains_key(*id)) {
                versions.remove(*id).map_err(|e| write(e.into()))?;
                values.remove(*id).map_err(|e| write(e.into()))?;
            }
            let mut state = txn.open_table(STATE).map_err(|e| write(e.into()))?;
            for (name, number) in
                [(FORMAT, FORMAT_VERSION), (COMPACTED, compacted), (REVISION, revision), (EPOCH, epoch)]
            {
                state.insert(name, number).map_err(|e| write(e.into()))?;
            }
        }
        txn.commit().map_err(|e| write(e.into()))
    }

    /// Releases the file.
    pub(super) fn close(&self) {
        *self.log() = None;
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

    /// The index of what the database has, and the log's epoch.
    fn load(&self, database: &Database) -> Result<(Index, u64)> {
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
        if !(1..=FORMAT_VERSION).contains(&format) {
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
        Ok((index, number(EPOCH)?))
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
        // In this order: what a checkpoint moves meanwhile is in both.
        let recent = self.recent.read().unwrap_or_else(PoisonError::into_inner).clone();
        let slot = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = slot.as_ref().ok_or_else(|| self.not_open())?;
        let txn = database.begin_read().map_err(|e| self.error("read", e))?;
        let table = txn.open_table(VALUES).map_err(|e| self.error("read", e))?;
        Ok(Values { recent, table })
    }

    fn begin_write(&self) -> Result<WriteTransaction> {
        let slot = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = slot.as_ref().ok_or_else(|| self.not_open())?;
        database.begin_write().map_err(|e| self.error("write", e))
    }

    /// Whether the file is open.
    pub(super) fn is_open(&self) -> bool {
        self.database.read().unwrap_or_else(PoisonError::into_inner).is_some()
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
