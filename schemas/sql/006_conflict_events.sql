CREATE TABLE IF NOT EXISTS conflict_events (
    event_id UUID PRIMARY KEY,
    batch_id UUID NOT NULL,
    worker TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    sqlstate TEXT NOT NULL,
    occ_code TEXT,
    origin TEXT NOT NULL,
    delay_ms BIGINT NOT NULL,
    resolved BOOLEAN NOT NULL,
    at TIMESTAMPTZ NOT NULL
);
