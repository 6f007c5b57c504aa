//! What a new reading of the files changes: old specs × new specs → changes.
//!
//! Pure set arithmetic. It does not look at what a tunnel is doing; how far a respec must reach
//! (a tag in place, a forward rebound, a host reconnected) is the tunnel's own business.

use std::collections::{BTreeMap, BTreeSet};

use crate::spec::{Name, TunnelSpec};

/// One step from the old set of tunnels to the new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A tunnel that was not there.
    Add(Name, Box<TunnelSpec>),
    /// A tunnel that is there and should be something else.
    Respec(Name, Box<TunnelSpec>),
    /// A tunnel that nobody describes any more.
    Remove(Name),
}

impl Change {
    /// The tunnel that it is about.
    pub fn name(&self) -> &Name {
        match self {
            Change::Add(name, _) | Change::Respec(name, _) | Change::Remove(name) => name,
        }
    }
}

/// What leads from `old` to `new`.
///
/// A tunnel in `broken` (its file is there and cannot be read) stays as it was. With `keep_all` nothing
/// that was read counts, and everything stays. Removals come first and additions last, so that a tunnel
/// whose file was renamed finds its port free again.
pub fn reconcile(
    old: &BTreeMap<Name, TunnelSpec>,
    new: BTreeMap<Name, TunnelSpec>,
    broken: &BTreeSet<Name>,
    keep_all: bool,
) -> Vec<Change> {
    if keep_all {
        return Vec::new();
    }
    let mut changes: Vec<Change> = old
        .keys()
        .filter(|name| !new.contains_key(*name) && !broken.contains(*name))
        .cloned()
        .map(Change::Remove)
        .collect();
    let mut added = Vec::new();
    for (name, spec) in new {
        match old.get(&name) {
            _ if broken.contains(&name) => {}
            None => added.push(Change::Add(name, Box::new(spec))),
            Some(before) if *before == spec => {}
            Some(_) => changes.push(Change::Respec(name, Box::new(spec))),
        }
    }
    changes.append(&mut added);
    changes
}

#[cfg(test)]
mod tests {
    use std::collections::btree_map::Entry;

    use proptest::prelude::*;

    use super::*;
    use crate::spec::{Policy, Route, Start};

    fn spec(port: u16, tag: u8) -> TunnelSpec {
        TunnelSpec {
            route: Route { port: Some(port), ..Route::to("h") },
            forwards: Vec::new(),
            remotes: Vec::new(),
            notebooks: Vec::new(),
            start: Start::Login,
            tags: vec![tag.to_string()],
            policy: Policy::default(),
        }
    }

    fn name() -> impl Strategy<Value = Name> {
        (0..8u8).prop_map(|n| Name::parse(&format!("t{n}")).unwrap())
    }

    fn tunnels() -> impl Strategy<Value = BTreeMap<Name, TunnelSpec>> {
        prop::collection::btree_map(name(), (1..3u16, 0..2u8).prop_map(|(p, t)| spec(p, t)), 0..8)
    }

    /// Carries the changes out, strictly: adding what is there or touching what is not fails the test.
    fn apply(mut set: BTreeMap<Name, TunnelSpec>, changes: &[Change]) -> BTreeMap<Name, TunnelSpec> {
        for change in changes {
            match (change, set.entry(change.name().clone())) {
                (Change::Add(_, spec), Entry::Vacant(slot)) => drop(slot.insert((**spec).clone())),
                (Change::Respec(_, spec), Entry::Occupied(mut slot)) => {
                    assert_ne!(slot.insert((**spec).clone()), **spec, "an unchanged tunnel was touched");
                }
                (Change::Remove(_), Entry::Occupied(slot)) => drop(slot.remove()),
                (change, _) => panic!("{change:?} does not apply"),
            }
        }
        set
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn carrying_the_changes_out_leads_to_what_the_files_say(
            old in tunnels(), new in tunnels(), broken in prop::collection::btree_set(name(), 0..4),
        ) {
            let mut expected: BTreeMap<_, _> =
                new.iter().filter(|(n, _)| !broken.contains(*n)).map(|(n, s)| (n.clone(), s.clone())).collect();
            for name in &broken {
                if let Some(spec) = old.get(name) {
                    expected.insert(name.clone(), spec.clone());
                }
            }
            let changes = reconcile(&old, new, &broken, false);
            prop_assert_eq!(apply(old, &changes), expected);
        }

        #[test]
        fn reading_the_same_again_changes_nothing(
            old in tunnels(), broken in prop::collection::btree_set(name(), 0..4),
        ) {
            prop_assert_eq!(reconcile(&old, old.clone(), &broken, false), vec![]);
        }

        #[test]
        fn what_cannot_be_read_at_all_changes_nothing(old in tunnels(), new in tunnels()) {
            prop_assert_eq!(reconcile(&old, new, &BTreeSet::new(), true), vec![]);
        }

        #[test]
        fn a_port_is_given_up_before_somebody_else_asks_for_it(old in tunnels(), new in tunnels()) {
            let rank = |c: &Change| match c {
                Change::Remove(_) => 0,
                Change::Respec(..) => 1,
                Change::Add(..) => 2,
            };
            prop_assert!(reconcile(&old, new, &BTreeSet::new(), false).is_sorted_by_key(rank));
        }
    }
}
