//! The file behind a path, so that one removed or moved under a running engine is noticed.
//!
//! A process that holds a removed file open can go on writing to it, and everything it writes is lost when it ends.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The file or folder that a path led to when this was made.
#[derive(Clone, Debug)]
pub(crate) struct Inode {
    path: PathBuf,
    device: u64,
    number: u64,
}

impl Inode {
    /// What the path leads to now.
    pub(crate) fn at(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let (device, number) = identity(&path)?;
        Ok(Self { path, device, number })
    }

    /// The same file under the path to which it is about to be moved.
    pub(crate) fn moved_to(self, path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), ..self }
    }

    /// The path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Fails with [`io::ErrorKind::NotFound`] when the path leads nowhere or to another file than before.
    pub(crate) fn check(&self) -> io::Result<()> {
        match identity(&self.path) {
            Ok(found) if found == (self.device, self.number) => Ok(()),
            Ok(_) => Err(io::Error::new(io::ErrorKind::NotFound, "another file has taken its place")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(io::Error::new(io::ErrorKind::NotFound, "it was removed or moved away"))
            }
            Err(error) => Err(error),
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = std::fs::metadata(path)?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_in_place_until_it_is_moved_replaced_or_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::write(&path, "1").unwrap();
        let inode = Inode::at(&path).unwrap();
        std::fs::write(&path, "2").unwrap();
        inode.check().unwrap();
        std::fs::rename(&path, &other).unwrap();
        assert_eq!(inode.check().unwrap_err().kind(), io::ErrorKind::NotFound);
        std::fs::write(&path, "3").unwrap();
        assert_eq!(inode.check().unwrap_err().to_string(), "another file has taken its place");
        std::fs::rename(&other, &path).unwrap();
        inode.check().unwrap();
    }
}
