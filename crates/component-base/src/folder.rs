//! Being told that something in a folder has changed.
//!
//! **Contract**: what is written, moved in or out, or deleted counts once its writer has closed it. Several changes may be told as
//! one. Links that lead out of the folder are not followed.
//! **Not here**: which file it was, and what it says: look.

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use tokio::io::unix::AsyncFd;

/// A folder that is watched.
#[derive(Debug)]
pub struct Folder(AsyncFd<OwnedFd>);

impl Folder {
    /// Watches a folder from now on.
    ///
    /// # Errors
    /// If it is not there, or this machine watches too many already.
    #[expect(
        deprecated,
        reason = "the safe form of AsyncFd::new is right for an OwnedFd, which owns what it names"
    )]
    pub fn watch(folder: &Path) -> io::Result<Self> {
        let notify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let wanted =
            WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO | WatchFlags::MOVED_FROM | WatchFlags::DELETE;
        inotify::add_watch(&notify, folder, wanted)?;
        AsyncFd::new(notify).map(Self)
    }

    /// Waits for a change, and takes in all that are known by then.
    pub async fn changed(&self) {
        let Ok(mut ready) = self.0.readable().await else { return std::future::pending().await };
        let mut buffer = [0; 4096];
        while rustix::io::read(self.0.get_ref(), &mut buffer).is_ok_and(|n| n > 0) {}
        ready.clear_ready();
    }
}
