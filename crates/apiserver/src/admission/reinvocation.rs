//! Who is asked a second time because somebody behind him has changed the object.
//!
//! **Upstream**: `k8s.io/apiserver/pkg/admission/plugin/webhook/mutating/reinvocationcontext.go`.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What is known of one request's first and second round.
#[derive(Clone, Debug, Default)]
pub struct Reinvocation {
    /// 0, then at most 1.
    round: usize,
    wanted: bool,
    /// By the name of the plugin.
    plugins: BTreeMap<&'static str, Memory>,
}

/// What one plugin remembers of the rounds.
#[derive(Clone, Debug, Default)]
struct Memory {
    /// The object as the plugin left it.
    left: Option<Value>,
    /// Those who want to be asked again if the object changes behind them.
    waiting: BTreeSet<String>,
    /// Those who are to be asked again.
    again: BTreeSet<String>,
}

impl Memory {
    fn changed(&mut self) {
        self.again.append(&mut self.waiting);
    }
}

impl Reinvocation {
    /// The number of the round.
    pub(super) fn round(&self) -> usize {
        self.round
    }

    /// Whether there is to be a second round; it begins with this.
    pub(super) fn begin_again(&mut self) -> bool {
        let again = self.wanted && self.round == 0;
        self.round += usize::from(again);
        again
    }

    /// A plugin begins with this object.
    pub(super) fn enter(&mut self, plugin: &'static str, object: Option<&Value>) {
        let again = self.round > 0;
        let memory = self.plugins.entry(plugin).or_default();
        if again && memory.left.as_ref() != object {
            memory.changed();
        }
    }

    /// Whether this one is to be asked: in the first round everybody is.
    pub(super) fn is_asked(&self, plugin: &'static str, who: &str) -> bool {
        self.round == 0 || self.plugins.get(plugin).is_some_and(|memory| memory.again.contains(who))
    }

    /// One has changed the object.
    pub(super) fn changed(&mut self, plugin: &'static str) {
        self.wanted = true;
        self.plugins.entry(plugin).or_default().changed();
    }

    /// One has been asked, and wants to be again if need be.
    pub(super) fn wait(&mut self, plugin: &'static str, who: &str) {
        self.plugins.entry(plugin).or_default().waiting.insert(who.to_owned());
    }

    /// A plugin ends with this object.
    pub(super) fn leave(&mut self, plugin: &'static str, object: Option<&Value>) {
        self.plugins.entry(plugin).or_default().left = object.cloned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn those_before_a_change_are_asked_once_more_if_they_want() {
        let mut rounds = Reinvocation::default();
        rounds.enter("w", Some(&json!(1)));
        rounds.wait("w", "first");
        rounds.changed("w");
        rounds.wait("w", "second");
        rounds.leave("w", Some(&json!(2)));
        assert!(rounds.begin_again());
        rounds.enter("w", Some(&json!(2)));
        assert_eq!((rounds.is_asked("w", "first"), rounds.is_asked("w", "second")), (true, false));
        assert!(!rounds.begin_again());
    }

    #[test]
    fn a_plugin_that_changes_what_a_webhook_left_brings_it_back() {
        let mut rounds = Reinvocation::default();
        rounds.enter("w", Some(&json!(1)));
        rounds.changed("w");
        rounds.wait("w", "only");
        rounds.leave("w", Some(&json!(2)));
        assert!(rounds.begin_again());
        rounds.enter("w", Some(&json!(3)));
        assert!(rounds.is_asked("w", "only"));
    }
}
