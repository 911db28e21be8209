//! Consumers with a share of their own of every shard, and their subscriptions.

use serde_json::{Value, json};

use super::change;
use super::get::{Asked, DRY_RUN};
use super::input::{Input, name_of, stream_arn, stream_of_arn};
use super::number::seconds;
use super::token::Listing;
use crate::local::kinesis::frame::Op;
use crate::local::kinesis::model::{Consumer, Refusal, refuse};
use crate::local::kinesis::shared::Shared;
use crate::local::kinesis::subscriptions::Seat;

/// What names a consumer: its stream, its name, and the second of its registration when its ARN was given.
struct Named {
    stream: String,
    consumer: String,
    created_s: Option<u64>,
}

fn consumer_arn(stream: &str, name: &str, consumer: Consumer) -> String {
    format!("{}/consumer/{name}:{}", stream_arn(stream), consumer.created_ms / 1_000)
}

/// A consumer as `<stream ARN>/consumer/<name>:<seconds>`.
fn of_arn(arn: &str) -> Result<Named, Refusal> {
    let parts = arn.split_once("/consumer/").and_then(|(stream, rest)| {
        let (name, seconds) = rest.split_once(':')?;
        Some((stream, name, seconds.parse().ok()?))
    });
    match parts {
        Some((stream, name, seconds)) => Ok(Named {
            stream: stream_of_arn(stream)?.to_owned(),
            consumer: name_of(name, "ConsumerARN")?,
            created_s: Some(seconds),
        }),
        None => refuse("ValidationException", format!("ConsumerARN {arn} is not the ARN of a consumer")),
    }
}

/// The consumer that a request names by its ARN, or by its stream's ARN and its name.
fn named(input: &Input) -> Result<Named, Refusal> {
    match (input.text("ConsumerARN")?, input.has("StreamARN") && input.has("ConsumerName")) {
        (Some(arn), _) => of_arn(arn),
        (None, true) => Ok(Named {
            stream: input.stream()?,
            consumer: name_of(input.required("ConsumerName")?, "ConsumerName")?,
            created_s: None,
        }),
        (None, false) => refuse(
            "InvalidArgumentException",
            "ConsumerARN, or StreamARN and ConsumerName, must name the consumer",
        ),
    }
}

fn facts(stream: &str, name: &str, consumer: Consumer, status: &str) -> Value {
    json!({ "ConsumerName": name, "ConsumerARN": consumer_arn(stream, name, consumer),
        "ConsumerStatus": status, "ConsumerCreationTimestamp": seconds(consumer.created_ms) })
}

pub(super) fn register(shared: &Shared, input: &Input) -> Result<Value, Refusal> {
    input.required("StreamARN")?;
    let name = input.stream()?;
    let consumer = name_of(input.required("ConsumerName")?, "ConsumerName")?;
    change(shared, &name, Op::Register { consumer: consumer.clone() })?;
    let made = shared.engine().stream(&name, shared.now_ms())?.consumer(&consumer, None)?;
    Ok(json!({ "Consumer": facts(&name, &consumer, made, "CREATING") }))
}

pub(super) fn deregister(shared: &Shared, input: &Input) -> Result<Value, Refusal> {
    let Named { stream, consumer, created_s } = named(input)?;
    shared.engine().stream(&stream, shared.now_ms())?.consumer(&consumer, created_s)?;
    change(shared, &stream, Op::Deregister { consumer })
}

pub(super) fn describe(shared: &Shared, input: &Input) -> Result<Value, Refusal> {
    let Named { stream, consumer, created_s } = named(input)?;
    let found = shared.engine().stream(&stream, shared.now_ms())?.consumer(&consumer, created_s)?;
    let mut description = facts(&stream, &consumer, found, "ACTIVE");
    description["StreamARN"] = json!(stream_arn(&stream));
    Ok(json!({ "ConsumerDescription": description }))
}

pub(super) fn list(shared: &Shared, input: &Input) -> Result<Value, Refusal> {
    let most = input.most("MaxResults", 1..=100, 100)?;
    let now_ms = shared.now_ms();
    let token = input.text("NextToken")?.map(|text| Listing::decode(text, now_ms)).transpose()?;
    if token.is_some() && input.has("StreamCreationTimestamp") {
        return refuse(
            "InvalidArgumentException",
            "NextToken and StreamCreationTimestamp cannot be given together",
        );
    }
    let name = input.stream()?;
    let created_ms =
        input.time_ms("StreamCreationTimestamp")?.or(token.as_ref().map(|token| token.created_ms));
    let after = token.map(|token| token.after).unwrap_or_default();
    let mut engine = shared.engine();
    let stream = engine.stream(&name, now_ms)?;
    if created_ms.is_some_and(|created_ms| created_ms != stream.created_ms) {
        return refuse(
            "ResourceNotFoundException",
            format!("Stream {name} of that creation time is not there"),
        );
    }
    let later = stream.consumers.iter().filter(|(consumer, _)| **consumer > after);
    let mut listed: Vec<(&String, Consumer)> = later.take(most + 1).map(|(n, c)| (n, *c)).collect();
    let more = listed.len() > most;
    listed.truncate(most);
    let list: Vec<Value> =
        listed.iter().map(|(consumer, found)| facts(&name, consumer, *found, "ACTIVE")).collect();
    let mut answer = json!({ "Consumers": list });
    if let Some((last, _)) = listed.last().filter(|_| more) {
        let (created_ms, after) = (stream.created_ms, (*last).clone());
        let token = Listing { stream: name, created_ms, after, filter: Value::Null, given_ms: now_ms };
        answer["NextToken"] = json!(token.encode());
    }
    Ok(answer)
}

/// Begins a subscription: its seat, its number there, and the number after which it reads
/// with the time at which the stream was made.
pub(crate) fn subscribe(shared: &Shared, body: &[u8]) -> Result<(Seat, u64, (u64, u64)), Refusal> {
    let input = Input::parse(body)?;
    let Named { stream, consumer, created_s } = of_arn(input.required("ConsumerARN")?)?;
    let shard = input.shard("ShardId")?;
    let Some(position) = input.inner("StartingPosition")? else {
        return refuse("ValidationException", "StartingPosition is missing");
    };
    let asked = Asked::parse(&position, "Type", "SequenceNumber")?;
    let dry_run = input.flag(DRY_RUN)?;
    let mut engine = shared.engine();
    let now_ms = shared.now_ms();
    let target = engine.live(&stream, now_ms)?;
    target.consumer(&consumer, created_s)?;
    let after = target.position(shard, asked.of(target)?, now_ms)?;
    let made_ms = target.created_ms;
    if dry_run {
        return Err(engine.dry_run(&stream, now_ms));
    }
    let seat = Seat { stream, consumer, shard };
    let number = engine.subscriptions.begin(&seat, now_ms)?;
    Ok((seat, number, (after, made_ms)))
}
