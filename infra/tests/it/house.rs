//! The house rules that no compiler holds: arrows between packages, the packages this is built on, licences, layout.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("infra lies in the workspace").to_owned()
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--filter-platform",
            "x86_64-unknown-linux-gnu",
        ])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}

fn manifest(package: &str) -> toml::Table {
    let text = std::fs::read_to_string(root().join(package).join("Cargo.toml")).expect("a manifest");
    text.parse().expect("a manifest is TOML")
}

fn dependencies(package: &str) -> BTreeSet<String> {
    let manifest = manifest(package);
    manifest["dependencies"].as_table().expect("a table").keys().cloned().collect()
}

#[test]
fn arrows_between_packages_point_one_way() {
    let allowed = BTreeMap::from([
        ("schemas", vec![]),
        ("schemas/runtime", vec!["schemas"]),
        ("producer", vec!["schemas", "runtime"]),
        ("processor", vec!["schemas", "runtime"]),
        ("settler", vec!["schemas", "runtime"]),
        ("infra/contend", vec!["schemas", "runtime", "settler"]),
        ("infra", vec!["schemas", "runtime", "producer", "processor", "settler", "contend"]),
    ]);
    let ours = ["schemas", "runtime", "producer", "processor", "settler", "contend", "infra"];
    for (package, allowed) in allowed {
        for dependency in dependencies(package).iter().filter(|name| ours.contains(&name.as_str())) {
            assert!(allowed.contains(&dependency.as_str()), "{package} must not depend on {dependency}");
        }
    }
    for effect in ["tokio", "rand", "aws-sdk-kinesis", "aws-sdk-dynamodb", "tracing"] {
        assert!(!dependencies("schemas").contains(effect), "schemas is pure and must not depend on {effect}");
    }
}

fn sources(folder: &Path, into: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(std::fs::read_to_string(path).expect("a source file"));
        }
    }
}

#[test]
fn the_packages_this_is_built_on_are_dependencies_that_are_used() {
    let rooms = ["schemas", "schemas/runtime", "producer", "processor", "settler", "infra"];
    let built_on = [
        "aws-sdk-kinesis",
        "aws-sdk-dynamodb",
        "aws-sdk-dsql",
        "tokio-postgres",
        "tokio-stream",
        "futures",
        "serde",
        "bincode",
        "rand",
        "tracing",
    ];
    for name in built_on {
        let used = rooms.iter().filter(|room| dependencies(room).contains(name)).any(|room| {
            let mut texts = Vec::new();
            sources(&root().join(room).join("src"), &mut texts);
            let path = format!("{}::", name.replace('-', "_"));
            texts.iter().any(|text| text.contains(&path))
        });
        assert!(used, "{name} must be a dependency whose paths appear in a package's sources");
    }
}

#[test]
fn every_dependency_has_a_licence_that_is_allowed() {
    let allowed = [
        "MIT",
        "MIT-0",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "ISC",
        "Zlib",
        "Unicode-3.0",
        "0BSD",
        "Unlicense",
        "CC0-1.0",
        "CDLA-Permissive-2.0",
        "BSL-1.0",
        "Apache-2.0 WITH LLVM-exception",
        "PostgreSQL",
    ];
    let metadata = metadata();
    for package in metadata["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("a name");
        let licence =
            package["license"].as_str().unwrap_or_default().replace('/', " OR ").replace(['(', ')'], "");
        // An AND of ORs or an OR of ANDs: good when some way through it is allowed whole.
        let good = licence
            .split(" OR ")
            .any(|way| way.split(" AND ").all(|one| allowed.contains(&one.trim())))
            || licence.split(" AND ").all(|one| one.split(" OR ").any(|one| allowed.contains(&one.trim())));
        assert!(good, "{name} has the licence {licence:?}, which is not on the list");
    }
}

#[test]
fn every_dependency_comes_from_the_registry_with_a_checksum() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).expect("a lock file");
    let lock: toml::Table = lock.parse().expect("a lock file is TOML");
    for package in lock["package"].as_array().expect("packages") {
        let Some(source) = package.get("source") else { continue };
        let source = source.as_str().expect("a source is text");
        assert!(source.starts_with("registry+"), "{} comes from {source}", package["name"]);
        assert!(package.get("checksum").is_some(), "{} has no checksum", package["name"]);
    }
}

#[test]
fn the_top_level_is_what_was_agreed() {
    let agreed = [
        "Cargo.toml",
        "Cargo.lock",
        "README.md",
        "LICENSE",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "rust-toolchain.toml",
        "producer",
        "processor",
        "settler",
        "infra",
        "schemas",
    ];
    let output = Command::new("git").args(["ls-files"]).current_dir(root()).output().expect("git runs");
    let listed = String::from_utf8(output.stdout).expect("paths are text");
    for path in listed.lines() {
        let top = path.split('/').next().unwrap_or_default();
        assert!(top.starts_with('.') || agreed.contains(&top), "{top} is beyond the agreed top level");
    }
}

