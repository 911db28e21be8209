//! The operations of Kinesis: JSON in, JSON out.
//!
//! Shapes, names and error codes follow the Kinesis Data Streams API reference; what differs is named in the README.
//! Each operation reads what it was sent, holds the engine for as long as it looks or changes, and writes its answer
//! after that.

mod consumers;
mod get;
mod input;
mod number;
mod put;
mod shards;
mod streams;
mod tags;
mod token;

pub(crate) use self::consumers::subscribe;
pub(crate) use self::get::{write_children, write_records};
pub(crate) use self::number::sequence;

use serde_json::Value;

use self::input::Input;
use super::frame::Op;
use super::model::{Refusal, refuse};
use super::shared::Shared;

/// The body of an answer; an operation that answers nothing leaves it empty.
pub(crate) type Answer = Result<Vec<u8>, Refusal>;

/// Carries out one operation.
pub(crate) fn call(shared: &Shared, operation: &str, body: &[u8]) -> Answer {
    match operation {
        "PutRecords" => return put::put_records(shared, body),
        "PutRecord" => return put::put_record(shared, body),
        "GetRecords" => return get::get_records(shared, body),
        _ => {}
    }
    let input = Input::parse(body)?;
    let value = match operation {
        "CreateStream" => streams::create(shared, &input)?,
        "DeleteStream" => streams::delete(shared, &input)?,
        "DescribeStream" => streams::describe(shared, &input)?,
        "DescribeStreamSummary" => streams::summary(shared, &input)?,
        "ListStreams" => streams::list(shared, &input)?,
        "IncreaseStreamRetentionPeriod" | "DecreaseStreamRetentionPeriod" => {
            streams::retention(shared, operation, &input)?
        }
        "UpdateStreamRecordDistributionStrategy" => streams::distribute(shared, &input)?,
        "UpdateMaxRecordSize" => streams::record_size(shared, &input)?,
        "ListShards" => shards::list(shared, &input)?,
        "SplitShard" => shards::split(shared, &input)?,
        "MergeShards" => shards::merge(shared, &input)?,
        "UpdateShardCount" => shards::update_count(shared, &input)?,
        "GetShardIterator" => get::iterator(shared, &input)?,
        "AddTagsToStream" => tags::add(shared, &input)?,
        "RemoveTagsFromStream" => tags::remove(shared, &input)?,
        "ListTagsForStream" => tags::list(shared, &input)?,
        "RegisterStreamConsumer" => consumers::register(shared, &input)?,
        "DeregisterStreamConsumer" => consumers::deregister(shared, &input)?,
        "DescribeStreamConsumer" => consumers::describe(shared, &input)?,
        "ListStreamConsumers" => consumers::list(shared, &input)?,
        other => {
            return refuse(
                "UnknownOperationException",
                format!("operation {other:?} is not one of this engine's"),
            );
        }
    };
    if value.is_null() {
        return Ok(Vec::new());
    }
    serde_json::to_vec(&value).or_else(|error| refuse("InternalFailure", error.to_string()))
}

/// Makes one change and tells who waits for one.
fn change(shared: &Shared, stream: &str, op: Op) -> Result<Value, Refusal> {
    {
        let mut engine = shared.engine();
        let now_ms = shared.now_ms();
        engine.apply(stream, op, now_ms)?;
    }
    shared.tell();
    Ok(Value::Null)
}
