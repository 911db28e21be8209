//! Values of the ledger's columns, read from the text they travel as, and what is told of one that no stage writes.
//!
//! NUMERIC can hold `NaN`, a time `infinity`, and a person with SQL writes anything: such a cell is named by table, row
//! and column, so that whoever meets it can go on with the rest.

use std::fmt::{self, Display};

use crate::money::{Money, Price};
use crate::settlement::AccountStatus;
use crate::shown::shortened;
use crate::time::Millis;

/// Most characters of a value that are repeated.
const VALUE_CHARS_MAX: usize = 80;
/// The largest version that is counted on.
const VERSION_MAX: i64 = 1 << 62;
const MONEY: &str = "a decimal with at most 14 digits before the point and 4 behind it";

/// A cell of the ledger that holds what no stage writes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DamagedCell {
    /// The table.
    pub table: &'static str,
    /// The row's key: the column and its value.
    pub key: String,
    /// The column.
    pub column: &'static str,
    /// What stands there, cut and escaped; `nothing` where it is NULL.
    pub found: String,
    /// What stages write there.
    pub wanted: &'static str,
}

impl Display for DamagedCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, key, column, found, wanted } = self;
        write!(f, "{table} row {key}: column {column} holds {found}, not {wanted}")
    }
}

/// A row whose cells are read.
#[derive(Clone, Debug)]
pub struct RowOf {
    table: &'static str,
    key: String,
}

impl RowOf {
    /// The row of a table with this value in its key column.
    #[must_use]
    pub fn new(table: &'static str, column: &'static str, key: impl Display) -> Self {
        Self { table, key: format!("{column} {key}") }
    }

    /// The damage of one cell; `found` is none where it is NULL.
    #[must_use]
    pub fn damaged(&self, column: &'static str, found: Option<&str>, wanted: &'static str) -> DamagedCell {
        let found =
            found.map_or_else(|| "nothing".to_owned(), |text| shortened(text, VALUE_CHARS_MAX).into());
        DamagedCell { table: self.table, key: self.key.clone(), column, found, wanted }
    }

    /// An amount of any sign.
    ///
    /// # Errors
    /// When it is absent, `NaN`, infinite, too precise or too large.
    pub fn money(&self, column: &'static str, text: Option<&str>) -> Result<Money, DamagedCell> {
        let read = text.and_then(|text| text.parse().ok());
        read.ok_or_else(|| self.damaged(column, text, MONEY))
    }

    /// An amount that is not below zero.
    ///
    /// # Errors
    /// As [`RowOf::money`], and when it is below zero.
    pub fn money_from_zero(&self, column: &'static str, text: Option<&str>) -> Result<Money, DamagedCell> {
        let money = self.money(column, text)?;
        if money.0 < 0 {
            return Err(self.damaged(column, text, "an amount that is not below zero"));
        }
        Ok(money)
    }

    /// An amount above zero.
    ///
    /// # Errors
    /// As [`RowOf::money`], and when it is not above zero.
    pub fn price(&self, column: &'static str, text: Option<&str>) -> Result<Price, DamagedCell> {
        self.money(column, text)?;
        let price = text.and_then(|text| text.parse().ok());
        price.ok_or_else(|| self.damaged(column, text, "an amount above zero"))
    }

    /// A time, from its whole milliseconds since 1970 as text.
    ///
    /// # Errors
    /// When it is absent, infinite or before 1970.
    pub fn millis(&self, column: &'static str, ms: Option<&str>) -> Result<Millis, DamagedCell> {
        let read = ms.and_then(|text| text.parse().ok()).map(Millis);
        let found =
            || ms.map(|text| if text.contains("nfinity") { text.to_owned() } else { format!("{text} ms") });
        read.ok_or_else(|| self.damaged(column, found().as_deref(), "a time since 1970"))
    }

    /// Whether an account may bid; it may where nothing is said.
    ///
    /// # Errors
    /// When the word is another.
    pub fn status(&self, column: &'static str, word: Option<&str>) -> Result<AccountStatus, DamagedCell> {
        let read = word.map_or(Ok(AccountStatus::default()), str::parse);
        read.map_err(|()| self.damaged(column, word, "active, suspended or NULL"))
    }

    /// A version of a row, which is counted on.
    ///
    /// # Errors
    /// When it is NULL, below zero, or so large that no debits can have made it.
    pub fn version(&self, column: &'static str, version: Option<i64>) -> Result<i64, DamagedCell> {
        version.filter(|version| (0..=VERSION_MAX).contains(version)).ok_or_else(|| {
            let found = version.map(|version| version.to_string());
            self.damaged(column, found.as_deref(), "a count of debits from 0 to 2^62")
        })
    }

    /// A value that must be there.
    ///
    /// # Errors
    /// When it is NULL.
    pub fn there<T>(&self, column: &'static str, value: Option<T>) -> Result<T, DamagedCell> {
        value.ok_or_else(|| self.damaged(column, None, "a value"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_no_stage_writes_is_told_by_table_row_and_column() {
        let row = RowOf::new("enterprise_accounts", "account_id", 7);
        assert_eq!(row.money("balance", Some("-5.4000")), Ok(Money(-54_000)));
        assert_eq!(
            row.money("balance", Some("NaN")).unwrap_err().to_string(),
            "enterprise_accounts row account_id 7: column balance holds NaN, not a decimal with at most 14 digits \
             before the point and 4 behind it"
        );
        for bad in [Some("Infinity"), Some("1.00001"), Some("100000000000000"), Some(""), None] {
            let found = bad.unwrap_or("nothing");
            assert_eq!(row.money("balance", bad).unwrap_err().found, found);
        }
        assert!(row.money_from_zero("credit_limit", Some("0.0000")).is_ok());
        assert_eq!(row.money_from_zero("credit_limit", Some("-0.0001")).unwrap_err().found, "-0.0001");
        assert!(row.price("clearing_price", Some("0.0001")).is_ok());
        assert_eq!(row.price("clearing_price", Some("0")).unwrap_err().wanted, "an amount above zero");
        assert_eq!(row.price("clearing_price", Some("NaN")).unwrap_err().wanted, MONEY);
        assert_eq!(row.millis("settled_at", Some("12")), Ok(Millis(12)));
        assert_eq!(row.millis("settled_at", Some("Infinity")).unwrap_err().found, "Infinity");
        assert_eq!(row.millis("settled_at", Some("-1")).unwrap_err().found, "-1 ms");
        assert_eq!(row.status("status", None), Ok(AccountStatus::Active));
        assert_eq!(row.status("status", Some("clo\u{1b}sed")).unwrap_err().found, "clo\\u{1b}sed");
        assert_eq!(row.there::<i64>("version", None).unwrap_err().found, "nothing");
        assert_eq!(row.version("version", Some(VERSION_MAX)), Ok(VERSION_MAX));
        for (bad, found) in [(Some(i64::MAX), "9223372036854775807"), (Some(-1), "-1"), (None, "nothing")] {
            assert_eq!(row.version("version", bad).unwrap_err().found, found);
        }
    }
}
