//! A ledger that is away or does not answer, and a stop in the middle: nothing is lost, and nothing takes for ever.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use infra::local::dsql::{self, DsqlOptions};
use infra::local::dynamodb::{self, DynamoOptions};
use runtime::backoff::Backoff;
use schemas::item::{Outcome, State};
use settler::core::attempt::{LOST, Meaning};
use settler::core::plan::Job;
use settler::core::rows::Auction;
use settler::core::transaction::{End, Rules};
use settler::runner::Runner;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

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
    assert_eq!(item.decision.unwrap().outcome, Outcome::NoSale { reason: "unknown_slot".to_owned() });
    assert_eq!(metrics.no_sale.load(Ordering::Relaxed), 1);
    world.stop().await;
}

/// PostgreSQL and all its processes, stopped in the middle of whatever they do until the value is gone.
struct Paused(Vec<String>);

impl Paused {
    fn all(world: &World) -> Self {
        let parent = world.postgres.as_ref().unwrap().process_id().unwrap().to_string();
        // The first is the parent, so no process begins after its children were listed; one may end before it is stopped.
        assert!(Self::signal("STOP", std::slice::from_ref(&parent)), "PostgreSQL runs");
        for _ in 0..10 {
            let children = Command::new("pgrep").args(["-P", &parent]).output().unwrap();
            let children = String::from_utf8(children.stdout).unwrap();
            let children: Vec<String> = children.lines().map(str::to_owned).collect();
            assert!(children.len() > 1, "PostgreSQL has processes: {children:?}");
            if Self::signal("STOP", &children) {
                return Self(std::iter::once(parent).chain(children).collect());
            }
        }
        panic!("PostgreSQL cannot be stopped as a whole");
    }

    fn signal(name: &str, processes: &[String]) -> bool {
        Command::new("kill").args(["-s", name]).args(processes).status().unwrap().success()
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        // One that has ended meanwhile keeps the others from nothing.
        for process in &self.0 {
            let _ = Command::new("kill").args(["-s", "CONT", process]).status();
        }
    }
}

/// The README's promise: a statement that was sent has its 10 s, and everything else ends 5 s after the stop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_while_the_ledger_hangs_in_a_statement_ends_within_its_time() {
    let world = World::start().await;
    world.provision(1, 1_000, 1).await;
    let one = auction(1, 1, &[(1, 32)]);
    let mut other = world.postgres().await;
    let tx = decided_by_another(&mut other, &one).await;
    world.pend(&one).await;
    let running = Running::start(&world);
    until_it_waits(&world).await;
    let paused = Paused::all(&world);
    let began = Instant::now();
    let metrics = running.stop().await;
    let took = began.elapsed();
    drop(paused);
    assert!(took < Rules::default().flight + Duration::from_secs(2), "it took {took:?}");
    assert_eq!(metrics.given_back.load(Ordering::Relaxed), 1);
    assert_eq!(world.item(&one).await.unwrap().state, State::Pending, "whoever starts next finds it");
    tx.rollback().await.unwrap();
    world.stop().await;
}

