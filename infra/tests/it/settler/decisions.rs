//! One settler and one trouble at a time.

use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use infra::local::dsql::Injection;
use runtime::shutdown;
use schemas::item::{Aggregate, Outcome, State};
use schemas::money::Price;
use settler::core::plan::Job;
use settler::core::rows::Auction;
use settler::core::transaction::{End, Ended, Rules};
use settler::runner::Runner;
use settler::{Config, Error, Metrics};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::world::{DEADLINE, World, account, auction, slot};

pub(super) struct Running {
    pub(super) trigger: shutdown::Trigger,
    task: JoinHandle<Result<(), Error>>,
    pub(super) metrics: Arc<Metrics>,
}

impl Running {
    pub(super) fn start(world: &World) -> Self {
        Self::with(world, &[])
    }

    fn with(world: &World, more: &[&str]) -> Self {
        Self::by(world, more, Rules::default())
    }

    /// With a ledger elsewhere.
    pub(super) fn at(world: &World, url: &str) -> Self {
        Self::of(world, &[], Rules::default(), settler::db::Ledger::stand_in(url))
    }

    pub(super) fn by(world: &World, more: &[&str], rules: Rules) -> Self {
        Self::of(world, more, rules, world.ledger())
    }

    pub(super) fn of(world: &World, more: &[&str], rules: Rules, ledger: settler::db::Ledger) -> Self {
        let arguments = ["settler", "--worker", "test"].iter().chain(more);
        let mut config = Config::try_parse_from(arguments).unwrap();
        config.ledger = ledger;
        config.rules = rules;
        let (trigger, asked) = shutdown::channel();
        let metrics = Arc::new(Metrics::default());
        let task = tokio::spawn(settler::run(config, world.clients.clone(), asked, Arc::clone(&metrics)));
        Self { trigger, task, metrics }
    }

    /// Waits until it ends by itself.
    pub(super) async fn ended(self) -> Result<(), Error> {
        tokio::time::timeout(DEADLINE, self.task).await.expect("it ends by itself").unwrap()
    }

    pub(super) async fn stop(self) -> Arc<Metrics> {
        self.trigger.trigger();
        self.task.await.unwrap().unwrap();
        self.metrics
    }
}

/// Settles what is pending and stops.
pub(super) async fn settle_all(world: &World) -> Arc<Metrics> {
    let running = Running::start(world);
    world.until_outbox_is_empty().await;
    running.stop().await
}

/// Runs the transaction alone: what a settler has done that dies before its marks.
async fn commit_only(world: &World, aggregates: &[Aggregate]) -> Vec<Ended> {
    let pool = world.ledger().pool(10).await.unwrap();
    let batch = aggregates.iter().cloned().map(|one| Arc::new(Auction::of(one))).collect();
    let mut runner = Runner::new(&pool, Job::Settle(batch), Rules::default(), None);
    let mut all = Vec::new();
    while let Some(ended) = runner.next().await {
        all.push(ended);
    }
    all
}

