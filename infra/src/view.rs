//! What a person sees while the demo runs: one line that rewrites itself on a terminal, plain lines on a pipe.

use std::io::{IsTerminal, Write};

/// One look at the pipeline.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Seconds since the start.
    pub elapsed_s: u64,
    /// Region and bids accepted in it so far.
    pub accepted: Vec<(String, u64)>,
    /// Windows of auctions that are open in the processors.
    pub open_windows: u64,
    /// Closed auctions so far.
    pub closed: u64,
    /// Decided auctions so far.
    pub settled: u64,
    /// Conflicts so far.
    pub conflicts: u64,
}

/// Prints looks; rates are taken between two of them.
#[derive(Debug)]
pub struct View {
    terminal: bool,
    last: Look,
    lines: usize,
}

impl Default for View {
    fn default() -> Self {
        Self { terminal: std::io::stdout().is_terminal(), last: Look::default(), lines: 0 }
    }
}

impl View {
    /// Shows one look.
    ///
    /// # Errors
    /// When standard output fails.
    pub fn show(&mut self, look: Look) -> std::io::Result<()> {
        let seconds = look.elapsed_s.saturating_sub(self.last.elapsed_s).max(1);
        let before = |region: &str| {
            self.last.accepted.iter().find(|(name, _)| name == region).map_or(0, |(_, accepted)| *accepted)
        };
        let rates: Vec<(String, u64)> = look
            .accepted
            .iter()
            .map(|(region, accepted)| (region.clone(), accepted.saturating_sub(before(region)) / seconds))
            .collect();
        let mut out = std::io::stdout().lock();
        if self.terminal {
            self.paint(&mut out, &look, &rates)?;
        } else {
            let regions: Vec<String> =
                rates.iter().map(|(region, rate)| format!("{region}={rate}/s")).collect();
            let total: u64 = rates.iter().map(|(_, rate)| rate).sum();
            writeln!(
                out,
                "t={}s bids={total}/s {} open_windows={} closed={} settled={} conflicts={}",
                look.elapsed_s,
                regions.join(" "),
                look.open_windows,
                look.closed,
                look.settled,
                look.conflicts
            )?;
        }
        self.last = look;
        out.flush()
    }

    fn paint(&mut self, out: &mut impl Write, look: &Look, rates: &[(String, u64)]) -> std::io::Result<()> {
        if self.lines > 0 {
            write!(out, "\x1b[{}A", self.lines)?;
        }
        let total: u64 = rates.iter().map(|(_, rate)| rate).sum();
        writeln!(out, "\x1b[2K\x1b[1m{:>4} s   {total:>8} bids/s\x1b[0m", look.elapsed_s)?;
        for (region, rate) in rates {
            let bar = usize::try_from(*rate * 40 / total.max(1)).unwrap_or(0).min(40);
            writeln!(out, "\x1b[2K  {region:<16} {rate:>8} bids/s \x1b[36m{}\x1b[0m", "#".repeat(bar))?;
        }
        writeln!(
            out,
            "\x1b[2K  open windows {:>5}   closed {:>7}   \x1b[32msettled {:>7}\x1b[0m   \x1b[33mconflicts {:>5}\x1b[0m",
            look.open_windows, look.closed, look.settled, look.conflicts
        )?;
        self.lines = rates.len() + 2;
        Ok(())
    }
}
