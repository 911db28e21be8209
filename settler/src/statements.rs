//! The statements of a settlement transaction, prepared once per connection. SQL takes parameters; money and times
//! travel as text, so no float touches them.

use tokio_postgres::{Client, Statement};

/// Prepared statements.
#[derive(Clone, Debug)]
pub(crate) struct Statements {
    pub(crate) settled: Statement,
    pub(crate) slots: Statement,
    pub(crate) accounts: Statement,
    pub(crate) settlement: Statement,
    pub(crate) evidence: Statement,
    pub(crate) entry: Statement,
    pub(crate) debit: Statement,
}

/// Columns of a decided row as [`crate::runner`] reads them.
pub(crate) const SETTLED: &str = "SELECT settlement_id, outcome, winner_account, clearing_price::text, no_sale_reason, \
     aggregate_digest, (EXTRACT(EPOCH FROM settled_at) * 1000)::bigint \
     FROM settlements WHERE settlement_id = ANY($1)";

impl Statements {
    pub(crate) async fn prepare(client: &Client) -> Result<Self, tokio_postgres::Error> {
        let slots =
            "SELECT slot_id, publisher_account_id, floor_price::text FROM ad_slots WHERE slot_id = ANY($1)";
        let accounts = "SELECT account_id, balance::text, credit_limit::text, version \
             FROM enterprise_accounts WHERE account_id = ANY($1)";
        let settlement = "INSERT INTO settlements (settlement_id, slot_id, window_start, window_end, outcome, \
             winner_account, winning_bid, winning_amount, clearing_price, no_sale_reason, aggregate_digest, settled_at, \
             winner_region, winner_shard, winner_sequence, winner_sub_sequence) \
             VALUES ($1, $2, $3::text::timestamptz, $4::text::timestamptz, $5, $6, $7, $8::text::numeric, \
             $9::text::numeric, $10, $11, $12::text::timestamptz, $13, $14, $15, $16) \
             ON CONFLICT (settlement_id) DO NOTHING";
        let evidence = "INSERT INTO ad_bids (settlement_id, rank, bid_id, account_id, region, amount, passed_over, \
             balance_seen, limit_seen, version_seen) \
             VALUES ($1, $2, $3, $4, $5, $6::text::numeric, $7, $8::text::numeric, $9::text::numeric, $10) \
             ON CONFLICT (settlement_id, rank) DO NOTHING";
        let entry = "INSERT INTO financial_ledger (entry_id, settlement_id, deposit_id, account_id, direction, amount, \
             account_version, created_at) VALUES ($1, $2, NULL, $3, $4, $5::text::numeric, $6, $7::text::timestamptz) \
             ON CONFLICT (entry_id) DO NOTHING";
        let debit = "UPDATE enterprise_accounts SET balance = balance - $2::text::numeric, version = $4 \
             WHERE account_id = $1 AND version = $3";
        Ok(Self {
            settled: client.prepare(SETTLED).await?,
            slots: client.prepare(slots).await?,
            accounts: client.prepare(accounts).await?,
            settlement: client.prepare(settlement).await?,
            evidence: client.prepare(evidence).await?,
            entry: client.prepare(entry).await?,
            debit: client.prepare(debit).await?,
        })
    }
}