async fn settled_at(world: &World) -> Vec<String> {
    let sql = "SELECT settled_at::text FROM settlements ORDER BY settlement_id";
    world.postgres().await.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn a_mark_that_never_came_is_made_up_for_and_nothing_is_settled_twice() {
    let world = World::start().await;
    world.provision(4, 1_000, 4).await;
    let auctions: Vec<_> = (1..=4).map(|n| auction(n, 1, &[(n, 16)])).collect();
    for one in &auctions {
        world.pend(one).await;
    }
    let ended = commit_only(&world, &auctions).await;
    assert!(matches!(ended[0].end, End::Done(_)));
    let before = settled_at(&world).await;
    let metrics = settle_all(&world).await;
    assert_eq!(settled_at(&world).await, before, "the rows are those that were committed");
    assert_eq!(metrics.settled.load(std::sync::atomic::Ordering::Relaxed), 4);
    world.assert_the_ledger_is_right().await;
    world.stop().await;
}

#[tokio::test]
async fn an_item_that_ttl_removed_and_a_replay_put_back_is_marked_from_its_row() {
    let world = World::start().await;
    world.provision(2, 1_000, 1).await;
    let one = auction(1, 1, &[(1, 32), (2, 16)]);
    world.pend(&one).await;
    settle_all(&world).await;
    let first = world.item(&one).await.unwrap();
    // Meanwhile the favourite is poor: decided again, the second would win.
    world
        .postgres()
        .await
        .execute(
            "UPDATE enterprise_accounts SET opening_balance = opening_balance - 960, balance = balance - 960",
            &[],
        )
        .await
        .unwrap();
    world.remove(&one).await;
    world.pend(&one).await;
    settle_all(&world).await;
    assert_eq!(world.item(&one).await.unwrap(), first, "the same decision, at the same time");
    assert_eq!(world.count("SELECT count(*) FROM financial_ledger").await, 2);
    world.stop().await;
}

#[tokio::test]
async fn an_item_whose_row_carries_another_digest_is_held_and_the_row_stays() {
    let world = World::start().await;
    world.provision(2, 1_000, 1).await;
    let one = auction(1, 1, &[(1, 32), (2, 16)]);
    commit_only(&world, std::slice::from_ref(&one)).await;
    let other = Aggregate { bids: 7, ..one.clone() };
    world.pend(&other).await;
    let metrics = settle_all(&world).await;
    let item = world.item(&one).await.unwrap();
    assert_eq!(item.state, State::Held);
    assert!(item.held_error.unwrap().contains(&one.digest()));
    assert_eq!(metrics.held.load(std::sync::atomic::Ordering::Relaxed), 1);
    assert_eq!(world.count("SELECT count(*) FROM settlements").await, 1);
    world.stop().await;
}

/// Another settler that has inserted the derived key and has not committed.
pub(super) async fn decided_by_another<'a>(
    other: &'a mut tokio_postgres::Client,
    one: &Aggregate,
) -> tokio_postgres::Transaction<'a> {
    let tx = other.transaction().await.unwrap();
    let id = Uuid::new_v5(&one.slot_id.0, one.window_start.to_string().as_bytes());
    let insert = "INSERT INTO settlements (settlement_id, slot_id, window_start, window_end, outcome, no_sale_reason, \
        aggregate_digest, settled_at) VALUES ($1, $2, '1970-01-01T00:00:01Z', '1970-01-01T00:00:02Z', 'NO_SALE', \
        'unknown_slot', $3, now())";
    tx.execute(insert, &[&id, &one.slot_id.0, &one.digest()]).await.unwrap();
    tx
}

