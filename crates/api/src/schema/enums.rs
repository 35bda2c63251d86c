//! Which values the fields of built-in types may have, where upstream's types enumerate them: for OpenAPI documents.
//!
//! **Contract**: parsed by whoever loads it; nothing is kept. **Not here**: validation, which has its own words.
//!
//! Format of `data/enums-1.36.txt`: `E NAME` opens an enumeration; each `"VALUE" MEANING` is a value, in the order of
//! upstream's descriptions; each `TYPE FIELD` is a field that has one of them.
//! **Upstream**: the `+enum` types of `k8s.io/api`; feature gate `OpenAPIEnums`.

use std::collections::HashMap;

const TEXT: &str = include_str!("../../data/enums-1.36.txt");

/// Every enumeration.
#[derive(Debug)]
pub struct Enums {
    all: Vec<Enumeration>,
    fields: HashMap<(&'static str, &'static str), usize>,
}

/// Values and what they mean.
#[derive(Debug, Default)]
pub struct Enumeration(Vec<(&'static str, &'static str)>);

impl Enums {
    /// Parses the file.
    pub fn load() -> Self {
        let (mut all, mut fields) = (Vec::<Enumeration>::new(), HashMap::new());
        for line in TEXT.lines().filter(|line| !line.starts_with('#')) {
            let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
            match (first, all.last_mut()) {
                ("E", _) => all.push(Enumeration::default()),
                (value, Some(last)) if value.starts_with('"') => last.0.push((value.trim_matches('"'), rest)),
                (ty, _) => {
                    fields.insert((ty, rest), all.len().saturating_sub(1));
                }
            }
        }
        Self { all, fields }
    }

    /// The file: what a digest of everything derived from it starts with.
    pub fn source() -> &'static str {
        TEXT
    }

    /// The enumeration of a field by its type's OpenAPI name and its own JSON name.
    pub fn of(&self, ty: &str, field: &str) -> Option<&Enumeration> {
        self.fields.get(&(ty, field)).and_then(|at| self.all.get(*at))
    }
}

impl Enumeration {
    /// The values, sorted.
    pub fn values(&self) -> Vec<&'static str> {
        let mut values: Vec<_> = self.0.iter().map(|(value, _)| *value).collect();
        values.sort_unstable();
        values
    }

    /// What upstream appends to the description of a field.
    pub fn description(&self) -> String {
        let mut text = "\n\nPossible enum values:".to_owned();
        for (value, meaning) in &self.0 {
            text.push_str(format!("\n - `\"{value}\"` {meaning}").trim_end());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{FieldType, Schema};

    #[test]
    fn says_what_upstream_says() {
        let enums = Enums::load();
        let policy = enums.of("io.k8s.api.core.v1.PodSpec", "restartPolicy").unwrap();
        assert_eq!(policy.values(), ["Always", "Never", "OnFailure"]);
        assert_eq!(
            policy.description(),
            "\n\nPossible enum values:\n - `\"Always\"`\n - `\"Never\"`\n - `\"OnFailure\"`"
        );
        let pull = enums.of("io.k8s.api.core.v1.Container", "imagePullPolicy").unwrap().description();
        assert!(
            pull.contains(
                "\n - `\"Never\"` means that kubelet never pulls an image, but only uses a local image."
            ),
            "{pull}"
        );
        assert!(enums.of("io.k8s.api.core.v1.Container", "image").is_none());
    }

    #[test]
    fn every_field_is_a_text_of_the_table() {
        fn is_text(ty: &FieldType) -> bool {
            match ty {
                FieldType::Array(item) | FieldType::Map(item) => is_text(item),
                ty => *ty == FieldType::String,
            }
        }
        for ((ty, field), at) in &Enums::load().fields {
            let field = Schema::get().type_by_name(ty).and_then(|ty| ty.field(field));
            assert!(field.is_some_and(|field| is_text(&field.ty)), "{ty}");
            assert!(!Enums::load().all[*at].0.is_empty(), "{ty}");
        }
    }
}
