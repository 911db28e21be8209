//! Ours beside `kinesis-local`.

use std::time::{Duration, Instant, SystemTime};

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::ProvideErrorMetadata;
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::primitives::{Blob, DateTime};
use aws_sdk_kinesis::types::{
    PutRecordsRequestEntry, ScalingType, Shard, ShardFilter, ShardFilterType, ShardIteratorType, StreamStatus,
};
use infra::local::kinesis::{KinesisOptions, Limits, start};
use runtime::clients::Clients;

use super::{Record, compare, kinesis_differences, peers};

const STREAM: &str = "bids";
const FIRST: &str = "shardId-000000000000";
const SECOND: &str = "shardId-000000000001";

fn data(text: &str) -> Blob {
    Blob::new(text.as_bytes())
}

async fn active(client: &Client, name: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = client.describe_stream_summary().stream_name(name).send().await.unwrap();
        if *answer.stream_description_summary().unwrap().stream_status() == StreamStatus::Active {
            return;
        }
        assert!(Instant::now() < deadline, "the stream does not become active");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn number(id: &str) -> u32 {
    id.trim_start_matches("shardId-").parse().unwrap()
}

/// A shard with everything that does not depend on time.
fn shard(one: &Shard) -> String {
    let parents: Vec<u32> =
        [one.parent_shard_id(), one.adjacent_parent_shard_id()].into_iter().flatten().map(number).collect();
    let range = one.hash_key_range().unwrap();
    let closed = one.sequence_number_range().unwrap().ending_sequence_number().is_some();
    let state = if closed { "closed" } else { "open" };
    let (low, high) = (range.starting_hash_key(), range.ending_hash_key());
    format!("{} {state} of {parents:?} {low}-{high}", number(one.shard_id()))
}

fn numbers(shards: &[Shard]) -> String {
    format!("{:?}", shards.iter().map(|shard| number(shard.shard_id())).collect::<Vec<_>>())
}

fn page(answer: &GetRecordsOutput) -> String {
    let text = |blob: &Blob| String::from_utf8_lossy(blob.as_ref()).into_owned();
    let records: Vec<String> = answer.records().iter().map(|record| text(record.data())).collect();
    let next = if answer.next_shard_iterator().is_some() { "goes on" } else { "ended" };
    let children: Vec<String> = answer
        .child_shards()
        .iter()
        .map(|child| {
            format!(
                "{} of {:?}",
                number(child.shard_id()),
                child.parent_shards().iter().map(|id| number(id)).collect::<Vec<_>>()
            )
        })
        .collect();
    format!("{records:?} {next} {children:?}")
}

async fn streams(client: &Client, record: &mut Record) {
    let create =
        |name: &str, shards: i32| client.create_stream().stream_name(name).shard_count(shards).send();
    record.note("create", create(STREAM, 2).await, |_| "made".into());
    active(client, STREAM).await;
    record.note("create again", create(STREAM, 2).await, |_| "made".into());
    record.note("create without shards", create("other", 0).await, |_| "made".into());
    record.note("create with a bad name", create("a stream", 1).await, |_| "made".into());
    let described = client.describe_stream().stream_name(STREAM).send().await;
    record.note("describe", described, |answer| {
        let stream = answer.stream_description.unwrap();
        let (status, hours) = (stream.stream_status(), stream.retention_period_hours());
        format!("{status} {hours} h {:?}", stream.shards().iter().map(shard).collect::<Vec<_>>())
    });
    let described = client.describe_stream().stream_name(STREAM).limit(1).send().await;
    record.note("describe one shard", described, |answer| {
        let stream = answer.stream_description.unwrap();
        format!("{} more {}", numbers(stream.shards()), stream.has_more_shards())
    });
    let described = client.describe_stream().stream_name(STREAM).exclusive_start_shard_id(FIRST).send().await;
    record.note("describe after the first", described, |answer| {
        numbers(answer.stream_description.unwrap().shards())
    });
    record.note(
        "describe a missing stream",
        client.describe_stream().stream_name("none").send().await,
        |_| "".into(),
    );
    let summary = client.describe_stream_summary().stream_name(STREAM).send().await;
    record.note("summary", summary, |answer| {
        let stream = answer.stream_description_summary.unwrap();
        let (name, open) = (stream.stream_name(), stream.open_shard_count());
        format!("{name} {} {open} open {:?} consumers", stream.stream_arn(), stream.consumer_count())
    });
    let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/bids";
    let summary = client.describe_stream_summary().stream_arn(arn).send().await;
    record.note("summary by arn", summary, |answer| {
        answer.stream_description_summary.unwrap().stream_name().to_owned()
    });
    let list = client.list_streams().send().await;
    record.note("list", list, |answer| {
        format!("{:?} more {}", answer.stream_names(), answer.has_more_streams())
    });
    let after = client.list_streams().exclusive_start_stream_name(STREAM).send().await;
    record.note("list after the last", after, |answer| format!("{:?}", answer.stream_names()));
}

async fn puts(client: &Client, record: &mut Record) {
    let put =
        |key: &str, text: &str| client.put_record().stream_name(STREAM).partition_key(key).data(data(text));
    let place = |answer: aws_sdk_kinesis::operation::put_record::PutRecordOutput| {
        format!("shard {} and {} digits", number(answer.shard_id()), answer.sequence_number().len())
    };
    record.note("put", put("a", "one").explicit_hash_key("0").send().await, place);
    record.note("put by key", put("a", "two").send().await, place);
    let highest = u128::MAX.to_string();
    record.note("put at the highest key", put("a", "three").explicit_hash_key(&highest).send().await, place);
    let beyond = "340282366920938463463374607431768211456";
    record.note("put beyond the highest key", put("a", "x").explicit_hash_key(beyond).send().await, place);
    record.note("put at a key of letters", put("a", "x").explicit_hash_key("abc").send().await, place);
    record.note(
        "put at a key with a zero before",
        put("a", "x").explicit_hash_key("007").send().await,
        place,
    );
    record.note("put without key", put("", "x").send().await, place);
    record.note(
        "put with a key of 256",
        put(&"k".repeat(256), "four").explicit_hash_key("0").send().await,
        place,
    );
    record.note("put with a key of 257", put(&"k".repeat(257), "x").send().await, place);
    let missing = client.put_record().stream_name("none").partition_key("a").data(data("x")).send().await;
    record.note("put into a missing stream", missing, place);
    let large = Blob::new(vec![1; 1_048_576 + 1]);
    let large = client.put_record().stream_name(STREAM).partition_key("a").data(large).send().await;
    record.note("put more than 1 MiB", large, place);
    let entry = |key: &str, hash: Option<&str>| {
        let entry = PutRecordsRequestEntry::builder().partition_key(key).data(data(key));
        entry.set_explicit_hash_key(hash.map(str::to_owned)).build().unwrap()
    };
    let puts = |entries: Vec<PutRecordsRequestEntry>| {
        client.put_records().stream_name(STREAM).set_records(Some(entries)).send()
    };
    let places = |answer: aws_sdk_kinesis::operation::put_records::PutRecordsOutput| {
        let shards: Vec<_> = answer.records().iter().map(|one| one.shard_id().map(number)).collect();
        format!("{:?} failed, {shards:?}", answer.failed_record_count())
    };
    let three = vec![entry("é\"", Some("0")), entry("b", None), entry("c", Some(&highest))];
    record.note("put three", puts(three).await, places);
    record.note("put none", puts(Vec::new()).await, places);
    record.note("put 501", puts((0..501).map(|_| entry("b", None)).collect()).await, |_| "taken".into());
    record.note("put one bad of two", puts(vec![entry("b", None), entry("b", Some(beyond))]).await, places);
}

async fn reads(client: &Client, record: &mut Record) {
    let iterator = |shard: &str, kind: ShardIteratorType| {
        client.get_shard_iterator().stream_name(STREAM).shard_id(shard).shard_iterator_type(kind)
    };
    let read = |iterator: Option<String>| client.get_records().set_shard_iterator(iterator);
    let first = iterator(FIRST, ShardIteratorType::TrimHorizon).send().await.unwrap().shard_iterator;
    let answer = read(first).send().await.unwrap();
    record.say("read from the trim horizon", page(&answer));
    record.say(
        "keys",
        format!("{:?}", answer.records().iter().map(|one| one.partition_key()).collect::<Vec<_>>()),
    );
    record.say("millis behind", format!("{:?}", answer.millis_behind_latest()));
    let at = answer.records()[1].sequence_number().to_owned();
    let stored = *answer.records()[0].approximate_arrival_timestamp().unwrap();
    for (call, kind) in [
        ("read at a number", ShardIteratorType::AtSequenceNumber),
        ("read after a number", ShardIteratorType::AfterSequenceNumber),
    ] {
        let from = iterator(FIRST, kind).starting_sequence_number(&at).send().await.unwrap().shard_iterator;
        record.note(call, read(from).send().await, |answer| page(&answer));
    }
    let from = iterator(FIRST, ShardIteratorType::Latest).send().await.unwrap().shard_iterator;
    record.note("read from the tip", read(from).send().await, |answer| page(&answer));
    let from = iterator(FIRST, ShardIteratorType::AtTimestamp)
        .timestamp(stored)
        .send()
        .await
        .unwrap()
        .shard_iterator;
    record.note("read at a time", read(from).limit(1).send().await, |answer| page(&answer));
    let future = DateTime::from(SystemTime::now() + Duration::from_secs(3_600));
    let from = iterator(FIRST, ShardIteratorType::AtTimestamp).timestamp(future).send().await;
    record.note("iterator in the future", from, |_| "given".into());
    record.note(
        "iterator without a time",
        iterator(FIRST, ShardIteratorType::AtTimestamp).send().await,
        |_| "given".into(),
    );
    record.note(
        "iterator without a number",
        iterator(FIRST, ShardIteratorType::AtSequenceNumber).send().await,
        |_| "given".into(),
    );
    let wrong =
        iterator(FIRST, ShardIteratorType::AtSequenceNumber).starting_sequence_number("12").send().await;
    record.note("iterator at a number of no stream", wrong, |_| "given".into());
    let wrong = iterator("shardId-000000000077", ShardIteratorType::Latest).send().await;
    record.note("iterator of a missing shard", wrong, |_| "given".into());
    record.note("read with garbage", read(Some("garbage".into())).send().await, |_| "read".into());
    let from = iterator(FIRST, ShardIteratorType::TrimHorizon).send().await.unwrap().shard_iterator;
    record.note("read none", read(from.clone()).limit(0).send().await, |answer| page(&answer));
    record.note("read 10,001", read(from.clone()).limit(10_001).send().await, |_| "read".into());
    record.note("read two", read(from).limit(2).send().await, |answer| page(&answer));
}

async fn reshards(client: &Client, record: &mut Record) {
    let split = |shard: &str, at: u128| {
        client
            .split_shard()
            .stream_name(STREAM)
            .shard_to_split(shard)
            .new_starting_hash_key(at.to_string())
            .send()
    };
    let merge = |one: &str, two: &str| {
        client.merge_shards().stream_name(STREAM).shard_to_merge(one).adjacent_shard_to_merge(two).send()
    };
    record.note("split outside the range", split(FIRST, u128::MAX - 5).await, |_| "split".into());
    record.note("split a missing shard", split("shardId-000000000077", 5).await, |_| "split".into());
    record.note("split", split(FIRST, 1 << 126).await, |_| "split".into());
    active(client, STREAM).await;
    record.note("split a closed shard", split(FIRST, 1 << 125).await, |_| "split".into());
    record.note("merge a closed shard", merge(FIRST, SECOND).await, |_| "merged".into());
    record.note("merge shards apart", merge("shardId-000000000002", SECOND).await, |_| "merged".into());
    record.note("merge", merge("shardId-000000000002", "shardId-000000000003").await, |_| "merged".into());
    active(client, STREAM).await;
    let all = client.list_shards().stream_name(STREAM).send().await;
    record
        .note("shards", all, |answer| format!("{:?}", answer.shards().iter().map(shard).collect::<Vec<_>>()));
    let iterator = client.get_shard_iterator().stream_name(STREAM).shard_id(FIRST);
    let from =
        iterator.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.unwrap().shard_iterator;
    let answer = client.get_records().set_shard_iterator(from).limit(1).send().await.unwrap();
    record.say("read a closed shard in part", page(&answer));
    let answer = client.get_records().set_shard_iterator(answer.next_shard_iterator).send().await;
    record.note("read a closed shard to its end", answer, |answer| page(&answer));
}

async fn lists(client: &Client, record: &mut Record) {
    let first = client.list_shards().stream_name(STREAM).max_results(2).send().await.unwrap();
    record.say("two shards", numbers(first.shards()));
    let token = first.next_token().unwrap();
    let rest = client.list_shards().next_token(token).send().await;
    record.note("the rest", rest, |answer| {
        format!("{} more {}", numbers(answer.shards()), answer.next_token.is_some())
    });
    let both = client.list_shards().stream_name(STREAM).next_token(token).send().await;
    record.note("token and name", both, |answer| numbers(answer.shards()));
    record.note("a garbage token", client.list_shards().next_token("x").send().await, |answer| {
        numbers(answer.shards())
    });
    let filtered = |kind: ShardFilterType, shard: Option<&str>, time: Option<SystemTime>| {
        let filter = ShardFilter::builder().r#type(kind).set_shard_id(shard.map(str::to_owned));
        let filter = filter.set_timestamp(time.map(DateTime::from)).build().unwrap();
        client.list_shards().stream_name(STREAM).shard_filter(filter).send()
    };
    // The other engine drops a time's milliseconds, so only times far away are the same to both.
    let hour = Duration::from_secs(3_600);
    let (past, future) = (SystemTime::now() - hour, SystemTime::now() + hour);
    for (call, kind, shard, time) in [
        ("shards at the tip", ShardFilterType::AtLatest, None, None),
        ("shards at the horizon", ShardFilterType::AtTrimHorizon, None, None),
        ("shards from the horizon", ShardFilterType::FromTrimHorizon, None, None),
        ("shards after one", ShardFilterType::AfterShardId, Some(SECOND), None),
        ("shards after none", ShardFilterType::AfterShardId, None, None),
        ("shards at a time to come", ShardFilterType::AtTimestamp, None, Some(future)),
        ("shards from a time long past", ShardFilterType::FromTimestamp, None, Some(past)),
        ("shards at no time", ShardFilterType::AtTimestamp, None, None),
    ] {
        record.note(call, filtered(kind, shard, time).await, |answer| numbers(answer.shards()));
    }
    let count = |target: i32| {
        let update = client.update_shard_count().stream_name(STREAM).target_shard_count(target);
        update.scaling_type(ScalingType::UniformScaling).send()
    };
    record.note("count above twice", count(5).await, |_| "counted".into());
    record.note("count of none", count(0).await, |_| "counted".into());
    record.note("count", count(4).await, |answer| {
        format!("{:?} to {:?}", answer.current_shard_count(), answer.target_shard_count())
    });
    active(client, STREAM).await;
    let open = filtered(ShardFilterType::AtLatest, None, None).await;
    record.note("open shards after it", open, |answer| format!("{} open", answer.shards().len()));
}

async fn rest(client: &Client, record: &mut Record) {
    let tag =
        |key: String, value: &str| client.add_tags_to_stream().stream_name(STREAM).tags(key, value).send();
    record.note("tag", tag("team".into(), "ops").await, |_| "tagged".into());
    record.note("tag with a key of 129", tag("k".repeat(129), "x").await, |_| "tagged".into());
    record.note("tag of aws", tag("aws:x".into(), "x").await, |_| "tagged".into());
    let many = (0..51).map(|index| (index.to_string(), "x".to_owned())).collect();
    let many = client.add_tags_to_stream().stream_name(STREAM).set_tags(Some(many)).send().await;
    record.note("51 tags", many, |_| "tagged".into());
    record.note(
        "untag",
        client.remove_tags_from_stream().stream_name(STREAM).tag_keys("none").send().await,
        |_| "untagged".into(),
    );
    let tags = client.list_tags_for_stream().stream_name(STREAM).send().await;
    record.note("tags", tags, |answer| {
        let tags: Vec<_> = answer.tags().iter().map(|tag| (tag.key(), tag.value())).collect();
        format!("{tags:?} more {}", answer.has_more_tags())
    });
    let increase = |hours: i32| {
        client.increase_stream_retention_period().stream_name(STREAM).retention_period_hours(hours).send()
    };
    let decrease = |hours: i32| {
        client.decrease_stream_retention_period().stream_name(STREAM).retention_period_hours(hours).send()
    };
    record.note("keep longer", increase(48).await, |_| "kept".into());
    active(client, STREAM).await;
    record.note("keep longer for less", increase(25).await, |_| "kept".into());
    record.note("keep too long", increase(8_761).await, |_| "kept".into());
    record.note("keep shorter for more", decrease(72).await, |_| "kept".into());
    record.note("keep too short", decrease(23).await, |_| "kept".into());
    record.note("keep shorter", decrease(24).await, |_| "kept".into());
    active(client, STREAM).await;

    let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/bids";
    let register = |name: &str| client.register_stream_consumer().stream_arn(arn).consumer_name(name).send();
    record.note("register", register("reader").await, |answer| {
        let consumer = answer.consumer.unwrap();
        let arn = consumer.consumer_arn().rsplit_once(':').unwrap().0.to_owned();
        format!("{} {} {arn}", consumer.consumer_name(), consumer.consumer_status())
    });
    record.note("register again", register("reader").await, |_| "registered".into());
    let describe = client.describe_stream_consumer().stream_arn(arn).consumer_name("reader").send().await;
    record.note("describe a consumer", describe, |answer| {
        answer.consumer_description.unwrap().consumer_name().to_owned()
    });
    let describe = client.describe_stream_consumer().stream_arn(arn).consumer_name("none").send().await;
    record.note("describe a missing consumer", describe, |_| "described".into());
    let list = client.list_stream_consumers().stream_arn(arn).send().await;
    record.note("list consumers", list, |answer| format!("{}", answer.consumers().len()));
    let deregister = || client.deregister_stream_consumer().stream_arn(arn).consumer_name("reader").send();
    let deadline = Instant::now() + Duration::from_secs(20);
    // The other engine takes a moment until a consumer can go.
    let mut outcome = deregister().await;
    while outcome.as_ref().err().and_then(|error| error.code()) == Some("ResourceInUseException") {
        assert!(Instant::now() < deadline, "the consumer does not become active");
        tokio::time::sleep(Duration::from_millis(20)).await;
        outcome = deregister().await;
    }
    record.note("deregister", outcome, |_| "gone".into());
    let delete = |name: &str| client.delete_stream().stream_name(name).enforce_consumer_deletion(true).send();
    record.note("delete a missing stream", delete("none").await, |_| "deleted".into());
    client.create_stream().stream_name("short-lived").shard_count(1).send().await.unwrap();
    active(client, "short-lived").await;
    record.note("delete", delete("short-lived").await, |_| "deleted".into());
    register("keeper").await.unwrap();
    // Last, because the other engine refuses this and deletes the stream all the same.
    let kept = client.delete_stream().stream_name(STREAM).send().await;
    record.note("delete with consumers", kept, |_| "deleted".into());
}

async fn scenario(endpoint_url: &str) -> Record {
    let client = Clients::local(endpoint_url, endpoint_url).await.kinesis;
    let mut record = Record::default();
    streams(&client, &mut record).await;
    puts(&client, &mut record).await;
    reads(&client, &mut record).await;
    reshards(&client, &mut record).await;
    lists(&client, &mut record).await;
    rest(&client, &mut record).await;
    record
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_kinesis_answers_as_another_engine_does_apart_from_what_is_listed() {
    let peer = tokio::task::spawn_blocking(peers::kinesis_local).await.unwrap();
    let options = KinesisOptions {
        limits: Limits::Off,
        settle: Duration::from_millis(10),
        ..KinesisOptions::default()
    };
    let engine = start(options).await.unwrap();
    let (ours, theirs) = (scenario(&engine.endpoint_url()).await, scenario(&peer.endpoint_url).await);
    engine.shutdown().await;
    compare(&ours, &theirs, &kinesis_differences::KNOWN);
}
