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
