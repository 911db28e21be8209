//! The log on disk: frames behind a line that names their format.
//!
//! What was appended outlives kill -9 of this process, because the kernel has it. A power cut may cost the last moment:
//! nothing waits for the disk. A frame is there whole or not at all: what a full disk left of one is cut off before
//! anything else is written. Nothing is appended to a file that is no longer where it was opened.

pub(crate) mod layout;

use std::fmt::Debug;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use self::layout::{Format, MAGIC_BYTES, Next};
use crate::local::inode::Inode;

/// The file in the folder.
const FILE_NAME: &str = "operations.log";

/// A file that is appended to and cut.
pub(crate) trait Medium: Write + Send + Debug {
    /// Makes the file end after so many bytes.
    fn cut(&mut self, bytes: u64) -> io::Result<()>;
}

impl Medium for File {
    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }
}

/// An open log.
#[derive(Debug)]
pub(crate) struct Journal {
    medium: Box<dyn Medium>,
    dir: PathBuf,
    inode: Inode,
    format: Format,
    bytes: u64,
    /// Whether something may lie behind `bytes` that must be cut off first.
    ragged: bool,
}

/// Why a log cannot be used. Nothing of it was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Damage {
    #[error("cannot be read or written")]
    Io(#[from] io::Error),
    #[error(
        "is not a stream log of this version, or is damaged at byte 0; nothing was changed: restore the file from a \
         copy, or move it away to begin anew"
    )]
    Foreign,
    #[error(
        "is damaged at byte {at} of {length}; nothing was changed: restore the file from a copy, give up what stands \
         from there on with `truncate -s {at} {}`, or move it away to begin anew", path.display()
    )]
    At { path: PathBuf, at: u64, length: u64 },
}

impl Journal {
    /// Where the log of a folder lies.
    pub(crate) fn path_in(dir: &Path) -> PathBuf {
        dir.join(FILE_NAME)
    }

    /// Opens the log in a folder and hands every whole body to `apply`. An incomplete last frame is cut off; any other
    /// damage is an error and leaves the file as it is.
    pub(crate) fn open(
        dir: &Path,
        apply: &mut dyn FnMut(Bytes) -> Result<(), super::frame::Unreadable>,
    ) -> Result<Self, Damage> {
        std::fs::create_dir_all(dir)?;
        let path = Self::path_in(dir);
        let mut file = File::options().read(true).append(true).create(true).open(&path)?;
        let inode = Inode::at(&path)?;
        let length = file.metadata()?.len();
        let mut magic = Vec::new();
        Read::by_ref(&mut file).take(size(MAGIC_BYTES)).read_to_end(&mut magic)?;
        let (format, bytes) = match Format::of(&magic) {
            Some(format) if magic.len() == MAGIC_BYTES => {
                (format, replay(&mut file, &path, format, length, apply)?)
            }
            Some(_) => {
                file.set_len(0)?;
                file.write_all(Format::NEWEST.magic())?;
                (Format::NEWEST, size(MAGIC_BYTES))
            }
            None => return Err(Damage::Foreign),
        };
        Ok(Self { medium: Box::new(file), dir: dir.into(), inode, format, bytes, ragged: false })
    }

    /// Its file.
    pub(crate) fn path(&self) -> &Path {
        self.inode.path()
    }

    /// Bytes of the log.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether it has a format of an earlier release, in which it goes on until it is replaced.
    pub(crate) fn is_of_earlier_release(&self) -> bool {
        self.format != Format::NEWEST
    }

    /// Appends one body, whole or not at all. Fails with [`io::ErrorKind::NotFound`] when the file is no longer where
    /// it was opened.
    pub(crate) fn append(&mut self, body: &[u8]) -> io::Result<()> {
        if self.ragged {
            self.medium.cut(self.bytes)?;
            self.ragged = false;
        }
        let frame = self.format.frame(self.bytes, body)?;
        self.ragged = true;
        // Looked at after the write: what was removed before it would be acknowledged otherwise.
        if let Err(error) = self.medium.write_all(&frame).and_then(|()| self.inode.check()) {
            self.ragged = self.medium.cut(self.bytes).is_err();
            return Err(error);
        }
        self.ragged = false;
        self.bytes += size(frame.len());
        Ok(())
    }

    /// Puts a log with only these bodies in its place, whole or not at all.
    pub(crate) fn replace(
        &mut self,
        write: impl FnOnce(&mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()>,
    ) -> io::Result<()> {
        self.inode.check()?;
        let part = self.dir.join("operations.part");
        let mut out = BufWriter::with_capacity(1 << 20, File::create(&part)?);
        out.write_all(Format::NEWEST.magic())?;
        let mut bytes = size(MAGIC_BYTES);
        write(&mut |body| {
            let frame = Format::NEWEST.frame(bytes, body)?;
            bytes += size(frame.len());
            out.write_all(&frame)
        })?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        // Opened before it takes the old one's place: from then on there is nothing left that can fail.
        let file = File::options().append(true).open(&part)?;
        let inode = Inode::at(&part)?.moved_to(Self::path_in(&self.dir));
        std::fs::rename(&part, inode.path())?;
        (self.medium, self.inode, self.format) = (Box::new(file), inode, Format::NEWEST);
        (self.bytes, self.ragged) = (bytes, false);
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn set_medium(&mut self, medium: Box<dyn Medium>) {
        self.medium = medium;
    }
}

/// Hands every whole body to `apply` and cuts an incomplete last frame off; gives where the log ends.
fn replay(
    file: &mut File,
    path: &Path,
    format: Format,
    length: u64,
    apply: &mut dyn FnMut(Bytes) -> Result<(), super::frame::Unreadable>,
) -> Result<u64, Damage> {
    let mut at = size(MAGIC_BYTES);
    let mut reader = BufReader::with_capacity(1 << 20, &*file);
    reader.seek(SeekFrom::Start(at))?;
    loop {
        let damage = |at| Damage::At { path: path.to_owned(), at, length };
        match format.next(&mut reader, at, length)? {
            Next::Body { body, end } => {
                apply(body).map_err(|_| damage(at))?;
                at = end;
            }
            Next::End => return Ok(at),
            Next::Damaged => return Err(damage(at)),
            Next::Torn => {
                let path = path.display();
                tracing::warn!(%path, kept = at, cut = length - at, "torn end of the stream log cut off");
                file.set_len(at)?;
                return Ok(at);
            }
        }
    }
}

fn size(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
