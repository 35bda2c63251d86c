//! What ends the scheduler; what goes wrong with one pod becomes its condition and an event.

/// Why the scheduler ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The watches ended although nobody asked for the end.
    #[error("the watch of {0} has ended")]
    WatchEnded(&'static str),
    /// An extender cannot be asked at all.
    #[error("{0}")]
    Extender(String),
}
