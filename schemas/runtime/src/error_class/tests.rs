use std::collections::BTreeSet;
use std::path::PathBuf;

use super::*;

/// The names of all exceptions that an SDK crate models, read from its sources.
fn modeled(package: &str) -> BTreeSet<String> {
    let output = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let one = packages.iter().find(|one| one["name"] == package).expect("a dependency");
    let manifest = PathBuf::from(one["manifest_path"].as_str().expect("a path"));
    let folder = manifest.parent().expect("a folder").join("src/types/error");
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(&folder).expect("the modeled errors") {
        let path = entry.expect("an entry").path();
        if path.is_dir() || path.ends_with("builders.rs") {
            continue;
        }
        // Each file displays its own name as the service writes it.
        let text = std::fs::read_to_string(&path).expect("a source file");
        let written = text.split("write!(f, \"").nth(1).or_else(|| text.split("write_str(\"").nth(1));
        let name = written.and_then(|rest| rest.split(['"', ' ', '{']).next()).expect("a name");
        assert!(name.chars().all(|one| one.is_ascii_alphanumeric()), "{name} in {}", path.display());
        // The SDK writes KMS as Kms; the service does not.
        names.insert(name.replacen("Kms", "KMS", 1));
    }
    names
}

#[test]
fn every_code_that_an_sdk_crate_models_stands_in_the_table() {
    let known: BTreeSet<&str> = CODES.iter().flat_map(|(_, codes)| codes.iter().copied()).collect();
    let mut all = BTreeSet::new();
    for (package, least) in [("aws-sdk-kinesis", 17), ("aws-sdk-dynamodb", 30), ("aws-sdk-dsql", 7)] {
        let names = modeled(package);
        assert!(names.len() >= least, "{package}: {names:?}");
        all.extend(names);
    }
    let absent: Vec<_> = all.iter().filter(|name| !known.contains(name.as_str())).collect();
    assert!(absent.is_empty(), "no class for {absent:?}");
}

#[test]
fn a_code_has_one_class_and_each_class_is_told_by_its_own_failure() {
    let mut met = BTreeSet::new();
    for (class, codes) in CODES {
        for code in codes {
            assert!(met.insert(*code), "{code} stands twice");
            assert_eq!(class_of(code), class);
            let failure = Failure::said(code, "words".to_owned());
            let right = match class {
                Class::Throttled => matches!(failure, Failure::Throttled { .. }),
                Class::Unknown => matches!(failure, Failure::Unknown { .. }),
                Class::Unauthorized => matches!(failure, Failure::Unauthorized { .. }),
                Class::Missing => matches!(failure, Failure::Missing { .. }),
                Class::Refused => matches!(failure, Failure::Refused { .. }),
            };
            assert!(right, "{code}: {failure:?}");
            assert_eq!(failure.is_transient(), matches!(class, Class::Throttled | Class::Unknown), "{code}");
        }
    }
    assert_eq!(CODES.map(|(class, _)| class), Class::ALL);
    assert_eq!(class_of("NobodyWroteThisDown"), Class::Refused);
}

#[test]
fn a_reply_without_a_code_says_nothing_certain() {
    for status in 100..600 {
        let failure = without_code(status, "a page".to_owned());
        assert!(failure.is_transient(), "{status}: {failure:?}");
        let is_unexpected = matches!(failure, Failure::Unexpected { .. });
        let known = matches!(status, 200..300 | 408 | 429 | 500..600);
        assert_eq!(is_unexpected, !known, "{status}: {failure:?}");
    }
    assert!(matches!(without_code(429, String::new()), Failure::Throttled { .. }));
}

#[test]
fn only_a_request_that_is_refused_may_be_refused_for_one_of_its_parts() {
    let said = |code: &&str| Failure::said(code, String::new()).may_be_of_one_part();
    let of_one_part: Vec<_> =
        CODES.iter().flat_map(|(_, codes)| *codes).copied().filter(|code| said(code)).collect();
    assert_eq!(of_one_part, OF_ONE_PART);
    assert!(OF_ONE_PART.iter().all(|code| class_of(code) == Class::Refused));
    assert!(
        !said(&"NobodyWroteThisDown")
            && !Failure::Unreachable { message: String::new() }.may_be_of_one_part()
    );
}
