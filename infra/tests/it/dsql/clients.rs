//! Drivers and scanners of others against the local DSQL, as processes of their own: the scripts beside this file hold
//! what they must see.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Limits, Local};
use crate::harness::{command, folder, installed, python, run};

/// Drivers of Python.
const PYTHON: [&str; 2] = ["asyncpg==0.32.0", "psycopg[binary]==3.3.9"];
/// DuckDB with its scanner, which it would else load from the network, and what ADBC's driver needs.
const SCANNERS: [&str; 4] = [
    "duckdb==1.4.4",
    "duckdb-ext-postgres==1.4.4.20260205",
    "adbc-driver-postgresql==1.13.0",
    "pyarrow==26.0.1",
];
/// The driver of Node.js.
const POSTGRES_JS: &str = "postgres@3.4.9";

/// Runs a program against a new local DSQL, whose URL is its last argument.
async fn runs(make: impl FnOnce(&str) -> Command + Send + 'static) {
    let local = Local::start().await;
    let url = local.dsql.database_url().to_owned();
    tokio::task::spawn_blocking(move || run(&mut make(&url)).done()).await.unwrap();
    local.stop().await;
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/dsql/clients").join(name)
}

async fn python_runs(name: &'static str, packages: &'static [&'static str], file: &'static str) {
    runs(move |url| {
        let mut python = command(python(name, packages));
        python.arg(script(file)).arg(url);
        python
    })
    .await;
}

#[tokio::test]
async fn asyncpg_works() {
    python_runs("python-drivers", &PYTHON, "with_asyncpg.py").await;
}

#[tokio::test]
async fn psycopg_works() {
    python_runs("python-drivers", &PYTHON, "with_psycopg.py").await;
}

#[tokio::test]
async fn duckdb_and_adbc_work() {
    python_runs("python-scanners", &SCANNERS, "with_duckdb.py").await;
}

#[tokio::test]
async fn postgres_js_works() {
    runs(|url| {
        let folder = installed(&POSTGRES_JS.replace('@', "-"), |folder| {
            let mut npm = command("npm");
            npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]);
            run(npm.arg(folder).arg(POSTGRES_JS)).done();
        });
        // Node.js looks for modules beside the script.
        std::fs::copy(script("with_postgres.mjs"), folder.join("with_postgres.mjs")).unwrap();
        let mut node = command("node");
        node.arg(folder.join("with_postgres.mjs")).arg(url);
        node
    })
    .await;
}

#[tokio::test]
async fn psql_copies_files_both_ways() {
    let dir = folder();
    let (rows, back) = (dir.path().join("rows.csv"), dir.path().join("back.csv"));
    std::fs::write(&rows, "id,n\n2,20\n3,30\n").unwrap();
    let (from, to) = (rows.clone(), back.clone());
    runs(move |url| {
        let mut psql = command("psql");
        psql.args([url, "--no-psqlrc", "-v", "ON_ERROR_STOP=1"]);
        psql.args(["-c", &format!("\\copy t FROM '{}' WITH (FORMAT csv, HEADER)", from.display())]);
        psql.args(["-c", &format!("\\copy (SELECT * FROM t ORDER BY id) TO '{}' CSV HEADER", to.display())]);
        psql
    })
    .await;
    assert_eq!(std::fs::read_to_string(back).unwrap(), "id,n\n1,0\n2,20\n3,30\n");
}

#[tokio::test]
async fn a_copy_of_too_much_is_told_and_leaves_nothing() {
    let local = Local::within(Limits { transaction_bytes: 200_000, ..Limits::default() }).await;
    let url = local.dsql.database_url().to_owned();
    let psql = |rows: String| {
        let url = url.clone();
        let copied = tokio::task::spawn_blocking(move || {
            let dir = folder();
            let file = dir.path().join("rows");
            std::fs::write(&file, rows).unwrap();
            let mut psql = command("psql");
            psql.args([&url, "--no-psqlrc", "-v", "VERBOSITY=verbose", "-c"]);
            run(psql.arg(format!("\\copy t FROM '{}'", file.display())))
        });
        async { copied.await.unwrap() }
    };
    let rows = |count: u32| (2..count + 2).map(|id| format!("{id}\t{id}\n")).collect::<String>();
    let many = psql(rows(3_001)).await;
    assert!(many.stderr.contains("54000: transaction row limit exceeded"), "{many:?}");
    let long = psql((2..2_500).map(|id| format!("{id}\t{id:0>100}\n")).collect()).await;
    assert!(long.stderr.contains("54000: transaction size limit exceeded"), "{long:?}");
    let file = psql(rows(1)).await;
    assert!(file.status.success(), "{file:?}");
    let client = local.connect().await;
    assert_eq!(client.query("SELECT id FROM t", &[]).await.unwrap().len(), 2);
    local.stop().await;
}
