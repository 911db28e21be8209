//! The contention experiment on the real engine: what it shows, and that it leaves nothing behind that counts.

use std::path::Path;
use std::time::Duration;

use clap::Parser;
use contend::{Contend, contend};
use runtime::shutdown;

use super::decisions::Running;
use super::world::{DEADLINE, World, auction};

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    contend: Contend,
}

fn options(world: &World, more: &[&str]) -> Contend {
    let url = ["contend", "--database-url", world.dsql.database_url()];
    Command::try_parse_from(url.iter().chain(more)).unwrap().contend
}

/// A ledger with sales that count.
async fn settled() -> World {
    let world = World::start().await;
    world.provision(4, 1_000, 4).await;
    for number in 1..=4 {
        world.pend(&auction(number, 1, &[(number, 16)])).await;
    }
    let running = Running::start(&world);
    world.until_outbox_is_empty().await;
    running.stop().await;
    world
}

/// Everything in the ledger that counts, as text.
async fn what_counts(world: &World) -> Vec<String> {
    let client = world.postgres().await;
    let mut all = Vec::new();
    for table in ["settlements", "ad_bids", "financial_ledger", "enterprise_accounts", "ad_slots"] {
        let rows =
            client.query(&format!("SELECT one::text FROM {table} AS one ORDER BY 1"), &[]).await.unwrap();
        all.extend(rows.iter().map(|row| format!("{table} {}", row.get::<_, &str>(0))));
    }
    all
}

async fn until_more_than(world: &World, count: i64) {
    let seen = async {
        while world.count("SELECT count(*) FROM settlements").await <= count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, seen).await.expect("a race is on");
}

#[tokio::test]
async fn an_experiment_shows_what_it_should_and_leaves_only_its_runs() {
    let world = settled().await;
    let before = what_counts(&world).await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (svg, png, json) = (file("plot.svg"), file("plot.png"), file("lines.json"));
    let (_trigger, stop) = shutdown::channel();
    for hot_row in ["account", "auction"] {
        let kinds =
            ["--hot-row", hot_row, "--workers", "2,3", "--strategies", "none,full,connector", "--runs", "2"];
        let files = ["--plot", &svg, "--plot", &png, "--json", &json];
        contend(&options(&world, &[&kinds[..], &files[..]].concat()), &stop).await.unwrap();
        assert!(
            Path::new(&svg).metadata().unwrap().len() > 1_000
                && Path::new(&png).metadata().unwrap().len() > 1_000
        );
        let lines: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
        let lines = lines.as_array().unwrap();
        assert_eq!(lines.len(), 6);
        for line in lines {
            let workers = line["workers"].as_f64().unwrap();
            assert!(line["calls"].as_f64().unwrap() >= workers, "{line}");
            // The simulator lets everyone write once: that is the race for an account.
            assert_eq!(line["simulated"].is_null(), hot_row == "auction", "{line}");
        }
    }
    assert_eq!(what_counts(&world).await, before, "nothing of it is left");
    assert_eq!(world.count("SELECT count(*) FROM simulation_runs WHERE kind = 'contend'").await, 12);
    world.assert_the_ledger_is_right().await;
    world.stop().await;
}

#[tokio::test]
async fn a_stop_leaves_nothing_behind_and_what_a_kill_leaves_the_next_one_takes_away() {
    let world = settled().await;
    let before = what_counts(&world).await;
    // Far away, so that it is at work for a while.
    let slow = options(&world, &["--workers", "8", "--strategies", "full", "--runs", "9", "--hop-ms", "100"]);
    let (trigger, stop) = shutdown::channel();
    let ((), ended) = tokio::join!(
        async {
            until_more_than(&world, 4).await;
            trigger.trigger();
        },
        contend(&slow, &stop),
    );
    let ended = ended.unwrap_err();
    assert_eq!(ended.exit_code(), schemas::exit::FOUND);
    assert!(ended.to_string().contains("interrupted when 0 of 1 lines"), "{ended}");
    assert_eq!(what_counts(&world).await, before, "nothing of it is left");
    assert_eq!(
        world.count("SELECT count(*) FROM simulation_runs").await,
        0,
        "no race of a stopped one counts"
    );

    let (_trigger, stop) = shutdown::channel();
    tokio::select! {
        _ = contend(&slow, &stop) => panic!("it is killed before"),
        () = until_more_than(&world, 4) => {}
    }
    assert_ne!(what_counts(&world).await, before, "a kill leaves what was there");
    let quick = options(&world, &["--workers", "2", "--strategies", "full", "--runs", "1", "--hop-ms", "1"]);
    contend(&quick, &stop).await.unwrap();
    assert_eq!(what_counts(&world).await, before);
    world.stop().await;
}

/// What was raced before the stop is shown, and that it is not everything is said.
#[tokio::test]
async fn a_stop_shows_the_lines_that_were_raced() {
    let world = settled().await;
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("lines.json");
    let files = ["--json", json.to_str().unwrap()];
    let races = ["--workers", "2,8", "--strategies", "full", "--runs", "2", "--hop-ms", "50"];
    let (trigger, stop) = shutdown::channel();
    let options = options(&world, &[&races[..], &files[..]].concat());
    let ((), ended) = tokio::join!(
        async {
            let first = async {
                while world.count("SELECT count(*) FROM simulation_runs").await == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::time::timeout(DEADLINE, first).await.expect("the first line is raced");
            trigger.trigger();
        },
        contend(&options, &stop),
    );
    let ended = ended.unwrap_err().to_string();
    assert!(ended.contains("interrupted when 1 of 2 lines"), "{ended}");
    let lines: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert_eq!(lines.as_array().unwrap().len(), 1, "{lines}");
    assert_eq!(lines[0]["workers"], 2);
    world.stop().await;
}
