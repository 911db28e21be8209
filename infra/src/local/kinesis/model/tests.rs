use schemas::hash::{HashKey, HashRange};

use super::stream::even;
use super::{Limits, Record, Reshard, ShardId, Start, Status, Stream};

const HOUR_MS: u64 = 3_600_000;

fn record(key: &str) -> Record {
    Record::new(key, key.as_bytes(), None)
}

fn split_in_half(stream: &mut Stream, shard: u32, now_ms: u64) {
    let range = stream.shard(ShardId(shard)).unwrap().range;
    let at = range.start.0 + (range.end.0 - range.start.0) / 2;
    stream.reshard(Reshard::Split { shard: ShardId(shard), at }, now_ms).unwrap();
}

fn ranges(stream: &Stream) -> Vec<HashRange> {
    let mut ranges: Vec<HashRange> = stream.open_shards().map(|shard| shard.range).collect();
    ranges.sort_unstable_by_key(|range| range.start);
    ranges
}

fn assert_covers(ranges: &[HashRange]) {
    assert_eq!((ranges[0].start.0, ranges[ranges.len() - 1].end.0), (0, u128::MAX));
    assert!(ranges.windows(2).all(|pair| pair[0].end.0 + 1 == pair[1].start.0));
}

#[test]
fn even_ranges_cover_the_space_without_gap_or_overlap() {
    for count in 1..50 {
        assert_covers(&even(count).collect::<Vec<_>>());
    }
}

#[test]
fn every_key_has_the_one_open_shard_that_owns_it() {
    let mut stream = Stream::new(3, 0);
    split_in_half(&mut stream, 1, 1);
    stream.reshard(Reshard::Merge { shard: ShardId(0), other: ShardId(3) }, 2).unwrap();
    for key in 0..1_000_u32 {
        let hash = HashKey::of_partition_key(&key.to_string());
        let owners: Vec<ShardId> =
            stream.open_shards().filter(|shard| shard.range.owns(hash)).map(|shard| shard.id).collect();
        assert_eq!(owners, [stream.owner(hash)]);
    }
    for edge in ranges(&stream).iter().flat_map(|range| [range.start, range.end]) {
        assert!(stream.shard(stream.owner(edge)).unwrap().range.owns(edge));
    }
}

#[test]
fn a_parent_is_read_to_its_end_and_names_its_children() {
    let mut stream = Stream::new(1, 0);
    stream.append(record("a"), 5, Limits::Off).unwrap();
    stream.append(record("b"), 5, Limits::Off).unwrap();
    split_in_half(&mut stream, 0, 6);
    let after = stream.position(ShardId(0), Start::TrimHorizon, 6).unwrap();
    let page = stream.read(ShardId(0), after, 1, (6, Limits::Off)).unwrap();
    assert!(page.next_after.is_some() && page.children.is_empty(), "not yet at the end");
    let page = stream.read(ShardId(0), page.next_after.unwrap(), 1, (6, Limits::Off)).unwrap();
    assert_eq!((page.records.len(), page.next_after), (1, None));
    assert_eq!(page.children, [ShardId(1), ShardId(2)]);
    let (shard, _) = stream.append(record("a"), 7, Limits::Off).unwrap();
    assert!(page.children.contains(&shard), "new records go to a child");
}

#[test]
fn a_shard_takes_a_thousand_records_a_second_and_refuses_the_next() {
    let mut stream = Stream::new(1, 0);
    for _ in 0..1_000 {
        stream.append(record("a"), 10, Limits::Aws).unwrap();
    }
    let refused = stream.append(record("a"), 999, Limits::Aws).unwrap_err();
    assert_eq!(refused.code, "ProvisionedThroughputExceededException");
    assert!(stream.append(record("a"), 1_000, Limits::Aws).is_ok());
}

