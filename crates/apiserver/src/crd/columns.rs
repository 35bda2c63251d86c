//! The columns of a kind's table, and the cells that an object fills them with.
//!
//! **Upstream**: `apiextensions-apiserver/pkg/registry/customresource/tableconvertor`.

use super::definition::PrinterColumn;
use api::jsonpath::Template;
use jiff::Timestamp;
use serde_json::{Value, json};

/// What `name` is described as in every table.
const NAME: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources \
    may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for \
    creation idempotence and configuration definition. Cannot be updated. More info: \
    https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";
/// What `creationTimestamp` is described as.
const CREATED: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is \
    not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is \
    represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: \
    https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// A column behind the name.
struct Column {
    definition: PrinterColumn,
    path: Template,
}

/// The columns of a version.
pub(crate) struct Columns(Vec<Column>);

impl Columns {
    /// Those that a definition asks for; the age if it asks for none.
    pub(crate) fn of(columns: &[PrinterColumn]) -> Self {
        let age = PrinterColumn {
            name: "Age".to_owned(),
            kind: "date".to_owned(),
            description: CREATED.to_owned(),
            json_path: ".metadata.creationTimestamp".to_owned(),
            ..PrinterColumn::default()
        };
        let chosen = if columns.is_empty() { std::slice::from_ref(&age) } else { columns };
        let parse = |definition: &PrinterColumn| {
            let path = Template::parse(&format!("{{{}}}", definition.json_path)).ok()?;
            Some(Column { definition: definition.clone(), path })
        };
        // One path that cannot be read, and the table has the name alone.
        Self(chosen.iter().map(parse).collect::<Option<_>>().unwrap_or_default())
    }

    /// What a table says of its columns.
    pub(crate) fn definitions(&self) -> Vec<Value> {
        let name =
            json!({"name": "Name", "type": "string", "format": "name", "description": NAME, "priority": 0});
        let others = self.0.iter().map(|Column { definition: column, .. }| {
            let description = match column.description.as_str() {
                "" => format!("Custom resource definition column (in JSONPath format): {}", column.json_path),
                text => text.to_owned(),
            };
            json!({"name": column.name, "type": column.kind, "format": column.format, "description": description,
                "priority": column.priority})
        });
        std::iter::once(name).chain(others).collect()
    }

    /// The cells of an object.
    pub(crate) fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let name = object["metadata"]["name"].clone();
        std::iter::once(name).chain(self.0.iter().map(|column| column.cell(object, now))).collect()
    }
}

impl Column {
    fn cell(&self, object: &Value, now: Timestamp) -> Value {
        let found =
            self.path.find(object).ok().and_then(|found| found.into_iter().next()).unwrap_or_default();
        let Some(value) = found.into_iter().next() else { return Value::Null };
        match self.definition.kind.as_str() {
            "string" => api::jsonpath::text(value).into(),
            "integer" => match value.as_i64() {
                Some(number) => number.into(),
                None => value.as_f64().map_or(Value::Null, |number| (number as i64).into()),
            },
            "number" if value.is_number() => value.clone(),
            "boolean" if value.is_boolean() => value.clone(),
            "date" => match value.as_str() {
                Some(text) if text.parse::<Timestamp>().is_ok() => api::duration::age_of(value, now).into(),
                Some(_) => "<invalid>".into(),
                None => Value::Null,
            },
            _ => Value::Null,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_have_the_type_of_their_column() {
        let column = |kind: &str, path: &str| PrinterColumn {
            name: kind.to_owned(),
            kind: kind.to_owned(),
            json_path: path.to_owned(),
            ..PrinterColumn::default()
        };
        let object = json!({"metadata": {"name": "a", "creationTimestamp": "1970-01-01T00:00:00Z"},
            "spec": {"n": 3, "f": 1.5, "s": "x", "b": true, "l": ["p", "q"], "m": {"k": 1}},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        let table = [
            ("string", ".spec.s", json!("x")),
            ("string", ".spec.n", json!("3")),
            ("string", ".spec.m", json!("{\"k\":1}")),
            ("string", ".spec.l[*]", json!("p")),
            ("string", ".status.conditions[?(@.type==\"Ready\")].status", json!("True")),
            ("string", ".spec.none", json!(null)),
            ("integer", ".spec.n", json!(3)),
            ("integer", ".spec.f", json!(1)),
            ("integer", ".spec.s", json!(null)),
            ("number", ".spec.f", json!(1.5)),
            ("boolean", ".spec.b", json!(true)),
            ("date", ".metadata.creationTimestamp", json!("60s")),
            ("date", ".spec.s", json!("<invalid>")),
        ];
        let now = Timestamp::from_second(60).unwrap();
        for (kind, path, expected) in table {
            let columns = Columns::of(&[column(kind, path)]);
            assert_eq!(columns.row(&object, now), [json!("a"), expected], "{path}");
        }
        let plain = Columns::of(&[]);
        assert_eq!(plain.row(&object, now), [json!("a"), json!("60s")]);
        assert_eq!(plain.definitions()[1]["name"], "Age");
    }
}
