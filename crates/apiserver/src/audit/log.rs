//! The file of audit records: a line of JSON each, renamed away when it is full.
//!
//! **Contract**: a record is written when `write` returns (upstream's modes `blocking` and `blocking-strict`); one that
//! cannot be written is an error in the log.
//! **Upstream**: `k8s.io/apiserver/plugin/pkg/audit/log` with lumberjack; names of old files are its.

use crate::options::AuditOptions;
use component_base::Clock;
use jiff::{Timestamp, ToSpan};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const STAMP: &str = "%Y-%m-%dT%H-%M-%S.%3f";

/// Where records go.
pub(super) struct Log {
    clock: Clock,
    limits: Limits,
    target: Mutex<Target>,
}

enum Target {
    Stdout,
    File { path: PathBuf, file: File, size: u64 },
}

#[derive(Clone, Copy)]
struct Limits {
    bytes: u64,
    backups: usize,
    days: u32,
}

impl Log {
    /// Opens the file; `-` is standard output.
    pub(super) fn open(path: &Path, options: &AuditOptions, clock: Clock) -> io::Result<Self> {
        let limits = Limits {
            bytes: match options.max_megabytes {
                0 => u64::MAX,
                megabytes => u64::from(megabytes) << 20,
            },
            backups: options.max_backups as usize,
            days: options.max_age_days,
        };
        let target = if path == Path::new("-") {
            Target::Stdout
        } else {
            if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                fs::create_dir_all(folder)?;
            }
            let file = open(path)?;
            let size = file.metadata()?.len();
            // What has become too old in the meantime does not wait for the next rotation.
            clean(path, limits, clock.now())?;
            Target::File { path: path.to_owned(), file, size }
        };
        Ok(Self { clock, limits, target: Mutex::new(target) })
    }

    /// Adds a record, which ends with a line break; tells whether it is there.
    pub(super) fn write(&self, line: &[u8]) -> bool {
        let mut target = self.target.lock().unwrap_or_else(PoisonError::into_inner);
        let written = target.write(line, self.limits, self.clock.now());
        if let Err(error) = &written {
            tracing::error!(%error, "cannot write the audit log");
        }
        written.is_ok()
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

impl Target {
    fn write(&mut self, line: &[u8], limits: Limits, now: Timestamp) -> io::Result<()> {
        match self {
            Self::Stdout => io::stdout().lock().write_all(line),
            Self::File { path, file, size } => {
                if *size > 0 && *size + line.len() as u64 > limits.bytes {
                    fs::rename(&*path, backup(path, now))?;
                    *file = open(path)?;
                    *size = 0;
                    clean(path, limits, now)?;
                }
                file.write_all(line)?;
                *size += line.len() as u64;
                Ok(())
            }
        }
    }
}

/// `audit.log` → `audit-2026-01-01T00-00-00.000.log`
fn backup(path: &Path, now: Timestamp) -> PathBuf {
    let (prefix, suffix) = parts(path);
    path.with_file_name(format!("{prefix}{}{suffix}", now.strftime(STAMP)))
}

/// What the names of old files begin and end with.
fn parts(path: &Path) -> (String, String) {
    let text = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let suffix = text(path.extension());
    let suffix = if suffix.is_empty() { suffix } else { format!(".{suffix}") };
    (format!("{}-", text(path.file_stem())), suffix)
}

/// Removes old files that are too many or too old.
fn clean(path: &Path, limits: Limits, now: Timestamp) -> io::Result<()> {
    let (prefix, suffix) = parts(path);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut old: Vec<(String, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let stamp = name.strip_prefix(&prefix).and_then(|name| name.strip_suffix(&suffix));
        if let Some(stamp) = stamp.filter(|stamp| jiff::civil::DateTime::strptime(STAMP, stamp).is_ok()) {
            old.push((stamp.to_owned(), entry.path()));
        }
    }
    // Stamps sort by time.
    old.sort();
    let too_many = if limits.backups == 0 { 0 } else { old.len().saturating_sub(limits.backups) };
    let oldest = (limits.days > 0)
        .then(|| now.checked_sub((i64::from(limits.days) * 24).hours()).ok())
        .flatten()
        .map(|time| time.strftime(STAMP).to_string());
    for (i, (stamp, path)) in old.iter().enumerate() {
        if i < too_many || oldest.as_ref().is_some_and(|oldest| stamp < oldest) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_renamed_and_old_ones_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/audit.log");
        let limits = Limits { bytes: 10, backups: 2, days: 1 };
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut target = Target::File { path: path.clone(), file: open(&path).unwrap(), size: 0 };
        let at = |second| Timestamp::from_second(1_700_000_000 + i64::from(second)).unwrap();
        for second in 0..6 {
            target.write(b"12345678\n", limits, at(second)).unwrap();
        }
        let names = || {
            let entries = fs::read_dir(path.parent().unwrap()).unwrap();
            let mut names: Vec<String> =
                entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names
        };
        assert_eq!(
            names(),
            ["audit-2023-11-14T22-13-24.000.log", "audit-2023-11-14T22-13-25.000.log", "audit.log"]
        );
        assert_eq!(fs::read(&path).unwrap(), b"12345678\n");
        target.write(b"12345678\n", limits, at(100_000)).unwrap();
        assert_eq!(names().len(), 2, "{:?}", names());
        let options = AuditOptions { max_age_days: 1, ..AuditOptions::default() };
        Log::open(&path, &options, Clock::system()).unwrap();
        assert_eq!(names(), ["audit.log"]);
    }
}
