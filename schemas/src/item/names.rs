//! The name map as it is published for producers: one JSON object a line, accounts first, names ascending.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::attr::AttrError;
use crate::intake::names::Names;

/// Most names of accounts and slots together: some 30 MB to read with the longest names.
pub const NAMES_MAX: usize = 100_000;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Account,
    Slot,
}

#[derive(Serialize, Deserialize)]
struct Line {
    kind: Kind,
    name: String,
    id: String,
}

/// The bytes of a name map.
#[must_use]
pub fn encode_names(names: &Names) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut write = |kind: Kind, name: &str, id: String| {
        let line = Line { kind, name: name.to_owned(), id };
        serde_json::to_writer(&mut bytes, &line).expect("memory takes every write");
        bytes.push(b'\n');
    };
    names.accounts().for_each(|(name, id)| write(Kind::Account, name, id.to_string()));
    names.slots().for_each(|(name, id)| write(Kind::Slot, name, id.to_string()));
    bytes
}

/// The name map from the bytes of its edition.
///
/// # Errors
/// When a line is none of ours, or there are more than [`NAMES_MAX`].
pub fn decode_names(bytes: &[u8]) -> Result<Names, AttrError> {
    let wrong = || AttrError { name: "bytes".to_owned(), wanted: "at most 100,000 lines of a name map" };
    let (mut accounts, mut slots) = (BTreeMap::new(), BTreeMap::new());
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let Line { kind, name, id } = serde_json::from_slice(line).map_err(|_| wrong())?;
        match kind {
            Kind::Account => drop(accounts.insert(name, id_of(&id).ok_or_else(wrong)?)),
            Kind::Slot => drop(slots.insert(name, id_of(&id).ok_or_else(wrong)?)),
        }
        if accounts.len() + slots.len() > NAMES_MAX {
            return Err(wrong());
        }
    }
    Ok(Names::new(accounts, slots))
}

fn id_of<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{AccountId, SlotId};

    #[test]
    fn a_name_map_is_read_as_it_was_written() {
        let account = |byte: u8| AccountId::from_bytes([byte; 16]);
        let names = Names::new(
            BTreeMap::from([("acme \"north\"\n".to_owned(), account(1)), ("Ünïcode".to_owned(), account(2))]),
            BTreeMap::from([("acme".to_owned(), SlotId::from_bytes([3; 16]))]),
        );
        let bytes = encode_names(&names);
        assert_eq!(bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count(), 3);
        assert_eq!(decode_names(&bytes), Ok(names));
        assert_eq!(decode_names(b""), Ok(Names::default()));
        for other in ["{}", "no json", r#"{"kind":"seat","name":"a","id":"b"}"#] {
            assert!(decode_names(other.as_bytes()).is_err(), "{other}");
        }
    }
}
