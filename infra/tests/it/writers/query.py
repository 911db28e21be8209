"""An analyst's query with boto3: the aggregates of a slot, by the data dictionary."""

import json
import sys

import boto3

found = boto3.client("dynamodb").query(
    TableName="bid_aggregates",
    KeyConditionExpression="PK = :pk AND begins_with(SK, :sk)",
    ExpressionAttributeValues={":pk": {"S": f"SLOT#{sys.argv[1]}"}, ":sk": {"S": "WINDOW#"}},
)["Items"]
print(json.dumps([{
    "bids": item["bids"]["N"],
    "duplicates": item["duplicates"]["N"],
    "amounts": [candidate["M"]["amount"]["N"] for candidate in item["candidates"]["L"]],
    "state": item["state"]["S"],
} for item in found]))
