import sys, time, uuid
import boto3

def integer(n):
    if n < 251:
        return bytes([n])
    first, size = next((f, s) for f, s in ((0xFB, 2), (0xFC, 4), (0xFD, 8)) if n < 1 << 8 * s)
    return bytes([first]) + n.to_bytes(size, "little")

slot, account, amount = uuid.UUID(sys.argv[1]), uuid.UUID(sys.argv[2]), int(sys.argv[3])  # ten-thousandths
region, latency_ms, quality, event_time = b"eu-central-1", 42, 9_300, time.time_ns() // 1_000_000
bid = b"\x01" + uuid.uuid4().bytes + slot.bytes + account.bytes + integer(len(region)) + region
bid += integer(amount) + integer(latency_ms) + integer(quality) + integer(event_time)
print(boto3.client("kinesis").put_record(StreamName="bids", PartitionKey=str(slot), Data=bid)["ShardId"])
