CREATE INDEX ASYNC IF NOT EXISTS financial_ledger_by_account ON financial_ledger (account_id);
