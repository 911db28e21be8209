// The SDK for JavaScript: every record of every shard, by shard iterators, as lines of hexadecimal.
import { GetRecordsCommand, GetShardIteratorCommand, KinesisClient, ListShardsCommand } from "@aws-sdk/client-kinesis";

const kinesis = new KinesisClient();
const { Shards } = await kinesis.send(new ListShardsCommand({ StreamName: "bids" }));
for (const { ShardId } of Shards) {
  const from = { StreamName: "bids", ShardId, ShardIteratorType: "TRIM_HORIZON" };
  const { ShardIterator } = await kinesis.send(new GetShardIteratorCommand(from));
  const page = await kinesis.send(new GetRecordsCommand({ ShardIterator }));
  for (const { Data } of page.Records) console.log(ShardId, Buffer.from(Data).toString("hex"));
}
