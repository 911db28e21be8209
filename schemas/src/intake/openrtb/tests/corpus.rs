//! Responses as exchanges and bidders write them, made from the specification: each is taken whole, with every digit.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::*;

/// One response and what must come of it.
#[derive(Deserialize)]
struct Case<'a> {
    what: &'a str,
    /// Its prices in ten-thousandths, rounded half-even.
    units: Vec<u64>,
    /// How many of them have more than four decimals.
    finer: usize,
    #[serde(borrow)]
    response: &'a RawValue,
}

fn cases() -> Vec<Case<'static>> {
    include_str!("corpus.ndjson").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// All seats and impressions of the corpus.
fn known() -> Names {
    let accounts = ["acme", "958", "buyer 7", "tv-buyer", "radio", "广告"].into_iter().zip(1..);
    let slots =
        ["1", "2", "3", "4", "5", "6", "7", "8", "video-1", "pod-1", "/1234/home/top"].into_iter().zip(101..);
    Names::new(
        accounts.map(|(name, byte)| (name.to_owned(), AccountId::from_bytes([byte; 16]))).collect(),
        slots.map(|(name, byte)| (name.to_owned(), SlotId::from_bytes([byte; 16]))).collect(),
    )
}

fn read_case(case: &Case<'_>, rounding: Option<Rounding>) -> Vec<Read> {
    let rules = IntakeRules { region: "eu-central-1".parse().unwrap(), rounding };
    let names = known();
    let received = Some(Millis(1_795_000_000_000));
    let context = Context { rules, names: &names, received, bids_max: 100 };
    let read = read(case.response.get().as_bytes(), &context)
        .unwrap_or_else(|error| panic!("{}: {error}", case.what));
    assert_eq!(read.passed_over, [], "{}", case.what);
    read.bids
}

#[test]
fn good_responses_are_taken_whole() {
    let cases = cases();
    assert!(cases.len() >= 48);
    for case in &cases {
        let read = read_case(case, Some(Rounding::HalfEven));
        let units: Vec<u64> = read
            .iter()
            .map(|one| {
                one.bid.as_ref().unwrap_or_else(|error| panic!("{}: {}: {error}", case.what, one.place))
            })
            .map(|read| read.bid().amount.units())
            .collect();
        assert_eq!(units, case.units, "{}", case.what);
        let rounded =
            read.iter().filter(|one| one.bid.as_ref().is_ok_and(|read| read.offered().is_some())).count();
        assert_eq!(rounded, case.finer, "{}", case.what);
        assert_eq!(read_case(case, Some(Rounding::HalfEven)), read, "{}", case.what);
    }
}

#[test]
fn no_two_offers_of_the_corpus_are_one_bid() {
    let mut places = BTreeMap::new();
    for case in &cases() {
        for one in read_case(case, Some(Rounding::Down)) {
            let bid = *one.bid.as_ref().unwrap().bid();
            if let Some(other) = places.insert((bid.account_id, bid.bid_id), (case.what, one.place.clone())) {
                panic!("{other:?} and {}: {} are one bid", case.what, one.place);
            }
        }
    }
    assert!(places.len() > 60, "{}", places.len());
}

#[test]
fn without_a_rule_of_rounding_only_finer_prices_are_refused_and_only_they() {
    for case in &cases() {
        let told: BTreeSet<String> = refused(&read_case(case, None))
            .into_iter()
            .map(|(place, field, _)| format!("{place} {field}"))
            .collect();
        assert_eq!(told.len(), case.finer, "{}: {told:?}", case.what);
        assert!(told.iter().all(|told| told.ends_with(" price")), "{}: {told:?}", case.what);
    }
}
