//! Engines that no one here wrote: installed at exact versions into the build's folder, started, and ended with the test.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::installed;

/// Kinesis, from npm.
const KINESIS: &str = "kinesis-local@0.6.2";
/// DynamoDB among others, from PyPI, and what it was tried with.
const MINISTACK: [&str; 5] =
    ["ministack==1.5.33", "Hypercorn==0.18.0", "h11==0.16.0", "h2==4.4.1", "botocore==1.43.106"];
/// How long a peer may take to answer after its start.
const START: Duration = Duration::from_secs(60);

/// A running peer.
pub(super) struct Peer {
    child: Child,
    pub(super) endpoint_url: String,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(command: &mut Command, needs: &str) {
    let output =
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; this test needs {needs}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} failed; this test needs {needs}\n{out}\n{err}");
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn started(mut command: Command, port: u16) -> Peer {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut peer = Peer { child, endpoint_url: format!("http://127.0.0.1:{port}") };
    let deadline = Instant::now() + START;
    while std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        if let Some(status) = peer.child.try_wait().unwrap() {
            panic!("{command:?} ended with {status}");
        }
        assert!(Instant::now() < deadline, "{command:?} does not answer");
        std::thread::sleep(Duration::from_millis(50));
    }
    peer
}

pub(super) fn kinesis_local() -> Peer {
    let needs = "Node.js and npm (on Debian: apt-get install nodejs npm)";
    let folder = installed(&KINESIS.replace('@', "-"), |folder| {
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"])
            .arg(folder)
            .arg(KINESIS);
        run(&mut npm, needs);
    });
    let (port, other) = (free_port(), free_port());
    let mut node = Command::new("node");
    node.arg("main.js").current_dir(folder.join("node_modules/kinesis-local"));
    node.env("KINESIS_MOCK_PLAIN_PORT", port.to_string()).env("KINESIS_MOCK_TLS_PORT", other.to_string());
    for change in ["CREATE_STREAM", "DELETE_STREAM", "REGISTER_STREAM_CONSUMER", "DEREGISTER_STREAM_CONSUMER"]
    {
        node.env(format!("{change}_DURATION"), "10ms");
    }
    for change in ["MERGE_SHARDS", "SPLIT_SHARD", "UPDATE_SHARD_COUNT"] {
        node.env(format!("{change}_DURATION"), "10ms");
    }
    started(node, port)
}

pub(super) fn ministack() -> Peer {
    let needs = "Python 3 with venv and pip (on Debian: apt-get install python3-venv)";
    let folder = installed(&MINISTACK[0].replace("==", "-"), |folder| {
        run(Command::new("python3").args(["-m", "venv"]).arg(folder.join("venv")), needs);
        let mut pip = Command::new(folder.join("venv/bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check"]).args(MINISTACK);
        run(&mut pip, needs);
    });
    let port = free_port();
    let mut ministack = Command::new(folder.join("venv/bin/ministack"));
    ministack.current_dir(&folder).env("GATEWAY_PORT", port.to_string()).env("SERVICES", "dynamodb");
    ministack.env("HOME", &folder);
    started(ministack, port)
}
