//! Programs that are not ours or not this package's: the AWS CLI, psql, and the stages' own binaries.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use serde_json::Value;

use super::{Local, built_in, command, run};

/// The AWS CLI for a machine that has none, or one from before `AWS_ENDPOINT_URL_KINESIS`.
const AWS_CLI: &str = "awscli==1.45.11";

/// Calls the AWS CLI and answers its JSON; an answer without text is null.
#[track_caller]
pub(crate) fn aws(local: &Local, arguments: &[&str]) -> Value {
    let mut aws = command(aws_cli());
    let ended = run(local.environed(&mut aws).args(arguments).args(["--output", "json"])).done();
    if ended.stdout.trim().is_empty() { Value::Null } else { serde_json::from_str(&ended.stdout).unwrap() }
}

/// Runs SQL through psql and answers the rows as they are printed, columns divided by `|`.
#[track_caller]
pub(crate) fn psql(local: &Local, sql: &str) -> Vec<String> {
    let mut psql = command("psql");
    psql.args([local.variable("DATABASE_URL"), "--no-psqlrc", "-At", "-v", "ON_ERROR_STOP=1", "-c", sql]);
    run(&mut psql).done().stdout.lines().map(str::to_owned).collect()
}

/// A folder of the target folder that `fill` fills once; a half-filled one never takes its name.
pub(crate) fn installed(name: &str, fill: impl FnOnce(&Path)) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers").join(name);
    let ready = folder.join("ready");
    if !ready.exists() {
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        fill(&folder);
        std::fs::write(&ready, "").unwrap();
    }
    folder
}

/// A Python in a folder of that name which has these packages.
pub(crate) fn python(name: &str, packages: &[&str]) -> PathBuf {
    let folder = installed(name, |folder| {
        run(command("python3").args(["-m", "venv"]).arg(folder.join("venv"))).done();
        let mut pip = command(folder.join("venv/bin/pip"));
        run(pip.args(["install", "--quiet", "--disable-pip-version-check"]).args(packages)).done();
    });
    folder.join("venv/bin/python")
}

/// A stage's binary, built in the same way as this test.
pub(crate) fn stage(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        // Whoever tests the whole workspace has them already; a build under running tests would replace those.
        if ["producer", "processor", "settler"].iter().all(|stage| built_in().join(stage).exists()) {
            return;
        }
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--locked", "--bins", "-p", "producer", "-p", "processor", "-p", "settler"]);
        if built_in().ends_with("release") {
            cargo.arg("--release");
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("infra lies in the workspace");
        let built = cargo.current_dir(root).output().expect("cargo runs");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    });
    built_in().join(name)
}

/// The AWS CLI of this machine when it is new enough, else one in a folder of the target folder.
fn aws_cli() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| {
        let version = Command::new("aws").arg("--version").output();
        let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        if version.is_ok_and(|version| knows_endpoints(&version)) {
            return "aws".into();
        }
        let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(AWS_CLI);
        let aws = home.join("bin/aws");
        if !aws.exists() {
            run(command("python3").args(["-m", "venv"]).arg(&home)).done();
            let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", AWS_CLI];
            run(command(home.join("bin/python3")).args(pip)).done();
        }
        aws
    })
}

/// Endpoints of single services come from the environment since 1.29.0 and 2.13.0.
fn knows_endpoints(version: &str) -> bool {
    let numbers = version.strip_prefix("aws-cli/").unwrap_or_default();
    let mut numbers = numbers.split(['.', ' ']).map_while(|number| number.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(1), Some(minor)) => minor >= 29,
        (Some(2), Some(minor)) => minor >= 13,
        _ => false,
    }
}
