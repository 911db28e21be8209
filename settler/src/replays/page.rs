//! One page of a shard: its records for a reading, and how large the next one may be.

use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use runtime::failure::Failure;
use schemas::ids::SequenceNumber;
use schemas::limits::GET_RECORDS_MAX;
use schemas::record;
use schemas::time::Millis;

use super::BYTES_PER_S;
use crate::core::replay::Reading;

/// Gives a page to a reading, up to the first record without a number or a time of arrival that can be read.
pub(super) fn take(reading: &mut Reading, page: &GetRecordsOutput) -> Result<(), Failure> {
    for record in page.records() {
        if reading.reading().is_none() {
            return Ok(());
        }
        let arrival = record.approximate_arrival_timestamp().and_then(|at| at.to_millis().ok());
        let arrival = arrival.and_then(|ms| u64::try_from(ms).ok()).map(Millis);
        let number = record.sequence_number();
        let (Ok(sequence), Some(arrival)) = (number.parse::<SequenceNumber>(), arrival) else {
            let message = format!("an answer has a record {number:?} without a number or a time of arrival");
            return Err(Failure::Unknown { message });
        };
        reading.on_record(arrival, &sequence, &record::decode(record.data().as_ref()));
    }
    Ok(())
}

/// How many records a second's bytes are likely to hold, `None` after a page that shows nothing of their size.
pub(super) fn next_limit(records: usize, bytes: usize) -> Option<i32> {
    let each = bytes.checked_div(records).filter(|each| *each > 0)?;
    let share = usize::try_from(BYTES_PER_S).unwrap_or(usize::MAX);
    Some(i32::try_from(share / each).unwrap_or(GET_RECORDS_MAX).clamp(1, GET_RECORDS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_holds_about_a_seconds_bytes() {
        assert_eq!(next_limit(0, 0), None, "an empty page says nothing of sizes");
        assert_eq!(next_limit(10, 10 * 1_024), Some(1_024));
        assert_eq!(next_limit(100, 100 * 60), Some(GET_RECORDS_MAX), "small records");
        assert_eq!(next_limit(1, 5 * 1_048_576), Some(1), "one that is larger than a second's bytes");
    }
}