#[test]
fn a_page_beyond_two_mebibytes_is_given_whole_and_shuts_the_shard_for_as_long_as_it_costs() {
    let mut stream = Stream::new(1, 0);
    let megabyte = vec![7; 1_048_000];
    for _ in 0..9 {
        stream.append(Record::new("a", &megabyte, None), 0, Limits::Off).unwrap();
    }
    let read = |stream: &mut Stream, now_ms| stream.read(ShardId(0), 0, 10_000, (now_ms, Limits::Aws));
    assert_eq!(read(&mut stream, 1_000).unwrap().records.len(), 9);
    for second in 1..5 {
        assert!(read(&mut stream, second * 1_000 + 999).is_err(), "second {second}");
    }
    assert_eq!(read(&mut stream, 6_000).unwrap().records.len(), 9, "it is readable again, not shut for good");
}

#[test]
fn a_page_ends_at_ten_mebibytes_but_never_before_its_first_record() {
    let mut stream = Stream::new(1, 0);
    stream.append(Record::new("a", &vec![1; 10 * 1_048_576], None), 0, Limits::Off).unwrap();
    stream.append(record("b"), 0, Limits::Off).unwrap();
    let page = stream.read(ShardId(0), 0, 10_000, (0, Limits::Off)).unwrap();
    assert_eq!(page.records.len(), 1);
    let page = stream.read(ShardId(0), page.next_after.unwrap(), 10_000, (0, Limits::Off)).unwrap();
    assert_eq!(page.records[0].partition_key(), "b");
}

#[test]
fn a_sixth_read_in_a_second_is_refused() {
    let mut stream = Stream::new(1, 0);
    for call in 0..5 {
        assert!(stream.read(ShardId(0), 0, 1, (100 + call, Limits::Aws)).is_ok());
    }
    assert!(stream.read(ShardId(0), 0, 1, (999, Limits::Aws)).is_err());
    assert!(stream.read(ShardId(0), 0, 1, (1_000, Limits::Aws)).is_ok());
}

#[test]
fn a_new_count_ends_with_even_ranges_whatever_was_there_before() {
    for (from, to) in [(4, 6), (4, 5), (5, 3), (10, 13), (2, 4), (3, 3)] {
        let mut stream = Stream::new(from, 0);
        stream.reshard(Reshard::Count { target: to }, 1).unwrap();
        assert_eq!(ranges(&stream), even(to).collect::<Vec<_>>(), "{from} to {to}");
    }
    let mut stream = Stream::new(1, 0);
    split_in_half(&mut stream, 0, 1);
    split_in_half(&mut stream, 2, 2);
    stream.reshard(Reshard::Count { target: 5 }, 3).unwrap();
    assert_eq!(ranges(&stream), even(5).collect::<Vec<_>>());
}

#[test]
fn the_shard_count_changes_ten_times_a_day() {
    let mut stream = Stream::new(2, 0);
    for at in 0..10 {
        let change = Reshard::Count { target: if at % 2 == 0 { 4 } else { 2 } };
        stream.check_reshard(change, at, Limits::Aws).unwrap();
        stream.reshard(change, at).unwrap();
    }
    let change = Reshard::Count { target: 4 };
    assert_eq!(stream.check_reshard(change, 10, Limits::Aws).unwrap_err().code, "LimitExceededException");
    assert!(stream.check_reshard(change, 10, Limits::Off).is_ok());
    assert!(stream.check_reshard(change, 24 * HOUR_MS, Limits::Aws).is_ok());
}

#[test]
fn a_change_that_is_refused_changes_nothing() {
    let mut stream = Stream::new(4, 0);
    stream.reshard(Reshard::Merge { shard: ShardId(0), other: ShardId(1) }, 1).unwrap();
    let before = format!("{stream:?}");
    let low = stream.shard(ShardId(3)).unwrap().range.start.0;
    for (change, code) in [
        (Reshard::Split { shard: ShardId(9), at: 5 }, "ResourceNotFoundException"),
        (Reshard::Split { shard: ShardId(0), at: 5 }, "InvalidArgumentException"),
        (Reshard::Split { shard: ShardId(3), at: low + 1 }, "InvalidArgumentException"),
        (Reshard::Split { shard: ShardId(3), at: u128::MAX }, "InvalidArgumentException"),
        (Reshard::Merge { shard: ShardId(4), other: ShardId(3) }, "InvalidArgumentException"),
        (Reshard::Merge { shard: ShardId(3), other: ShardId(3) }, "InvalidArgumentException"),
        (Reshard::Count { target: 7 }, "InvalidArgumentException"),
        (Reshard::Count { target: 1 }, "InvalidArgumentException"),
    ] {
        assert_eq!(stream.reshard(change, 2).unwrap_err().code, code, "{change:?}");
    }
    assert_eq!(format!("{stream:?}"), before);
}

