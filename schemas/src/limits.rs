//! What the services allow, each with the page it comes from.

/// PutRecords: entries in one request (Kinesis API reference, PutRecords).
pub const PUT_RECORDS_ENTRIES_MAX: usize = 500;
/// PutRecords: bytes of one request, partition keys included (Kinesis developer guide, quotas).
pub const PUT_RECORDS_BYTES_MAX: usize = 10 * 1_048_576;
/// Bytes of one record, partition key included, that every stream accepts: the least of `MaxRecordSizeInKiB`, 1,024 to
/// 10,240 (Kinesis API reference, UpdateMaxRecordSize). Producers stay within it whatever a stream's setting is, so they
/// need not ask for it; readers take what comes.
pub const RECORD_BYTES_MAX: usize = 1_048_576;
/// Records a shard takes per second (Kinesis developer guide, quotas).
pub const SHARD_WRITE_RECORDS_PER_S: u32 = 1_000;
/// Bytes a shard takes per second (Kinesis developer guide, quotas).
pub const SHARD_WRITE_BYTES_PER_S: u32 = 1_048_576;
/// GetRecords calls per shard and second (Kinesis API reference, GetRecords).
pub const SHARD_READ_CALLS_PER_S: u32 = 5;
/// Bytes a shard gives per second without enhanced fan-out (Kinesis API reference, GetRecords).
pub const SHARD_READ_BYTES_PER_S: u32 = 2 * 1_048_576;
/// Records of one GetRecords page (Kinesis API reference, GetRecords).
pub const GET_RECORDS_MAX: i32 = 10_000;
/// Bytes of one GetRecords page; one of them shuts the shard to reads for the next 5 s (Kinesis API reference,
/// GetRecords).
pub const GET_RECORDS_BYTES_MAX: usize = 10 * 1_048_576;
/// How long an iterator lives, in ms (Kinesis API reference, GetShardIterator).
pub const ITERATOR_TTL_MS: u64 = 300_000;
/// Bytes of a DynamoDB item (DynamoDB developer guide, quotas).
pub const ITEM_BYTES_MAX: usize = 400 * 1_024;
/// Items of BatchWriteItem (DynamoDB API reference).
pub const BATCH_WRITE_ITEMS_MAX: usize = 25;
/// Rows one DSQL transaction may change (Aurora DSQL user guide, quotas).
pub const DSQL_ROWS_MAX: usize = 3_000;
/// Bytes one DSQL transaction may change (Aurora DSQL user guide, quotas).
pub const DSQL_BYTES_MAX: usize = 10 * 1_048_576;
/// How long a DSQL connection may live, in s (Aurora DSQL user guide, quotas).
pub const DSQL_CONNECTION_S_MAX: u64 = 3_600;

/// Most bids one record may hold: what a decoder allocates is bounded by it and by its input.
pub const BIDS_PER_RECORD_MAX: usize = 65_536;
/// Bytes that gzip may give for each byte of a record. Of 4,000 JSON bids with random ids it gives 4, with counted ids
/// of one slot and account 15 (`gzip -9`); bids that are alike in all else too come near this.
pub const INFLATED_PER_BYTE: usize = 64;
/// Bytes that gzip of any record may give.
pub const INFLATED_BYTES_MIN: usize = 4_096;
/// Bytes that gzip of a record may give at most: 65,536 bids of 256.
pub const INFLATED_BYTES_MAX: usize = 16 * 1_048_576;
/// Bids that a block may hold however few bytes it has: as many as our producers put into a record. A larger one has a
/// byte for each, of which honest ones need 13. A shard takes 1,000 records a second, so this bounds what it may cost.
pub const BLOCK_BIDS_FREE: usize = 6_000;
/// Buckets of the outbox index: one index key serves 1,000 writes a second, and these are spread over 64.
pub const OUTBOX_BUCKETS: u32 = 16;
/// Sub-buckets by slot within a bucket.
pub const OUTBOX_SUBS: u32 = 4;
/// How many regions an aggregate names: with codes as long as they may be, its item stays far below the largest.
pub const AGGREGATE_REGIONS_MAX: usize = 256;
/// How many regions the totals of one shard and window name, each by an item of its own. Whoever writes to the stream
/// chooses the codes; AWS has fewer.
pub const TOTALS_REGIONS_MAX: usize = 64;
/// Most accounts of one auction whose bids are looked at in the log behind its item's candidates. All their rows are
/// read by one statement, whose keys are 16 bytes each.
pub const LOG_ACCOUNTS_MAX: u64 = 50_000;
/// Most bids of such an auction: each id is remembered while the log is read, so that copies are found.
pub const LOG_BIDS_MAX: u64 = 1_000_000;
/// Most bytes of the log that are read for it: at 1 MiB/s four minutes.
pub const LOG_BYTES_MAX: u64 = 256 * 1_048_576;
/// Most rows of evidence of one decision: with its other rows they fit one transaction.
pub const EVIDENCE_MAX: usize = 2_000;
/// How many of a shard's busiest slots are listed per window.
pub const HOT_SLOTS: usize = 10;
