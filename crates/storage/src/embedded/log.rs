//! The log: writes that are durable but not in the database yet.
//!
//! A small append to a file that has its blocks already is what a disk does fastest; the database takes many writes at
//! once much cheaper than one by one. So a flush appends a record here, and now and then everything goes into the
//! database in one transaction (`file`, checkpoint), after which the log begins again at its front.
//!
//! **Contract:** a record is either whole or not there. Records of one round have its epoch, which the database knows
//! too: what is left of older rounds is not read. A record that could not be written is overwritten by the next.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::index::VersionId;
use crate::Revision;

/// The file grows in steps, so that most appends change no metadata of the file system.
const STEP: u64 = 256 << 10;
/// Length (4), checksum (4), epoch (8).
const HEAD: usize = 16;
/// Stands for "no value" where a value's length is.
const NO_VALUE: u32 = u32::MAX;

/// A version as both files have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// What the index needs to know, and the key.
    pub(super) version: Bytes,
    /// None if the version says that the key is gone.
    pub(super) value: Option<Bytes>,
}

/// What one flush wrote.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// How far history is compacted after it.
    pub(super) compacted: Revision,
    /// The revision after it.
    pub(super) revision: Revision,
    pub(super) rows: Vec<(VersionId, Row)>,
}

/// The open log.
pub(super) struct Log {
    file: File,
    epoch: u64,
    /// Where the next record goes.
    end: u64,
    /// The file's length.
    length: u64,
}

impl Log {
    /// The log beside a database.
    pub(super) fn path(database: &Path) -> PathBuf {
        let mut path = database.as_os_str().to_owned();
        path.push(".log");
        path.into()
    }

    /// Opens or makes the file and reads the records of this epoch.
    pub(super) fn open(path: &Path, epoch: u64) -> io::Result<(Self, Vec<Record>)> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let length = file.metadata()?.len();
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, 0)?;
        let (mut records, mut end) = (Vec::new(), 0);
        while let Some((record, size)) = read(&bytes[end..], epoch) {
            records.push(record);
            end += size;
        }
        Ok((Self { file, epoch, end: end as u64, length }, records))
    }

    /// Bytes of this round's records.
    pub(super) fn size(&self) -> u64 {
        self.end
    }

    /// The epoch of this round.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Appends a record and returns when it is on disk.
    pub(super) fn append(&mut self, record: &Record) -> io::Result<()> {
        let bytes = write(record, self.epoch)?;
        let end = self.end + bytes.len() as u64;
        if end > self.length {
            let length = end.div_ceil(STEP) * STEP;
            let zeros = vec![0; usize::try_from(length - self.length).map_err(io::Error::other)?];
            self.file.write_all_at(&zeros, self.length)?;
            self.length = length;
        }
        self.file.write_all_at(&bytes, self.end)?;
        self.file.sync_data()?;
        self.end = end;
        Ok(())
    }

    /// Begins a new round: everything so far is in the database, which knows the new epoch.
    pub(super) fn restart(&mut self) {
        self.epoch += 1;
        self.end = 0;
    }
}

fn write(record: &Record, epoch: u64) -> io::Result<Vec<u8>> {
    let size =
        record.rows.iter().map(|(_, row)| row.version.len() + row.value.as_ref().map_or(0, Bytes::len) + 20);
    let mut bytes = Vec::with_capacity(HEAD + 16 + size.sum::<usize>());
    bytes.resize(HEAD, 0);
    bytes.extend_from_slice(&record.compacted.to_le_bytes());
    bytes.extend_from_slice(&record.revision.to_le_bytes());
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(io::Error::other);
    for ((revision, place), row) in &record.rows {
        bytes.extend_from_slice(&revision.to_le_bytes());
        bytes.extend_from_slice(&place.to_le_bytes());
        let value = row.value.as_deref().map_or(Ok(NO_VALUE), length)?;
        bytes.extend_from_slice(&length(&row.version)?.to_le_bytes());
        bytes.extend_from_slice(&value.to_le_bytes());
        bytes.extend_from_slice(&row.version);
        bytes.extend_from_slice(row.value.as_deref().unwrap_or_default());
    }
    let body = length(&bytes[HEAD..])?;
    bytes[0..4].copy_from_slice(&body.to_le_bytes());
    bytes[8..16].copy_from_slice(&epoch.to_le_bytes());
    let sum = crc32fast::hash(&bytes[8..]);
    bytes[4..8].copy_from_slice(&sum.to_le_bytes());
    Ok(bytes)
}

/// The record at the beginning, if it is whole and of this epoch, and its size.
fn read(bytes: &[u8], epoch: u64) -> Option<(Record, usize)> {
    let (head, rest) = bytes.split_at_checked(HEAD)?;
    let body = rest.get(..u32::from_le_bytes(head[0..4].try_into().ok()?) as usize)?;
    let sum = u32::from_le_bytes(head[4..8].try_into().ok()?);
    let size = HEAD + body.len();
    if u64::from_le_bytes(head[8..16].try_into().ok()?) != epoch || crc32fast::hash(&bytes[8..size]) != sum {
        return None;
    }
    let mut body = Reader(body);
    let mut record = Record { compacted: body.number()?, revision: body.number()?, rows: Vec::new() };
    while !body.0.is_empty() {
        let id = (body.number()?, body.short()?);
        let (version, value) = (body.short()?, body.short()?);
        let version = Bytes::copy_from_slice(body.take(version as usize)?);
        let value = match value {
            NO_VALUE => None,
            length => Some(Bytes::copy_from_slice(body.take(length as usize)?)),
        };
        record.rows.push((id, Row { version, value }));
    }
    Some((record, size))
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn short(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn record(revision: Revision, value: Option<&'static [u8]>) -> Record {
        let row = Row { version: Bytes::from_static(b"version"), value: value.map(Bytes::from_static) };
        Record { compacted: 1, revision, rows: vec![((revision, 0), row.clone()), ((revision, 1), row)] }
    }

    #[test]
    fn what_was_appended_is_read_up_to_what_is_not_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (mut log, none) = Log::open(&path, 7).unwrap();
        assert!(none.is_empty());
        let records = [record(2, Some(b"one")), record(3, None), record(4, Some(b""))];
        let mut ends = Vec::new();
        for record in &records {
            log.append(record).unwrap();
            ends.push(usize::try_from(log.size()).unwrap());
        }
        assert_eq!(Log::open(&path, 7).unwrap().1, records);
        assert!(Log::open(&path, 8).unwrap().1.is_empty(), "of another epoch");

        // Torn anywhere, the records before it stand.
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..ends[2] {
            let mut torn = whole.clone();
            torn[cut] ^= 0x55;
            std::fs::write(&path, &torn).unwrap();
            let kept = ends.iter().take_while(|end| **end <= cut).count();
            assert_eq!(Log::open(&path, 7).unwrap().1, records[..kept], "byte {cut}");
        }
    }

    #[test]
    fn a_new_round_leaves_nothing_of_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (mut log, _) = Log::open(&path, 0).unwrap();
        (2..9).for_each(|revision| log.append(&record(revision, Some(b"old"))).unwrap());
        log.restart();
        log.append(&record(9, Some(b"new"))).unwrap();
        let (log, records) = Log::open(&path, 1).unwrap();
        assert_eq!(records, [record(9, Some(b"new"))]);
        assert_eq!(log.epoch(), 1);
    }
}
