//! What components use to talk to the API server.
