import { randomUUID } from "node:crypto";
import { KinesisClient, PutRecordCommand } from "@aws-sdk/client-kinesis";

function integer(n) {
  if (n < 251n) return Buffer.from([Number(n)]);
  const [first, size] = [[0xfb, 2], [0xfc, 4], [0xfd, 8]].find(([, size]) => n < 1n << BigInt(8 * size));
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(n);
  return Buffer.concat([Buffer.from([first]), bytes.subarray(0, size)]);
}

const [slot, account, amount] = process.argv.slice(2); // ten-thousandths
const uuid = (text) => Buffer.from(text.replaceAll("-", ""), "hex");
const [region, latencyMs, quality, eventTime] = [Buffer.from("eu-central-1"), 42n, 9_300n, BigInt(Date.now())];
const ids = [Buffer.from([1]), uuid(randomUUID()), uuid(slot), uuid(account), integer(BigInt(region.length)), region];
const bid = Buffer.concat([...ids, ...[BigInt(amount), latencyMs, quality, eventTime].map(integer)]);
const put = new PutRecordCommand({ StreamName: "bids", PartitionKey: slot.toLowerCase(), Data: bid });
console.log((await new KinesisClient().send(put)).ShardId);
