CREATE TABLE IF NOT EXISTS enterprise_accounts (
    account_id UUID PRIMARY KEY,
    name TEXT NOT NULL,
    opening_balance NUMERIC(18,4) NOT NULL,
    balance NUMERIC(18,4) NOT NULL,
    credit_limit NUMERIC(18,4) NOT NULL,
    version BIGINT NOT NULL
);
