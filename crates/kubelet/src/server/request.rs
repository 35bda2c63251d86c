//! Paths and queries, with their escapes undone.

use std::borrow::Cow;

/// The segments of a path, without empty ones.
pub(super) fn segments(path: &str) -> Vec<String> {
    path.split('/').filter(|segment| !segment.is_empty()).map(unescape).collect()
}

/// Undoes `%2F` and the like; what is no escape stays.
fn unescape(segment: &str) -> String {
    // The form decoder also turns a plus into a blank and ends a value at `&`, which a path does not mean.
    let escaped = segment.replace('+', "%2B").replace('&', "%26");
    form_urlencoded::parse(format!("={escaped}").as_bytes())
        .next()
        .map_or_else(|| segment.to_owned(), |(_, value)| value.into_owned())
}

/// Parameters in their order.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(query: &str) -> Self {
        Self(
            form_urlencoded::parse(query.as_bytes())
                .map(|(k, v)| (Cow::into_owned(k), v.into_owned()))
                .collect(),
        )
    }

    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Every value of a parameter.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.pairs().filter(move |(key, _)| *key == name).map(|(_, value)| value)
    }

    /// The first value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.pairs().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// Whether a parameter is true.
    pub(super) fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), Some("true" | "1"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undoes_escapes() {
        assert_eq!(segments("/exec/ns//a%2Fb/c+d%20e/"), ["exec", "ns", "a/b", "c+d e"]);
        let query = Query::parse("command=a+b&command=%2Fbin%2Fsh&tty=1&x");
        assert_eq!(query.all("command").collect::<Vec<_>>(), ["a b", "/bin/sh"]);
        assert_eq!((query.flag("tty"), query.flag("x"), query.get("x")), (true, false, Some("")));
    }
}
