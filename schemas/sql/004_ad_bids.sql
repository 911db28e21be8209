CREATE TABLE IF NOT EXISTS ad_bids (
    settlement_id UUID NOT NULL,
    rank BIGINT NOT NULL,
    bid_id UUID NOT NULL,
    account_id UUID NOT NULL,
    region TEXT NOT NULL,
    amount NUMERIC(18,4) NOT NULL,
    passed_over TEXT,
    balance_seen NUMERIC(18,4),
    limit_seen NUMERIC(18,4),
    version_seen BIGINT,
    PRIMARY KEY (settlement_id, rank)
);
