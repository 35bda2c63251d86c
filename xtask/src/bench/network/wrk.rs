//! `wrk`: requests over connections that are kept, as many as the other side takes.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// A run of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) connections: u32,
    pub(super) seconds: u64,
}

/// Fails if the program is missing.
pub(super) fn check() -> Result<()> {
    // It has no option that only tells its version and succeeds.
    Command::new("wrk").arg("-v").output().map(drop).context("run wrk (apt-get install wrk)")
}

impl Load {
    /// Requests a second; an answer other than 2xx or 3xx, or a broken connection, is an error.
    pub(super) fn rate(self, url: &str, host: Option<&str>) -> Result<f64> {
        let (connections, seconds) = (self.connections.to_string(), format!("{}s", self.seconds));
        let mut command = Command::new("wrk");
        command.args(["--threads", "1", "--connections", &connections, "--duration", &seconds]);
        if let Some(host) = host {
            command.args(["--header", &format!("Host: {host}")]);
        }
        let output = command.arg(url).output().context("run wrk")?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "wrk {url}: {}", String::from_utf8_lossy(&output.stderr).trim());
        rate(&text).with_context(|| format!("wrk {url}: {}", text.trim()))
    }
}

/// What it says; none if something went wrong.
fn rate(text: &str) -> Option<f64> {
    let wrong = ["Non-2xx or 3xx responses", "Socket errors"];
    if wrong.iter().any(|wrong| text.contains(wrong)) {
        return None;
    }
    text.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_wrk_says() {
        let said = "Running 1s test @ http://h/\n  1 threads and 64 connections\nRequests/sec:  52341.17\nTransfer/sec: 1MB\n";
        assert_eq!(rate(said), Some(52341.17));
        assert_eq!(rate(&format!("{said}  Socket errors: connect 0, read 5, write 0, timeout 0\n")), None);
        assert_eq!(rate(&format!("{said}  Non-2xx or 3xx responses: 3\n")), None);
        assert_eq!(rate(""), None);
    }
}
