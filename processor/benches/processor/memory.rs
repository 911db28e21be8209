//! Memory per open bid: how much the process grows while a window of so many bids stands open.
//!
//! Measured in a process of its own, so that nothing that was freed before is counted as free.

use std::io::{self, Write};

use schemas::record::{Decoded, Kind};

use crate::crowd::{Crowd, RECORD_BIDS};
use crate::{machine, number};

/// Tells a child process of this benchmark that it is to measure.
const CHILD: &str = "MEMORY_OF_OPEN_BIDS";

/// Bytes that a line of the process's status says, in KiB there (Linux, proc(5)).
fn status(name: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib * 1_024)
}

/// Measures in a child process and writes what it says.
pub(crate) fn run(crowd: &Crowd, out: &mut dyn Write) -> io::Result<()> {
    if std::env::var_os(CHILD).is_some() {
        return measure(crowd, out);
    }
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument == "--test").collect();
    let child = std::process::Command::new(std::env::current_exe()?)
        .arg("memory")
        .args(arguments)
        .env(CHILD, "1")
        .output()?;
    let text = String::from_utf8_lossy(&child.stdout);
    writeln!(
        out,
        "{}",
        text.lines().find(|line| line.starts_with("memory")).unwrap_or("memory could not be measured")
    )
}

fn measure(crowd: &Crowd, out: &mut dyn Write) -> io::Result<()> {
    let mut machine = machine("shardId-000000000000");
    let bids = crowd.bids(0);
    let Some(before) = status("VmRSS") else {
        return writeln!(out, "memory    not measured: no /proc/self/status");
    };
    for (at, bids) in bids.chunks(RECORD_BIDS).enumerate() {
        let record = Decoded { kind: Kind::Block, items: bids.iter().copied().map(Ok).collect() };
        machine.on_record(crowd.arrival(0, at), &number(at), &record);
    }
    let (held, peak) = (status("VmRSS").unwrap_or(before), status("VmHWM").unwrap_or(before));
    let open = u64::try_from(machine.open_bids()).unwrap();
    writeln!(
        out,
        "memory    {} open bids hold {:.1} MB ({} bytes each), and {:.1} MB while tables grow",
        open,
        mb(held - before),
        (held - before) / open,
        mb(peak - before)
    )
}

fn mb(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes / 1_000).unwrap()) / 1_000.0
}
