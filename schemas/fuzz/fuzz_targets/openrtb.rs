//! A bid response gives bids that survive their own text, in places of their own.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use schemas::intake::names::Names;
use schemas::intake::openrtb::{Context, read};
use schemas::intake::{IntakeRules, read_line, to_offered_line, to_record_line};
use schemas::money::Rounding;
use schemas::time::Millis;

fuzz_target!(|data: &[u8]| {
    let rules = IntakeRules { region: "eu-central-1".parse().expect("a code"), rounding: Some(Rounding::HalfEven) };
    let names = Names::default();
    let context = Context { rules, names: &names, received: Some(Millis(1)), bids_max: 1_000 };
    let Ok(all) = read(data, &context) else { return };
    let places: BTreeSet<&str> = all.bids.iter().map(|one| one.place.as_str()).collect();
    assert_eq!(places.len(), all.bids.len());
    for taken in all.bids.iter().filter_map(|one| one.bid.as_ref().ok()) {
        let mut line = Vec::new();
        match taken.offered() {
            Some(offered) => to_offered_line(taken.bid(), offered, &mut line),
            None => to_record_line(taken.bid(), &mut line),
        }
        assert_eq!(read_line(&line, rules).as_ref(), Ok(taken));
    }
});
