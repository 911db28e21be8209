//! The statements of a transaction: few, each over many rows, prepared once per connection.
//!
//! Rows travel as arrays that exist only while the statement runs, one array a column: Aurora DSQL has arrays at run
//! time, though not as types of columns. Money and times travel as text, so no float touches them.

use futures::future::try_join_all;
use tokio_postgres::{Client, Statement};

/// Decisions that stand.
pub const READ_SETTLEMENTS: &str = "SELECT settlement_id, outcome, winner_account, clearing_price::text, \
     no_sale_reason, aggregate_digest, floor(EXTRACT(EPOCH FROM settled_at) * 1000)::text \
     FROM settlements WHERE settlement_id = ANY($1::uuid[])";
/// Slots.
pub const READ_SLOTS: &str = "SELECT slot_id, publisher_account_id, floor_price::text FROM ad_slots \
     WHERE slot_id = ANY($1::uuid[])";
/// Accounts: balance, limit, version and status of one row, read together.
pub const READ_ACCOUNTS: &str = "SELECT account_id, balance::text, credit_limit::text, version, \
     status FROM enterprise_accounts WHERE account_id = ANY($1::uuid[])";
/// Entries of deposits.
pub const READ_ENTRIES: &str = "SELECT entry_id, account_id, amount::text FROM financial_ledger \
     WHERE entry_id = ANY($1::uuid[])";
/// New decisions.
pub const INSERT_SETTLEMENTS: &str = "INSERT INTO settlements (settlement_id, slot_id, window_start, window_end, \
     outcome, winner_account, winning_bid, winning_amount, clearing_price, no_sale_reason, aggregate_digest, \
     settled_at, winner_region, winner_shard, winner_sequence, winner_sub_sequence, floor_price, \
     publisher_account_id, log_accounts, log_unknown, log_reads, log_bytes) \
     SELECT id, slot, window_start::timestamptz, window_end::timestamptz, outcome, account, bid, amount::numeric, \
     price::numeric, reason, digest, at::timestamptz, region, shard, sequence, sub, floor::numeric, publisher, \
     log_accounts, log_unknown, log_reads, log_bytes \
     FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::uuid[], $7::uuid[], $8::text[], \
     $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::bigint[], \
     $17::text[], $18::uuid[], $19::bigint[], $20::bigint[], $21::bigint[], $22::bigint[]) \
     AS rows (id, slot, window_start, window_end, outcome, account, bid, amount, price, reason, digest, at, region, \
     shard, sequence, sub, floor, publisher, log_accounts, log_unknown, log_reads, \
     log_bytes) ON CONFLICT (settlement_id) DO NOTHING";
/// New evidence.
pub const INSERT_EVIDENCE: &str = "INSERT INTO ad_bids (settlement_id, rank, bid_id, account_id, region, amount, \
     passed_over, balance_seen, limit_seen, version_seen) \
     SELECT id, rank, bid, account, region, amount::numeric, passed_over, balance::numeric, credit::numeric, version \
     FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], \
     $9::text[], $10::bigint[]) \
     AS rows (id, rank, bid, account, region, amount, passed_over, balance, credit, version) \
     ON CONFLICT (settlement_id, rank) DO NOTHING";
/// New entries.
pub const INSERT_ENTRIES: &str = "INSERT INTO financial_ledger (entry_id, settlement_id, deposit_id, account_id, \
     direction, amount, account_version, created_at) \
     SELECT id, settlement, deposit, account, direction, amount::numeric, version, at::timestamptz \
     FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::bigint[], $8::text[]) \
     AS rows (id, settlement, deposit, account, direction, amount, version, at) ON CONFLICT (entry_id) DO NOTHING";
/// The rows that conflict, in sorted order, last.
pub const UPDATE_ACCOUNTS: &str = "UPDATE enterprise_accounts AS stored \
     SET balance = stored.balance + change.add::numeric, version = change.version \
     FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[]) AS change (account, add, seen, version) \
     WHERE stored.account_id = change.account AND stored.version = change.seen";
/// Fewer rows than planned end the transaction before its COMMIT, which travels in the same flight: a division by zero.
pub const GUARD: &str = "SELECT 1 / CASE WHEN \
     (SELECT count(*) FROM settlements WHERE settlement_id = ANY($1::uuid[])) = cardinality($1::uuid[]) \
     AND (SELECT count(*) FROM financial_ledger WHERE entry_id = ANY($2::uuid[])) = cardinality($2::uuid[]) \
     AND (SELECT count(*) FROM enterprise_accounts AS stored \
     JOIN unnest($3::uuid[], $4::bigint[]) AS change (account, version) \
     ON stored.account_id = change.account AND stored.version = change.version) = cardinality($3::uuid[]) \
     THEN 1 ELSE 0 END";
