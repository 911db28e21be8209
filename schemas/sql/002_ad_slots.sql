CREATE TABLE IF NOT EXISTS ad_slots (
    slot_id UUID PRIMARY KEY,
    publisher_account_id UUID NOT NULL,
    floor_price NUMERIC(18,4) NOT NULL
);
