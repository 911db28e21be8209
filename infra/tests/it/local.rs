//! `exchange up` as ops and analysts use it: through the AWS CLI and psql, with what the README shows.

use serde_json::Value;

use crate::harness::{Local, aws, psql, read_json, text, wait_for};

#[test]
fn the_aws_cli_and_psql_work_against_up() {
    let local = Local::start();
    let provision = ["provision", "--window-ms", "1000", "--grace-ms", "300"];
    let samples = ["--sample-accounts", "50", "--sample-slots", "8"];
    local.exchange(&[&provision[..], &samples[..]].concat()).done();
    let shards = aws(&local, &["kinesis", "list-shards", "--stream-name", "bids"]);
    assert_eq!(shards["Shards"].as_array().unwrap().len(), 4, "{shards}");

    let _processor = local.stage("processor", "processor.log", &[]);
    let summary = local.path("summary.json");
    let load = ["--generate", "400", "--duration", "2", "--slots", "8", "--accounts", "50"];
    let sent = ["--region", "eu-central-1", "--no-table", "--json", text(&summary)];
    let producer = local.stage("producer", "producer.log", &[&load[..], &sent[..]].concat());
    assert!(producer.end().status.success());
    let accepted = read_json(&summary)["accepted"].as_u64().unwrap();
    assert_eq!(accepted, 800);

    // Nobody settles yet, so every closed auction lies in the outbox.
    wait_for("every bid in a closed auction", || {
        let report = local.report();
        let counted = report["bids_counted"].as_u64().unwrap() + report["late"].as_u64().unwrap();
        if counted == accepted { Ok(()) } else { Err(format!("{counted} of {accepted}")) }
    });
    let pending = local.report()["auctions_closed"].as_u64().unwrap();
    assert_eq!(outbox(&local), pending);

    let slot = producer::generator::slot(0).to_string();
    let query = |key: &str, prefix: &str| {
        let values = format!(r#"{{":pk":{{"S":"{key}"}},":sk":{{"S":"{prefix}"}}}}"#);
        let condition = ["--key-condition-expression", "PK = :pk AND begins_with(SK, :sk)"];
        let table =
            ["dynamodb", "query", "--table-name", "bid_aggregates", "--expression-attribute-values", &values];
        aws(&local, &[&table[..], &condition[..]].concat())
    };
    let windows = query(&format!("SLOT#{slot}"), "WINDOW#");
    let items = windows["Items"].as_array().unwrap();
    assert!(!items.is_empty() && items.iter().all(|item| item["slot_id"]["S"] == slot.as_str()), "{windows}");
    assert!(items.iter().all(|item| item["state"]["S"] == "PENDING"), "{windows}");
    let totals = query("REGION#eu-central-1", "WINDOW#");
    let counted = |name: &str| -> u64 {
        let of = |item: &Value| item[name]["N"].as_str().unwrap().parse::<u64>().unwrap();
        totals["Items"].as_array().unwrap().iter().map(of).sum()
    };
    assert_eq!(counted("bids") + counted("late"), accepted);

    let settler = local.stage("settler", "settler.log", &[]);
    local.settle(accepted);
    assert_eq!(outbox(&local), 0);
    let decided = psql(&local, "SELECT count(*) FROM settlements WHERE outcome IN ('SALE', 'NO_SALE')");
    assert_eq!(decided, [pending.to_string()]);
    let sum = "SELECT sum(CASE direction WHEN 'DEBIT' THEN -amount ELSE amount END) FROM financial_ledger";
    assert_eq!(psql(&local, sum), ["0.0000"]);
    settler.signal("TERM");
    assert!(settler.end().status.success());
    queries_say_the_same(&local, &slot, items.len(), accepted);
    an_auction_is_explained(&local);
}

/// `exchange query` finds what the AWS CLI found, by the same keys.
fn queries_say_the_same(local: &Local, slot: &str, windows: usize, accepted: u64) {
    let query = |path: &[&str]| -> Vec<Value> {
        let ended = local.exchange(&[&["query", "--format", "json"][..], path].concat()).done();
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
    };
    let found = query(&["windows", "--slot", slot]);
    assert_eq!(found.len(), windows);
    assert!(found.iter().all(|row| row["slot_id"] == slot && row["state"] != "PENDING"), "{found:?}");
    let first = found[0]["window_start"].as_str().unwrap();
    assert_eq!(query(&["windows", "--slot", slot, "--from", first, "--to", first]), found[..1]);
    let totals = query(&["regions", "--region", "eu-central-1", "--region", "us-east-1"]);
    let bids: u64 =
        totals.iter().map(|row| row["bids"].as_u64().unwrap() + row["late"].as_u64().unwrap()).sum();
    assert_eq!(bids, accepted, "{totals:?}");
    let hot = query(&["hot", "--window", first]);
    assert!(hot.iter().any(|row| row["slot_id"] == slot && row["bids"] == found[0]["bids"]), "{hot:?}");
    assert!(!query(&["hot", "--last", "1000"]).is_empty());
    assert!(query(&["outbox"]).is_empty());
    let csv = local.exchange(&["query", "windows", "--slot", slot, "--format", "csv"]).done().stdout;
    assert_eq!(csv.lines().count(), windows + 1, "{csv}");
}

/// By the settlement's id or by slot and window, in the ledger's own words.
fn an_auction_is_explained(local: &Local) {
    let sql = "SELECT settlement_id, slot_id, winner_account, clearing_price, to_char(window_start AT TIME ZONE 'UTC', \
        'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') FROM settlements WHERE outcome = 'SALE' LIMIT 1";
    let row = psql(local, sql).remove(0);
    let [id, slot, winner, price, window] = row.split('|').collect::<Vec<_>>()[..] else { panic!("{row}") };
    let explained = |of: &[&str]| -> Value {
        let ended = local.exchange(&[&["explain", "--json", "-"][..], of].concat()).done();
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
    };
    let one = explained(&[id]);
    assert_eq!(one, explained(&[slot, window]));
    let said = [&one["slot_id"], &one["winner"], &one["clearing_price"], &one["window_start"]];
    assert_eq!(said, [slot, winner, price, window]);
    let candidates = one["candidates"].as_array().unwrap();
    let won = |one: &&Value| one["verdict"] == "won";
    assert_eq!(candidates.iter().filter(won).count(), 1, "{one}");
    assert!(candidates.iter().all(|one| !one["verdict"].as_str().unwrap().is_empty()), "{one}");
    assert_eq!(one["entries"].as_array().unwrap().len(), 2, "{one}");
    let told = local.exchange(&["explain", id]).done().stdout;
    assert!(told.contains(&format!("sold to {winner} for {price}")), "{told}");
    local.exchange(&["explain", slot]).says(1, &["knows no settlement", slot]);
    local.exchange(&["explain", slot, "2020-01-01T00:00:00Z"]).says(1, &["no auction of slot", slot]);
}

/// Auctions in the outbox; one of its keys is also asked as a settler asks.
fn outbox(local: &Local) -> u64 {
    let index = ["--table-name", "bid_aggregates", "--index-name", "outbox"];
    let all = aws(local, &[&["dynamodb", "scan"][..], &index[..]].concat());
    let keys: Vec<&str> = all["Items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["outbox_pk"]["S"].as_str().unwrap())
        .collect();
    if let Some(key) = keys.first() {
        let values = format!(r#"{{":pk":{{"S":"{key}"}}}}"#);
        let condition =
            ["--key-condition-expression", "outbox_pk = :pk", "--expression-attribute-values", &values];
        let one = aws(local, &[&["dynamodb", "query"][..], &index[..], &condition[..]].concat());
        assert_eq!(one["Count"], keys.iter().filter(|other| *other == key).count(), "{one}");
    }
    all["Count"].as_u64().unwrap()
}
