ALTER TABLE financial_ledger ADD CONSTRAINT financial_ledger_values CHECK (
    amount BETWEEN 0.0001 AND 99999999999999.9999 AND
    created_at >= '1970-01-01 00:00:00+00' AND created_at < 'infinity'
) NOT VALID;
