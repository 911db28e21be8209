ALTER TABLE settlements ADD CONSTRAINT settlements_values CHECK (
    winning_amount BETWEEN 0 AND 99999999999999.9999 AND
    clearing_price BETWEEN 0 AND 99999999999999.9999 AND
    floor_price BETWEEN 0 AND 99999999999999.9999 AND
    window_start >= '1970-01-01 00:00:00+00' AND window_start < 'infinity' AND
    window_end >= '1970-01-01 00:00:00+00' AND window_end < 'infinity' AND
    settled_at >= '1970-01-01 00:00:00+00' AND settled_at < 'infinity'
) NOT VALID;
