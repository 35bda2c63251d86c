//! What a component tells about itself on request, below `/debug`.
//!
//! **Contract**: a page is read only, and answers at once from what the component keeps anyway.
//! **Upstream**: the debugging handlers (`/debug/pprof`, `/statusz`) that each component serves itself; here the API
//! server serves those of all components of its process.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// From the rest of the path to JSON; none if there is nothing there.
type Page = Arc<dyn Fn(&[&str]) -> Option<serde_json::Value> + Send + Sync>;

/// The pages of one process or one cluster; cloning shares them.
#[derive(Clone, Default)]
pub struct Pages(Arc<Mutex<BTreeMap<String, Page>>>);

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pages")
    }
}

impl Pages {
    /// Adds a page under `component/name`; one that is there is replaced.
    pub fn register(
        &self,
        name: &str,
        page: impl Fn(&[&str]) -> Option<serde_json::Value> + Send + Sync + 'static,
    ) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), Arc::new(page));
    }

    /// What stands at a path: `component/name/…`.
    pub fn read(&self, path: &[&str]) -> Option<serde_json::Value> {
        let [component, name, rest @ ..] = path else { return None };
        let name = format!("{component}/{name}");
        let page = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned()?;
        page(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pages_are_read_by_their_path() {
        let pages = Pages::default();
        pages.register("scheduler/decisions", |rest| match rest {
            [namespace, pod] => Some(json!({"pod": format!("{namespace}/{pod}")})),
            _ => None,
        });
        assert_eq!(pages.read(&["scheduler", "decisions", "ns", "p"]), Some(json!({"pod": "ns/p"})));
        for path in [&["scheduler", "decisions"][..], &["scheduler"], &["x", "decisions", "ns", "p"]] {
            assert_eq!(pages.read(path), None, "{path:?}");
        }
    }
}
