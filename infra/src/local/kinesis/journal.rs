//! The log on disk: frames of `length | crc32 | body` behind a line that names the format.
//!
//! What was appended outlives kill -9 of this process, because the kernel has it. A power cut may cost the last moment:
//! nothing waits for the disk. A frame is there whole or not at all: what a full disk left of one is cut off before
//! anything else is written.

use std::fmt::Debug;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;

/// The first bytes of a log.
const MAGIC: &[u8; 16] = b"qee kinesis 3\n\0\0";
/// Bytes before a body.
const HEAD_BYTES: usize = 8;
/// Bytes of one body: the longest request, and room for its fields.
const BODY_BYTES_MAX: usize = 64 * 1_048_576;
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
    bytes: u64,
    /// Whether something may lie behind `bytes` that must be cut off first.
    ragged: bool,
}

/// Why a log cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Damage {
    #[error("cannot be read or written")]
    Io(#[from] io::Error),
    #[error("is not a stream log of this version; move it away to begin anew")]
    Foreign,
    #[error("is damaged at byte {at}, with more behind it; restore it or move it away to begin anew")]
    At { at: u64 },
}

impl Journal {
    /// Opens the log in a folder and hands every whole body to `apply`; a torn end is cut off.
    pub(crate) fn open(
        dir: &Path,
        apply: &mut dyn FnMut(Bytes) -> Result<(), super::frame::Unreadable>,
    ) -> Result<Self, Damage> {
        std::fs::create_dir_all(dir)?;
        let path = dir.join(FILE_NAME);
        let mut file = File::options().read(true).append(true).create(true).open(path)?;
        let length = file.metadata()?.len();
        if length < size(MAGIC.len()) {
            file.set_len(0)?;
            file.write_all(MAGIC)?;
            return Ok(Self {
                medium: Box::new(file),
                dir: dir.into(),
                bytes: size(MAGIC.len()),
                ragged: false,
            });
        }
        let mut reader = BufReader::with_capacity(1 << 20, &file);
        let mut magic = [0; MAGIC.len()];
        reader.read_exact(&mut magic)?;
        if magic != *MAGIC {
            return Err(Damage::Foreign);
        }
        let mut good = size(MAGIC.len());
        while let Some((body, end)) = next(&mut reader, good, length)? {
            apply(body).map_err(|_| Damage::At { at: good })?;
            good = end;
        }
        if good < length {
            tracing::warn!(kept = good, cut = length - good, "torn end of the stream log cut off");
            file.set_len(good)?;
        }
        Ok(Self { medium: Box::new(file), dir: dir.into(), bytes: good, ragged: false })
    }

    /// Its folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Bytes of the log.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Appends one body, whole or not at all.
    pub(crate) fn append(&mut self, body: &[u8]) -> io::Result<()> {
        if self.ragged {
            self.medium.cut(self.bytes)?;
            self.ragged = false;
        }
        let frame = frame(body)?;
        self.ragged = true;
        if let Err(error) = self.medium.write_all(&frame) {
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
        let part = self.dir.join("operations.part");
        let mut out = BufWriter::with_capacity(1 << 20, File::create(&part)?);
        out.write_all(MAGIC)?;
        let mut bytes = size(MAGIC.len());
        write(&mut |body| {
            let frame = frame(body)?;
            bytes += size(frame.len());
            out.write_all(&frame)
        })?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        let path = self.dir.join(FILE_NAME);
        // Opened before it takes the old one's place: from then on there is nothing left that can fail.
        let file = File::options().append(true).open(&part)?;
        std::fs::rename(&part, path)?;
        (self.medium, self.bytes, self.ragged) = (Box::new(file), bytes, false);
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn set_medium(&mut self, medium: Box<dyn Medium>) {
        self.medium = medium;
    }
}

fn size(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

fn frame(body: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= BODY_BYTES_MAX);
    let length = length.ok_or_else(|| io::Error::other("a change is too large for the log"))?;
    let mut frame = Vec::with_capacity(body.len() + HEAD_BYTES);
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
    frame.extend_from_slice(body);
    Ok(frame)
}

/// The body at `at` and where it ends; none at the end of the file or where only a torn frame is left.
fn next(reader: &mut impl Read, at: u64, length: u64) -> Result<Option<(Bytes, u64)>, Damage> {
    let mut head = [0; HEAD_BYTES];
    if length - at < size(HEAD_BYTES) {
        return Ok(None);
    }
    reader.read_exact(&mut head)?;
    let number =
        |index: usize| u32::from_le_bytes([head[index], head[index + 1], head[index + 2], head[index + 3]]);
    let (bytes, sum) = (number(0), number(4));
    let end = at + size(HEAD_BYTES) + u64::from(bytes);
    if end > length {
        return Ok(None);
    }
    let mut body = vec![0; super::model::usize_of(bytes)];
    reader.read_exact(&mut body)?;
    if crc32fast::hash(&body) == sum && bytes > 0 {
        return Ok(Some((Bytes::from(body), end)));
    }
    // A power cut can leave the last frame, or zeros, in a file that had already grown; anything else behind a bad
    // frame is worth more than a guess.
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest)?;
    if rest.iter().all(|byte| *byte == 0) { Ok(None) } else { Err(Damage::At { at }) }
}
