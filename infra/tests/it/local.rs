//! `exchange up` as ops and analysts use it: through the AWS CLI and psql, with what the README shows.

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
    let sent = ["--region", "eu-central-1", "--json", text(&summary)];
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
        let of = |item: &serde_json::Value| item[name]["N"].as_str().unwrap().parse::<u64>().unwrap();
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
