//! The table of the experiment, with the figures of the simulator beside it.

use std::io::{self, Write};

use super::Line;

/// Prints it.
pub(super) fn print(out: &mut impl Write, ledger: &str, prize: &str, lines: &[Line]) -> io::Result<()> {
    writeln!(out, "{prize} on {ledger}: mean calls and completion; in brackets, AWS's simulator")?;
    writeln!(
        out,
        "{:>7}  {:<13} {:>8} {:>8}  {:>9} {:>10}  {:>8}  {:>14}",
        "workers", "strategy", "calls", "(sim)", "done ms", "(sim)", "most", "beyond 3 more"
    )?;
    for line in lines {
        let (calls, completion) = match line.simulated {
            Some((calls, completion)) => (format!("({calls})"), format!("({completion})")),
            None => (String::new(), String::new()),
        };
        writeln!(
            out,
            "{:>7}  {:<13} {:>8.0} {:>8}  {:>9.0} {:>10}  {:>8}  {:>14}",
            line.workers,
            line.strategy,
            line.calls,
            calls,
            line.completion_ms,
            completion,
            line.attempts_max,
            line.beyond_three_retries
        )?;
    }
    out.flush()
}
