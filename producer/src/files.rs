//! The files of a run, opened before anything else: a wrong name is told at once and costs neither a bid nor a file.
//!
//! The input is opened first and nothing is emptied until everything is open, so that a run that cannot begin leaves
//! every file as it was.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{BufWriter, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::error::Error;
use crate::source::Source;

/// What a run reads and writes beside the stream.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// The lines, when they come from a file.
    pub(crate) input: Option<File>,
    pub(crate) rejects: Option<Output>,
    pub(crate) record: Option<Output>,
    pub(crate) summary: Option<Output>,
}

impl Files {
    /// Opens what the source and the configuration name, and empties what is written.
    ///
    /// # Errors
    /// When one cannot be opened, or one would be written over another.
    pub(crate) fn open(source: &Source, config: &Config) -> Result<Self, Error> {
        let mut seen = Seen::default();
        let input = match source {
            Source::File(path) => Some(seen.input(path)?),
            _ => None,
        };
        let mut open = |what: &str, path: &Option<PathBuf>| {
            path.as_deref().map(|path| seen.output(what, path)).transpose()
        };
        let mut files = Self {
            input,
            rejects: open("file of refused lines", &config.rejects)?,
            record: open("record", &config.record)?,
            summary: open("summary", &config.json)?,
        };
        for output in [&mut files.rejects, &mut files.record, &mut files.summary].into_iter().flatten() {
            output.empty()?;
        }
        Ok(files)
    }
}

/// What the input is called in a failure.
pub(crate) fn input_named(path: &Path) -> String {
    format!("input {} cannot be read", path.display())
}

/// Files that were opened so far, by what they are called and where they lie.
#[derive(Debug, Default)]
struct Seen(Vec<(String, (u64, u64))>);

impl Seen {
    fn input(&mut self, path: &Path) -> Result<File, Error> {
        let failed = |source| Error::io(input_named(path), source);
        let file = File::open(path).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        if meta.is_dir() {
            return Err(failed(ErrorKind::IsADirectory.into()));
        }
        self.note(format!("input {}", path.display()), &meta)?;
        Ok(file)
    }

    fn output(&mut self, what: &str, path: &Path) -> Result<Output, Error> {
        let what = format!("{what} {}", path.display());
        let failed = |source| Error::io(format!("{what} cannot be made"), source);
        // Standard output goes on where whoever gave it stands: it is written behind that, and never emptied.
        let is_given = path.as_os_str() == "-";
        let file = if is_given {
            std::io::stdout().as_fd().try_clone_to_owned().map(File::from)
        } else {
            OpenOptions::new().write(true).create(true).truncate(false).open(path)
        };
        let file = file.map_err(failed)?;
        self.note(what.clone(), &file.metadata().map_err(failed)?)?;
        Ok(Output { what, file: BufWriter::new(file), is_given })
    }

    /// Refuses a file that is in use already; pipes and devices take from many.
    fn note(&mut self, what: String, meta: &Metadata) -> Result<(), Error> {
        let place = (meta.dev(), meta.ino());
        if !meta.is_file() {
            return Ok(());
        }
        if let Some((other, _)) = self.0.iter().find(|(_, seen)| *seen == place) {
            let message = format!("{what} and {other} are one file; name another");
            return Err(Error::Usage { message });
        }
        self.0.push((what, place));
        Ok(())
    }
}

/// A file that is written.
#[derive(Debug)]
pub(crate) struct Output {
    what: String,
    file: BufWriter<File>,
    /// Whether it was open before, and what it holds is someone else's.
    is_given: bool,
}

impl Output {
    /// Appends to what was written.
    ///
    /// # Errors
    /// When the file takes no more.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(|source| self.failed(source))
    }

    /// Hands over what is still held back.
    ///
    /// # Errors
    /// When the file takes no more.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        self.file.flush().map_err(|source| self.failed(source))
    }

    fn empty(&mut self) -> Result<(), Error> {
        let file = self.file.get_ref();
        let emptied = match file.metadata() {
            Ok(meta) if meta.is_file() && !self.is_given => file.set_len(0),
            _ => Ok(()),
        };
        emptied.map_err(|source| self.failed(source))
    }

    fn failed(&self, source: std::io::Error) -> Error {
        Error::io(format!("{} cannot be written", self.what), source)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn opened(arguments: &[&str]) -> Result<Files, Error> {
        let config =
            Config::try_parse_from(["producer", "--region", "eu-west-1"].iter().chain(arguments)).unwrap();
        Files::open(&config.source()?, &config)
    }

    fn told(arguments: &[&str]) -> (u8, String) {
        let error = opened(arguments).unwrap_err();
        (error.exit_code(), error.to_string())
    }

    #[test]
    fn a_run_that_cannot_begin_leaves_every_file_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (kept, away, dir) = (path("kept"), path("away/file"), path(""));
        std::fs::write(&kept, "of the last run").unwrap();
        for (arguments, named) in [
            (["--input", &away, "--rejects", &kept], format!("input {away} cannot be read: ")),
            (["--input", &dir, "--rejects", &kept], format!("input {dir} cannot be read: is a directory")),
            (["--rejects", &kept, "--json", &away], format!("summary {away} cannot be made: ")),
            (["--rejects", &kept, "--record", &dir], format!("record {dir} cannot be made: ")),
            (
                ["--record", &kept, "--rejects", &away],
                format!("file of refused lines {away} cannot be made: "),
            ),
        ] {
            let (code, message) = told(&arguments);
            assert!(code == 74 && message.starts_with(&named), "{code} {message}");
        }
        assert_eq!(std::fs::read_to_string(&kept).unwrap(), "of the last run");
        opened(&["--rejects", &kept]).unwrap();
        assert_eq!(std::fs::read_to_string(&kept).unwrap(), "", "emptied once all is well");
    }

    #[test]
    fn no_file_is_written_over_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (bids, link) = (path("bids"), path("link"));
        std::fs::write(&bids, "a night's bids").unwrap();
        std::os::unix::fs::symlink(&bids, &link).unwrap();
        let (code, message) = told(&["--input", &bids, "--record", &link]);
        assert_eq!(
            (code, message),
            (64, format!("record {link} and input {bids} are one file; name another"))
        );
        let new = path("new");
        assert_eq!(told(&["--json", &new, "--rejects", &new]).0, 64);
        opened(&["--json", "/dev/null", "--rejects", "/dev/null"]).unwrap();
        assert_eq!(std::fs::read_to_string(&bids).unwrap(), "a night's bids");
    }
}
