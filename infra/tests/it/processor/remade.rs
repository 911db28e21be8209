//! A stream that is deleted, and one that is made again under its name: leases of the one before are not taken for
//! places in it.

use schemas::time::Millis;

use super::*;

const QUICK: &str = "--failover-ms 2000 --look-ms 200";

impl World {
    async fn created(&self) -> Millis {
        let (client, stream) = (&self.place.clients.kinesis, &self.place.names.stream);
        let summary = client.describe_stream_summary().stream_name(stream).send().await.unwrap();
        let created = summary.stream_description_summary.unwrap().stream_creation_timestamp;
        Millis(created.to_millis().unwrap().try_into().unwrap())
    }

    async fn delete_stream(&self) {
        let (client, stream) = (&self.place.clients.kinesis, &self.place.names.stream);
        client.delete_stream().stream_name(stream).send().await.unwrap();
    }

    /// Sets an attribute of a lease by hand.
    pub(super) async fn set(&self, shard: &str, name: &str, value: AttributeValue) {
        let update = self.place.clients.dynamodb.update_item().table_name(&self.place.names.lease_table);
        let update = update.key("leaseKey", AttributeValue::S(shard.to_owned()));
        let update = update.update_expression("SET #name = :value").expression_attribute_names("#name", name);
        update.expression_attribute_values(":value", value).send().await.unwrap();
    }

    /// Removes an attribute of a lease.
    async fn unset(&self, shard: &str, name: &str) {
        let update = self.place.clients.dynamodb.update_item().table_name(&self.place.names.lease_table);
        let update = update.key("leaseKey", AttributeValue::S(shard.to_owned()));
        let update = update.update_expression("REMOVE #name").expression_attribute_names("#name", name);
        update.send().await.unwrap();
    }

    /// Bids of the aggregates of windows from a time on.
    async fn counted_since(&self, start: Millis) -> u64 {
        let items = self.items(&self.place.names.table).await;
        let since = format!("WINDOW#{start}");
        let aggregates = items.iter().filter(|((pk, sk), _)| pk.starts_with("SLOT#") && *sk >= since);
        aggregates.map(|(_, item)| item["bids"].as_n().unwrap().parse::<u64>().unwrap()).sum()
    }
}

