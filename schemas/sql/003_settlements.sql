CREATE TABLE IF NOT EXISTS settlements (
    settlement_id UUID PRIMARY KEY,
    slot_id UUID NOT NULL,
    window_start TIMESTAMPTZ NOT NULL,
    window_end TIMESTAMPTZ NOT NULL,
    outcome TEXT NOT NULL,
    winner_account UUID,
    winning_bid UUID,
    winning_amount NUMERIC(18,4),
    clearing_price NUMERIC(18,4),
    no_sale_reason TEXT,
    aggregate_digest TEXT NOT NULL,
    settled_at TIMESTAMPTZ NOT NULL,
    winner_region TEXT,
    winner_shard TEXT,
    winner_sequence TEXT,
    winner_sub_sequence BIGINT
);
