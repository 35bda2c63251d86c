//! Makes small, now and then, what components keep of objects: decoded, it can be had again, and what rests can be packed.
//! The program itself, too: most of it serves the start.
//!
//! **Not here**: giving freed memory back to the system. The allocator does that by itself (docs/decisions/0026-jemalloc.md).

mod program;

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
            program::release();
            clock.sleep(INTERVAL).await;
        }
    });
}
