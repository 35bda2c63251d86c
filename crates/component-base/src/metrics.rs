//! Metrics of one process or one cluster: a typed registry, no globals.
//!
//! **Upstream**: `k8s.io/component-base/metrics`; names and labels follow upstream's where upstream has the metric.

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::{Metric, Registry};
use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A shared registry of metrics; cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Mutex<Registry>>, Arc<Mutex<HashMap<String, Box<dyn Any + Send>>>>);

impl Metrics {
    /// Registers a metric and returns it, for the component to keep.
    pub fn register<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        let mut registry = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        registry.register(name, help, metric.clone());
        metric
    }

    /// The metric that was registered under this name, or a new one: for what several components report together.
    ///
    /// # Panics
    /// If the name was taken with another type.
    pub fn shared<M: Metric + Clone>(&self, name: &str, help: &str, make: impl FnOnce() -> M) -> M {
        let mut known = self.1.lock().unwrap_or_else(PoisonError::into_inner);
        let metric =
            known.entry(name.to_owned()).or_insert_with(|| Box::new(self.register(name, help, make())));
        metric.downcast_ref::<M>().expect("a metric's name has one type").clone()
    }

    /// All metrics in Prometheus' older text format, 0.0.4.
    pub fn encode_text(&self) -> String {
        plain_text(&self.encode())
    }

    /// All metrics in the OpenMetrics text format.
    pub fn encode(&self) -> String {
        let registry = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        encode(&mut text, &registry).expect("writing to a string cannot fail");
        text
    }
}

/// OpenMetrics as Prometheus' older format: a counter's own name ends with `_total`, and there is no last line.
fn plain_text(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len() + 64);
    // Comes before the type, which decides on the name in both.
    let mut help = "";
    for line in open_metrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("EOF" | "UNIT"), ..) => {}
            (Some("#"), Some("HELP"), _, Some(rest)) => help = rest,
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let suffix = if kind == "counter" { "_total" } else { "" };
                text.push_str(&format!("# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n"));
            }
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_named_as_prometheus_does() {
        let open = "# HELP a Requests.\n# TYPE a counter\na_total{x=\"1\"} 2\n\
            # HELP a Waiting.\n# TYPE a gauge\na 1\n# EOF\n";
        let plain = "# HELP a_total Requests.\n# TYPE a_total counter\na_total{x=\"1\"} 2\n\
            # HELP a Waiting.\n# TYPE a gauge\na 1\n";
        assert_eq!(plain_text(open), plain);
    }
}