/// Someone who takes every connection and says nothing, at this address; tells when the first has come.
async fn silent(listen: SocketAddr) -> ((JoinHandle<()>, SocketAddr), Arc<Notify>) {
    let listener = TcpListener::bind(listen).await.unwrap();
    let address = listener.local_addr().unwrap();
    let came = Arc::new(Notify::new());
    let comes = Arc::clone(&came);
    let task = tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            kept.push(connection);
            comes.notify_one();
        }
    });
    ((task, address), came)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_while_a_connection_is_made_waits_for_no_more_than_the_grace() {
    let mut world = World::start().await;
    world.provision(1, 1_000, 1).await;
    let running = Running::start(&world);
    world.pend(&auction(1, 1, &[(1, 16)])).await;
    world.until_outbox_is_empty().await;
    let (listen, upstream) = (world.dsql.address(), world.postgres.as_ref().unwrap().database_url());
    let here = dsql::start(DsqlOptions::before(upstream)).await.unwrap();
    std::mem::replace(&mut world.dsql, here).shutdown().await;
    let (silence, came) = silent(listen).await;
    world.pend(&auction(1, 2, &[(1, 16)])).await;
    tokio::time::timeout(DEADLINE, came.notified()).await.expect("it connects again");
    let began = Instant::now();
    let metrics = running.stop().await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(6), "it took {took:?}");
    assert_eq!(metrics.given_back.load(Ordering::Relaxed), 1);
    silence.0.abort();
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_before_the_ledger_has_answered_is_over_at_once() {
    let world = World::start().await;
    let (silence, came) = silent(SocketAddr::from(([127, 0, 0, 1], 0))).await;
    let running = Running::at(&world, &format!("postgres://nobody@{}/none", silence.1));
    tokio::time::timeout(DEADLINE, came.notified()).await.expect("it connects");
    let began = Instant::now();
    running.stop().await;
    assert!(began.elapsed() < Duration::from_secs(2), "it took {:?}", began.elapsed());
    silence.0.abort();
    world.stop().await;
}

/// Nobody restarts a network for a password: who looks at health, metrics or log must see which of the two it is.
#[tokio::test]
async fn a_password_that_was_changed_meanwhile_is_told_apart_from_an_outage() {
    let world = World::start().await;
    world.provision(1, 1_000, 1).await;
    let running = Running::start(&world);
    world.pend(&auction(1, 1, &[(1, 16)])).await;
    world.until_outbox_is_empty().await;
    let owner = world.postgres().await;
    let change = async |password: &str| {
        owner.batch_execute(&format!("ALTER ROLE CURRENT_USER PASSWORD '{password}'")).await.unwrap();
    };
    let url: tokio_postgres::Config = world.postgres.as_ref().unwrap().database_url().parse().unwrap();
    let password = String::from_utf8(url.get_password().unwrap().to_vec()).unwrap();
    change("another").await;
    let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() \
        AND backend_type = 'client backend'";
    owner.query(others, &[]).await.unwrap();
    world.pend(&auction(1, 2, &[(1, 16)])).await;
    let metrics = Arc::clone(&running.metrics);
    let refused = async {
        while metrics.ledger_refuses.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, refused).await.expect("it is known that nobody is let in");
    assert_eq!(metrics.ledger_away.load(Ordering::Relaxed), 0, "it answers");
    assert!(metrics.exposition().contains("settler_ledger_refuses 1\n"));
    change(&password).await;
    world.until_outbox_is_empty().await;
    let metrics = running.stop().await;
    assert_eq!(metrics.ledger_refuses.load(Ordering::Relaxed), 0);
    assert!(world.count("SELECT count(*) FROM conflict_events WHERE sqlstate = '28P01'").await > 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_while_the_outbox_hangs_is_over_at_once() {
    let mut world = World::start().await;
    world.provision(1, 1_000, 1).await;
    let running = Running::start(&world);
    world.pend(&auction(1, 1, &[(1, 16)])).await;
    world.until_outbox_is_empty().await;
    let listen: SocketAddr = world.dynamodb.endpoint_url().strip_prefix("http://").unwrap().parse().unwrap();
    let elsewhere = DynamoOptions::in_memory(SocketAddr::from(([127, 0, 0, 1], 0)));
    let here = dynamodb::start(elsewhere).await.unwrap();
    std::mem::replace(&mut world.dynamodb, here).shutdown().await;
    let (silence, came) = silent(listen).await;
    tokio::time::timeout(DEADLINE, came.notified()).await.expect("it asks again");
    let began = Instant::now();
    running.stop().await;
    assert!(began.elapsed() < Duration::from_secs(2), "it took {:?}", began.elapsed());
    silence.0.abort();
    world.stop().await;
}
