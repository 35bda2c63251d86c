//! When kubelets are asked: only when somebody wants to know, and then at most every [`FRESH`].
//!
//! **Contract**: a processor's load is a rate, so it takes two looks. Who asks first, or first after a while, waits
//! [`FIRST_WINDOW`] for the second. Whoever asks for something that the last look did not show (a pod that has just
//! started) gets a new look, a second after the last at the earliest. A kubelet that does not answer is left out.
//! **Upstream**: metrics-server's `pkg/scraper`, which looks all the time.

use super::exposition;
use super::usage::{self, LONGEST_WINDOW, Report, SHORTEST_WINDOW, Sample};
use crate::body;
use crate::server::Server;
use crate::subresources::{self, NodeTarget};
use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// How old an answer may be. **Upstream**: `--metric-resolution`, by default 15 s; this is short enough for autoscalers,
/// which ask that often, to learn something new each time.
const FRESH: SignedDuration = SignedDuration::from_secs(10);
/// What the first to ask waits for.
const FIRST_WINDOW: Duration = Duration::from_secs(1);
/// How long a kubelet may take. **Upstream**: `--kubelet-request-timeout`.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Kubelets that are asked at the same time.
const AT_ONCE: usize = 64;
/// Bytes of the longest answer.
const LONGEST_ANSWER: usize = 64 << 20;

/// Keeps the last look, and what came of it.
#[derive(Default)]
pub(crate) struct Scraper(Mutex<State>);

#[derive(Default)]
struct State {
    /// When the last look was, and what it showed, by node.
    last: Option<(Timestamp, BTreeMap<String, Sample>)>,
    report: Arc<Report>,
}

impl Scraper {
    /// What is used now; `suffices` says whether a report has what the asker wants to know.
    pub(super) async fn report(
        &self,
        server: &Arc<Server>,
        suffices: &(dyn Fn(&Report) -> bool + Sync),
    ) -> Arc<Report> {
        // Who comes while others look waits for what they see.
        let mut state = self.0.lock().await;
        let clock = &server.context.clock;
        let age = state.last.as_ref().map(|(at, _)| clock.now().duration_since(*at));
        match age {
            Some(age) if age < SHORTEST_WINDOW || age < FRESH && suffices(&state.report) => {
                return Arc::clone(&state.report);
            }
            Some(age) if age <= LONGEST_WINDOW => {}
            _ => {
                state.last = Some((clock.now(), look(server).await));
                clock.sleep(FIRST_WINDOW).await;
            }
        }
        let (now, samples) = (clock.now(), look(server).await);
        let (_, before) = state.last.take().unwrap_or_default();
        state.report = Arc::new(usage::report(&before, &samples));
        state.last = Some((now, samples));
        Arc::clone(&state.report)
    }
}

/// Asks all kubelets.
async fn look(server: &Arc<Server>) -> BTreeMap<String, Sample> {
    let nodes: Vec<NodeTarget> = match server.registry.store("", "nodes") {
        Some(store) => store.snapshot().iter().map(|node| NodeTarget::of(&node.to_value())).collect(),
        None => Vec::new(),
    };
    let one = |node: NodeTarget| async move {
        let asked = server.context.clock.now();
        match tokio::time::timeout(TIMEOUT, ask(server, &node)).await {
            Ok(Ok(text)) => Some((node.name, exposition::read(&text, asked))),
            Ok(Err(why)) => {
                tracing::warn!(node = node.name, "cannot learn what is used: {why}");
                None
            }
            Err(_) => {
                tracing::warn!(node = node.name, "cannot learn what is used: no answer within {TIMEOUT:?}");
                None
            }
        }
    };
    futures::stream::iter(nodes)
        .map(one)
        .buffer_unordered(AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await
}

async fn ask(server: &Server, node: &NodeTarget) -> Result<String, String> {
    let answer = subresources::ask_kubelet(server, node, "/metrics/resource")
        .await
        .map_err(|status| status.message)?;
    if !answer.status().is_success() {
        return Err(format!("the kubelet answered {}", answer.status()));
    }
    let body = body::read(answer.into_body(), LONGEST_ANSWER).await.map_err(|error| error.to_string())?;
    String::from_utf8(body.into()).map_err(|error| error.to_string())
}
