//! What others put into the outbox: it is passed by, told once and left as it is, and what lies behind it is settled.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use runtime::clients::Clients;
use schemas::item::{Aggregate, State};
use schemas::keys;

use super::decisions::Running;
use super::picky;
use super::world::{DEADLINE, World, account, auction, slot};
use crate::harness::{Process, command, stage};

/// Auctions of one transaction, so that few entries fill a page.
const BATCH: &str = "4";
/// More than one look passes by in one part of a bucket, and more than one page of it.
const FOREIGN: usize = 1_500;

type Item = HashMap<String, AttributeValue>;

fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// The item of an auction as it is written, so that a test can spoil it.
fn item(world: &World, aggregate: &Aggregate) -> Item {
    runtime::attrs::to_sdk(aggregate.to_attrs(world.agreed.outbox_buckets))
}

/// An entry before all honest ones of the bucket and part in which `auction(1, ..)` lies.
fn entry(world: &World, pk: &str, sk: &str, number: usize) -> Item {
    let bucket = keys::outbox_bucket(&account(1), world.agreed.outbox_buckets);
    let part = keys::outbox_pk(bucket, keys::outbox_sub(&slot(1)));
    Item::from([
        ("PK".to_owned(), text(pk)),
        ("SK".to_owned(), text(sk)),
        ("outbox_pk".to_owned(), text(part)),
        ("outbox_sk".to_owned(), text(format!("0#{number:06}"))),
    ])
}

async fn put_all(world: &World, items: impl IntoIterator<Item = Item>) {
    let puts: Vec<WriteRequest> = items
        .into_iter()
        .map(|item| {
            let put = PutRequest::builder().set_item(Some(item)).build().unwrap();
            WriteRequest::builder().put_request(put).build()
        })
        .collect();
    for some in puts.chunks(25) {
        let write = world.clients.dynamodb.batch_write_item().request_items(keys::TABLE, some.to_vec());
        write.send().await.unwrap();
    }
}

async fn stands(world: &World, item: &Item) -> Option<Item> {
    let get = world.clients.dynamodb.get_item().table_name(keys::TABLE).consistent_read(true);
    get.key("PK", item["PK"].clone()).key("SK", item["SK"].clone()).send().await.unwrap().item
}

