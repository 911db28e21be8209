//! Where results go: standard output, and files of JSON that are found to be writable before the work begins.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::failure::Failure;

/// A file, or standard output, that will get a value as indented JSON.
///
/// Opened before the work, so that a run of minutes does not end in a path that was wrong from the start. What stands
/// in the file stays until the value is there; a file that was made for nothing is removed again.
#[derive(Debug)]
pub struct JsonFile {
    path: PathBuf,
    /// None is standard output.
    file: Option<File>,
    made: bool,
}

/// A count with what is counted, whose plural ends in s.
pub(crate) fn counted<N: Display + PartialEq + From<u8>>(count: N, one: &str) -> String {
    let many = if count == N::from(1) { "" } else { "s" };
    format!("{count} {one}{many}")
}

impl JsonFile {
    /// Opens a path, `-` for standard output.
    ///
    /// # Errors
    /// A [`Failure`] when the path cannot be written.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        if path.as_os_str() == "-" {
            return Ok(Self { path: path.to_owned(), file: None, made: false });
        }
        let made = !path.exists();
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let file = file.map_err(|error| unwritable(path, &error))?;
        Ok(Self { path: path.to_owned(), file: Some(file), made })
    }

    /// Whether this is standard output, which then holds nothing else.
    #[must_use]
    pub fn is_stdout(&self) -> bool {
        self.file.is_none()
    }

    /// Writes the value over what stood there.
    ///
    /// # Errors
    /// A [`Failure`] when writing fails.
    pub fn write(mut self, value: &impl Serialize) -> Result<(), Failure> {
        let mut text = serde_json::to_vec_pretty(value)
            .map_err(|error| Failure::fault(format!("the result is no JSON: {error}")))?;
        text.push(b'\n');
        let Some(file) = &mut self.file else {
            let mut out = std::io::stdout().lock();
            return out.write_all(&text).and_then(|()| out.flush()).map_err(lost);
        };
        // Devices and pipes have no length to cut.
        let is_regular = file.metadata().is_ok_and(|meta| meta.is_file());
        let cut = if is_regular { file.set_len(0) } else { Ok(()) };
        let written = cut.and_then(|()| file.write_all(&text)).and_then(|()| file.flush());
        written.map_err(|error| unwritable(&self.path, &error))?;
        self.made = false;
        Ok(())
    }
}

impl Drop for JsonFile {
    fn drop(&mut self) {
        if self.made {
            // Nothing was written: the file is ours and empty.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::io(format!("{} cannot be written: {error}; name another file", path.display()))
}

/// What a failed write to standard output means.
#[must_use]
pub fn lost(error: std::io::Error) -> Failure {
    if error.kind() == ErrorKind::BrokenPipe {
        return Failure::io("standard output was closed before everything was written");
    }
    Failure::io(format!("standard output cannot be written: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_what_it_holds_until_the_value_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report.json");
        std::fs::write(&path, "a longer text than the value").unwrap();
        drop(JsonFile::open(&path).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a longer text than the value");
        JsonFile::open(&path).unwrap().write(&[8]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "[\n  8\n]\n");
    }

    #[test]
    fn a_file_that_was_made_for_nothing_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report.json");
        let open = JsonFile::open(&path).unwrap();
        assert!(path.exists());
        drop(open);
        assert!(!path.exists());
    }

    #[test]
    fn a_path_that_cannot_be_written_is_an_io_failure_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let failure = JsonFile::open(dir.path()).unwrap_err();
        assert_eq!(failure.code, schemas::exit::IO);
        assert!(failure.sentence.contains(dir.path().to_str().unwrap()), "{failure}");
        let full = JsonFile::open(Path::new("/dev/full")).unwrap().write(&1).unwrap_err();
        assert_eq!(full.code, schemas::exit::IO);
    }
}
