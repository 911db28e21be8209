//! Digests over log-derived fields: versioned, length-prefixed, the same on every machine.

use sha2::{Digest, Sha256};

/// Collects fields; each is written with its length, so no two lists of fields give the same bytes.
pub(super) struct Fields(Sha256);

impl Fields {
    pub(super) fn new(kind: &str) -> Self {
        Self(Sha256::new()).with(kind)
    }

    #[must_use]
    pub(super) fn with(mut self, field: impl ToString) -> Self {
        let text = field.to_string();
        self.0.update(u64::try_from(text.len()).expect("a field fits memory").to_be_bytes());
        self.0.update(text.as_bytes());
        self
    }

    #[must_use]
    pub(super) fn with_option(self, field: Option<impl ToString>) -> Self {
        match field {
            Some(field) => self.with("some").with(field),
            None => self.with("none"),
        }
    }

    pub(super) fn finish(self) -> String {
        let mut text = String::from("v1:");
        for byte in self.0.finalize() {
            text.push_str(&format!("{byte:02x}"));
        }
        text
    }
}
