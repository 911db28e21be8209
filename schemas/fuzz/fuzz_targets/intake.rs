//! A line is a bid that survives its own text, or a refusal with words; only JSON is ever a bid.
#![no_main]

use libfuzzer_sys::fuzz_target;
use schemas::intake::{elements, parse_line, to_record_line};

fuzz_target!(|data: &[u8]| {
    let region = "eu-central-1".parse().expect("a code");
    match parse_line(data, region) {
        Ok(bid) => {
            assert!(serde_json::from_slice::<serde_json::Value>(data).is_ok(), "what is no JSON became a bid");
            let mut line = Vec::new();
            to_record_line(&bid, &mut line);
            assert_eq!(parse_line(&line, region), Ok(bid));
        }
        Err(refusal) => assert!(!refusal.field.is_empty() && !refusal.reason.is_empty()),
    }
    if let Ok(parts) = elements(data) {
        assert!(parts.iter().map(|part| part.len()).sum::<usize>() <= data.len());
        parts.iter().for_each(|part| drop(parse_line(part, region)));
    }
});
