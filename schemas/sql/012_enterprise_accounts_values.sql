ALTER TABLE enterprise_accounts ADD CONSTRAINT enterprise_accounts_values CHECK (
    opening_balance BETWEEN -99999999999999.9999 AND 99999999999999.9999 AND
    balance BETWEEN -99999999999999.9999 AND 99999999999999.9999 AND
    credit_limit BETWEEN 0 AND 99999999999999.9999 AND
    status_since >= '1970-01-01 00:00:00+00' AND status_since < 'infinity'
) NOT VALID;
