//! Lines of bids from outside that were refused: the producer writes them to a file, and the first of them are shown.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use serde::Deserialize;
use tempfile::NamedTempFile;

use super::Demo;
use crate::failure::Failure;

/// Refused lines that are shown.
const SHOWN_MAX: usize = 20;

/// Where refused lines are kept; nothing for generated load.
#[derive(Debug)]
pub(super) enum Refused {
    Nowhere,
    /// Until the end of the run.
    Temporary(NamedTempFile),
    /// In the file that was asked for.
    Kept(std::path::PathBuf),
}

/// A line of the producer's file.
#[derive(Debug, Deserialize)]
struct Line {
    answer: String,
    line: u64,
    field: String,
    reason: String,
}

impl Refused {
    /// Finds out whether the bids can be read and the refused lines be written.
    pub(super) fn open(options: &Demo) -> Result<Self, Failure> {
        let Some(bids) = &options.bids else { return Ok(Self::Nowhere) };
        if bids.as_os_str() != "-" {
            let readable = File::open(bids).and_then(|file| file.metadata());
            let readable = readable
                .map_err(|error| error.to_string())
                .and_then(|meta| if meta.is_dir() { Err("it is a folder".to_owned()) } else { Ok(()) });
            readable.map_err(|reason| {
                Failure::io(format!("bids {} cannot be read: {reason}; name another file", bids.display()))
            })?;
        }
        let Some(path) = &options.rejects else {
            let file = NamedTempFile::new();
            let failed = |error| Failure::io(format!("no temporary file for refused lines: {error}"));
            return file.map(Self::Temporary).map_err(failed);
        };
        let failed =
            |error| Failure::io(format!("{} cannot be written: {error}; name another file", path.display()));
        File::create(path).map_err(failed)?;
        Ok(Self::Kept(path.clone()))
    }

    /// Where the producer writes them.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::Nowhere => None,
            Self::Temporary(file) => Some(file.path()),
            Self::Kept(path) => Some(path),
        }
    }

    /// Shows the first of them, and how many more there are.
    pub(super) fn print(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let Some(path) = self.path() else { return Ok(()) };
        let mut more = 0_u64;
        for (place, line) in BufReader::new(File::open(path)?).lines().enumerate() {
            let line = line?;
            if place >= SHOWN_MAX {
                more += 1;
                continue;
            }
            if place == 0 {
                writeln!(out, "not accepted")?;
            }
            match serde_json::from_str::<Line>(&line) {
                Ok(Line { answer, line, field, reason }) => {
                    writeln!(out, "  line {line} {answer}: {field} {reason}")?;
                }
                Err(_) => writeln!(out, "  {line}")?,
            }
        }
        match (more, self) {
            (0, _) => {}
            (more, Self::Kept(path)) => writeln!(out, "  and {more} more in {}", path.display())?,
            (more, _) => writeln!(out, "  and {more} more; --rejects FILE keeps them all")?,
        }
        Ok(())
    }
}
