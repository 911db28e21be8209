//! Differences planted with the AWS CLI and psql: the audit finds each, names the auction and says what differs.

use serde_json::Value;

use crate::harness::{Local, aws, psql, read_json, text};

/// What all calls agree on.
const PROVISION: [&str; 5] = ["provision", "--window-ms", "500", "--grace-ms", "200"];

/// A settled pipeline of a few auctions.
fn settled(pricing: &str) -> Local {
    let local = Local::start();
    let samples = ["--sample-accounts", "20", "--sample-slots", "4", "--pricing", pricing];
    local.exchange(&[&PROVISION[..], &samples[..]].concat()).done();
    let processor = local.stage("processor", "processor.log", &[]);
    let settler = local.stage("settler", "settler.log", &[]);
    let summary = local.path("summary.json");
    let load = ["--generate", "400", "--duration", "2", "--slots", "4", "--accounts", "20"];
    let sent = ["--region", "eu-central-1", "--no-table", "--json", text(&summary)];
    let producer = local.stage("producer", "producer.log", &[&load[..], &sent[..]].concat());
    assert!(producer.end().status.success());
    local.settle(read_json(&summary)["accepted"].as_u64().unwrap());
    for stage in [processor, settler] {
        stage.signal("TERM");
        assert!(stage.end().status.success());
    }
    local
}

/// An auction that was sold.
struct Sold {
    settlement: String,
    slot: String,
    window: String,
    key: String,
}

