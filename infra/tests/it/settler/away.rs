//! A ledger that is away or does not answer, and a stop in the middle: nothing is lost, and nothing takes for ever.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use infra::local::dsql::{self, DsqlOptions};
use runtime::backoff::Backoff;
use schemas::item::{Outcome, State};
use settler::core::attempt::{LOST, Meaning};
use settler::core::plan::Job;
use settler::core::rows::Auction;
use settler::core::transaction::{End, Rules};
use settler::runner::Runner;

use super::decisions::{Running, decided_by_another, until_it_waits};
use super::world::{DEADLINE, World, auction};

/// By how much time is compressed.
const FASTER: u32 = 200;
/// The outage: ten minutes, in which a batch is given back ten times.
const OUTAGE: Duration = Duration::from_secs(600);

fn compressed() -> Rules {
    let rules = Rules::default();
    let away = Backoff { base: rules.away.base / FASTER, cap: rules.away.cap / FASTER };
    Rules { away, deadline: rules.deadline / FASTER, ..rules }
}

#[tokio::test]
async fn ten_minutes_without_the_ledger_lose_nothing_and_the_backlog_drains() {
    const BACKLOG: usize = 40;
    let mut world = World::start().await;
    world.provision(4, 1_000_000, 4).await;
    let running = Running::by(&world, &["--connects-per-second", "100"], compressed());
    let first = auction(1, 1, &[(1, 16)]);
    world.pend(&first).await;
    world.until_outbox_is_empty().await;
    // The ledger goes, and comes back at the same address.
    let (listen, upstream) = (world.dsql.address(), world.postgres.as_ref().unwrap().database_url());
    let here = dsql::start(DsqlOptions::before(upstream.clone())).await.unwrap();
    std::mem::replace(&mut world.dsql, here).shutdown().await;
    let began = Instant::now();
    let auctions: Vec<_> =
        (0..40).map(|n| auction(1 + n % 4, 2 + u64::try_from(n).unwrap(), &[(1 + n % 4, 16)])).collect();
    for one in &auctions {
        world.pend(one).await;
    }
    let deadlines = OUTAGE.as_secs() / Rules::default().deadline.as_secs();
    let times = deadlines * u64::try_from(BACKLOG).unwrap();
    let outage = tokio::time::timeout(DEADLINE, async {
        while running.metrics.given_back.load(Ordering::Relaxed) < times || began.elapsed() < OUTAGE / FASTER
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    outage.await.expect("what cannot be settled in time is given back and found again");
    assert_eq!(running.metrics.ledger_away.load(Ordering::Relaxed), 1);
    assert_eq!(world.outbox_len().await, BACKLOG);
    for one in &auctions {
        let item = world.item(one).await.unwrap();
        assert_eq!((item.state, item.ttl), (State::Pending, None), "what is pending never expires");
    }
    let back = dsql::start(DsqlOptions { listen, ..DsqlOptions::before(upstream) }).await.unwrap();
    std::mem::replace(&mut world.dsql, back).shutdown().await;
    world.until_outbox_is_empty().await;
    let metrics = running.stop().await;
    assert_eq!(metrics.ledger_away.load(Ordering::Relaxed), 0);
    assert_eq!(metrics.held.load(Ordering::Relaxed), 0, "an outage is nobody's fault");
    assert_eq!(world.count("SELECT count(*) FROM settlements").await, 41);
    world.assert_the_ledger_is_right().await;
    world.stop().await;
}

/// Whoever asks for its health must not learn of an outage a minute later.
#[tokio::test]
async fn an_outage_is_known_before_the_first_batch_is_given_back() {
    let mut world = World::start().await;
    world.provision(1, 1_000, 1).await;
    let running = Running::by(&world, &[], Rules::default());
    let is_away = |away| {
        let metrics = &running.metrics;
        tokio::time::timeout(Rules::default().deadline / 2, async move {
            while metrics.ledger_away.load(Ordering::Relaxed) != away {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
    };
    world.pend(&auction(1, 1, &[(1, 16)])).await;
    world.until_outbox_is_empty().await;
    let (listen, upstream) = (world.dsql.address(), world.postgres.as_ref().unwrap().database_url());
    let here = dsql::start(DsqlOptions::before(upstream.clone())).await.unwrap();
    std::mem::replace(&mut world.dsql, here).shutdown().await;
    world.pend(&auction(1, 2, &[(1, 16)])).await;
    is_away(1).await.expect("it is known that the ledger is away");
    assert_eq!(running.metrics.given_back.load(Ordering::Relaxed), 0);
    let back = dsql::start(DsqlOptions { listen, ..DsqlOptions::before(upstream) }).await.unwrap();
    std::mem::replace(&mut world.dsql, back).shutdown().await;
    is_away(0).await.expect("it is known that the ledger is back");
    world.until_outbox_is_empty().await;
    running.stop().await;
    world.stop().await;
}

/// The deadlines are the client's own: the ledger would wait for ever.
#[tokio::test]
async fn a_ledger_that_does_not_answer_is_left_after_its_time() {
    let world = World::start().await;
    world.provision(1, 1_000, 1).await;
    let mut other = world.postgres().await;
    let tx = other.transaction().await.unwrap();
    tx.batch_execute("LOCK TABLE settlements IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let pool = world.ledger().pool(100).await.unwrap();
    let rules =
        Rules { flight: Duration::from_millis(50), deadline: Duration::from_millis(400), ..Rules::default() };
    let job = Job::Settle(vec![Auction::of(auction(1, 1, &[(1, 16)])).into()]);
    let mut runner = Runner::new(&pool, job, rules, None);
    let ended = tokio::time::timeout(DEADLINE, runner.next()).await.expect("in its time").unwrap();
    assert!(matches!(ended.end, End::GivenBack(Meaning::Unknown)), "{ended:?}");
    assert!(ended.attempts.len() > 1 && ended.attempts.iter().all(|one| one.failure.sqlstate == LOST));
    tx.rollback().await.unwrap();
    world.stop().await;
}

/// Not even one that has to be tried again: what was begun is decided and marked.
#[tokio::test]
async fn a_stop_finishes_the_batch_that_was_begun() {
    let world = World::start().await;
    world.provision(1, 1_000, 1).await;
    let one = auction(1, 1, &[(1, 32)]);
    let mut other = world.postgres().await;
    let tx = decided_by_another(&mut other, &one).await;
    world.pend(&one).await;
    let running = Running::start(&world);
    until_it_waits(&world).await;
    running.trigger.trigger();
    // The other was faster, so ours begins again, after the stop.
    tx.commit().await.unwrap();
    let metrics = running.stop().await;
    let item = world.item(&one).await.unwrap();
    assert_eq!(item.decision.unwrap().outcome, Outcome::NoSale { reason: "below_floor".to_owned() });
    assert_eq!(metrics.no_sale.load(Ordering::Relaxed), 1);
    world.stop().await;
}
