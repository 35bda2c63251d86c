//! What is in the kernel's table, and whose it is.
//!
//! Two services may want the same element: an address of a load balancer at the same port, or an endpoint that both have.
//! **Contract**: pure. The first to ask has it until it gives it up; then the next has it.

use crate::family::Family;
use crate::rules::{Element, Objects, Value, transition};
use client::Key;
use std::collections::{BTreeMap, HashMap};

/// The applied state.
#[derive(Clone, Debug)]
pub struct Table {
    family: Family,
    services: HashMap<Key, Objects>,
    owners: BTreeMap<Element, Vec<(Key, Value)>>,
}

impl Table {
    /// An empty one of this family.
    pub fn new(family: Family) -> Self {
        Self { family, services: HashMap::new(), owners: BTreeMap::new() }
    }

    /// Takes over what some services need now, and returns the transaction that makes it so.
    pub fn update(&mut self, table: &str, wanted: Vec<(Key, Objects)>) -> String {
        let (before, after) = self.take(wanted);
        transition(self.family, table, &before, &after)
    }

    /// Takes over what some services need now; what was of that, and what is.
    pub fn take(&mut self, wanted: Vec<(Key, Objects)>) -> (Objects, Objects) {
        let (mut before, mut after) = (Objects::default(), Objects::default());
        for (service, new) in wanted {
            let old = self.services.remove(&service).unwrap_or_default();
            let touched: Vec<Element> = old.elements.keys().chain(new.elements.keys()).cloned().collect();
            for element in &touched {
                // A service later in the list may touch it again: what was before is what the first saw.
                if let Some(value) = self.value(element).filter(|_| !after.elements.contains_key(element)) {
                    before.elements.entry(element.clone()).or_insert(value);
                }
                self.change_owner(element, &service, new.elements.get(element));
            }
            for element in touched {
                match self.value(&element) {
                    Some(value) => drop(after.elements.insert(element, value)),
                    None => drop(after.elements.remove(&element)),
                }
            }
            before.chains.extend(old.chains);
            before.sets.extend(old.sets);
            after.chains.extend(new.chains.clone());
            after.sets.extend(new.sets.clone());
            if new != Objects::default() {
                self.services.insert(service, new);
            }
        }
        (before, after)
    }

    /// Those of its elements that another service has.
    pub fn taken(&self, service: &Key) -> Vec<&Element> {
        let Some(objects) = self.services.get(service) else { return Vec::new() };
        let taken = |element: &&Element| {
            let first = self.owners.get(*element).and_then(|owners| owners.first());
            first.is_some_and(|(owner, value)| {
                owner != service && Some(value) != objects.elements.get(*element)
            })
        };
        objects.elements.keys().filter(taken).collect()
    }

    /// Everything, from nothing.
    pub fn whole(&self, table: &str) -> String {
        let mut all = Objects::default();
        for objects in self.services.values() {
            all.chains.extend(objects.chains.clone());
            all.sets.extend(objects.sets.clone());
        }
        for (element, owners) in &self.owners {
            all.elements.extend(owners.first().map(|(_, value)| (element.clone(), value.clone())));
        }
        transition(self.family, table, &Objects::default(), &all)
    }

    fn value(&self, element: &Element) -> Option<Value> {
        self.owners.get(element)?.first().map(|(_, value)| value.clone())
    }

    fn change_owner(&mut self, element: &Element, service: &Key, value: Option<&Value>) {
        let owners = self.owners.entry(element.clone()).or_default();
        let place = owners.iter().position(|(owner, _)| owner == service);
        match (place, value) {
            (Some(place), Some(value)) => owners[place].1.clone_from(value),
            (None, Some(value)) => owners.push((service.clone(), value.clone())),
            (Some(place), None) => drop(owners.remove(place)),
            (None, None) => {}
        }
        if owners.is_empty() {
            self.owners.remove(element);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(element: &str, value: &str) -> Objects {
        let value = if value.is_empty() { Value::Member } else { Value::Verdict(value.to_owned()) };
        let elements = [(("service-ips".into(), element.to_owned()), value)].into();
        Objects { elements, ..Objects::default() }
    }

    #[test]
    fn the_first_has_it_until_it_gives_it_up() {
        let (a, b) = (Key::new("n", "a"), Key::new("n", "b"));
        let mut table = Table::new(Family::V4);
        assert_eq!(
            table.update("t", vec![(a.clone(), wants("x", "drop"))]),
            "add element ip t service-ips { x : drop }\n"
        );
        assert_eq!(table.update("t", vec![(b.clone(), wants("x", "accept"))]), "");
        assert!(table.taken(&a).is_empty());
        assert_eq!(table.taken(&b).len(), 1);
        let script = table.update("t", vec![(a.clone(), Objects::default())]);
        assert_eq!(
            script,
            "delete element ip t service-ips { x }\nadd element ip t service-ips { x : accept }\n"
        );
        assert!(table.taken(&b).is_empty());
        assert_eq!(table.whole("t"), "add element ip t service-ips { x : accept }\n");
        assert_eq!(
            table.update("t", vec![(b, Objects::default())]),
            "delete element ip t service-ips { x }\n"
        );
        assert_eq!(table.whole("t"), "");
    }

    #[test]
    fn what_two_share_stays_while_one_has_it() {
        let (a, b) = (Key::new("n", "a"), Key::new("n", "b"));
        let mut table = Table::new(Family::V4);
        let both = vec![(a.clone(), wants("x", "")), (b.clone(), wants("x", ""))];
        assert_eq!(table.update("t", both), "add element ip t service-ips { x }\n");
        assert!(table.taken(&b).is_empty());
        // One leaves and another comes, in one transaction.
        let swap = vec![(a, Objects::default()), (Key::new("n", "c"), wants("x", ""))];
        assert_eq!(table.update("t", swap), "");
        assert_eq!(table.update("t", vec![(b, Objects::default())]), "");
        assert_eq!(
            table.update("t", vec![(Key::new("n", "c"), Objects::default())]),
            "delete element ip t service-ips { x }\n"
        );
    }
}
