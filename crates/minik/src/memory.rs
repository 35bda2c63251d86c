//! Gives memory back to the system that the allocator keeps after a burst.
//!
//! Upstream of the choice: glibc keeps freed pages of its arenas; a trim now and then costs well under a millisecond
//! and takes a process after 10,000 pods from 662 to 31 MiB. **Not here**: anything but glibc (a no-op elsewhere).

use component_base::Context;
use std::time::Duration;

/// Right after the start, whose garbage is the largest, and then now and then.
const FIRST: Duration = Duration::from_secs(3);
const INTERVAL: Duration = Duration::from_secs(60);

/// Keeps memory small until the context ends; `release` lets go of what can be had again.
pub(crate) fn keep_small(context: &Context, release: impl Fn() + Send + 'static) {
    let clock = context.clock.clone();
    context.shutdown.spawn(async move {
        clock.sleep(FIRST).await;
        loop {
            release();
            trim();
            clock.sleep(INTERVAL).await;
        }
    });
}

/// The main thread's arena, one for each worker of [`crate::server`], and one for the store's writer. With fewer, the
/// workers wait for each other in the allocator (half of the processor time was lost); with one for every thread that
/// ever blocks, each keeps its own free pages.
const ARENAS: libc::c_int = 4;

/// Few arenas, but enough. Call before other threads start.
pub(crate) fn limit_arenas() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "glibc's tuning calls have no safe wrapper")]
    // SAFETY: `mallopt` changes allocator parameters only; it takes and keeps no pointers.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, ARENAS);
    }
}

fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "glibc's tuning calls have no safe wrapper")]
    // SAFETY: `malloc_trim` releases free pages only; it touches no allocation in use and takes no pointers.
    unsafe {
        libc::malloc_trim(0);
    }
}
