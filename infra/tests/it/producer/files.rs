//! Files that cannot be used are told at once, by name, whether Kinesis is there or not; and so is a bad endpoint.

use std::path::Path;

use super::process::Process;

/// Nobody listens there: whoever asks Kinesis first ends with 69.
const NOWHERE: &str = "http://127.0.0.1:1";

#[test]
fn a_file_that_cannot_be_used_is_named_before_kinesis_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (bids, away, dir) = (path("bids.ndjson"), path("away/file"), path(""));
    std::fs::write(&bids, "").unwrap();
    let listen = ["--listen", "127.0.0.1:0"];
    for (arguments, code, said) in [
        (&["--input", &away][..], 74, format!("input {away} cannot be read: No such file")),
        (&["--input", &dir], 74, format!("input {dir} cannot be read: is a directory")),
        (
            &["--input", &bids, "--rejects", &away],
            74,
            format!("file of refused lines {away} cannot be made: No such"),
        ),
        (
            &["--input", &bids, "--rejects", &dir],
            74,
            format!("file of refused lines {dir} cannot be made: Is a dir"),
        ),
        (&["--generate", "1", "--record", &away], 74, format!("record {away} cannot be made: No such file")),
        (&["--input", &bids, "--json", &dir], 74, format!("summary {dir} cannot be made: Is a directory")),
        (&["--input", &bids, "--record", &bids], 64, format!("record {bids} and input {bids} are one file")),
        (
            &[&listen[..], &["--token-file", &away]].concat(),
            74,
            format!("token file {away} cannot be read: No such"),
        ),
        (
            &[&listen[..], &["--json", &away]].concat(),
            74,
            format!("summary {away} cannot be made: No such file"),
        ),
    ] {
        let (status, log) = Process::start(NOWHERE, arguments).end();
        assert_eq!(status.code(), Some(code), "{arguments:?}: {log}");
        assert!(log.contains(&said), "{said:?} is not in {log}");
        assert!(!log.contains("listening"), "{arguments:?}: {log}");
    }
    assert!(Path::new(&bids).exists());
    let (status, log) = Process::start(NOWHERE, &["--input", &bids]).end();
    assert!(status.code() == Some(69) && log.contains("AWS_ENDPOINT_URL_KINESIS"), "{log}");
}

#[test]
fn an_endpoint_that_is_no_url_is_usage_and_named_with_its_value() {
    let (status, log) = Process::start("notaurl", &["--generate", "1"]).end();
    assert!(status.code() == Some(64) && log.contains("AWS_ENDPOINT_URL_KINESIS='notaurl'"), "{log}");
}

/// Whoever appends to a file keeps what it holds, also when the run cannot begin.
#[test]
fn a_summary_for_standard_output_is_written_behind_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kept");
    std::fs::write(&path, "of others\n").unwrap();
    let appended = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    let arguments = ["--input", "/dev/null", "--json", "-"];
    let (status, log) = Process::start_into(appended.into(), NOWHERE, &arguments).end();
    assert_eq!(status.code(), Some(69), "{log}");
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("of others\n"));
    // A file that this run reads is not written to, whatever gives it.
    let appended = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    let arguments = ["--input", path.to_str().unwrap(), "--json", "-"];
    let (status, log) = Process::start_into(appended.into(), NOWHERE, &arguments).end();
    assert!(status.code() == Some(64) && log.contains("are one file"), "{log}");
}
