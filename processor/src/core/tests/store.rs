//! A table that takes the first item at a key and remembers every other one that was put there.

use std::collections::BTreeMap;

use schemas::attr::{Attr, Attrs};

use crate::core::Closed;

pub(in crate::core) type Table = BTreeMap<(String, String), Attrs>;

/// A table under test.
#[derive(Debug, Default)]
pub(in crate::core) struct Store {
    pub(in crate::core) items: Table,
    /// Keys at which two contents were put.
    pub(in crate::core) diverged: Vec<(String, String)>,
}

pub(in crate::core) fn key(item: &Attrs) -> (String, String) {
    let text = |name: &str| match &item[name] {
        Attr::S(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    (text("PK"), text("SK"))
}

impl Store {
    /// From where a window is read again another life may say otherwise: the simulation reads from there.
    pub(in crate::core) fn put(&mut self, mut item: Attrs) {
        item.remove("replay");
        let key = key(&item);
        match self.items.get(&key) {
            Some(stands) if *stands != item => self.diverged.push(key),
            Some(_) => {}
            None => drop(self.items.insert(key, item)),
        }
    }

    pub(in crate::core) fn write(&mut self, closed: &Closed) {
        closed.aggregates.iter().for_each(|item| self.put(item.to_attrs(4)));
        closed.totals.iter().for_each(|item| self.put(item.to_attrs()));
        closed.hot.iter().for_each(|item| self.put(item.to_attrs()));
    }
}
