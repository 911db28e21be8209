import { randomUUID } from "node:crypto";
import { KinesisClient, PutRecordCommand } from "@aws-sdk/client-kinesis";

const [slot_id, account_id, amount] = process.argv.slice(2);
const bid = { bid_id: randomUUID(), slot_id, account_id, amount, latency_ms: 42, quality_score: 0.93,
  region: "eu-central-1", timestamp: new Date().toISOString() };
const put = { StreamName: "bids", PartitionKey: slot_id.toLowerCase(), Data: Buffer.from(JSON.stringify(bid)) };
console.log((await new KinesisClient().send(new PutRecordCommand(put))).ShardId);
