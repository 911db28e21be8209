//! The statements that only the experiment sends: it takes away what it made.
//!
//! The stages never delete a row of the ledger.

/// Slots of one publisher, some at a time.
pub const READ_SLOTS_OF: &str =
    "SELECT slot_id FROM ad_slots WHERE publisher_account_id = $1::uuid LIMIT 200";
/// Entries of a race, by keys that only it has.
pub const DELETE_ENTRIES: &str = "DELETE FROM financial_ledger WHERE entry_id = ANY($1::uuid[])";
/// As [`DELETE_ENTRIES`], of evidence.
pub const DELETE_EVIDENCE: &str = "DELETE FROM ad_bids WHERE settlement_id = ANY($1::uuid[])";
/// As [`DELETE_ENTRIES`], of decisions.
pub const DELETE_SETTLEMENTS: &str = "DELETE FROM settlements WHERE settlement_id = ANY($1::uuid[])";
/// As [`DELETE_ENTRIES`], of accounts.
pub const DELETE_ACCOUNTS: &str = "DELETE FROM enterprise_accounts WHERE account_id = ANY($1::uuid[])";
/// As [`DELETE_ENTRIES`], of slots.
pub const DELETE_SLOTS: &str = "DELETE FROM ad_slots WHERE slot_id = ANY($1::uuid[])";

/// Every statement of this package, by name.
pub const ALL: &[(&str, &str)] = &[
    ("read slots of", READ_SLOTS_OF),
    ("delete entries", DELETE_ENTRIES),
    ("delete evidence", DELETE_EVIDENCE),
    ("delete settlements", DELETE_SETTLEMENTS),
    ("delete accounts", DELETE_ACCOUNTS),
    ("delete slots", DELETE_SLOTS),
];
