//! What files give, and what is told about bad ones.

use super::*;

const A: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const B: &str = "bbbbbbbb-0000-4000-8000-000000000002";
const ACCOUNT_FIELDS: [&str; 4] = ["account_id", "name", "balance", "credit_limit"];

fn accounts_of(text: &str) -> Lines<NewAccount> {
    parse(text.as_bytes(), Form::Unsaid, (&ACCOUNT_FIELDS, &["status"]), account)
}

fn slots_of(text: &str) -> Lines<NewSlot> {
    parse(text.as_bytes(), Form::Unsaid, (&["slot_id", "publisher_account_id", "floor_price"], &[]), slot)
}

fn told(bad: &[BadLine]) -> Vec<(u64, &str)> {
    bad.iter().map(|bad| (bad.line, bad.field.as_str())).collect()
}

#[test]
fn csv_and_ndjson_say_the_same_and_columns_may_stand_in_any_order() {
    let csv = accounts_of(&format!(
        "\u{feff}name,account_id,credit_limit,balance\n\"Acme, Inc.\",{A},0,1000.5\n Bolt ,{B},2.0001,99999999999999\n"
    ));
    let json = accounts_of(&format!(
        "{{\"account_id\":\"{A}\",\"name\":\"Acme, Inc.\",\"balance\":1000.5,\"credit_limit\":\"0\"}}\n\n\
         {{\"account_id\":\"{B}\",\"name\":\"Bolt\",\"balance\":99999999999999,\"credit_limit\":2.0001}}"
    ));
    assert_eq!((told(&csv.bad), csv.good.len()), (vec![], 2));
    assert_eq!(csv, json);
    assert_eq!(csv.good[0].balance, Money(10_005_000));
    assert_eq!((csv.good[1].name.as_str(), csv.good[1].credit_limit), ("Bolt", Money(20_001)));
}

#[test]
fn every_bad_field_of_every_line_is_told_with_its_place() {
    let lines = accounts_of(&format!(
        "account_id,name,balance,credit_limit\n\
         {A},Acme,1.00001,-1\n\
         {A},Acme,1,0\n\
         nobody,,1x3,0\n\
         {A},Again,1,0\n\
         {B},short,1\n\
         {B},Bolt,1,0\n"
    ));
    assert_eq!(
        told(&lines.bad),
        [
            (2, "balance"),
            (2, "credit_limit"),
            (4, "account_id"),
            (4, "name"),
            (4, "balance"),
            (5, "account_id"),
            (6, "line")
        ]
    );
    assert_eq!(lines.bad[0].reason, "has more than 4 decimals; round it to 4");
    assert_eq!(lines.bad[5].reason, "stands on line 3 already; give it once");
    assert_eq!((lines.good.len(), count_lines(&lines.bad)), (2, 4));
}

#[test]
fn a_name_that_no_ledger_could_hold_is_a_bad_line() {
    let lines = accounts_of(&format!("account_id,name,balance,credit_limit\n{A},\"a\0b\",5,1\n"));
    assert_eq!((told(&lines.bad), lines.good.len()), (vec![(2, "name")], 0));
}

#[test]
fn a_json_line_is_told_what_it_lacks_and_what_is_too_much() {
    let lines = slots_of(&format!(
        "{{\"slot_id\":\"{A}\",\"publisher_account_id\":\"{B}\",\"floor_price\":\"0\"}}\n\
         {{\"slot_id\":\"{B}\",\"publisher\":\"{B}\",\"floor_price\":null}}\n\
         [1]\n\
         {{\"slot_id\":\"{B}\",\"publisher_account_id\":\"{B}\",\"floor_price\":0.12345}}\n"
    ));
    assert_eq!(
        told(&lines.bad),
        [(2, "floor_price"), (2, "publisher"), (2, "publisher_account_id"), (3, "line"), (4, "floor_price")]
    );
    assert_eq!(lines.good.len(), 1);
}

#[test]
fn a_header_with_other_columns_is_told_once_and_no_line_after_it() {
    let lines = slots_of(&format!("slot_id,publisher,floor_price\n{A},{B},1\n"));
    assert_eq!(told(&lines.bad), [(1, "publisher"), (1, "publisher_account_id")]);
    assert!(lines.good.is_empty());
    assert_eq!(told(&slots_of("slot_id,slot_id,publisher_account_id,floor_price\n").bad), [(1, "slot_id")]);
    assert_eq!(slots_of("").bad.len(), 3, "an empty file has no header");
}

#[test]
fn many_bad_lines_are_shown_up_to_a_bound() {
    let bad: Vec<BadLine> =
        (1..=TOLD_MAX + 3).map(|line| bad(line.try_into().unwrap(), "name", "is bad")).collect();
    let mut out = Vec::new();
    tell(&mut out, Path::new("a.csv"), &bad).unwrap();
    let out = String::from_utf8(out).unwrap();
    assert_eq!(out.lines().count(), TOLD_MAX + 1);
    assert!(out.starts_with("a.csv:1: name is bad\n") && out.ends_with("a.csv: and 3 more\n"), "{out}");
}

#[test]
fn a_status_may_be_given_and_need_not_be() {
    use schemas::settlement::AccountStatus::{Active, Suspended};
    let csv = accounts_of(&format!(
        "account_id,name,balance,credit_limit,status\n{A},a,5,1,suspended\n{B},b,5,1,\n"
    ));
    assert_eq!(csv.bad, []);
    assert_eq!([csv.good[0].status, csv.good[1].status], [Some(Suspended), None]);
    let json = |status: &str| {
        let line =
            format!("{{\"account_id\":\"{A}\",\"name\":\"a\",\"balance\":5,\"credit_limit\":1{status}}}");
        accounts_of(&line)
    };
    assert_eq!(json("").good[0].status, None);
    assert_eq!(json(",\"status\":\"active\"").good[0].status, Some(Active));
    let wrong = json(",\"status\":\"gone\"");
    assert_eq!((wrong.good.len(), wrong.bad[0].field.as_str()), (0, "status"));
    assert!(wrong.bad[0].reason.contains("active or suspended"), "{}", wrong.bad[0].reason);
}
