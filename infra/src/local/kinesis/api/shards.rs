//! Shards: listed with their filters, split, merged, counted.

use serde_json::{Value, json};

use super::change;
use super::input::{Input, hash_key, stream_arn};
use super::number::sequence;
use super::token::Listing;
use crate::local::kinesis::frame::Op;
use crate::local::kinesis::model::{Refusal, Reshard, Shard, ShardId, Stream, refuse};
use crate::local::kinesis::shared::Shared;

/// Shards of one page (Kinesis API reference, `ListShards`): a higher number is taken as this one.
const PAGE_SHARDS_MAX: usize = 1_000;

pub(super) fn describe_shard(shard: &Shard, made_ms: u64) -> Value {
    let mut range = json!({ "StartingSequenceNumber": sequence(shard.first, made_ms) });
    if let Some(closing) = shard.closed {
        range["EndingSequenceNumber"] = json!(sequence(closing.sequence, made_ms));
    }
    let mut value = json!({ "ShardId": shard.id.to_string(), "SequenceNumberRange": range, "HashKeyRange": {
        "StartingHashKey": shard.range.start.to_string(), "EndingHashKey": shard.range.end.to_string() } });
    for (parent, field) in shard.parents.iter().zip(["ParentShardId", "AdjacentParentShardId"]) {
        value[field] = json!(parent.to_string());
    }
    value
}

/// Which shards are listed.
#[derive(Clone, Copy, Debug)]
enum Filter {
    All,
    After(ShardId),
    Open,
    /// Those that no shard still kept was the parent of: what was open at the horizon.
    Eldest,
    OpenAt(u64),
    OpenFrom(u64),
}

impl Filter {
    fn parse(filter: Option<&Input>) -> Result<Self, Refusal> {
        let Some(filter) = filter else { return Ok(Self::All) };
        let kind = filter.required("Type")?;
        let at = || match filter.time_ms("Timestamp")? {
            Some(ms) => Ok(ms),
            None => refuse("InvalidArgumentException", format!("{kind} needs a Timestamp")),
        };
        let timed = matches!(kind, "AT_TIMESTAMP" | "FROM_TIMESTAMP");
        if filter.has("Timestamp") && !timed || filter.has("ShardId") && kind != "AFTER_SHARD_ID" {
            return refuse(
                "InvalidArgumentException",
                format!("a field of the filter does not go with {kind}"),
            );
        }
        Ok(match kind {
            "AFTER_SHARD_ID" if !filter.has("ShardId") => {
                return refuse("InvalidArgumentException", "AFTER_SHARD_ID needs a ShardId");
            }
            "AFTER_SHARD_ID" => Self::After(filter.shard("ShardId")?),
            "AT_TRIM_HORIZON" => Self::Eldest,
            "FROM_TRIM_HORIZON" => Self::All,
            "AT_LATEST" => Self::Open,
            "AT_TIMESTAMP" => Self::OpenAt(at()?),
            "FROM_TIMESTAMP" => Self::OpenFrom(at()?),
            other => return refuse("ValidationException", format!("Type {other} does not exist")),
        })
    }

    /// A time before the horizon is taken as the horizon.
    fn corrected(self, horizon_ms: u64) -> Self {
        match self {
            Self::OpenAt(ms) => Self::OpenAt(ms.max(horizon_ms)),
            Self::OpenFrom(ms) => Self::OpenFrom(ms.max(horizon_ms)),
            other => other,
        }
    }

    fn lists(self, shard: &Shard, stream: &Stream) -> bool {
        let open_at_or_after = |ms: u64| shard.closed.is_none_or(|closing| closing.at_ms >= ms);
        match self {
            Self::All => true,
            Self::After(id) => shard.id > id,
            Self::Open => shard.closed.is_none(),
            Self::Eldest => !shard.parents.iter().any(|parent| stream.shards.contains_key(parent)),
            Self::OpenAt(ms) => shard.opened_ms <= ms && open_at_or_after(ms),
            Self::OpenFrom(ms) => open_at_or_after(ms),
        }
    }
}

/// What a first call or a token says is to be listed.
struct Wanted {
    stream: String,
    created_ms: Option<u64>,
    after: Option<ShardId>,
    filter: Value,
}

