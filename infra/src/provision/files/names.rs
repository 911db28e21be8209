//! The name map from a file: what other programs call accounts and slots.

use std::collections::BTreeMap;
use std::path::Path;

use schemas::intake::names::Names;

use super::{Lines, Row, form, name, parse, read, uuid};
use crate::failure::Failure;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// An account: an OpenRTB seat.
    Account,
    /// A slot: a tag or an impression.
    Slot,
}

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    kind: Kind,
    name: String,
    id: uuid::Uuid,
}

/// Reads names.
///
/// # Errors
/// A [`Failure`] when the file cannot be read; bad lines are in the answer.
pub fn names(path: &Path) -> Result<Lines<Named>, Failure> {
    Ok(parse(&read(path)?, form(path), (&["name", "kind", "id"], &[]), named))
}

/// The map of these names.
#[must_use]
pub fn map_of(named: Vec<Named>) -> Names {
    let (mut accounts, mut slots) = (BTreeMap::new(), BTreeMap::new());
    for Named { kind, name, id } in named {
        match kind {
            Kind::Account => drop(accounts.insert(name, schemas::ids::AccountId(id))),
            Kind::Slot => drop(slots.insert(name, schemas::ids::SlotId(id))),
        }
    }
    Names::new(accounts, slots)
}

fn named(row: &mut Row<'_>) -> Option<(String, Named)> {
    let name = row.get("name", name);
    let kind = row.get("kind", kind);
    let id = row.get("id", uuid);
    let (name, kind, id) = (name?, kind?, id?);
    Some((format!("{kind:?} {name}"), Named { kind, name, id }))
}

fn kind(text: &str) -> Result<Kind, String> {
    match text {
        "account" => Ok(Kind::Account),
        "slot" => Ok(Kind::Slot),
        _ => {
            Err("is neither account nor slot; a seat names an account, a tag or impression a slot".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BadLine, Form, count_lines};
    use super::*;

    #[test]
    fn names_are_read_and_each_bad_line_is_told() {
        let id = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee";
        let text = format!(
            "kind,name,id\naccount,acme,{id}\nslot,acme,{id}\nseat,b,{id}\naccount,acme,{id}\nslot,,1\n"
        );
        let read = parse(text.as_bytes(), Form::Csv, (&["name", "kind", "id"], &[]), named);
        let map = map_of(read.good);
        assert_eq!(map.account("acme").unwrap().to_string(), id);
        assert_eq!(map.slot("acme").unwrap().to_string(), id);
        let places: Vec<(u64, &str)> =
            read.bad.iter().map(|BadLine { line, field, .. }| (*line, field.as_str())).collect();
        assert_eq!(places, [(4, "kind"), (5, "name"), (6, "name"), (6, "id")]);
        assert_eq!(count_lines(&read.bad), 3);
        let json = format!(r#"{{"kind":"slot","name":"home-top","id":"{id}"}}"#);
        let read = parse(json.as_bytes(), Form::Unsaid, (&["name", "kind", "id"], &[]), named);
        assert!(read.bad.is_empty() && map_of(read.good).slot("home-top").is_some());
    }
}
