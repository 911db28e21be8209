"""boto3 and aws_kinesis_agg: what they write is counted, and what stands in golden/ is read by them, ticks included."""

import base64
import json
import pathlib
import sys

import boto3
from aws_kinesis_agg.aggregator import RecordAggregator
from aws_kinesis_agg.deaggregator import deaggregate_records

golden, slot, plain, line = pathlib.Path(sys.argv[1]), sys.argv[2], bytes.fromhex(sys.argv[3]), sys.argv[4]
kinesis, dynamodb = boto3.client("kinesis"), boto3.client("dynamodb")


def golden_bytes(name):
    return bytes.fromhex("".join((golden / f"{name}.hex").read_text().split()))


def items(data):
    """The items of a record, as a Lambda function sees them."""
    record = {"partitionKey": "a", "sequenceNumber": "1", "data": base64.b64encode(data).decode(),
              "kinesisSchemaVersion": "1.0", "approximateArrivalTimestamp": 1.0}
    found = deaggregate_records([{"kinesis": record, "eventSource": "aws:kinesis"}])
    return [(item["kinesis"]["partitionKey"], base64.b64decode(item["kinesis"]["data"])) for item in found]


# What we write.
bids = [json.loads(text) for text in (golden / "aggregated-1.ndjson").read_text().splitlines()]
read = items(golden_bytes("aggregated-1"))
assert [key for key, _ in read] == [bid["slot_id"] for bid in bids], read
assert all(data[0] == 1 and data[17:33].hex() == key.replace("-", "") for key, data in read), read
assert items(golden_bytes("tick")) == []

# What it writes: a plain bid and one of JSON in an aggregate, and an aggregate of one, which no KPL makes.
both, one = RecordAggregator(), RecordAggregator()
assert both.add_user_record(slot, plain) is None and both.add_user_record(slot, line.encode()) is None
assert one.add_user_record(slot, plain) is None
data = [part.clear_and_get().get_contents()[2] for part in (both, one)]
put = kinesis.put_records(StreamName="bids", Records=[{"PartitionKey": slot, "Data": part} for part in data])
assert put["FailedRecordCount"] == 0, put
shards = {record["ShardId"] for record in put["Records"]}
assert len(shards) == 1, put

# Read back by a shard iterator; a tick of the processor may lie between them.
iterator = kinesis.get_shard_iterator(StreamName="bids", ShardId=shards.pop(), ShardIteratorType="TRIM_HORIZON")
page = kinesis.get_records(ShardIterator=iterator["ShardIterator"])["Records"]
held = [items(record["Data"]) for record in page if items(record["Data"])]
assert held == [[(slot, plain), (slot, line.encode())], [(slot, plain)]], page

# What the pipeline agreed on, by the attributes of the data dictionary.
key = {"PK": {"S": "PIPELINE"}, "SK": {"S": "GEOMETRY"}}
assert dynamodb.get_item(TableName="bid_aggregates", Key=key)["Item"]["window_ms"] == {"N": "2000"}
