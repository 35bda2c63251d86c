//! A pod template, as workloads and the history of rollouts show it.

use serde_json::{Value, json};

use super::{Describe, annotations, containers, labels, pod, text as field, volumes};

/// The section, lines of cells that end with tabs.
pub(crate) fn text(describe: &Describe<'_>, template: &Value) -> String {
    let (metadata, spec) = (&template["metadata"], &template["spec"]);
    let like_a_pod = json!({"metadata": metadata, "spec": spec});
    let mut out = "Pod Template:\n".to_owned();
    out += &labels("  Labels", &metadata["labels"]);
    if metadata["annotations"].as_object().is_some_and(|map| !map.is_empty()) {
        out += &annotations(&metadata["annotations"]).replacen("Annotations", "  Annotations", 1);
    }
    if !field(spec, "serviceAccountName").is_empty() {
        out += &format!("  Service Account:\t{}\n", field(spec, "serviceAccountName"));
    }
    out += &inside(&containers::section(describe, &like_a_pod));
    out += &inside(&volumes::section(&like_a_pod));
    out += &inside(&pod::spread(&like_a_pod));
    if !field(spec, "priorityClassName").is_empty() {
        out += &format!("  Priority Class Name:\t{}\n", field(spec, "priorityClassName"));
    }
    out += &labels("  Node-Selectors", &spec["nodeSelector"]);
    out += &inside(&pod::tolerations(&like_a_pod));
    out
}

/// A pod's section inside a template: titles two further to the right, names one, the rest where it was.
fn inside(section: &str) -> String {
    let line = |line: &str| match line.len() - line.trim_start_matches(' ').len() {
        0 if line.starts_with('\t') => format!("{line}\n"),
        0 => format!("  {line}\n"),
        2 => format!(" {line}\n"),
        _ => format!("{line}\n"),
    };
    section.lines().map(line).collect()
}
