//! The table of the experiment, with the figures of the simulator beside it.

use std::io::{self, Write};

use super::Summary;

/// Prints it. `why_none` says why nothing is simulated, when nothing is.
pub(crate) fn print(
    out: &mut impl Write,
    ledger: &str,
    hot_row: &str,
    lines: &[Summary],
    why_none: Option<&str>,
) -> io::Result<()> {
    writeln!(out, "{hot_row} on {ledger}: mean calls and completion; in brackets, AWS's simulator")?;
    writeln!(
        out,
        "{:>7}  {:<13} {:>8} {:>8}  {:>9} {:>10}  {:>8}  {:>14}",
        "workers", "strategy", "calls", "(sim)", "done ms", "(sim)", "most", "beyond 3 more"
    )?;
    for line in lines {
        let (calls, completion) = match line.simulated {
            Some((calls, completion)) => (format!("({calls:.0})"), format!("({completion:.0})")),
            None => ("(-)".to_owned(), "(-)".to_owned()),
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
    if let Some(why) = why_none {
        writeln!(out, "(-): {why}")?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_what_was_simulated_or_the_table_says_why_nothing_was() {
        let line = Summary {
            strategy: "full".to_owned(),
            workers: 3,
            calls: 5.4,
            completion_ms: 96.2,
            attempts_max: 3,
            beyond_three_retries: 0,
            simulated: Some((5.1, 101.8)),
        };
        let printed = |line: &Summary, why| {
            let mut out = Vec::new();
            print(&mut out, "a ledger", "account", std::slice::from_ref(line), why).unwrap();
            String::from_utf8(out).unwrap()
        };
        let with = printed(&line, None);
        let words: Vec<&str> = with.lines().nth(2).unwrap().split_whitespace().collect();
        assert_eq!(words, ["3", "full", "5", "(5)", "96", "(102)", "3", "0"]);
        let without = printed(&Summary { simulated: None, ..line }, Some("there is a reason"));
        assert!(without.contains("(-)") && without.ends_with("(-): there is a reason\n"), "{without}");
    }
}
