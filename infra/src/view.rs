//! What a person sees while the demo runs: a table that rewrites itself on a terminal, plain lines on a pipe.

use std::io::{IsTerminal, Write};

/// Width of the longest bar.
const BAR_CHARS: u64 = 30;

/// One look at the pipeline.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Time since the start, in ms.
    pub elapsed_ms: u64,
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

/// How looks are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A table in colours that takes the place of the one before.
    Colours,
    /// The same without colours.
    Table,
    /// One line a look.
    Lines,
}

impl Style {
    /// What suits an output: a table on a terminal, without colours when `NO_COLOR` is set.
    pub fn of(out: &impl IsTerminal) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        match (out.is_terminal(), plain) {
            (true, false) => Self::Colours,
            (true, true) => Self::Table,
            (false, _) => Self::Lines,
        }
    }
}

/// Shows looks; rates are taken between two of them.
pub struct View {
    out: Box<dyn Write>,
    style: Style,
    last: Look,
    lines: usize,
}

impl View {
    /// A view that has shown nothing yet.
    #[must_use]
    pub fn new(out: Box<dyn Write>, style: Style) -> Self {
        Self { out, style, last: Look::default(), lines: 0 }
    }

    /// Where it is shown, for what follows below.
    pub fn out(&mut self) -> &mut dyn Write {
        &mut self.out
    }

    /// Shows one look.
    ///
    /// # Errors
    /// When writing fails.
    pub fn show(&mut self, look: Look) -> std::io::Result<()> {
        let rates = rates(&self.last, &look);
        if self.style == Style::Lines {
            self.line(&look, &rates)?;
        } else {
            self.table(&look, &rates)?;
        }
        self.last = look;
        self.out.flush()
    }

    fn line(&mut self, look: &Look, rates: &[(String, u64)]) -> std::io::Result<()> {
        let regions: Vec<String> = rates.iter().map(|(region, rate)| format!("{region}={rate}/s")).collect();
        let total: u64 = rates.iter().map(|(_, rate)| rate).sum();
        writeln!(
            self.out,
            "t={}.{}s bids={total}/s {} open_windows={} closed={} settled={} conflicts={}",
            look.elapsed_ms / 1_000,
            look.elapsed_ms % 1_000 / 100,
            regions.join(" "),
            look.open_windows,
            look.closed,
            look.settled,
            look.conflicts
        )
    }

    fn table(&mut self, look: &Look, rates: &[(String, u64)]) -> std::io::Result<()> {
        let colour = |code: &'static str| if self.style == Style::Colours { code } else { "" };
        let (bold, cyan, green, yellow) =
            (colour("\x1b[1m"), colour("\x1b[36m"), colour("\x1b[32m"), colour("\x1b[33m"));
        let end = colour("\x1b[0m");
        let out = &mut self.out;
        if self.lines > 0 {
            write!(out, "\x1b[{}A", self.lines)?;
        }
        let total: u64 = rates.iter().map(|(_, rate)| rate).sum();
        writeln!(out, "\x1b[2K{bold}{:>5} s  {total:>10} bids/s{end}", look.elapsed_ms / 1_000)?;
        for (region, rate) in rates {
            let bar = usize::try_from(rate * BAR_CHARS / total.max(1)).unwrap_or(0);
            writeln!(out, "\x1b[2K  {region:<16} {rate:>8} {cyan}{}{end}", "#".repeat(bar))?;
        }
        writeln!(
            out,
            "\x1b[2K  open windows {:>6}   closed {:>8}   {green}settled {:>8}{end}   {yellow}conflicts {:>6}{end}",
            look.open_windows, look.closed, look.settled, look.conflicts
        )?;
        self.lines = rates.len() + 2;
        Ok(())
    }
}

/// Bids a second by region since the last look.
fn rates(last: &Look, look: &Look) -> Vec<(String, u64)> {
    let elapsed_ms = look.elapsed_ms.saturating_sub(last.elapsed_ms).max(1);
    let before = |region: &str| {
        last.accepted.iter().find(|(name, _)| name == region).map_or(0, |(_, accepted)| *accepted)
    };
    let rate = |(region, accepted): &(String, u64)| {
        (region.clone(), accepted.saturating_sub(before(region)) * 1_000 / elapsed_ms)
    };
    look.accepted.iter().map(rate).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn shown(style: Style) -> String {
        let shared = Shared::default();
        let mut view = View::new(Box::new(shared.clone()), style);
        for (elapsed_ms, accepted) in [(500, 64), (1_000, 96)] {
            let accepted = vec![("eu".to_owned(), accepted)];
            view.show(Look { elapsed_ms, accepted, closed: 16, settled: 8, ..Look::default() }).unwrap();
        }
        let bytes = shared.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_pipe_gets_a_line_a_look_with_rates_since_the_last() {
        assert_eq!(
            shown(Style::Lines),
            "t=0.5s bids=128/s eu=128/s open_windows=0 closed=16 settled=8 conflicts=0\n\
             t=1.0s bids=64/s eu=64/s open_windows=0 closed=16 settled=8 conflicts=0\n"
        );
    }

    #[test]
    fn a_terminal_gets_a_table_that_takes_the_place_of_the_one_before() {
        let (colours, table) = (shown(Style::Colours), shown(Style::Table));
        assert_eq!(colours.matches("\x1b[3A").count(), 1, "{colours:?}");
        assert!(colours.contains("\x1b[32msettled        8\x1b[0m"), "{colours:?}");
        assert!(table.contains("settled        8") && !table.contains("\x1b[0m"), "{table:?}");
    }
}
