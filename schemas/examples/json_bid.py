import datetime, json, sys, uuid
import boto3

bid = {"bid_id": str(uuid.uuid4()), "slot_id": sys.argv[1], "account_id": sys.argv[2], "amount": sys.argv[3],
       "latency_ms": 42, "quality_score": 0.93, "region": "eu-central-1",
       "timestamp": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")}
put = {"StreamName": "bids", "PartitionKey": bid["slot_id"].lower(), "Data": json.dumps(bid)}
print(boto3.client("kinesis").put_record(**put)["ShardId"])
