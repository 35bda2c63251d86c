//! How many requests may be served at once, where priority and fairness (`flowcontrol`) is turned off.
//!
//! **Contract**: a permit is held until the response's head is ready; watches and logs take none.
//! **Upstream**: `k8s.io/apiserver/pkg/server/filters/maxinflight.go` .

use api::status::Status;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The seats of one server.
pub(crate) struct Limits {
    reading: Arc<Semaphore>,
    mutating: Arc<Semaphore>,
}

impl Limits {
    pub(crate) fn new(reading: usize, mutating: usize) -> Self {
        Self { reading: Arc::new(Semaphore::new(reading)), mutating: Arc::new(Semaphore::new(mutating)) }
    }

    /// A seat, or 429.
    pub(crate) fn take(&self, mutating: bool) -> Result<OwnedSemaphorePermit, Status> {
        let seats = if mutating { &self.mutating } else { &self.reading };
        Arc::clone(seats)
            .try_acquire_owned()
            .map_err(|_| Status::too_many_requests("Too many requests, please try again later.", 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_the_request_beyond_the_last_seat_of_its_class() {
        let limits = Limits::new(1, 1);
        let seat = limits.take(true).unwrap();
        assert_eq!(limits.take(true).unwrap_err().code, 429);
        assert!(limits.take(false).is_ok());
        drop(seat);
        assert!(limits.take(true).is_ok());
    }
}
