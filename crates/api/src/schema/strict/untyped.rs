//! JSON of no type that the table knows: read as it is, keys that come twice being told of.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{Decoded, MAX_PROBLEMS, Problem};

/// Decodes JSON bytes; of a key that comes twice the last value counts.
pub fn decode_untyped(bytes: &[u8]) -> Result<Decoded, super::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let mut walk = Walk::default();
    let value = Seed(&mut walk).deserialize(&mut deserializer);
    let value = value
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|e| super::Error::Syntax(crate::golang::unread(bytes, &e)))?;
    Ok(Decoded { value, problems: walk.problems })
}

#[derive(Default)]
struct Walk {
    path: String,
    problems: Vec<Problem>,
}

impl Walk {
    fn within<T>(&mut self, part: fmt::Arguments<'_>, inside: impl FnOnce(&mut Self) -> T) -> T {
        use fmt::Write as _;
        let length = self.path.len();
        self.path.write_fmt(part).expect("a string takes any text");
        let result = inside(self);
        self.path.truncate(length);
        result
    }
}

struct Seed<'w>(&'w mut Walk);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            let i = items.len();
            match self.0.within(format_args!("[{i}]"), |walk| seq.next_element_seed(Seed(walk)))? {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let dot = if self.0.path.is_empty() { "" } else { "." };
            if fields.contains_key(&key) && self.0.problems.len() < MAX_PROBLEMS {
                let problem = Problem::Duplicate(format!("{}{dot}{key}", self.0.path));
                if !self.0.problems.contains(&problem) {
                    self.0.problems.push(problem);
                }
            }
            let value = self.0.within(format_args!("{dot}{key}"), |walk| map.next_value_seed(Seed(walk)))?;
            fields.insert(key, value);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tells_of_keys_that_come_twice() {
        let decoded = decode_untyped(br#"{"a":1,"s":[{"x":null,"x":2.5}],"a":{"b":-1}}"#).unwrap();
        assert_eq!(decoded.value, json!({"a": {"b": -1}, "s": [{"x": 2.5}]}));
        assert_eq!(decoded.duplicates().collect::<Vec<_>>(), ["s[0].x", "a"]);
        assert!(decode_untyped(b"{} x").is_err());
    }
}
