CREATE TABLE IF NOT EXISTS simulation_runs (
    run_id UUID PRIMARY KEY,
    kind TEXT NOT NULL,
    seed BIGINT NOT NULL,
    parameters TEXT NOT NULL,
    outcome TEXT NOT NULL,
    started_at TIMESTAMPTZ NOT NULL,
    finished_at TIMESTAMPTZ NOT NULL
);
