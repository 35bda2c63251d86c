//! Facts that every question must have.

use super::*;

#[test]
fn every_question_is_named_once_and_in_lower_case() {
    let mut seen = std::collections::HashSet::new();
    for review in all() {
        let resource = review.resource();
        assert!(seen.insert(resource.plural.to_string()));
        assert_eq!(resource.singular, resource.kind.to_lowercase());
        assert_eq!(resource.version, "v1");
    }
}

#[test]
fn a_table_of_a_question_is_refused() {
    let request = |accept: &str| {
        http::Request::builder().header(header::ACCEPT, accept).body(crate::body::empty()).unwrap()
    };
    let table = "application/json;as=Table;g=meta.k8s.io;v=v1";
    assert_eq!(accepts_json(&request(table)).unwrap_err().code, 406);
    for accept in ["*/*", "application/json", &format!("{table},application/json")] {
        assert!(accepts_json(&request(accept)).is_ok(), "{accept}");
    }
}
