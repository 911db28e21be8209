//! Hand-made logs and what must come out of them; then a pipeline that agrees with its log, and every way to spoil it.

mod behind;
mod choice;
mod pipeline;
mod planted;
mod price;
mod recompute;
mod world;

use std::path::Path;

/// A checker that shares rules with what it checks finds nothing.
#[test]
fn the_audit_uses_no_rule_of_the_stages() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/audit");
    let mut read = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let rules = [
            "processor::",
            "settler::",
            "producer::",
            "rank_key",
            "window_start(",
            "window_end(",
            ".passed(",
            ".closes_at(",
            ".early(",
            "HashKey",
            "bid::score",
        ];
        for rule in rules {
            assert!(!text.contains(rule), "{} uses {rule}", path.display());
        }
        read += 1;
    }
    assert!(read > 10);
}
