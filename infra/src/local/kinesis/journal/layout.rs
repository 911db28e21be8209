//! How frames lie in the file, and what a place that holds none says: a torn end, or damage.
//!
//! ```text
//! format 4: length of body | crc32 of body | crc32 of both and of the frame's place | body | end mark
//! format 3: length of body | crc32 of body | body
//! ```
//!
//! All numbers are little-endian `u32`; the place is the `u64` offset of the frame in the file. A write that was cut
//! short leaves a prefix of its frame, so a head that is whole and wrong is damage, and so is a whole frame with a
//! wrong body. A power cut can also leave zeros in a file that had grown already: every frame of format 4 ends in a
//! byte that is not zero, so a file that ends in one has an unfinished end, unless a head of a later frame follows.

use std::io::{self, Read, Seek, SeekFrom};

use bytes::Bytes;

use super::size;
use crate::local::kinesis::model::usize_of;

/// Bytes of the line at the beginning.
pub(crate) const MAGIC_BYTES: usize = 16;
/// Bytes of one body: the longest request, and room for its fields.
const BODY_BYTES_MAX: usize = 64 * 1_048_576;
/// Bytes behind a bad frame that are searched for a later one: more than a power cut leaves unwritten.
const SEARCH_BYTES_MAX: u64 = 4 * 64 * 1_048_576;
/// The last byte of a frame: two of its bits are set, so that no single one makes it zero.
const END_MARK: u8 = b'\n';
/// The highest first byte of a body: the number of its kind.
const KIND_MAX: u8 = 3;

/// The formats of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Of earlier releases: nothing checks the length.
    V3,
    /// Of this one.
    V4,
}

/// What stands at a place of the file.
#[derive(Debug)]
pub(crate) enum Next {
    /// A whole frame.
    Body {
        /// Its body.
        body: Bytes,
        /// Where the next one begins.
        end: u64,
    },
    /// Nothing: the file ends here.
    End,
    /// The beginning of a frame that was never written to its end, and nothing behind it.
    Torn,
    /// Anything else.
    Damaged,
}

/// What a frame says before its body.
#[derive(Clone, Copy, Debug)]
struct Head {
    body_bytes: usize,
    body_sum: u32,
}

impl Format {
    /// The one that new logs have.
    pub(crate) const NEWEST: Self = Self::V4;

    /// The format of a log that begins with these bytes, of which there may be fewer than [`MAGIC_BYTES`]: then it was
    /// never begun.
    pub(crate) fn of(magic: &[u8]) -> Option<Self> {
        let begins = |format: &Self| format.magic().starts_with(magic);
        [Self::V4, Self::V3].into_iter().find(begins)
    }

    pub(crate) fn magic(self) -> &'static [u8; MAGIC_BYTES] {
        match self {
            Self::V3 => b"qee kinesis 3\n\0\0",
            Self::V4 => b"qee kinesis 4\n\0\0",
        }
    }

    fn head_bytes(self) -> usize {
        match self {
            Self::V3 => 8,
            Self::V4 => 12,
        }
    }

    fn tail(self) -> &'static [u8] {
        match self {
            Self::V3 => &[],
            Self::V4 => &[END_MARK],
        }
    }

    /// The frame of a body at a place of the file.
    pub(crate) fn frame(self, at: u64, body: &[u8]) -> io::Result<Vec<u8>> {
        let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= BODY_BYTES_MAX);
        let length = length.ok_or_else(|| io::Error::other("a change is too large for the log"))?;
        let mut frame = Vec::with_capacity(self.head_bytes() + body.len() + self.tail().len());
        frame.extend_from_slice(&length.to_le_bytes());
        frame.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
        if self == Self::V4 {
            frame.extend_from_slice(&head_sum(&frame, at).to_le_bytes());
        }
        frame.extend_from_slice(body);
        frame.extend_from_slice(self.tail());
        Ok(frame)
    }

    /// What stands at `at` in a file of so many bytes; the reader stands there too.
    pub(crate) fn next(self, reader: &mut (impl Read + Seek), at: u64, length: u64) -> io::Result<Next> {
        let left = length - at;
        if left == 0 {
            return Ok(Next::End);
        }
        if left < size(self.head_bytes()) {
            return Ok(Next::Torn);
        }
        let mut head = vec![0; self.head_bytes()];
        reader.read_exact(&mut head)?;
        let Some(head) = self.head(&head, at) else { return self.bad(reader, at, length, None) };
        let rest_bytes = head.body_bytes + self.tail().len();
        let end = at + size(self.head_bytes()) + size(rest_bytes);
        if end > length {
            return match self {
                Self::V4 => Ok(Next::Torn),
                Self::V3 => self.bad(reader, at, length, Some(head)),
            };
        }
        let mut rest = vec![0; rest_bytes];
        reader.read_exact(&mut rest)?;
        let (body, tail) = rest.split_at(head.body_bytes);
        if crc32fast::hash(body) == head.body_sum && tail == self.tail() {
            return Ok(Next::Body { body: Bytes::from(rest).slice(..head.body_bytes), end });
        }
        self.bad(reader, at, length, None)
    }

    /// The head at the beginning of these bytes, which stand at `at`.
    fn head(self, bytes: &[u8], at: u64) -> Option<Head> {
        let number = |index: usize| Some(u32::from_le_bytes(bytes.get(index..index + 4)?.try_into().ok()?));
        let head = Head { body_bytes: usize_of(number(0)?), body_sum: number(4)? };
        let is_right = match self {
            Self::V3 => head.body_bytes > 0,
            Self::V4 => head.body_bytes <= BODY_BYTES_MAX && number(8)? == head_sum(&bytes[..8], at),
        };
        is_right.then_some(head)
    }

    /// Whether what stands at `at` is a torn end or damage. `reaches_beyond` is its head when that says more bytes
    /// than there are.
    fn bad(
        self,
        reader: &mut (impl Read + Seek),
        at: u64,
        length: u64,
        reaches_beyond: Option<Head>,
    ) -> io::Result<Next> {
        if length - at > SEARCH_BYTES_MAX {
            return Ok(Next::Damaged);
        }
        let mut rest = Vec::new();
        reader.seek(SeekFrom::Start(at))?;
        reader.read_to_end(&mut rest)?;
        let is_unfinished = match self {
            Self::V4 => rest.last() == Some(&0),
            Self::V3 => match reaches_beyond {
                // A body that is whole under another length was written to its end.
                Some(head) => crc32fast::hash(&rest[self.head_bytes()..]) != head.body_sum,
                None => rest.iter().all(|byte| *byte == 0),
            },
        };
        let is_torn = is_unfinished && !self.has_frame_behind(&rest, at);
        Ok(if is_torn { Next::Torn } else { Next::Damaged })
    }

    /// Whether a later frame begins in these bytes, of which the first stands at `at`.
    fn has_frame_behind(self, rest: &[u8], at: u64) -> bool {
        (1..rest.len()).any(|index| {
            let bytes = &rest[index..];
            let Some(head) = self.head(bytes, at + size(index)) else { return false };
            match self {
                Self::V4 => true,
                Self::V3 => bytes
                    .get(8..8 + head.body_bytes)
                    .is_some_and(|body| body[0] <= KIND_MAX && crc32fast::hash(body) == head.body_sum),
            }
        })
    }
}

fn head_sum(length_and_body_sum: &[u8], at: u64) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(length_and_body_sum);
    sum.update(&at.to_le_bytes());
    sum.finalize()
}