async fn until_settled(world: &World, aggregates: &[Aggregate]) {
    for one in aggregates {
        let settled = async {
            while world.item(one).await.unwrap().state != State::Settled {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let settled = tokio::time::timeout(DEADLINE, settled).await;
        assert!(settled.is_ok(), "{:?} is never settled", one.key());
    }
}

/// BatchGetItem is refused whole for one of its keys.
#[tokio::test]
async fn a_key_that_the_table_does_not_let_be_read_holds_up_no_other() {
    let mut world = World::start().await;
    world.provision(1, 1_000_000, 1).await;
    let auctions: Vec<_> = (1..=20).map(|window| auction(1, window, &[(1, 16)])).collect();
    for one in &auctions {
        world.pend(one).await;
    }
    let (bad, others) = auctions.split_last().unwrap();
    let (_, sort_key) = bad.key();
    let rule = move |operation: &str, body: &str| {
        let is_read = matches!(operation, "BatchGetItem" | "GetItem");
        (is_read && body.contains(&sort_key)).then_some(("ValidationException", "one of the keys is odd"))
    };
    let endpoint = picky::open(&world.dynamodb.endpoint_url(), rule).await;
    let picky = Clients::local("http://127.0.0.1:9", &endpoint).await;
    let direct = std::mem::replace(&mut world.clients, picky);
    let running = Running::start(&world);
    world.clients = direct;
    until_settled(&world, others).await;
    let metrics = running.stop().await;
    assert_eq!(world.item(bad).await.unwrap().state, State::Pending, "nobody could read it");
    assert_eq!(metrics.foreign.load(Ordering::Relaxed), 1, "it is told");
    world.assert_the_ledger_is_right().await;
    world.stop().await;
}

#[tokio::test]
async fn foreign_items_in_front_of_a_bucket_keep_nothing_from_being_settled() {
    let world = World::start().await;
    world.provision(1, 1_000, 1).await;
    let honest: Vec<_> = (1..=6).map(|window| auction(1, window, &[(1, 16)])).collect();
    // A copy under another key: settling it would settle what its attributes name.
    let copied = auction(1, 7, &[(1, 16)]);
    let mut copy = item(&world, &copied);
    copy.extend(entry(&world, "COPY", "of it", 0));
    let mut decided = item(&world, &auction(1, 8, &[(1, 16)]));
    decided.extend([("state".to_owned(), text("SETTLED")), ("outbox_sk".to_owned(), text("0#000001"))]);
    let others = (2..FOREIGN).map(|number| entry(&world, "OTHER", &format!("{number:06}"), number));
    let foreign: Vec<Item> = [copy, decided].into_iter().chain(others).collect();
    put_all(&world, foreign.clone()).await;
    let mut before = Vec::new();
    for one in foreign.iter().take(4) {
        before.push(stands(&world, one).await);
    }
    for one in &honest {
        world.pend(one).await;
    }
    let running = Running::by(&world, &["--batch", BATCH], Default::default());
    until_settled(&world, &honest).await;
    // Late ones too, although the bucket was walked to its end before.
    let late = auction(1, 9, &[(1, 16)]);
    world.pend(&late).await;
    until_settled(&world, std::slice::from_ref(&late)).await;
    let metrics = running.stop().await;
    assert_eq!(metrics.settled.load(Ordering::Relaxed), 7);
    assert_eq!(metrics.held.load(Ordering::Relaxed), 0);
    assert_eq!(metrics.foreign.load(Ordering::Relaxed), u64::try_from(FOREIGN).unwrap(), "each once");
    assert!(metrics.exposition().contains(&format!("settler_foreign_total {FOREIGN}\n")));
    for (one, before) in foreign.iter().zip(before) {
        assert_eq!(stands(&world, one).await, before, "what is not ours is left as it is");
    }
    assert_eq!(world.count("SELECT count(*) FROM settlements").await, 7, "the copy was not settled");
    world.assert_the_ledger_is_right().await;
    world.stop().await;
}

/// Under the key of an aggregate a pending item is ours, whatever became of it, and `settler release` finds it again.
#[tokio::test]
async fn damaged_auctions_are_held_and_what_lies_behind_them_is_settled() {
    let world = World::start().await;
    world.provision(1, 1_000, 1).await;
    let damaged: Vec<_> = (1..=12_usize)
        .map(|number| {
            let one = auction(1, u64::try_from(number).unwrap(), &[(1, 16)]);
            let mut item = item(&world, &one);
            match number % 4 {
                0 => drop(item.remove("digest")),
                1 => drop(item.insert("bids".to_owned(), text("many"))),
                2 => drop(item.insert("note".to_owned(), AttributeValue::Ns(vec!["1".to_owned()]))),
                // Whole, and another's: settling it would settle what stands elsewhere.
                _ => {
                    let (pk, sk) = (item["PK"].clone(), item["SK"].clone());
                    let other = auction(1, u64::try_from(number).unwrap() + 50, &[(1, 16)]);
                    item = self::item(&world, &other);
                    item.extend([("PK".to_owned(), pk), ("SK".to_owned(), sk)]);
                }
            }
            item
        })
        .collect();
    put_all(&world, damaged.clone()).await;
    let honest = auction(1, 100, &[(1, 16)]);
    world.pend(&honest).await;
    let running = Running::by(&world, &["--batch", BATCH], Default::default());
    until_settled(&world, std::slice::from_ref(&honest)).await;
    world.until_outbox_is_empty().await;
    let metrics = running.stop().await;
    assert_eq!(metrics.held.load(Ordering::Relaxed), 12);
    assert_eq!(world.count("SELECT count(*) FROM settlements").await, 1);
    for one in &damaged {
        let item = stands(&world, one).await.unwrap();
        assert_eq!(item["state"], text("HELD"));
        assert!(item.contains_key("held_error"), "{item:?}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_foreign_item_is_told_once_with_its_key_what_is_wrong_and_what_to_do() {
    let world = World::start().await;
    world.provision(1, 1_000, 1).await;
    let odd = [("OTHER", "a"), ("OTHER", "line\nbreak"), ("SLOT#1", "WINDOW#0")];
    put_all(&world, (0..).zip(odd).map(|(number, (pk, sk))| entry(&world, pk, sk, number))).await;
    let mut settler = command(stage("settler"));
    settler.args(["--batch", "2"]).env("AWS_ENDPOINT_URL_DYNAMODB", world.dynamodb.endpoint_url());
    for name in ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        settler.env(name, "us-east-1");
    }
    settler
        .env("AWS_ENDPOINT_URL_KINESIS", "http://127.0.0.1:9")
        .env("DATABASE_URL", world.dsql.database_url());
    let settler = Process::start(&mut settler);
    for window in 1..=3 {
        let one = auction(1, window, &[(1, 16)]);
        world.pend(&one).await;
        until_settled(&world, std::slice::from_ref(&one)).await;
    }
    settler.signal("TERM");
    let ended = tokio::task::spawn_blocking(|| settler.end()).await.unwrap();
    assert!(ended.status.success(), "{ended:?}");
    let lines = ended.stderr.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let lines: Vec<_> = lines.collect();
    let last = lines.iter().find(|line| line["message"] == "settler stopped").unwrap();
    let cost = ["conflicts", "retries", "resolved", "resolutionRate"].map(|name| last[name].as_f64());
    assert_eq!(cost, [Some(0.0), Some(0.0), Some(0.0), Some(1.0)], "as fields of the line: {last}");
    let told: Vec<_> = lines.iter().filter(|line| !line["pk"].is_null()).collect();
    assert_eq!(told.len(), odd.len(), "{ended:?}");
    for (pk, sk) in odd {
        let sk = sk.escape_debug().to_string();
        let line = told.iter().find(|line| line["pk"] == pk && line["sk"] == sk.as_str());
        let line = line.unwrap_or_else(|| panic!("{pk} {sk} is not told: {ended:?}"));
        assert_eq!((&line["level"], &line["table"]), (&"WARN".into(), &keys::TABLE.into()));
        assert!(line["reason"].as_str().unwrap().contains("key"), "{line}");
        assert!(line["message"].as_str().unwrap().contains("outbox_pk"), "{line}");
    }
    world.stop().await;
}
