//! Reads a kubelet's `/metrics/resource`.
//!
//! **Contract**: pure. Lines that are not understood, and metrics that nobody asked for, are passed over; a container
//! of which either amount is missing is left out.
//! **Upstream**: metrics-server's `pkg/scraper/client/resource/decode.go`; Prometheus' text format 0.0.4.

use super::usage::{Point, Sample};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// One line: a metric, its labels, its value, and when it was so.
#[derive(Debug, PartialEq)]
struct Line<'a> {
    name: &'a str,
    labels: Vec<(&'a str, String)>,
    value: f64,
    at: Option<Timestamp>,
}

/// What is known of one thing while lines are read.
#[derive(Clone, Copy, Default)]
struct Partial {
    at: Option<Timestamp>,
    cpu_seconds: Option<f64>,
    memory: Option<f64>,
    started: Option<f64>,
}

impl Partial {
    fn point(self, asked: Timestamp) -> Option<Point> {
        // A float holds whole nanoseconds of a quarter of a year of processor time.
        let cpu_nanos = (self.cpu_seconds? * 1e9).round() as u64;
        let started =
            self.started.and_then(|seconds| Timestamp::from_millisecond((seconds * 1e3) as i64).ok());
        Some(Point { at: self.at.unwrap_or(asked), started, cpu_nanos, memory: self.memory? as u64 })
    }
}

/// What a kubelet told at this time.
pub(super) fn read(text: &str, asked: Timestamp) -> Sample {
    let mut node = Partial::default();
    let mut containers: BTreeMap<(String, String), BTreeMap<String, Partial>> = BTreeMap::new();
    for line in text.lines().filter_map(line) {
        let field: fn(&mut Partial) -> &mut Option<f64> = match line.name {
            "node_cpu_usage_seconds_total" | "container_cpu_usage_seconds_total" => |it| &mut it.cpu_seconds,
            "node_memory_working_set_bytes" | "container_memory_working_set_bytes" => |it| &mut it.memory,
            "container_start_time_seconds" => |it| &mut it.started,
            _ => continue,
        };
        let label = |key: &str| line.labels.iter().find(|(k, _)| *k == key).map(|(_, v)| v.clone());
        let thing = match (label("namespace"), label("pod"), label("container")) {
            _ if line.name.starts_with("node_") => &mut node,
            (Some(namespace), Some(pod), Some(container)) => {
                containers.entry((namespace, pod)).or_default().entry(container).or_default()
            }
            _ => continue,
        };
        *field(thing) = Some(line.value);
        // The rate is what the time is for.
        if line.name.ends_with("_total") {
            thing.at = line.at;
        }
    }
    let of_pod = |(pod, containers): ((String, String), BTreeMap<String, Partial>)| {
        let points = containers.into_iter().filter_map(|(name, found)| Some((name, found.point(asked)?)));
        (pod, points.collect())
    };
    Sample { node: node.point(asked), pods: containers.into_iter().map(of_pod).collect() }
}

/// `name{label="value",…} 1.5 1767225600000`
fn line(text: &str) -> Option<Line<'_>> {
    let text = text.trim();
    let end = text.find(|c: char| c == '{' || c.is_whitespace()).filter(|_| !text.starts_with('#'))?;
    let (name, mut rest) = text.split_at(end);
    let mut labels = Vec::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            rest = rest.trim_start_matches([',', ' ']);
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            let (key, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.push((key.trim(), value));
            rest = after;
        }
    }
    let mut words = rest.split_whitespace();
    let value = words.next()?.parse().ok().filter(|value: &f64| value.is_finite() && *value >= 0.0)?;
    let at = words.next().and_then(|word| Timestamp::from_millisecond(word.parse().ok()?).ok());
    Some(Line { name, labels, value, at })
}

/// The value of a label up to its closing quote, with its escapes undone; and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((index, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[index + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lines() {
        let plain = |name, value, at: Option<i64>| Line {
            name,
            labels: Vec::new(),
            value,
            at: at.map(|ms| Timestamp::from_millisecond(ms).unwrap()),
        };
        assert_eq!(line("up 1"), Some(plain("up", 1.0, None)));
        assert_eq!(
            line("  a_total 1.5e3 1767225600123 "),
            Some(plain("a_total", 1500.0, Some(1_767_225_600_123)))
        );
        let labelled = line(r#"m{a="x\"}\\y\n",b=""} 2"#).unwrap();
        assert_eq!(labelled.labels, [("a", "x\"}\\y\n".to_owned()), ("b", String::new())]);
        for bad in ["", "# TYPE a gauge", "a", "a{b=\"c} 1", "a{b} 1", "a NaN", "a -1", "a x"] {
            assert_eq!(line(bad), None, "{bad}");
        }
    }

    #[test]
    fn reads_what_a_kubelet_tells() {
        let text = r#"
# TYPE container_cpu_usage_seconds_total counter
container_cpu_usage_seconds_total{container="c",namespace="n",pod="p"} 1.25 5000
container_cpu_usage_seconds_total{container="half",namespace="n",pod="p"} 1 5000
container_memory_working_set_bytes{container="c",namespace="n",pod="p"} 1.048576e+06 4000
container_start_time_seconds{container="c",namespace="n",pod="p"} 1.5
node_cpu_usage_seconds_total 100 6000
node_memory_working_set_bytes 2048 6000
pod_cpu_usage_seconds_total{namespace="n",pod="p"} 9 6000
"#;
        let at = |ms| Timestamp::from_millisecond(ms).unwrap();
        let sample = read(text, at(7000));
        let node = Point { at: at(6000), started: None, cpu_nanos: 100_000_000_000, memory: 2048 };
        assert_eq!(sample.node, Some(node));
        let container =
            Point { at: at(5000), started: Some(at(1500)), cpu_nanos: 1_250_000_000, memory: 1 << 20 };
        let pod = BTreeMap::from([("c".to_owned(), container)]);
        assert_eq!(sample.pods, BTreeMap::from([(("n".to_owned(), "p".to_owned()), pod)]));
        assert_eq!(read("resource_scrape_error 1", at(0)).node, None);
    }
}
