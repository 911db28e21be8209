//! A bid response gives bids that survive their own text, in places of their own.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use schemas::intake::openrtb::read;
use schemas::intake::{parse_line, to_record_line};

fuzz_target!(|data: &[u8]| {
    let region = "eu-central-1".parse().expect("a code");
    let Ok(all) = read(data, region) else { return };
    let places: BTreeSet<&str> = all.iter().map(|one| one.place.as_str()).collect();
    assert_eq!(places.len(), all.len());
    for bid in all.iter().filter_map(|one| one.bid.as_ref().ok()) {
        let mut line = Vec::new();
        to_record_line(bid, &mut line);
        assert_eq!(parse_line(&line, region).as_ref(), Ok(bid));
    }
});
