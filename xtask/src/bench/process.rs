//! What a process uses, as the kernel counts it under `/proc`.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::{Instant, sleep};

/// The kernel's ticks of user and system time per second (`USER_HZ`, 100 on every architecture of Linux).
const TICKS: f64 = 100.0;
/// Before an observation: the work of the start is over, and its garbage has gone back to the system.
const SETTLE: Duration = Duration::from_secs(5);

/// An idle process.
#[derive(Debug)]
pub(super) struct Idle {
    /// Resident, all of it.
    pub(super) rss_mib: f64,
    /// Resident, with pages that several processes share divided among them.
    pub(super) pss_mib: f64,
    /// Of one core.
    pub(super) cpu_percent: f64,
}

/// Lets a process be for some time and tells what it used; memory is that at the end.
pub(super) async fn observe(pid: u32, span: Duration) -> Result<Idle> {
    sleep(SETTLE).await;
    let before = cpu_seconds(pid)?;
    let start = Instant::now();
    sleep(span).await;
    let used = cpu_seconds(pid)? - before;
    let cpu_percent = 100.0 * used / start.elapsed().as_secs_f64();
    let path = format!("/proc/{pid}/smaps_rollup");
    let memory = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    Ok(Idle { rss_mib: mib(&memory, "Rss:")?, pss_mib: mib(&memory, "Pss:")?, cpu_percent })
}

/// What a process has in memory now.
pub(super) fn resident_mib(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    mib(&fs::read_to_string(&path).with_context(|| format!("read {path}"))?, "Rss:")
}

/// User and system time of a process until now, in steps of 10 ms.
pub(super) fn cpu_seconds(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    Ok(ticks(&stat, 0)? / TICKS)
}

/// The same with that of the children that have ended.
pub(super) fn family_seconds(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    Ok((ticks(&stat, 2)? + ticks(&stat, 0)?) / TICKS)
}

/// User and system time from `/proc/PID/stat`, in ticks, after so many other times.
fn ticks(stat: &str, skipped: usize) -> Result<f64> {
    // The command's name may contain anything, but the last closing parenthesis ends it.
    let (_, rest) = stat.rsplit_once(')').context("a stat file")?;
    let mut fields = rest.split_whitespace().skip(11 + skipped);
    let mut next = || -> Result<f64> { Ok(fields.next().context("a stat file with times")?.parse()?) };
    Ok(next()? + next()?)
}

/// A line of `/proc/PID/smaps_rollup`, in MiB.
fn mib(rollup: &str, name: &str) -> Result<f64> {
    let line =
        rollup.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
    let kib: f64 =
        line.trim().trim_end_matches("kB").trim().parse().with_context(|| format!("{name}{line}"))?;
    Ok(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 2605 0 5 0 17 3 9 9 20 0 4 0 381 1 2 3";
        assert!((ticks(stat, 0).unwrap() - 20.0).abs() < 1e-9);
        assert!((ticks(stat, 2).unwrap() - 18.0).abs() < 1e-9);
        let rollup =
            "5581-7ffc ---p 00000000 00:00 0 [rollup]\nRss:               20480 kB\nPss:  10240 kB\n";
        assert!((mib(rollup, "Rss:").unwrap() - 20.0).abs() < 1e-9);
        assert!((mib(rollup, "Pss:").unwrap() - 10.0).abs() < 1e-9);
        assert!(mib(rollup, "Swap:").is_err() && ticks("1 (x) S", 0).is_err());
    }
}
