//! The verbs through requests, without sockets.