async fn ends_with(process: Process, words: &str) {
    let (process, went_well) = tokio::time::timeout(DEADLINE, process.ended()).await.unwrap();
    let log = std::fs::read_to_string(&process.log).unwrap();
    assert!(!went_well && log.contains(words), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_of_a_stream_that_is_gone_are_not_taken_for_places_in_the_next() {
    let world = World::start().await;
    let ledger = postgres::start(postgres::PostgresOptions::temporary()).await.unwrap();
    let connection = Ledger::stand_in(&ledger.database_url());
    provision::ledger(&connection, &[], &[]).await.unwrap();
    let made = world.created().await;
    let (live, paused) = (world.process("live", QUICK), world.process("paused", QUICK));
    world.held("live", 2, DEADLINE).await;
    world.held("paused", 2, DEADLINE).await;
    world.load(3, 200).await;
    world.wait_until_closed().await;

    paused.signal(Signal::STOP);
    world.delete_stream().await;
    let deleted = Instant::now();
    ends_with(live, "ResourceNotFoundException").await;
    assert!(deleted.elapsed() < Duration::from_secs(10), "it waited for its grace period");
    let places = async || world.rows().await.into_iter().map(|row| (row.shard_id, row.checkpoint)).collect();
    let before: Vec<(_, Checkpoint)> = places().await;
    assert!(before.iter().all(|(_, place)| matches!(place, Checkpoint::After(_))), "{before:?}");
    assert!(world.rows().await.iter().all(|row| row.stream_created == Some(made)));

    provision::provision(&world.place, Some(SHARDS), &agreed()).await.unwrap();
    let again = world.created().await;
    assert!(again > made);
    // Some of them lie in the window of which the stream before had a part.
    let at_once = world.load(3, 200).await;
    paused.signal(Signal::CONT);
    ends_with(paused, "Remade").await;
    assert_eq!(places().await, before, "the one that slept changed nothing");
    assert_eq!(world.leases(&[]).await.unwrap(), Covered::Gaps);
    let rewind = world.leases(&["rewind", "shardId-000000000001", "--to", "TRIM_HORIZON"]).await;
    assert!(rewind.unwrap_err().to_string().contains("leases forget"));
    ends_with(world.process("late", QUICK), "Former").await;
    assert_eq!(places().await, before, "nor did one that came later");

    world.leases(&["forget"]).await.unwrap();
    let begun =
        |row: &Lease| (row.checkpoint == Checkpoint::TrimHorizon, row.stream_created) == (true, Some(again));
    assert!(world.rows().await.iter().all(begun));
    let next = world.process("next", QUICK);
    world.held("next", 4, DEADLINE).await;
    let later = world.load(3, 200).await;
    world.wait_until_closed().await;
    let cut = agreed().geometry.window_start(again);
    let counted = world.counted_since(cut.plus(1)).await;
    assert!(counted > later && counted < at_once + later, "{counted} of {at_once} and {later}");
    assert_eq!(
        world.counted_since(cut).await,
        counted,
        "the window that began before the stream is not written"
    );
    let db = connection.connect().await.unwrap();
    let found = audit(&world.place.clients, &db.client, &AuditOptions::default()).await.unwrap();
    assert!(found.is_clean() && found.earlier > 0 && found.bids == counted, "{found:#?}");
    assert_eq!(world.leases(&["forget"]).await.unwrap(), Covered::Whole);
    assert_eq!((world.rows().await.len(), world.leases(&[]).await.unwrap()), (4, Covered::Whole));
    next.signal(Signal::TERM);
    assert!(next.wait().await);
    drop(db);
    ledger.shutdown().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_damaged_are_told_and_read_again_when_they_are_mended() {
    let world = World::start().await;
    let first = world.process("first", QUICK);
    world.held("first", 4, DEADLINE).await;
    first.signal(Signal::TERM);
    assert!(first.wait().await);
    let set = async |shard: &str, name: &str, value| world.set(shard, name, value).await;
    let start = world.rows().await.iter().find(|row| row.shard_id.0.ends_with('2')).unwrap().range.start;
    world.load(1, 400).await;
    set("shardId-000000000001", "checkpoint", AttributeValue::S("SHARD_END".to_owned())).await;
    set("shardId-000000000003", "checkpoint", AttributeValue::S("123".to_owned())).await;
    set("shardId-000000000002", "startingHashKey", AttributeValue::S("all".to_owned())).await;
    assert_eq!(world.leases(&[]).await.unwrap(), Covered::Gaps);

    let second = world.process("second", "--look-ms 200 --listen 127.0.0.1:0");
    world.held("second", 2, DEADLINE).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let lines = log(&second.log);
    let told = |words: &str, shard: Option<&str>| {
        let is = |line: &&serde_json::Value| {
            line["message"].as_str().is_some_and(|message| message.contains(words))
                && line["shard_id"].as_str() == shard
        };
        lines.iter().filter(is).count()
    };
    assert_eq!(
        told("no lease covers", None),
        1,
        "two shards beside each other are one gap, told once: {lines:#?}"
    );
    assert_eq!(told("cannot be read", Some("shardId-000000000002")), 1, "{lines:#?}");
    let address = lines.iter().find_map(|line| line["address"].as_str()).expect("where health is shown");
    let health = get(address, "/health").await;
    assert!(
        health.starts_with("HTTP/1.1 503") && health.contains("gaps 1, unread 0, unreadable 1, refused 1"),
        "{health}"
    );
    assert!(get(address, "/metrics").await.contains("\nprocessor_shards_refused 1\n"));

    for shard in ["shardId-000000000001", "shardId-000000000003"] {
        world.leases(&["rewind", shard, "--to", "TRIM_HORIZON"]).await.unwrap();
    }
    set("shardId-000000000002", "startingHashKey", AttributeValue::S(start.to_string())).await;
    world.held("second", 4, DEADLINE).await;
    world.wait_until_closed().await;
    assert_eq!(world.leases(&[]).await.unwrap(), Covered::Whole);
    assert!(get(address, "/health").await.starts_with("HTTP/1.1 200"));
    second.signal(Signal::TERM);
    assert!(second.wait().await);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_table_that_is_gone_is_told_once_and_its_leases_are_let_go_at_once() {
    let world = World::start().await;
    let holder = world.process("holder", QUICK);
    world.held("holder", 4, DEADLINE).await;
    world.load(1, 200).await;
    let (client, table) = (&world.place.clients.dynamodb, &world.place.names.lease_table);
    client.delete_table().table_name(table).send().await.unwrap();
    let deleted = Instant::now();
    let (holder, went_well) = tokio::time::timeout(DEADLINE, holder.ended()).await.unwrap();
    assert!(!went_well && deleted.elapsed() < Duration::from_secs(5), "it waited for its grace period");
    let exit_code = processor::Error::NoLeases { table: table.clone() }.exit_code();
    let text = std::fs::read_to_string(&holder.log).unwrap();
    assert!(text.contains("NoLeases") && exit_code == schemas::exit::USAGE, "{text}");
    let lines: Vec<_> = text.lines().filter(|line| line.contains(r#""level":"ERROR""#)).collect();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    for words in [table.as_str(), "was deleted", "exchange provision", "cannot go on"] {
        assert!(lines[0].contains(words), "{words} is not in {lines:#?}");
    }

    provision::provision(&world.place, Some(SHARDS), &agreed()).await.unwrap();
    let next = world.process("next", QUICK);
    world.held("next", 4, DEADLINE).await;
    world.wait_until_closed().await;
    let diverged = lines_with([next.log.as_path()].into_iter(), "divergence");
    assert_eq!(diverged, Vec::<String>::new());
    next.signal(Signal::TERM);
    assert!(next.wait().await);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_do_not_say_of_which_stream_they_are_are_forgotten_where_it_refuses_their_places() {
    let world = World::start().await;
    let first = world.process("first", QUICK);
    world.held("first", 4, DEADLINE).await;
    world.load(1, 400).await;
    world.wait_until_closed().await;
    first.signal(Signal::TERM);
    assert!(first.wait().await);
    let ours = [
        "streamCreated",
        "closedThrough",
        "replayClock",
        "tails",
        "inherited",
        "beginning",
        "tailCheckpoint",
        "seal",
    ];
    let rows = world.rows().await;
    for row in &rows {
        assert!(matches!(row.checkpoint, Checkpoint::After(_)), "{row:?}");
        for name in ours {
            world.unset(&row.shard_id.0, name).await;
        }
    }
    assert_eq!(world.leases(&["forget"]).await.unwrap(), Covered::Whole);
    let of = |rows: Vec<Lease>| rows.into_iter().map(|row| (row.shard_id, row.checkpoint)).collect();
    let before: BTreeMap<_, _> = of(rows);
    assert_eq!(before, of(world.rows().await), "the stream takes their places");

    world.delete_stream().await;
    provision::provision(&world.place, Some(SHARDS), &agreed()).await.unwrap();
    let again = world.created().await;
    let [zero, one, two, three] = ["0", "1", "2", "3"].map(|number| format!("shardId-00000000000{number}"));
    // A word that every stream takes; a processor's mark, which never read; and one that did.
    world.set(&one, "checkpoint", AttributeValue::S("TRIM_HORIZON".to_owned())).await;
    let at = |ms: u64| AttributeValue::N(ms.to_string());
    for shard in [&two, &three] {
        world.set(shard, "streamCreated", at(again.0)).await;
    }
    world.set(&three, "closedThrough", at(again.0 + 1)).await;
    assert_eq!(world.leases(&[]).await.unwrap(), Covered::Gaps);
    world.leases(&["forget"]).await.unwrap();
    let geometry = agreed().geometry;
    let closed = geometry.closes_at(geometry.window_start(again));
    let stands: BTreeMap<String, Lease> =
        world.rows().await.into_iter().map(|row| (row.shard_id.0.clone(), row)).collect();
    for shard in [&zero, &two] {
        let row = &stands[shard];
        let stood = (&row.checkpoint, row.stream_created, row.closed_through);
        assert_eq!(stood, (&Checkpoint::TrimHorizon, Some(again), closed), "{row:?}");
    }
    assert_eq!((&stands[&one].checkpoint, stands[&one].stream_created), (&Checkpoint::TrimHorizon, None));
    let damaged = &stands[&three];
    assert!(matches!(damaged.checkpoint, Checkpoint::After(_)) && damaged.closed_through == again.plus(1));

    world.leases(&["rewind", &three, "--to", "TRIM_HORIZON"]).await.unwrap_err();
    world.load(1, 400).await;
    world.leases(&["rewind", &three, "--to", "TRIM_HORIZON"]).await.unwrap();
    let next = world.process("next", QUICK);
    world.held("next", 4, DEADLINE).await;
    world.wait_until_closed().await;
    assert_eq!(world.leases(&[]).await.unwrap(), Covered::Whole);
    assert!(world.rows().await.iter().all(|row| row.stream_created == Some(again)));
    next.signal(Signal::TERM);
    assert!(next.wait().await);
    world.stop().await;
}