#[test]
fn the_compiler_is_the_one_that_the_manifest_asks_for() {
    let toolchain = std::fs::read_to_string(root().join("rust-toolchain.toml")).expect("a toolchain file");
    let toolchain: toml::Table = toolchain.parse().expect("a toolchain file is TOML");
    let channel = toolchain["toolchain"]["channel"].as_str().expect("a channel");
    let manifest = manifest(".");
    let least = manifest["workspace"]["package"]["rust-version"].as_str().expect("a version");
    assert_eq!(channel, format!("{least}.0"));
    let gate = std::fs::read_to_string(root().join(".ci/run")).expect("the gate");
    assert!(gate.contains(&format!("compiler={channel}\n")), "the gate must use {channel}");
}

fn pages(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        match path.is_dir() {
            true if !name.starts_with('.') && !["target", "node_modules"].contains(&name) => {
                pages(&path, into)
            }
            false if name.ends_with(".md") => into.push(path),
            _ => {}
        }
    }
}

#[test]
fn every_file_that_a_page_links_to_is_there() {
    let mut found = Vec::new();
    pages(&root(), &mut found);
    assert!(found.len() > 15, "{found:?}");
    for page in &found {
        let text = std::fs::read_to_string(page).expect("a page");
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.starts_with("http")) {
            let file = link.split('#').next().unwrap_or_default();
            let target = page.parent().expect("a folder").join(file);
            assert!(target.exists(), "{} links to {link}, which is not there", page.display());
        }
    }
}

#[test]
fn the_glossary_and_the_map_name_places_that_are_there() {
    for (page, rows_min) in [("infra/docs/glossary.md", 60), ("infra/docs/architecture.md", 10)] {
        let text = std::fs::read_to_string(root().join(page)).expect("a page");
        let rows = text.lines().filter(|line| line.starts_with("| ") && line.contains('`'));
        let places: Vec<&str> = rows
            .filter_map(|row| row.trim_end_matches(" |").rsplit(" | ").next())
            .flat_map(|cell| cell.split('`').skip(1).step_by(2))
            .filter(|place| place.contains('/') && !place.contains(['{', '<']))
            .collect();
        assert!(places.len() >= rows_min, "{page}: {} places", places.len());
        for place in places {
            assert!(root().join(place).exists(), "{page} names {place}, which is not there");
        }
    }
}

/// The ledger's own binary takes nothing away and draws nothing: experiments that do are another package.
#[test]
fn the_settler_deletes_no_row_and_draws_no_plot() {
    let mut texts = Vec::new();
    sources(&root().join("settler/src"), &mut texts);
    assert!(
        texts.iter().any(|text| text.contains("INSERT INTO settlements")),
        "the statements are elsewhere"
    );
    assert!(
        texts.iter().all(|text| !text.to_uppercase().contains("DELETE FROM")),
        "the settler deletes rows"
    );
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--package", "settler", "--edges", "normal", "--prefix", "none"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let tree = String::from_utf8(output.stdout).expect("cargo tree is text");
    let has = |name: &str| tree.lines().any(|line| line.split(' ').next() == Some(name));
    assert!(output.status.success() && has("tokio-postgres"), "{tree}");
    for plotting in ["plotters", "plotters-backend", "png", "noto-sans-mono-bitmap"] {
        assert!(!has(plotting), "the settler depends on {plotting}");
    }
}

/// So that a panic ends every one of them with the code of a fault of ours, not with Rust's own 101.
#[test]
fn every_binary_runs_where_a_panic_has_an_exit_code() {
    for room in ["producer", "processor", "settler", "infra"] {
        let main = std::fs::read_to_string(root().join(room).join("src/main.rs")).expect("a main");
        assert!(main.contains("\nfn main() -> ExitCode {\n    runtime::process::run("), "{room}");
        let mut texts = Vec::new();
        sources(&root().join(room).join("src"), &mut texts);
        assert!(texts.iter().all(|text| !text.contains("tokio::main")), "{room} has a runtime of its own");
    }
}

#[test]
fn sdk_crates_come_without_default_features_and_bincode_is_pinned() {
    let manifest = manifest(".");
    let dependencies = manifest["workspace"]["dependencies"].as_table().expect("a table");
    for (name, value) in dependencies.iter().filter(|(name, _)| name.starts_with("aws-")) {
        assert_eq!(
            value["default-features"].as_bool(),
            Some(false),
            "{name} must come without default features"
        );
    }
    assert_eq!(dependencies["bincode"]["version"].as_str(), Some("=2.0.1"));
}