fn sold(local: &Local) -> Vec<Sold> {
    let rows = "SELECT settlement_id, slot_id, to_char(window_start AT TIME ZONE 'UTC', \
        'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') FROM settlements WHERE outcome = 'SALE' ORDER BY window_start, slot_id";
    let read = |row: &String| {
        let mut columns = row.split('|').map(str::to_owned);
        let mut column = || columns.next().unwrap();
        let (settlement, slot, window) = (column(), column(), column());
        let key = format!(r#"{{"PK":{{"S":"SLOT#{slot}"}},"SK":{{"S":"WINDOW#{window}"}}}}"#);
        Sold { settlement, slot, window, key }
    };
    psql(local, rows).iter().map(read).collect()
}

/// Holds that the audit ends with 1 and that a difference of this kind names the auction.
#[track_caller]
fn is_found(local: &Local, what: &str, auction: &Sold) {
    let (code, found) = local.audit();
    assert_eq!(code, 1, "{found}");
    let differences = found["differences"].as_array().unwrap();
    let named = |one: &&Value| {
        one["slot_id"] == auction.slot.as_str() && one["window_start"] == auction.window.as_str()
    };
    let kinds: Vec<&str> =
        differences.iter().filter(named).map(|one| one["what"].as_str().unwrap()).collect();
    assert!(kinds.iter().any(|kind| kind.contains(what)), "no {what} among {kinds:?} in {found}");
    let told = local.exchange(&["audit", "--expect-settled"]);
    let line = format!("of slot {} in window {}", auction.slot, auction.window);
    assert!(told.stdout.lines().any(|printed| printed.contains(what) && printed.contains(&line)), "{told:?}");
    told.says(1, &["the audit found"]);
}

/// Holds that `explain` names a contradiction and ends with 1, for a person and as JSON.
#[track_caller]
fn contradicts(local: &Local, auction: &Sold, line: &str) {
    let told = local.exchange(&["explain", &auction.settlement]);
    assert!(told.stdout.contains(&format!("CONTRADICTION in {line}")), "{told:?}");
    told.says(1, &["contradiction", "exchange audit"]);
    let json = local.exchange(&["explain", &auction.settlement, "--json", "-"]);
    let explained: Value =
        serde_json::from_str(&json.stdout).unwrap_or_else(|error| panic!("{error}: {json:?}"));
    assert!(!explained["contradictions"].as_array().unwrap().is_empty(), "{explained}");
}

#[track_caller]
fn is_clean(local: &Local) {
    let (code, found) = local.audit();
    assert_eq!(code, 0, "{found}");
}

#[test]
fn each_planted_difference_is_found_and_names_its_auction() {
    let local = settled("first");
    let auctions = sold(&local);
    let [first, second, third, fourth, ..] = auctions.as_slice() else { panic!("{} sales", auctions.len()) };
    is_clean(&local);
    let table = ["--table-name", "bid_aggregates"];

    // The winner in an aggregate.
    let item = aws(&local, &[&["dynamodb", "get-item"][..], &table, &["--key", &first.key]].concat());
    let winner = item["Item"]["winner"]["S"].as_str().unwrap().to_owned();
    let set = |winner: &str| {
        let value = format!(r#"{{":w":{{"S":"{winner}"}}}}"#);
        let update = ["--update-expression", "SET winner = :w", "--expression-attribute-values", &value];
        aws(&local, &[&["dynamodb", "update-item"][..], &table, &["--key", &first.key], &update].concat());
    };
    set("00000000-0000-4000-8000-00000000dead");
    is_found(&local, "aggregate decision", first);
    contradicts(
        &local,
        first,
        "winner: the item says 00000000-0000-4000-8000-00000000dead, but the row says",
    );
    set(&winner);
    is_clean(&local);
    local.exchange(&["explain", &first.settlement]).done();

    // An aggregate that is gone.
    let item = aws(&local, &[&["dynamodb", "get-item"][..], &table, &["--key", &second.key]].concat());
    aws(&local, &[&["dynamodb", "delete-item"][..], &table, &["--key", &second.key]].concat());
    is_found(&local, "aggregate", second);
    let item = item["Item"].to_string();
    aws(&local, &[&["dynamodb", "put-item"][..], &table, &["--item", &item]].concat());
    is_clean(&local);

    // An entry too many in the ledger.
    let entry = "00000000-0000-4000-8000-000000000e11";
    let add = format!(
        "INSERT INTO financial_ledger (entry_id, settlement_id, account_id, direction, amount, created_at) SELECT \
         '{entry}', settlement_id, winner_account, 'CREDIT', 1, settled_at FROM settlements WHERE settlement_id = '{}'",
        third.settlement
    );
    psql(&local, &add);
    is_found(&local, "entr", third);
    contradicts(
        &local,
        third,
        "ledger entry: the row asks for none like it, but financial_ledger has CREDIT 1.0000",
    );
    psql(&local, &format!("DELETE FROM financial_ledger WHERE entry_id = '{entry}'"));
    is_clean(&local);

    // A settlement that is gone.
    psql(&local, &format!("DELETE FROM settlements WHERE settlement_id = '{}'", fourth.settlement));
    is_found(&local, "settlement", fourth);
    let told = local.exchange(&["explain", &fourth.slot, &fourth.window]);
    assert!(
        told.stdout.contains("CONTRADICTION in decision: the item is SETTLED, but settlements has no row"),
        "{told:?}"
    );
    told.says(1, &["contradiction"]);
}

/// Every slot gets another floor and publisher; then what rows keep of their slots is belied, and at last taken away.
#[test]
fn a_decision_is_audited_by_the_floor_and_the_publisher_it_was_made_with() {
    let local = settled("first");
    let auctions = sold(&local);
    let [first, second, ..] = auctions.as_slice() else { panic!("{} sales", auctions.len()) };
    let slots = |publisher: &str, floor: &str| {
        psql(&local, &format!("SELECT concat_ws(',', slot_id, {publisher}, {floor}) FROM ad_slots"))
    };
    let provision = |slots: &[String]| {
        let file = local.path("slots.csv");
        let lines = format!("slot_id,publisher_account_id,floor_price\n{}\n", slots.join("\n"));
        std::fs::write(&file, lines).unwrap();
        local.exchange(&[&PROVISION[..], &["--slots", text(&file)]].concat()).done();
    };
    let before = slots("publisher_account_id", "floor_price");
    let another = slots("'99999999-bbbb-4ccc-8ddd-eeeeeeeeeeee'", "9000000");
    provision(&another);
    is_clean(&local);

    let set = |what: &str, auction: &Sold| {
        psql(
            &local,
            &format!("UPDATE settlements SET {what} WHERE settlement_id = '{}'", auction.settlement),
        );
    };
    set("floor_price = winning_amount + 0.0001", first);
    is_found(&local, "settlement outcome", first);
    set("floor_price = winning_amount", first);
    is_clean(&local);
    set("publisher_account_id = '99999999-bbbb-4ccc-8ddd-eeeeeeeeeeee'", second);
    is_found(&local, "ledger entry of a settlement", second);
    set("floor_price = NULL, publisher_account_id = NULL", second);
    is_found(&local, "settlement outcome", second);

    // As an earlier release left it: nobody works on that, and once it is provisioned its slots are all there is.
    psql(&local, "ALTER TABLE settlements DROP COLUMN floor_price, DROP COLUMN publisher_account_id");
    local.exchange(&["audit"]).says(64, &["settlements cannot be read", "run `exchange provision`"]);
    let settler = local.stage("settler", "refused.log", &[]);
    assert_eq!(settler.end().status.code(), Some(64));
    let told = std::fs::read_to_string(local.path("refused.log")).unwrap();
    assert!(told.contains("floor_price") && told.contains("run `exchange provision`"), "{told}");
    provision(&before);
    is_clean(&local);
}

/// What set a price is belied, and then taken away.
#[test]
fn a_second_price_is_held_to_its_evidence() {
    let local = settled("second");
    is_clean(&local);
    let two = "SELECT settlement_id FROM ad_bids WHERE passed_over IS NULL GROUP BY settlement_id HAVING count(*) = 2";
    let two = psql(&local, two);
    let auctions: Vec<Sold> =
        sold(&local).into_iter().filter(|one| two.contains(&one.settlement)).take(2).collect();
    let [first, second] = auctions.as_slice() else { panic!("{} prices were set by someone", two.len()) };
    let explained = local.exchange(&["explain", &first.settlement]).done();
    let told = ["ranked below the winner, and set the price", "the price was set by"];
    assert!(told.iter().all(|words| explained.stdout.contains(words)), "{explained:?}");

    let behind = "bid_id NOT IN (SELECT winning_bid FROM settlements WHERE winning_bid IS NOT NULL)";
    let last = "rank = (SELECT max(rank) FROM ad_bids AS all_bids WHERE all_bids.settlement_id = ad_bids.settlement_id)";
    let of = |auction: &Sold, which: &str| format!("settlement_id = '{}' AND {which}", auction.settlement);
    let poor = "passed_over = 'insufficient_funds', balance_seen = -limit_seen";
    let kept = &psql(&local, &format!("SELECT balance_seen FROM ad_bids WHERE {}", of(first, last)))[0];
    psql(&local, &format!("UPDATE ad_bids SET {poor} WHERE {}", of(first, last)));
    is_found(&local, "evidence balance_seen", first);
    let rich = format!("passed_over = NULL, balance_seen = {kept}");
    psql(&local, &format!("UPDATE ad_bids SET {rich} WHERE {}", of(first, last)));
    is_clean(&local);

    psql(&local, &format!("DELETE FROM ad_bids WHERE {}", of(second, behind)));
    is_found(&local, "evidence", second);
}

/// Writes a value into one cell of each table that a decision stands on, and takes it out again.
#[test]
fn a_value_that_no_stage_writes_is_named_by_table_row_and_column_and_hides_nothing_else() {
    let local = settled("first");
    let auctions = sold(&local);
    let [first, second, ..] = auctions.as_slice() else { panic!("{} sales", auctions.len()) };
    is_clean(&local);
    for table in ["enterprise_accounts", "ad_slots", "settlements", "ad_bids", "financial_ledger"] {
        // As an earlier release left the ledger, which did not refuse such values.
        psql(&local, &format!("ALTER TABLE {table} DROP CONSTRAINT {table}_values"));
    }
    let one = |sql: &str| psql(&local, sql)[0].clone();
    let of = |column: &str| {
        one(&format!("SELECT {column} FROM settlements WHERE settlement_id = '{}'", first.settlement))
    };
    let (account, slot) = (of("winner_account"), of("slot_id"));
    let entry = one(&format!(
        "SELECT entry_id FROM financial_ledger WHERE settlement_id = '{}' AND direction = 'DEBIT'",
        first.settlement
    ));
    let settlement = first.settlement.as_str();
    let plants = [
        ("enterprise_accounts", "account_id", account.as_str(), "balance", "NaN", "account balance"),
        ("enterprise_accounts", "account_id", &account, "opening_balance", "NaN", ""),
        ("enterprise_accounts", "account_id", &account, "credit_limit", "-1.0000", ""),
        ("enterprise_accounts", "account_id", &account, "status", "closed", ""),
        ("enterprise_accounts", "account_id", &account, "status_since", "infinity", ""),
        ("ad_slots", "slot_id", &slot, "floor_price", "NaN", ""),
        ("settlements", "settlement_id", settlement, "clearing_price", "NaN", ""),
        ("settlements", "settlement_id", settlement, "settled_at", "-infinity", ""),
        ("settlements", "settlement_id", settlement, "window_end", "infinity", ""),
        ("ad_bids", "settlement_id", settlement, "amount", "NaN", ""),
        ("ad_bids", "settlement_id", settlement, "balance_seen", "NaN", ""),
        ("financial_ledger", "entry_id", &entry, "amount", "NaN", ""),
        ("financial_ledger", "entry_id", &entry, "created_at", "infinity", ""),
    ];
    for (table, key, id, column, value, what) in plants {
        let rank = if table == "ad_bids" { " AND rank = 0" } else { "" };
        let stood = psql(&local, &format!("SELECT {column} FROM {table} WHERE {key} = '{id}'{rank}"));
        let stood = stood
            .first()
            .filter(|text| !text.is_empty())
            .map_or("NULL".to_owned(), |text| format!("'{text}'"));
        let set = |value: &str| {
            psql(&local, &format!("UPDATE {table} SET {column} = {value} WHERE {key} = '{id}'{rank}"));
        };
        set(&format!("'{value}'"));
        let (code, found) = local.audit();
        let differences = found["differences"].as_array().unwrap();
        assert_eq!((code, differences.len()), (1, 1), "{table} {column}: {found}");
        let told = &differences[0];
        let whole = format!("{table} {column}");
        assert_eq!(told["what"], if what.is_empty() { whole.as_str() } else { what });
        assert!(told["subject"].as_str().unwrap().contains(id), "{told}");
        let said = told["found"].as_str().unwrap().to_lowercase();
        let advice = "put it right with sql";
        assert!(said.starts_with(&value.to_lowercase()) && said.contains(advice), "{told}");
        if ["settlements", "ad_bids", "financial_ledger"].contains(&table) {
            let explained = local.exchange(&["explain", &first.slot, &first.window]);
            assert!(explained.stdout.contains(&format!("CONTRADICTION in {whole}")), "{explained:?}");
            explained.says(1, &["1 contradiction"]);
        }
        set(&stood);
        is_clean(&local);
    }
    // Beside a damaged row every other fault is still found.
    psql(&local, &format!("UPDATE enterprise_accounts SET balance = 'NaN' WHERE account_id = '{account}'"));
    psql(&local, &format!("DELETE FROM settlements WHERE settlement_id = '{}'", second.settlement));
    is_found(&local, "settlement", second);
    let told = local.exchange(&["audit"]);
    told.says(1, &["the audit found"]);
    assert!(told.stdout.contains(&format!("account balance (account {account})")), "{told:?}");
    let reported = local.exchange(&["report"]).done();
    assert!(reported.stdout.contains("ledger sum"), "{reported:?}");
}

/// Attributes of every kind of item, spoiled one by one.
#[test]
fn an_item_that_cannot_be_read_is_one_difference_that_names_it() {
    let local = settled("first");
    let auctions = sold(&local);
    let items = aws(&local, &["dynamodb", "scan", "--table-name", "bid_aggregates"]);
    let items = items["Items"].as_array().unwrap();
    let of = |kind: &str| {
        items.iter().find(|item| item["PK"]["S"].as_str().unwrap().starts_with(kind)).unwrap().clone()
    };
    let aggregate = items.iter().find(|item| {
        item["PK"]["S"] == format!("SLOT#{}", auctions[0].slot).as_str()
            && item["SK"]["S"] == format!("WINDOW#{}", auctions[0].window).as_str()
    });
    let put = |item: &Value| {
        let item = item.to_string();
        aws(&local, &["dynamodb", "put-item", "--table-name", "bid_aggregates", "--item", &item]);
    };
    let plants = [
        (aggregate.unwrap().clone(), "bids", serde_json::json!({"N": "1.5"})),
        (aggregate.unwrap().clone(), "amount_sum", Value::Null),
        (aggregate.unwrap().clone(), "candidates", serde_json::json!({"S": "none"})),
        (of("REGION#"), "late", serde_json::json!({"S": "many"})),
        (of("HOT#"), "slots", Value::Null),
    ];
    for (whole, name, value) in plants {
        let mut spoiled = whole.clone();
        match value {
            Value::Null => drop(spoiled.as_object_mut().unwrap().remove(name)),
            value => spoiled[name] = value,
        }
        put(&spoiled);
        let (code, found) = local.audit();
        let differences = found["differences"].as_array().unwrap();
        assert_eq!((code, differences.len()), (1, 1), "{name}: {found}");
        let told = &differences[0];
        assert_eq!(told["what"], "item");
        assert!(told["subject"].as_str().unwrap().starts_with(whole["PK"]["S"].as_str().unwrap()), "{told}");
        let said = told["found"].as_str().unwrap();
        assert!(said.contains(name) && said.contains("put that right"), "{told}");
        put(&whole);
        is_clean(&local);
    }
}
