//! What etcd's errors mean in our terms.
//!
//! **Upstream:** the texts are those of etcd's `api/v3rpc/rpctypes/error.go`; the codes are gRPC's.

use crate::Error;

const CANCELLED: i32 = 1;
const UNKNOWN: i32 = 2;
const INVALID_ARGUMENT: i32 = 3;
const DEADLINE_EXCEEDED: i32 = 4;
const RESOURCE_EXHAUSTED: i32 = 8;
const OUT_OF_RANGE: i32 = 11;
const UNAVAILABLE: i32 = 14;

/// The kinds of failure that callers treat differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Compacted,
    FutureRevision,
    TooLarge,
    Full,
    Unavailable,
    Other,
}

/// Sorts a gRPC status.
pub(super) fn meaning(code: i32, message: &str) -> Meaning {
    match code {
        OUT_OF_RANGE if message.contains("has been compacted") => Meaning::Compacted,
        OUT_OF_RANGE if message.contains("future revision") => Meaning::FutureRevision,
        INVALID_ARGUMENT if message.contains("request is too large") => Meaning::TooLarge,
        RESOURCE_EXHAUSTED if message.contains("larger than max") => Meaning::TooLarge,
        RESOURCE_EXHAUSTED if message.contains("space exceeded") => Meaning::Full,
        UNAVAILABLE | DEADLINE_EXCEEDED | CANCELLED => Meaning::Unavailable,
        UNKNOWN if message.contains("transport error") || message.contains("not ready") => {
            Meaning::Unavailable
        }
        _ => Meaning::Other,
    }
}

/// Whether the request cannot have had an effect, because no connection was made for it.
pub(super) fn not_sent(error: &etcd_client::Error) -> bool {
    match error {
        etcd_client::Error::GRpcStatus(status) => {
            status.code() as i32 == UNAVAILABLE && status.message().contains("connect error")
        }
        _ => false,
    }
}

/// Our error for a failed request. What etcd does not say is 0.
pub(super) fn error(operation: &'static str, error: etcd_client::Error) -> Error {
    let meaning = match &error {
        etcd_client::Error::GRpcStatus(status) => meaning(status.code() as i32, status.message()),
        etcd_client::Error::TransportError(_) | etcd_client::Error::IoError(_) => Meaning::Unavailable,
        _ => Meaning::Other,
    };
    match meaning {
        Meaning::Compacted => Error::Compacted { requested: 0, compacted: 0 },
        Meaning::FutureRevision => Error::FutureRevision { requested: 0, current: 0 },
        Meaning::TooLarge => Error::TooLarge { size: 0 },
        Meaning::Full => Error::Full,
        Meaning::Unavailable => Error::Unavailable { operation, source: Box::new(error) },
        Meaning::Other => Error::Backend { operation, source: Box::new(error) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_what_etcd_says() {
        let cases = [
            (OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted", Meaning::Compacted),
            (
                OUT_OF_RANGE,
                "etcdserver: mvcc: required revision is a future revision",
                Meaning::FutureRevision,
            ),
            (INVALID_ARGUMENT, "etcdserver: request is too large", Meaning::TooLarge),
            (RESOURCE_EXHAUSTED, "grpc: received message larger than max (3 vs. 2)", Meaning::TooLarge),
            (RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded", Meaning::Full),
            (UNAVAILABLE, "etcdserver: no leader", Meaning::Unavailable),
            (DEADLINE_EXCEEDED, "context deadline exceeded", Meaning::Unavailable),
            (INVALID_ARGUMENT, "etcdserver: key is not provided", Meaning::Other),
        ];
        for (code, message, expected) in cases {
            assert_eq!(meaning(code, message), expected, "{message}");
        }
    }
}
