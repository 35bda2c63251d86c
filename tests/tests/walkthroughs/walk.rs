//! One client on one profile, and what is expected of its commands.

use regex::Regex;
use std::path::PathBuf;
use std::process::Command;
use tests::profile::{Profile, Said};
use tests::{binary, eventually, kubectl};

/// The web server of the images that tests make; it says its version and on which pod it runs.
pub(crate) const HELLO: &str = "minik/hello";
/// An image with a shell; its tag is not the one for which a registry is always asked.
pub(crate) const BUSYBOX: &str = "busybox:1.36";
/// An image with nginx on port 80.
pub(crate) const NGINX: &str = "nginx:alpine";

/// A client on a profile.
pub(crate) struct Walk<'a> {
    pub(crate) profile: &'a Profile,
    client: PathBuf,
}

/// Walks the same way twice with kctl and then twice with a stock kubectl, on one cluster: whatever one walk leaves behind, the
/// next one meets.
pub(crate) fn with_both(profile: &Profile, walk: impl Fn(&Walk<'_>)) {
    let stock = kubectl::all();
    let stock = stock.iter().find(|one| one.minor == 32).or(stock.first()).expect("a stock kubectl");
    for client in [binary("kctl"), stock.path.clone()] {
        let client = Walk { profile, client };
        walk(&client);
        walk(&client);
    }
}

impl Walk<'_> {
    /// Runs the client with the words of a line.
    pub(crate) fn run(&self, line: &str) -> Said {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.run_words(&words)
    }

    pub(crate) fn run_words(&self, words: &[&str]) -> Said {
        Said::of(self.command().args(words).output().expect("the client runs"))
    }

    /// The client, to be given more.
    pub(crate) fn command(&self) -> Command {
        self.profile.command(&self.client)
    }

    /// What a command prints that must succeed.
    #[track_caller]
    pub(crate) fn ok(&self, line: &str) -> String {
        self.run(line).ok().trim().to_owned()
    }

    /// A command that succeeds and says so.
    #[track_caller]
    pub(crate) fn says(&self, pattern: &str, line: &str) {
        let said = self.run(line);
        assert!(
            said.code == 0 && shows(&said, pattern),
            "{} {line} does not say {pattern:?}: {said:?}",
            self.client.display()
        );
    }

    /// A command that fails and says why.
    #[track_caller]
    pub(crate) fn refuses(&self, pattern: &str, line: &str) {
        let said = self.run(line);
        assert!(
            said.code != 0 && shows(&said, pattern),
            "{} {line} is not refused by {pattern:?}: {said:?}",
            self.client.display()
        );
    }

    /// A command that says so sooner or later.
    #[track_caller]
    pub(crate) fn comes_to(&self, pattern: &str, line: &str) {
        eventually(&format!("{} {line} says {pattern:?}", self.client.display()), || {
            let said = self.run(line);
            if shows(&said, pattern) { Ok(()) } else { Err(format!("{said:?}")) }
        });
    }

    /// A file in the profile's folder, as the client is told of it.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.profile.home().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    }

    /// Where the node answers.
    pub(crate) fn node_address(&self) -> String {
        self.profile.minik(&["ip"]).ok().trim().to_owned()
    }
}

/// Whether output or errors match.
pub(crate) fn shows(said: &Said, pattern: &str) -> bool {
    let pattern = Regex::new(&format!("(?m){pattern}")).expect("a pattern");
    pattern.is_match(&said.stdout) || pattern.is_match(&said.stderr)
}

/// What an address answers, within three seconds; with these headers.
pub(crate) fn curl(url: &str, arguments: &[&str]) -> Said {
    let mut command = Command::new("curl");
    command.args(["-s", "-m", "3"]).args(arguments).arg(url);
    Said::of(command.output().expect("curl runs"))
}

/// Waits until an address answers so.
#[track_caller]
pub(crate) fn answers(pattern: &str, url: &str, arguments: &[&str]) {
    eventually(&format!("{url} answers {pattern:?}"), || {
        let said = curl(url, arguments);
        if shows(&said, pattern) { Ok(()) } else { Err(format!("{said:?}")) }
    });
}

/// A process that is ended with the value.
pub(crate) struct Running(pub(crate) std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
