//! The program's own code and constants, of which most serve the start alone: they leave the process's memory.
//!
//! **Contract**: what is needed again is there again when it is touched, from the kernel's cache of the file, as at its first
//! use. Only what equals the file is let go of; nothing is read or written.
//! **Not here**: when that happens (`memory`), what is allocated.

use rustix::mm::{Advice, madvise};
use std::fs;
use std::ops::Range;

/// Lets go of the pages of the program's file.
pub(super) fn release() {
    // Without /proc everything stays, as it would anyway.
    let Ok(mappings) = fs::read_to_string("/proc/self/smaps") else { return };
    for range in unchanged(&mappings, release as fn() as usize) {
        let start = std::ptr::with_exposed_provenance_mut(range.start);
        // SAFETY: the range is a mapping of a file, may not be written and has no page that differs from the file: whatever
        // is read from it hereafter is the same as before.
        #[expect(unsafe_code, reason = "there is no safe form: the kernel takes any range")]
        let given_back = unsafe { madvise(start, range.len(), Advice::LinuxDontNeed) };
        if let Err(error) = given_back {
            tracing::debug!(%error, "a part of the program stays in memory");
        }
    }
}

/// Where the file that has code at this address is in memory as it is on the disk, and may not be written
/// (`/proc/PID/smaps`, proc(5)).
fn unchanged(smaps: &str, code: usize) -> Vec<Range<usize>> {
    let mappings: Vec<Mapping> = mappings(smaps);
    let Some(program) = mappings.iter().find(|mapping| mapping.range.contains(&code)) else {
        return Vec::new();
    };
    let same =
        mappings.iter().filter(|other| other.file == program.file && !other.is_writable && other.is_clean);
    same.map(|mapping| mapping.range.clone()).collect()
}

struct Mapping<'a> {
    range: Range<usize>,
    is_writable: bool,
    /// Device and inode.
    file: (&'a str, &'a str),
    /// Whether each of its pages is the file's.
    is_clean: bool,
}

fn mappings(smaps: &str) -> Vec<Mapping<'_>> {
    let mut mappings: Vec<Mapping<'_>> = Vec::new();
    for line in smaps.lines() {
        if let Some(mapping) = heading(line) {
            mappings.push(mapping);
        } else if let (Some(last), Some(pages)) = (mappings.last_mut(), line.strip_prefix("Anonymous:")) {
            last.is_clean = pages.trim() == "0 kB";
        }
    }
    mappings
}

/// `FROM-TO rwxp OFFSET DEVICE INODE PATH`, before it is known whether its pages are the file's.
fn heading(line: &str) -> Option<Mapping<'_>> {
    let mut words = line.split_ascii_whitespace();
    let (from, to) = words.next()?.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    let range = address(from)?..address(to)?;
    let is_writable = words.next()?.contains('w');
    let file = (words.nth(1)?, words.next()?);
    Some(Mapping { range, is_writable, file, is_clean: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
1000-3000 r--p 00000000 fe:00 77                         /usr/bin/minik
Rss:                   8 kB
Anonymous:             0 kB
VmFlags: rd mr mw me
3000-9000 r-xp 00002000 fe:00 77                         /usr/bin/minik
Anonymous:             0 kB
9000-a000 r--p 00008000 fe:00 77                         /usr/bin/minik
Anonymous:             4 kB
a000-b000 rw-p 00009000 fe:00 77                         /usr/bin/minik
Anonymous:             0 kB
b000-c000 rw-p 00000000 00:00 0                          [heap]
Anonymous:             0 kB
7000000-7001000 r-xp 00000000 fe:00 78                   /usr/lib/libc.so.6
Anonymous:             0 kB
";

    #[test]
    fn what_is_as_in_the_file_and_stays_so() {
        assert_eq!(unchanged(SMAPS, 0x4000), [0x1000..0x3000, 0x3000..0x9000]);
        assert!(unchanged(SMAPS, 0xf000).is_empty(), "nobody's code");
        assert!(unchanged("", 0).is_empty(), "not a system with smaps");
    }

    /// How much of a mapping with this address is in memory, in KiB.
    fn resident(address: usize) -> u64 {
        let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines = smaps.lines();
        lines.find(|line| heading(line).is_some_and(|mapping| mapping.range.contains(&address))).unwrap();
        let pages = lines.find_map(|line| line.strip_prefix("Rss:")).unwrap();
        pages.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    fn the_program_goes_on_with_less_of_it_in_memory() {
        let code = release as fn() as usize;
        let before = resident(code);
        release();
        let after = resident(code);
        assert!(after < before, "{after} KiB after {before} KiB");
    }
}
