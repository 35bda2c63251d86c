//! Objects as rows of a table, for `kubectl get`.
