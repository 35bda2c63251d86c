//! Filters that take out of printed text what differs from run to run, for `insta::Settings::add_filter`.

/// Patterns and what they become: times, identities, generated suffixes, revisions, ages, tokens.
pub const FILTERS: &[(&str, &str)] = &[
    (r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z", "<time>"),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uid>"),
    (r#"("?resourceVersion"?: ?)"?\d+"?"#, "$1<revision>"),
    (r"(docker|containerd)://[0-9a-f]{64}", "$1://<id>"),
    (r"sha256:[0-9a-f]{64}", "sha256:<digest>"),
    (r"\beyJ[\w-]+\.[\w-]+\.[\w-]+", "<token>"),
    (r"-----BEGIN ([A-Z ]+)-----[^-]+-----END [A-Z ]+-----", "<$1>"),
];