/// Calls of the two services as the SDK names them, and the actions that they need.
const CALLS: [(&str, &str); 41] = [
    (".add_tags_to_stream()", "kinesis:AddTagsToStream"),
    (".create_stream()", "kinesis:CreateStream"),
    (".decrease_stream_retention_period()", "kinesis:DecreaseStreamRetentionPeriod"),
    (".delete_stream()", "kinesis:DeleteStream"),
    (".deregister_stream_consumer()", "kinesis:DeregisterStreamConsumer"),
    (".describe_stream()", "kinesis:DescribeStream"),
    (".describe_stream_consumer()", "kinesis:DescribeStreamConsumer"),
    (".describe_stream_summary()", "kinesis:DescribeStreamSummary"),
    (".get_records()", "kinesis:GetRecords"),
    (".get_shard_iterator()", "kinesis:GetShardIterator"),
    (".increase_stream_retention_period()", "kinesis:IncreaseStreamRetentionPeriod"),
    (".list_shards()", "kinesis:ListShards"),
    (".list_stream_consumers()", "kinesis:ListStreamConsumers"),
    (".list_streams()", "kinesis:ListStreams"),
    (".merge_shards()", "kinesis:MergeShards"),
    (".put_record()", "kinesis:PutRecord"),
    (".put_records()", "kinesis:PutRecords"),
    (".register_stream_consumer()", "kinesis:RegisterStreamConsumer"),
    (".split_shard()", "kinesis:SplitShard"),
    (".subscribe_to_shard()", "kinesis:SubscribeToShard"),
    (".update_shard_count()", "kinesis:UpdateShardCount"),
    (".update_stream_record_distribution_strategy()", "kinesis:UpdateStreamRecordDistributionStrategy"),
    (".batch_get_item()", "dynamodb:BatchGetItem"),
    (".batch_write_item()", "dynamodb:BatchWriteItem"),
    (".create_table()", "dynamodb:CreateTable"),
    (".delete_item()", "dynamodb:DeleteItem"),
    (".delete_table()", "dynamodb:DeleteTable"),
    (".describe_table()", "dynamodb:DescribeTable"),
    (".describe_time_to_live()", "dynamodb:DescribeTimeToLive"),
    (".get_item()", "dynamodb:GetItem"),
    ("agreed::read(", "dynamodb:GetItem"),
    ("distribution::check(", "kinesis:DescribeStreamSummary"),
    (".list_tables()", "dynamodb:ListTables"),
    (".put_item()", "dynamodb:PutItem"),
    (".query()", "dynamodb:Query"),
    (".scan()", "dynamodb:Scan"),
    (".transact_get_items()", "dynamodb:TransactGetItems"),
    (".transact_write_items()", "dynamodb:TransactWriteItems"),
    (".update_item()", "dynamodb:UpdateItem"),
    (".update_table()", "dynamodb:UpdateTable"),
    (".update_time_to_live()", "dynamodb:UpdateTimeToLive"),
];

/// The actions of Kinesis and DynamoDB that a policy of the template allows.
fn allowed(template: &str, policy: &str) -> BTreeSet<String> {
    let from = template.split_once(&format!("\n  {policy}:\n")).expect("the policy").1;
    let own = from.lines().take_while(|line| line.is_empty() || line.starts_with("   "));
    let actions = own.filter_map(|line| line.trim().strip_prefix("- "));
    let ours = |action: &&str| action.starts_with("kinesis:") || action.starts_with("dynamodb:");
    actions.filter(ours).map(str::to_owned).collect()
}

#[test]
fn a_policy_allows_what_its_code_calls_and_nothing_else() {
    let template = std::fs::read_to_string(root().join("infra/aws/pipeline.yaml")).expect("the template");
    assert!(!template.contains("kinesis:*") && !template.contains("dynamodb:*"));
    for (policy, folders) in [
        ("ProducerPolicy", vec!["producer/src"]),
        ("ProcessorPolicy", vec!["processor/src"]),
        ("SettlerPolicy", vec!["settler/src"]),
        ("AnalystPolicy", vec!["infra/src/query"]),
        ("AuditorPolicy", vec!["infra/src/audit", "infra/src/report", "infra/src/explain"]),
        ("ProvisionPolicy", vec!["infra/src/provision"]),
    ] {
        let mut texts = Vec::new();
        folders.iter().for_each(|folder| sources(&root().join(folder), &mut texts));
        let called = |(call, _): &&(&str, &str)| texts.iter().any(|text| text.contains(call));
        let called: BTreeSet<String> =
            CALLS.iter().filter(called).map(|(_, action)| (*action).to_owned()).collect();
        assert_eq!(allowed(&template, policy), called, "{policy}");
    }
}
