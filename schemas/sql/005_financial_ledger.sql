CREATE TABLE IF NOT EXISTS financial_ledger (
    entry_id UUID PRIMARY KEY,
    settlement_id UUID,
    deposit_id UUID,
    account_id UUID NOT NULL,
    direction TEXT NOT NULL,
    amount NUMERIC(18,4) NOT NULL,
    account_version BIGINT,
    created_at TIMESTAMPTZ NOT NULL
);
