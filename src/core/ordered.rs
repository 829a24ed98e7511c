//! Maps and sets of a few entries, put in one by one.
//!
//! `collect` sorts the entries first, and the sort is compiled anew for every type of entry: 4.5 kB of code each, for maps that are
//! mostly empty.

use std::collections::{BTreeMap, BTreeSet};

/// A map of these; of two with the same key the later one.
pub(crate) fn map<K: Ord, V>(entries: impl IntoIterator<Item = (K, V)>) -> BTreeMap<K, V> {
    let mut map = BTreeMap::new();
    map.extend(entries);
    map
}

/// A set of these.
pub(crate) fn set<T: Ord>(values: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    let mut set = BTreeSet::new();
    set.extend(values);
    set
}