/// Begins: snapshot isolation, by the only name that Aurora DSQL knows.
pub const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ";
/// Ends well.
pub const COMMIT: &str = "COMMIT";
/// Ends otherwise.
pub const ROLLBACK: &str = "ROLLBACK";
/// One row for every attempt that did not end well.
pub const INSERT_CONFLICTS: &str = "INSERT INTO conflict_events (event_id, batch_id, worker, attempt, sqlstate, \
     occ_code, origin, delay_ms, resolved, at) \
     SELECT event, $1::uuid, $2::text, attempt, sqlstate, occ, origin, delay, $3::boolean, $4::text::timestamptz \
     FROM unnest($5::uuid[], $6::bigint[], $7::text[], $8::text[], $9::text[], $10::bigint[]) \
     AS rows (event, attempt, sqlstate, occ, origin, delay) ON CONFLICT (event_id) DO NOTHING";
/// Accounts that are not known yet; what a known one holds is never changed.
pub const INSERT_ACCOUNTS: &str = "INSERT INTO enterprise_accounts (account_id, name, opening_balance, balance, \
     credit_limit, version) SELECT account, name, balance::numeric, balance::numeric, credit::numeric, 0 \
     FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) AS rows (account, name, balance, credit) \
     ON CONFLICT (account_id) DO NOTHING";
/// Accounts that may bid, in order, from one of them on.
pub const READ_AGREED: &str = "SELECT account_id FROM enterprise_accounts \
     WHERE account_id >= $1::uuid AND coalesce(status, 'active') = 'active' ORDER BY account_id LIMIT $2::bigint";
/// Accounts whose status is another than is said from now on; their version counts debits and stays.
pub const UPDATE_STATUS: &str = "UPDATE enterprise_accounts AS stored SET status = given.status, status_since = now() \
     FROM unnest($1::uuid[], $2::text[]) AS given (account, status) \
     WHERE stored.account_id = given.account AND coalesce(stored.status, 'active') <> given.status";
/// Slots: known ones get the floor and the publisher that are given, for decisions that are still to be made.
pub const UPSERT_SLOTS: &str = "INSERT INTO ad_slots (slot_id, publisher_account_id, floor_price) \
     SELECT slot, publisher, floor::numeric FROM unnest($1::uuid[], $2::uuid[], $3::text[]) \
     AS rows (slot, publisher, floor) ON CONFLICT (slot_id) DO UPDATE \
     SET publisher_account_id = EXCLUDED.publisher_account_id, floor_price = EXCLUDED.floor_price";
/// What was run and what came out.
pub const INSERT_RUN: &str = "INSERT INTO simulation_runs (run_id, kind, seed, parameters, outcome, started_at, \
     finished_at) VALUES ($1::uuid, $2::text, $3::bigint, $4::text, $5::text, $6::text::timestamptz, \
     $7::text::timestamptz) ON CONFLICT (run_id) DO NOTHING";

/// Every statement that the settler sends beside its migrations, by name.
pub const ALL: &[(&str, &str)] = &[
    ("read settlements", READ_SETTLEMENTS),
    ("read slots", READ_SLOTS),
    ("read accounts", READ_ACCOUNTS),
    ("read entries", READ_ENTRIES),
    ("insert settlements", INSERT_SETTLEMENTS),
    ("insert evidence", INSERT_EVIDENCE),
    ("insert entries", INSERT_ENTRIES),
    ("update accounts", UPDATE_ACCOUNTS),
    ("guard", GUARD),
    ("begin", BEGIN),
    ("commit", COMMIT),
    ("rollback", ROLLBACK),
    ("insert conflicts", INSERT_CONFLICTS),
    ("insert accounts", INSERT_ACCOUNTS),
    ("update status", UPDATE_STATUS),
    ("upsert slots", UPSERT_SLOTS),
    ("insert run", INSERT_RUN),
    ("read columns", crate::schema::COLUMNS),
    ("read index", crate::schema::INDEX),
];

/// The statements of an attempt, prepared.
#[derive(Clone, Debug)]
pub(crate) struct Statements {
    pub(crate) read_settlements: Statement,
    pub(crate) read_slots: Statement,
    pub(crate) read_accounts: Statement,
    pub(crate) read_entries: Statement,
    pub(crate) settlements: Statement,
    pub(crate) evidence: Statement,
    pub(crate) entries: Statement,
    pub(crate) accounts: Statement,
    pub(crate) guard: Statement,
}

impl Statements {
    /// Prepares all of them in one flight.
    pub(crate) async fn prepare(client: &Client) -> Result<Self, tokio_postgres::Error> {
        let texts = [
            READ_SETTLEMENTS,
            READ_SLOTS,
            READ_ACCOUNTS,
            READ_ENTRIES,
            INSERT_SETTLEMENTS,
            INSERT_EVIDENCE,
            INSERT_ENTRIES,
            UPDATE_ACCOUNTS,
            GUARD,
        ];
        let prepared = try_join_all(texts.map(|text| client.prepare(text))).await?;
        let [
            read_settlements,
            read_slots,
            read_accounts,
            read_entries,
            settlements,
            evidence,
            entries,
            accounts,
            guard,
        ] = <[Statement; 9]>::try_from(prepared).expect("one for each text");
        Ok(Self {
            read_settlements,
            read_slots,
            read_accounts,
            read_entries,
            settlements,
            evidence,
            entries,
            accounts,
            guard,
        })
    }
}
