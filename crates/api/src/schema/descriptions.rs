//! What upstream says of the built-in types and their fields, for OpenAPI documents and `explain`.
//!
//! **Contract**: the texts are part of the binary in compressed form and are unpacked by whoever loads them; nothing
//! is kept, so a server that nobody asks for documents does not pay for them.
//!
//! Format of the unpacked file: `T NAME TEXT` for a type, then `FIELD TEXT` for each of its fields; both sorted. In a text,
//! `\n` stands for a line break and `\\` for a backslash.
//! **Upstream**: the comments of the Go types, by way of `api/openapi-spec`.

use std::borrow::Cow;
use std::io::Read as _;
use std::ops::Range;

use flate2::read::GzDecoder;

/// Written by `cargo xtask schema`. NOTICE: texts of Kubernetes, Copyright The Kubernetes Authors, licensed under the
/// Apache License, Version 2.0.
const PACKED: &[u8] = include_bytes!("../../data/descriptions-1.36.txt.gz");

/// Every description.
#[derive(Debug)]
pub struct Descriptions {
    text: String,
    /// Where each type's lines are, without the leading `T `, in the order of the names.
    types: Vec<Range<usize>>,
}

/// The descriptions of one type and of its fields.
#[derive(Debug, Clone, Copy)]
pub struct OfType<'a>(&'a str);

impl Descriptions {
    /// Unpacks them: about a megabyte, for as long as the value lives.
    ///
    /// # Panics
    /// Never: the packed bytes are part of the program, and a test unpacks them.
    pub fn load() -> Self {
        let mut text = String::new();
        GzDecoder::new(PACKED).read_to_string(&mut text).expect("the committed file is gzip of UTF-8");
        let mut starts: Vec<usize> = text.match_indices("\nT ").map(|(at, _)| at + 3).collect();
        if text.starts_with("T ") {
            starts.insert(0, 2);
        }
        let ends = starts.iter().skip(1).map(|next| next - 3).chain([text.len()]);
        let types = starts.iter().zip(ends).map(|(start, end)| *start..end).collect();
        Self { text, types }
    }

    /// The packed bytes: what a digest of everything derived from them starts with.
    pub fn source() -> &'static [u8] {
        PACKED
    }

    /// The descriptions of a type by its OpenAPI name, `io.k8s.api.core.v1.Pod`; empty for one that has none.
    pub fn of(&self, name: &str) -> OfType<'_> {
        let name_of = |range: &Range<usize>| split(&self.text[range.clone()]).0;
        let found = self.types.binary_search_by(|range| name_of(range).cmp(name));
        OfType(found.map_or("", |at| &self.text[self.types[at].clone()]))
    }
}

impl<'a> OfType<'a> {
    /// Of the type itself.
    pub fn text(&self) -> Option<Cow<'a, str>> {
        self.0.lines().next().and_then(|line| unescape(split(line).1))
    }

    /// Of a field by its JSON name.
    pub fn field(&self, name: &str) -> Option<Cow<'a, str>> {
        let mut fields = self.0.lines().skip(1).map(split);
        fields.find(|(field, _)| *field == name).and_then(|(_, text)| unescape(text))
    }
}

/// The word at the beginning and what follows it.
fn split(line: &str) -> (&str, &str) {
    let end = line.find([' ', '\n']).unwrap_or(line.len());
    (&line[..end], line[end..].trim_start_matches(' '))
}

fn unescape(text: &str) -> Option<Cow<'_, str>> {
    if text.is_empty() {
        return None;
    }
    if !text.contains('\\') {
        return Some(text.into());
    }
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        out.push(match letter {
            '\\' if letters.next() == Some('n') => '\n',
            other => other,
        });
    }
    Some(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Schema;

    #[test]
    fn says_what_upstream_says() {
        let all = Descriptions::load();
        let port = all.of("io.k8s.api.core.v1.ContainerPort");
        assert_eq!(port.text().unwrap(), "ContainerPort represents a network port in a single container.");
        assert_eq!(port.field("hostIP").unwrap(), "What host IP to bind the external port to.");
        assert_eq!(port.field("none"), None);
        let time = all.of("io.k8s.apimachinery.pkg.apis.meta.v1.Time");
        assert!(time.text().unwrap().starts_with("Time is a wrapper around time.Time"));
        let finalizers = all.of("io.k8s.api.core.v1.ContainerStateTerminated");
        assert!(finalizers.field("exitCode").is_some());
        assert!(all.of("io.k8s.none").text().is_none());
    }

    #[test]
    fn texts_of_several_lines_are_whole() {
        assert_eq!(unescape(r"a\nb\\n").unwrap(), "a\nb\\n");
        let all = Descriptions::load();
        let text =
            all.of("io.k8s.api.admissionregistration.v1.AuditAnnotation").field("key").unwrap().into_owned();
        assert!(text.contains(".\n\nThe key is combined") && !text.contains("\\n"), "{text}");
    }

    /// Nearly every field of every published type has words; the few without have none upstream.
    #[test]
    fn every_type_of_the_table_is_described() {
        let all = Descriptions::load();
        let mut missing = Vec::new();
        for ty in Schema::get().types().map(|ty| ty.resolve()).filter(|ty| ty.published) {
            let words = all.of(ty.name);
            missing.extend(
                ty.fields
                    .iter()
                    .filter(|f| words.field(f.json_name).is_none())
                    .map(|f| (ty.name, f.json_name)),
            );
        }
        assert!(missing.len() < 60, "{missing:?}");
    }
}