#[test]
fn the_tip_is_not_behind_and_the_middle_is() {
    let mut stream = Stream::new(1, 0);
    for at in [10, 20, 30] {
        stream.append(record("a"), at, Limits::Off).unwrap();
    }
    let start = stream.position(ShardId(0), Start::Time(20), 40).unwrap();
    let page = stream.read(ShardId(0), start, 1, (40, Limits::Off)).unwrap();
    assert_eq!((page.records[0].arrival_ms, page.behind_ms), (20, 10));
    let page = stream.read(ShardId(0), page.next_after.unwrap(), 1, (40, Limits::Off)).unwrap();
    assert_eq!(page.behind_ms, 0);
}

#[test]
fn a_time_finds_its_record_even_where_the_clock_was_set_back() {
    let mut stream = Stream::new(1, 0);
    for at in [10, 50, 20, 60] {
        stream.append(record("a"), at, Limits::Off).unwrap();
    }
    let first = |ms| {
        let start = stream.position(ShardId(0), Start::Time(ms), 100).unwrap();
        stream.shard(ShardId(0)).unwrap().peek(start, 1, 100, 100).records.first().map(|r| r.arrival_ms)
    };
    assert_eq!([5, 15, 55, 70].map(first), [Some(10), Some(50), Some(60), None]);
}

#[test]
fn a_number_that_the_shard_cannot_have_is_refused() {
    let mut stream = Stream::new(2, 0);
    for key in 0..20_u32 {
        stream.append(record(&key.to_string()), 1, Limits::Off).unwrap();
    }
    split_in_half(&mut stream, 1, 2);
    let closing = stream.shard(ShardId(1)).unwrap().closed.unwrap().sequence;
    let position = |number, shard| stream.position(ShardId(shard), Start::At(number), 3);
    assert!(position(closing, 1).is_ok());
    assert_eq!(position(closing + 1, 1).unwrap_err().code, "InvalidArgumentException");
    assert_eq!(position(0, 1).unwrap_err().code, "InvalidArgumentException");
    assert_eq!(position(u64::MAX, 2).unwrap_err().code, "InvalidArgumentException");
    assert!(stream.position(ShardId(0), Start::Time(4), 3).is_err(), "a time that has not come");
}

#[test]
fn retention_removes_records_and_then_the_closed_shards_that_held_them() {
    let mut stream = Stream::new(1, 0);
    stream.append(record("a"), 1_000, Limits::Off).unwrap();
    split_in_half(&mut stream, 0, 2_000);
    let (child, last) = stream.append(record("a"), 3_000, Limits::Off).unwrap();
    let held = stream.held_bytes();

    stream.trim(24 * HOUR_MS + 1_000);
    assert_eq!(stream.held_bytes(), held, "a record lives its whole retention period");
    stream.trim(24 * HOUR_MS + 1_001);
    assert_eq!(stream.held_bytes(), held / 2);
    assert!(stream.shard(ShardId(0)).is_ok(), "a closed shard outlives its records until it is as old");
    stream.trim(24 * HOUR_MS + 2_001);
    assert_eq!(stream.shard(ShardId(0)).unwrap_err().code, "ResourceNotFoundException");

    stream.trim(48 * HOUR_MS);
    assert_eq!((stream.held_bytes(), stream.shards.len()), (0, 2));
    let start = stream.position(child, Start::TrimHorizon, 48 * HOUR_MS).unwrap();
    assert_eq!(start, last, "the trim horizon stands behind what was removed");
    let (_, next) = stream.append(record("a"), 48 * HOUR_MS, Limits::Off).unwrap();
    assert!(next > last, "numbers are never given again");
}

#[test]
fn a_status_lasts_as_long_as_it_was_said_to() {
    let mut stream = Stream::new(1, 0);
    stream.keep_busy(Status::Creating, 500);
    assert_eq!(
        [0, 499, 500].map(|at| stream.status(at)),
        [Status::Creating, Status::Creating, Status::Active]
    );
}
