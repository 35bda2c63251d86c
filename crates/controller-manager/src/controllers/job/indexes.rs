//! Sets of completion indexes, written as `1,3-5,7`.
//!
//! **Upstream**: `pkg/controller/job/indexed_job_utils.go`.

use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeSet;

/// On pods: their index.
pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// Reads the form; what is not a number below `completions` is left out.
pub(super) fn parse(text: &str, completions: i32) -> BTreeSet<i32> {
    let number = |text: &str| text.parse::<i32>().ok();
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(number(first)?..=number(last)?)
    };
    let indexes =
        text.split(',').filter_map(range).flat_map(|range| *range.start()..=*range.end().min(&completions));
    indexes.filter(|index| (0..completions).contains(index)).collect()
}

/// Writes the form: two in a row are listed, more are a range.
pub(super) fn format(indexes: &BTreeSet<i32>) -> String {
    let mut runs: Vec<(i32, i32)> = Vec::new();
    for index in indexes {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *index => *last = *index,
            _ => runs.push((*index, *index)),
        }
    }
    let text = |(first, last): (i32, i32)| match last - first {
        0 => first.to_string(),
        1 => format!("{first},{last}"),
        _ => format!("{first}-{last}"),
    };
    runs.into_iter().map(text).collect::<Vec<_>>().join(",")
}

/// The index of a pod.
pub(super) fn of(pod: &Pod) -> Option<i32> {
    let annotations = pod.metadata.annotations.as_ref();
    annotations
        .and_then(|all| all.get(INDEX))
        .and_then(|index| index.parse().ok())
        .filter(|index| *index >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_read_and_written() {
        for (text, completions, expected) in [
            ("", 5, ""),
            ("0", 5, "0"),
            ("1,2", 5, "1,2"),
            ("0-2,4", 5, "0-2,4"),
            ("3,1,2", 5, "1-3"),
            ("2-9", 5, "2-4"),
            ("x,1-y,3", 5, "3"),
        ] {
            assert_eq!(format(&parse(text, completions)), expected, "{text}");
        }
    }
}
