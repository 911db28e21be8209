ALTER TABLE settlements
    ADD COLUMN IF NOT EXISTS floor_price NUMERIC(18,4),
    ADD COLUMN IF NOT EXISTS publisher_account_id UUID;
