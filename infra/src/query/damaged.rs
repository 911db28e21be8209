//! Items that cannot be shown: each is named on standard error, and the rest is shown all the same.

use std::io::Write;

use crate::failure::Failure;

/// An item that is there and cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Damaged {
    pub(super) pk: String,
    pub(super) sk: String,
    pub(super) reason: String,
}

/// Names the items and answers how the command ends with them.
pub(super) fn tell(table: &str, damaged: &[Damaged], out: &mut impl Write) -> Result<(), Failure> {
    for Damaged { pk, sk, reason } in damaged {
        // Whoever closed standard error does not want to know.
        let _ = writeln!(out, "damaged item: PK {pk:?} SK {sk:?}: {reason}");
    }
    let count = match damaged.len() {
        0 => return Ok(()),
        1 => "1 item".to_owned(),
        many => format!("{many} items"),
    };
    Err(Failure::found(format!(
        "{count} of table {table} cannot be read and {} named above; everything else was shown: mend or delete what is damaged",
        if damaged.len() == 1 { "is" } else { "are" }
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_damaged_item_is_named_with_its_key_and_what_is_wrong() {
        let one =
            |sk: &str| Damaged { pk: "SLOT#1".to_owned(), sk: sk.to_owned(), reason: "no bids".to_owned() };
        let mut said = Vec::new();
        assert!(tell("t", &[], &mut said).is_ok() && said.is_empty());
        let found = tell("t", &[one("a"), one("b\nc")], &mut said).unwrap_err();
        assert_eq!(found.code, schemas::exit::FOUND);
        assert!(found.sentence.starts_with("2 items of table t cannot be read"), "{found}");
        let said = String::from_utf8(said).unwrap();
        let named = "damaged item: PK \"SLOT#1\" SK \"a\": no bids\ndamaged item: PK \"SLOT#1\" SK \"b\\nc\": no bids\n";
        assert_eq!(said, named);
    }
}
