//! What is wrong with a patch as a text: fields that come twice, and those of JSON patch that mean nothing.
//!
//! **Upstream**: `handlers/patch.go`, `sigs.k8s.io/json` (`UnmarshalStrict`).

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeSet;
use std::fmt;

/// Fields of an operation of a JSON patch.
const OPERATION: [&str; 4] = ["op", "path", "from", "value"];
/// Problems that are told. **Upstream**: `sigs.k8s.io/json`'s limit of strict errors.
const MOST: usize = 100;

/// The problems of a merge patch, in the order of the text.
pub(super) fn of_merge(body: &[u8]) -> Vec<String> {
    walk(body, None)
}

/// The problems of a JSON patch.
pub(super) fn of_json(body: &[u8]) -> Vec<String> {
    let mut found = walk(body, Some(&OPERATION));
    found.iter_mut().for_each(|problem| problem.insert_str(0, "json patch "));
    found
}

fn walk(body: &[u8], operation: Option<&'static [&'static str]>) -> Vec<String> {
    let mut found = Vec::new();
    let place = Place { path: String::new(), depth: 0, operation, found: &mut found };
    // What is no JSON is refused elsewhere.
    let _ = place.deserialize(&mut serde_json::Deserializer::from_slice(body));
    found
}

struct Place<'a> {
    path: String,
    depth: usize,
    /// The fields of objects in the list that the text is.
    operation: Option<&'static [&'static str]>,
    found: &'a mut Vec<String>,
}

impl Place<'_> {
    fn below(&mut self, path: String) -> Place<'_> {
        Place { path, depth: self.depth + 1, operation: self.operation, found: self.found }
    }

    fn tell(&mut self, what: &str, path: &str) {
        let problem = format!("{what} field {path:?}");
        if self.found.len() < MOST && !self.found.contains(&problem) {
            self.found.push(problem);
        }
    }
}

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        let known = self.operation.filter(|_| self.depth == 1);
        while let Some(key) = map.next_key::<String>()? {
            let path = if self.path.is_empty() { key.clone() } else { format!("{}.{key}", self.path) };
            if known.is_some_and(|known| !known.contains(&key.as_str())) {
                self.tell("unknown", &path);
            } else if seen.contains(&key) {
                self.tell("duplicate", &path);
            }
            seen.insert(key);
            map.next_value_seed(self.below(path))?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        let mut index = 0;
        loop {
            let path = format!("{}[{index}]", self.path);
            if list.next_element_seed(self.below(path))?.is_none() {
                return Ok(());
            }
            index += 1;
        }
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_comes_twice_or_means_nothing() {
        let merge = r#"{"a": {"b": 1, "b": 2, "b": 3}, "l": [{"k": 1}, {"k": 1, "k": null}], "b": 1}"#;
        assert_eq!(of_merge(merge.as_bytes()), [r#"duplicate field "a.b""#, r#"duplicate field "l[1].k""#]);
        let json = r#"[{"op": "add", "path": "/x", "value": {"foo": 1}, "foo": "bar"}, {"op": "add", "path": "/y", "path": "/z"}]"#;
        assert_eq!(
            of_json(json.as_bytes()),
            [r#"json patch unknown field "[0].foo""#, r#"json patch duplicate field "[1].path""#]
        );
        assert_eq!(of_merge(b"{"), Vec::<String>::new());
    }
}
