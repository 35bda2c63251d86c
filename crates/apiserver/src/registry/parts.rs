//! Reading a part of a JSON text: what selection needs of an object is little, and a tree of all of it is much.
//!
//! **Contract**: of the fields that are named, the result has the same as the whole object; everything else is passed
//! over, unless it is no JSON. **Not here**: which fields those are (strategies).

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// Fields, and fields of theirs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts(Vec<(String, Self)>);

impl Parts {
    /// These fields with all that is under them; a dot goes one level down.
    pub(crate) fn of<'a>(paths: impl IntoIterator<Item = &'a str>) -> Self {
        let mut parts = Self::default();
        for path in paths {
            parts.add(path);
        }
        parts
    }

    fn add(&mut self, path: &str) {
        let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
        let known = self.0.iter().position(|(known, _)| known == name);
        match (known, rest) {
            (Some(at), Some(rest)) if !self.0[at].1.is_whole() => self.0[at].1.add(rest),
            (Some(at), _) => self.0[at].1 = Self::default(),
            (None, rest) => self.0.push((name.to_owned(), Self::of(rest))),
        }
    }

    fn is_whole(&self) -> bool {
        self.0.is_empty()
    }

    /// These parts of an object.
    pub(crate) fn read(&self, json: &[u8]) -> Result<Value, serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let value = deserializer.deserialize_any(Fields(self))?;
        deserializer.end()?;
        Ok(value)
    }
}

/// All of a value, or parts of it.
struct Seed<'a>(&'a Parts);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.0.is_whole() {
            serde::Deserialize::deserialize(deserializer)
        } else {
            deserializer.deserialize_any(Fields(self.0))
        }
    }
}

/// Parts of an object; of what is none, nothing.
struct Fields<'a>(&'a Parts);

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut found = Map::new();
        while let Some(known) = map.next_key_seed(Name(self.0))? {
            match known {
                Some((name, parts)) => {
                    found.insert(name.clone(), map.next_value_seed(Seed(parts))?);
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Value::Object(found))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Null)
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

/// The name of a field, if it is one of those.
struct Name<'a>(&'a Parts);

impl<'de, 'a> DeserializeSeed<'de> for Name<'a> {
    type Value = Option<&'a (String, Parts)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'a> Visitor<'_> for Name<'a> {
    type Value = Option<&'a (String, Parts)>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a field's name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.0.iter().find(|(known, _)| known == name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn named_fields_are_read_and_others_passed_over() {
        let object = json!({
            "metadata": {"name": "a", "labels": {"x": "y"}},
            "spec": {"nodeName": "n", "containers": [{"name": "c"}], "deep": {"er": 1}},
            "status": {"podIPs": [{"ip": "1.2.3.4"}]},
            "type": "Opaque",
        });
        let cases: [(&[&str], Value); 6] = [
            (&["metadata.labels"], json!({"metadata": {"labels": {"x": "y"}}})),
            (
                &["type", "status.podIPs"],
                json!({"type": "Opaque", "status": {"podIPs": [{"ip": "1.2.3.4"}]}}),
            ),
            (&["spec.deep.er", "spec.nodeName"], json!({"spec": {"nodeName": "n", "deep": {"er": 1}}})),
            (&["spec.deep.er", "spec.deep"], json!({"spec": {"deep": {"er": 1}}})),
            (&["spec.deep", "spec.deep.no"], json!({"spec": {"deep": {"er": 1}}})),
            // What is no object has no fields.
            (
                &["type.a", "spec.containers.name", "none"],
                json!({"type": null, "spec": {"containers": null}}),
            ),
        ];
        for (paths, wanted) in cases {
            let parts = Parts::of(paths.iter().copied());
            assert_eq!(parts.read(object.to_string().as_bytes()).unwrap(), wanted, "{paths:?}");
        }
    }

    #[test]
    fn damaged_texts_are_refused() {
        let parts = Parts::of(["a.b"]);
        for text in ["", "{", r#"{"c": [1,}"#, r#"{"a": {}} x"#, r#"{"a": "#] {
            assert!(parts.read(text.as_bytes()).is_err(), "{text}");
        }
    }
}