impl Wanted {
    fn parse(input: &Input, now_ms: u64) -> Result<Self, Refusal> {
        let Some(token) = input.text("NextToken")? else {
            let after = input.has("ExclusiveStartShardId").then(|| input.shard("ExclusiveStartShardId"));
            let created_ms = input.time_ms("StreamCreationTimestamp")?;
            let filter = input.raw("ShardFilter");
            return Ok(Self { stream: input.stream()?, created_ms, after: after.transpose()?, filter });
        };
        let beside = ["StreamName", "StreamARN", "StreamCreationTimestamp", "ExclusiveStartShardId"];
        if let Some(field) = beside.into_iter().find(|field| input.has(field)) {
            return refuse(
                "InvalidArgumentException",
                format!("NextToken and {field} cannot be given together"),
            );
        }
        let Listing { stream, created_ms, after, filter, .. } = Listing::decode(token, now_ms)?;
        Ok(Self { stream, created_ms: Some(created_ms), after: Some(after.parse()?), filter })
    }
}

pub(super) fn list(shared: &Shared, input: &Input) -> Result<Value, Refusal> {
    let most = input.most("MaxResults", 1..=10_000, 1_000)?.min(PAGE_SHARDS_MAX);
    let wanted = Wanted::parse(input, shared.now_ms())?;
    let filter = Filter::parse(Input::of(&wanted.filter)?.as_ref())?;
    let mut engine = shared.engine();
    let given_ms = shared.now_ms();
    let stream = engine.stream(&wanted.stream, given_ms)?;
    if wanted.created_ms.is_some_and(|created_ms| created_ms != stream.created_ms) {
        return refuse(
            "ResourceNotFoundException",
            format!("Stream {} of that creation time is not there", wanted.stream),
        );
    }
    let filter = filter.corrected(stream.horizon_ms(given_ms));
    let listed = stream.shards.values().filter(|shard| wanted.after.is_none_or(|after| shard.id > after));
    let mut shards: Vec<&Shard> = listed.filter(|shard| filter.lists(shard, stream)).take(most + 1).collect();
    let more = shards.len() > most;
    shards.truncate(most);
    let described = shards.iter().map(|shard| describe_shard(shard, stream.created_ms));
    let mut answer = json!({ "Shards": described.collect::<Vec<_>>() });
    if let Some(last) = shards.last().filter(|_| more) {
        let (created_ms, after) = (stream.created_ms, last.id.to_string());
        let Wanted { stream, filter, .. } = wanted;
        answer["NextToken"] = json!(Listing { stream, created_ms, after, filter, given_ms }.encode());
    }
    Ok(answer)
}

pub(super) fn split(shared: &Shared, input: &Input) -> Result<Value, Refusal> {
    let shard = input.shard("ShardToSplit")?;
    let at = hash_key(input.required("NewStartingHashKey")?, "NewStartingHashKey")?;
    change(shared, &input.stream()?, Op::Reshard(Reshard::Split { shard, at }))
}

pub(super) fn merge(shared: &Shared, input: &Input) -> Result<Value, Refusal> {
    let (shard, other) = (input.shard("ShardToMerge")?, input.shard("AdjacentShardToMerge")?);
    change(shared, &input.stream()?, Op::Reshard(Reshard::Merge { shard, other }))
}

pub(super) fn update_count(shared: &Shared, input: &Input) -> Result<Value, Refusal> {
    let name = input.stream()?;
    if input.required("ScalingType")? != "UNIFORM_SCALING" {
        return refuse("ValidationException", "ScalingType must be UNIFORM_SCALING");
    }
    let Some(target) = input.whole("TargetShardCount", 1..=u64::from(u32::MAX))? else {
        return refuse("ValidationException", "TargetShardCount is missing");
    };
    let target = u32::try_from(target).unwrap_or(u32::MAX);
    let current = shared.engine().stream(&name, shared.now_ms())?.open_shards().count();
    change(shared, &name, Op::Reshard(Reshard::Count { target }))?;
    Ok(json!({ "StreamName": name, "StreamARN": stream_arn(&name),
        "CurrentShardCount": current, "TargetShardCount": target }))
}
