//! What `provision` publishes for producers: the roster of agreed accounts and the name map.
//!
//! Each is some bytes in parts below a head item. The parts of an edition are written before its head, their keys hold
//! version and digest, and the parts of the edition before stay until the next one: a reader that goes from the head to
//! its parts sees one whole edition, or misses a part and begins again at the head.

use sha2::{Digest, Sha256};

use crate::attr::{Attr, AttrError, Attrs, bytes, count, map, n, number, s, text};
use crate::keys;

/// Bytes of one part: with its keys far below the 400 KB of an item.
pub const PART_BYTES_MAX: usize = 256 * 1_024;
/// Digits of the digest in a part's key: two editions of one version meet only when two publish at once.
const KEY_DIGITS: usize = 16;

/// Which of the two is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directory {
    /// The agreed accounts.
    Roster,
    /// Names for accounts and slots.
    Names,
}

/// One state of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edition {
    /// From 1, one more with each change.
    pub version: u64,
    /// Over all bytes.
    pub digest: String,
    /// Parts that hold the bytes, in order; none when there are no bytes.
    pub parts: u32,
}

/// The head item: which edition stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryHead {
    /// The edition that stands.
    pub edition: Edition,
    /// How many accounts or names it has.
    pub entries: u64,
    /// Whether there are more entries than a directory holds; it has no parts then, and nobody is refused by it.
    pub unbounded: bool,
    /// The edition before, whose parts go with the next one.
    pub before: Option<Edition>,
}

impl Directory {
    /// PK and SK of the head.
    #[must_use]
    pub fn head_key(self) -> (String, String) {
        let (pk, sk) = self.keys();
        (pk.to_owned(), sk.to_owned())
    }

    /// PK and SK of a part of an edition; parts count from 0.
    #[must_use]
    pub fn part_key(self, edition: &Edition, part: u32) -> (String, String) {
        let (pk, sk) = self.keys();
        let digest = edition.digest.rsplit(':').next().unwrap_or_default();
        let digest = digest.get(..KEY_DIGITS).unwrap_or(digest);
        (pk.to_owned(), format!("{sk}#{:020}#{digest}#{part:05}", edition.version))
    }

    /// The digest over the bytes of an edition.
    #[must_use]
    pub fn digest(self, bytes: &[u8]) -> String {
        let (_, kind) = self.keys();
        let hash = Sha256::new().chain_update(kind).chain_update([0]).chain_update(bytes).finalize();
        hash.iter().fold("v1:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
    }

    /// A part as it is written.
    #[must_use]
    pub fn part(self, edition: &Edition, part: u32, bytes: &[u8]) -> Attrs {
        let (pk, sk) = self.part_key(edition, part);
        Attrs::from([
            ("PK".to_owned(), s(pk)),
            ("SK".to_owned(), s(sk)),
            ("bytes".to_owned(), Attr::B(bytes.to_vec())),
        ])
    }

    /// The bytes of a part.
    ///
    /// # Errors
    /// When the item has none.
    pub fn part_bytes(attrs: &Attrs) -> Result<&[u8], AttrError> {
        bytes(attrs, "bytes")
    }

    fn keys(self) -> (&'static str, &'static str) {
        match self {
            Self::Roster => keys::ROSTER,
            Self::Names => keys::NAMES,
        }
    }
}

impl Edition {
    fn to_attrs(&self) -> Attrs {
        Attrs::from([
            ("version".to_owned(), n(self.version)),
            ("digest".to_owned(), s(&self.digest)),
            ("parts".to_owned(), n(self.parts)),
        ])
    }

    fn from_attrs(attrs: &Attrs) -> Result<Self, AttrError> {
        Ok(Self {
            version: count(attrs, "version")?,
            digest: text(attrs, "digest")?,
            parts: number(attrs, "parts")?,
        })
    }
}

impl DirectoryHead {
    /// The item as it is written.
    #[must_use]
    pub fn to_attrs(&self, directory: Directory) -> Attrs {
        let (pk, sk) = directory.head_key();
        let mut attrs = self.edition.to_attrs();
        attrs.extend([
            ("PK".to_owned(), s(pk)),
            ("SK".to_owned(), s(sk)),
            ("entries".to_owned(), n(self.entries)),
            ("unbounded".to_owned(), Attr::Bool(self.unbounded)),
        ]);
        attrs.extend(self.before.as_ref().map(|before| ("before".to_owned(), Attr::M(before.to_attrs()))));
        attrs
    }

    /// Reads the item.
    ///
    /// # Errors
    /// The first attribute that is absent or of another form.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, AttrError> {
        let before = match attrs.get("before") {
            Some(_) => Some(Edition::from_attrs(map(attrs, "before")?)?),
            None => None,
        };
        let unbounded = attrs.get("unbounded") == Some(&Attr::Bool(true));
        Ok(Self {
            edition: Edition::from_attrs(attrs)?,
            entries: count(attrs, "entries")?,
            unbounded,
            before,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_was_written_and_names_its_parts() {
        let digest = Directory::Roster.digest(b"bytes");
        assert_ne!(digest, Directory::Names.digest(b"bytes"), "the kind is part of it");
        let edition = Edition { version: 7, digest, parts: 2 };
        let before = Some(Edition { version: 6, digest: "v1:00".to_owned(), parts: 1 });
        let head = DirectoryHead { edition, entries: 3, unbounded: false, before };
        for head in [DirectoryHead { before: None, unbounded: true, ..head.clone() }, head] {
            assert_eq!(DirectoryHead::from_attrs(&head.to_attrs(Directory::Roster)), Ok(head));
        }
        let edition = Edition { version: 7, digest: "v1:0123456789abcdef01".to_owned(), parts: 2 };
        let (pk, sk) = Directory::Names.part_key(&edition, 1);
        assert_eq!(
            (pk.as_str(), sk.as_str()),
            ("PIPELINE", "NAMES#00000000000000000007#0123456789abcdef#00001")
        );
        let part = Directory::Names.part(&edition, 1, &[1, 2]);
        assert_eq!(Directory::part_bytes(&part), Ok(&[1, 2][..]));
        let none = DirectoryHead::from_attrs(&Attrs::new()).unwrap_err();
        assert_eq!(none.name, "version");
    }
}