/// Ours is at its insert when PostgreSQL says that it waits.
pub(super) async fn until_it_waits(world: &World) {
    let watcher = world.postgres().await;
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'INSERT INTO settlements%'";
    tokio::time::timeout(DEADLINE, async {
        while watcher.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("ours comes to its insert");
}

/// Another settler inserts the same derived key and commits while ours waits for it.
#[tokio::test]
async fn two_inserts_of_one_derived_key_settle_once() {
    let world = World::start().await;
    world.provision(1, 1_000, 1).await;
    let one = auction(1, 1, &[(1, 32)]);
    let mut other = world.postgres().await;
    let tx = decided_by_another(&mut other, &one).await;
    world.pend(&one).await;
    let running = Running::start(&world);
    until_it_waits(&world).await;
    tx.commit().await.unwrap();
    world.until_outbox_is_empty().await;
    let metrics = running.stop().await;
    let item = world.item(&one).await.unwrap();
    assert_eq!(item.state, State::NoSale, "the first decision stands");
    assert_eq!(item.decision.unwrap().outcome, Outcome::NoSale { reason: "unknown_slot".to_owned() });
    assert_eq!(world.count("SELECT count(*) FROM financial_ledger").await, 0);
    let contention = metrics.contention();
    assert!(contention.conflicts >= 1 && contention.conflicts == contention.resolved, "{contention:?}");
    let genuine =
        "SELECT count(*) FROM conflict_events WHERE origin = 'genuine' AND occ_code = 'OC000' AND resolved";
    assert!(world.count(genuine).await >= 1);
    world.stop().await;
}

#[tokio::test]
async fn an_auction_that_the_ledger_refuses_is_held_alone_and_can_be_released() {
    let world = World::start().await;
    world.provision(8, 1_000, 8).await;
    let auctions: Vec<_> = (1..=8).map(|n| auction(n, 1, &[(1, if n == 5 { 13 } else { 16 })])).collect();
    let postgres = world.postgres().await;
    postgres
        .batch_execute("ALTER TABLE settlements ADD CONSTRAINT unlucky CHECK (clearing_price <> 0.0013)")
        .await
        .unwrap();
    for one in &auctions {
        world.pend(one).await;
    }
    settle_all(&world).await;
    assert_eq!(world.count("SELECT count(*) FROM settlements").await, 7);
    let held = world.item(&auctions[4]).await.unwrap();
    assert_eq!(held.state, State::Held);
    assert!(held.held_error.unwrap().contains("unlucky"));
    assert_eq!(held.ttl, None, "what awaits a person never expires");

    postgres.batch_execute("ALTER TABLE settlements DROP CONSTRAINT unlucky").await.unwrap();
    let release = |number| settler::release::Release {
        by_candidates: false,
        table: schemas::keys::TABLE.to_owned(),
        slot: slot(number),
        window: auctions[4].window_start,
    };
    let not_held = settler::release::release(&release(4), &world.clients).await.unwrap_err();
    assert_eq!(not_held.exit_code(), schemas::exit::FOUND);
    settler::release::release(&release(5), &world.clients).await.unwrap();
    settle_all(&world).await;
    assert_eq!(world.item(&auctions[4]).await.unwrap().state, State::Settled);
    world.assert_the_ledger_is_right().await;
    world.stop().await;
}

#[tokio::test]
async fn every_injected_conflict_is_written_down_as_such_and_resolved() {
    let world = World::start().await;
    world.provision(8, 1_000_000, 8).await;
    world.dsql.set_injection(Injection { seed: 3, conflict_per_mille: 500, ..Injection::default() });
    for n in 0..64 {
        world.pend(&auction(1 + n % 8, 1 + u64::try_from(n).unwrap(), &[(1 + n % 8, 16)])).await;
    }
    let metrics = settle_all(&world).await;
    let injected = world.dsql.injected().conflicts;
    world.dsql.set_injection(Injection::default());
    let contention = metrics.contention();
    assert!(contention.conflicts > 0 && injected >= contention.conflicts);
    assert_eq!((contention.conflicts, contention.retries), (contention.resolved, contention.conflicts));
    let text = serde_json::to_value(contention).unwrap();
    let names: Vec<_> = text.as_object().unwrap().keys().cloned().collect();
    assert_eq!(names, ["conflicts", "resolutionRate", "resolved", "retries"]);
    // The rows themselves are changes whose commit may be hit by the same dice: none may be invented.
    let rows =
        world.count("SELECT count(*) FROM conflict_events WHERE origin = 'injected' AND resolved").await;
    let all = world.count("SELECT count(*) FROM conflict_events").await;
    assert!(
        rows > 0 && rows == all && u64::try_from(all).unwrap() <= contention.conflicts,
        "{rows} {all} {contention:?}"
    );
    world.assert_the_ledger_is_right().await;
    world.stop().await;
}

/// What an attempt met is written down although the ledger loses answers and requests, that of writing it down too.
#[tokio::test]
async fn no_attempt_is_left_out_when_answers_are_lost() {
    let world = World::start().await;
    world.provision(8, 1_000_000, 8).await;
    let injection = Injection {
        seed: 11,
        conflict_per_mille: 300,
        lost_reply_per_mille: 150,
        lost_request_per_mille: 30,
        ..Injection::default()
    };
    world.dsql.set_injection(injection);
    for n in 0..64 {
        world.pend(&auction(1 + n % 8, 1 + u64::try_from(n).unwrap(), &[(1 + n % 8, 16)])).await;
    }
    let running = Running::with(&world, &["--batch", "4", "--connects-per-second", "100"]);
    world.until_outbox_is_empty().await;
    let contention = running.stop().await.contention();
    world.dsql.set_injection(Injection::default());
    let rows = world.count("SELECT count(*) FROM conflict_events").await;
    let lost = world.count("SELECT count(*) FROM conflict_events WHERE sqlstate = 'lost'").await;
    assert_eq!(u64::try_from(rows).unwrap(), contention.retries, "{contention:?}");
    assert!(lost > 0 && contention.conflicts > 0, "{lost} {contention:?}");
    world.assert_the_ledger_is_right().await;
    world.stop().await;
}

#[tokio::test]
async fn what_was_settled_and_what_it_took_is_shown_to_whoever_asks() {
    let world = World::start().await;
    world.provision(2, 1_000, 2).await;
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let running = Running::with(&world, &["--listen", &address]);
    for n in 1..=2 {
        world.pend(&auction(n, 1, &[(n, 16)])).await;
    }
    world.until_outbox_is_empty().await;
    let get = async |path: &str| {
        let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    // An item leaves the outbox a moment before its mark is counted.
    let counted = tokio::time::timeout(DEADLINE, async {
        loop {
            let answer = get("/metrics").await;
            if answer.contains("settler_settled_total 2\n") {
                return answer;
            }
        }
    });
    let answer = counted.await.expect("both are counted");
    for line in ["settler_conflicts_total 0", "settler_settle_seconds_count 2", "settler_held_total 0"] {
        assert!(answer.contains(line), "{line} is not in {answer}");
    }
    assert!(get("/health").await.contains("ledger and outbox answer"));
    running.stop().await;
    world.stop().await;
}

#[tokio::test]
async fn a_deposit_is_booked_once_for_each_id_also_under_conflicts() {
    let world = World::start().await;
    world.provision(1, 1_000, 1).await;
    let mut connection = world.connect().await;
    world.dsql.set_injection(Injection {
        seed: 1,
        conflict_per_mille: 400,
        lost_reply_per_mille: 200,
        ..Injection::default()
    });
    let amount = Price::from_units(64).unwrap();
    let deposit = async |connection: &mut _, number, amount| {
        let (id, now) = (Uuid::from_u128(number), runtime::clock::now());
        settler::provision::deposit(connection, account(1), amount, id, now).await
    };
    for number in 1..=10 {
        let _ = deposit(&mut connection, number, amount).await.unwrap();
        assert!(!deposit(&mut connection, number, amount).await.unwrap(), "the same id is booked once");
    }
    world.dsql.set_injection(Injection::default());
    let other = deposit(&mut connection, 3, Price::from_units(65).unwrap()).await.unwrap_err();
    assert_eq!(other.exit_code(), schemas::exit::FOUND, "{other}");
    let most = deposit(&mut connection, 99, Price::MAX).await.unwrap_err();
    assert!(most.to_string().contains("14 integer digits"), "{most}");
    let nobody = settler::provision::deposit(
        &mut connection,
        account(77),
        amount,
        Uuid::from_u128(98),
        runtime::clock::now(),
    );
    assert!(nobody.await.unwrap_err().to_string().contains("unknown"));
    let balance = "SELECT (balance * 10000)::bigint FROM enterprise_accounts";
    assert_eq!(world.count(balance).await, 1_000 + 640);
    world.assert_the_ledger_is_right().await;
    world.stop().await;
}
