//! What the proxy says in DSQL's place: errors with its codes and words, and the row of an index job.
//!
//! Owns the wording. The codes and texts are those of the Aurora DSQL user guide, pages "Concurrency
//! control" and "Quotas and database limits".

use std::fmt::Display;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::frame::{put, put_text, take_text};
use super::statement::Verb;

/// Rows one transaction may change (DSQL user guide, "Quotas and database limits").
pub(super) const CHANGED_ROWS_MAX: u64 = 3_000;
/// Object id of the type `text`.
const TEXT_TYPE: u32 = 25;

/// An error as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: String,
    pub(super) message: String,
    pub(super) detail: Option<&'static str>,
}

impl Refusal {
    fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), detail: None }
    }

    /// DSQL has no such statement or clause.
    pub(super) fn unsupported(what: impl Into<String>) -> Self {
        Self::new("0A000", what)
    }

    /// A message that means nothing here; the connection cannot go on.
    pub(super) fn protocol(tag: char) -> Self {
        Self::new("08P01", format!("message {tag:?} is not supported"))
    }

    /// Another transaction changed a row that this one changed.
    pub(super) fn conflict() -> Self {
        Self::new("40001", "change conflicts with another transaction, please retry: (OC000)")
    }

    /// Another transaction changed the schema meanwhile.
    pub(super) fn schema_conflict() -> Self {
        Self::new("40001", "schema has been updated by another transaction, please retry: (OC001)")
    }

    /// More rows than a transaction may change.
    pub(super) fn too_many_rows() -> Self {
        Self::new("54000", format!("transaction row limit exceeded: at most {CHANGED_ROWS_MAX} rows"))
    }

    /// More bytes than a transaction may change, told when it commits.
    pub(super) fn too_many_bytes(bytes: u64) -> Self {
        Self::new("54000", format!("transaction size limit exceeded: {bytes} bytes changed"))
    }

    /// A transaction that was open for too long.
    pub(super) fn too_old(limit: Duration) -> Self {
        Self::new("54000", format!("transaction age limit of {}s exceeded", limit.as_secs()))
    }

    /// More new connections in a second than a cluster takes.
    pub(super) fn too_many_connections() -> Self {
        Self::new("53400", "unable to accept connection, rate exceeded")
    }

    /// The service went away; at COMMIT nobody knows what came of it.
    pub(super) fn unavailable() -> Self {
        Self::new("XX000", "server unavailable")
    }

    /// A commit went to data that is no longer in its place.
    pub(super) fn data_lost(path: &dyn Display, error: &std::io::Error) -> Self {
        let then = "put it back, or stop and start the engine";
        Self::new("XX000", format!("server unavailable: commits to {path} are lost: {error}; {then}"))
    }

    /// Marks an error that the proxy made up, so that a report can tell it from a genuine one.
    pub(super) fn injected(self) -> Self {
        Self { detail: Some("injected"), ..self }
    }

    pub(super) fn write_to(&self, out: &mut BytesMut) {
        put(out, b'E', |body| {
            for (field, text) in [(b'S', "ERROR"), (b'V', "ERROR"), (b'C', &self.code), (b'M', &self.message)]
            {
                body.put_u8(field);
                put_text(body, text);
            }
            if let Some(detail) = self.detail {
                body.put_u8(b'D');
                put_text(body, detail);
            }
            body.put_u8(0);
        });
    }
}

/// The SQLSTATE and message of an error frame's body.
pub(super) fn code_and_message(body: &Bytes) -> (String, String) {
    let (mut code, mut message) = (String::new(), String::new());
    let mut rest = body.clone();
    while rest.first().is_some_and(|field| *field != 0) {
        let field = rest.split_to(1)[0];
        let Some(text) = take_text(&mut rest) else { break };
        match field {
            b'C' => code = text,
            b'M' => message = text,
            _ => {}
        }
    }
    (code, message)
}

/// The rows a command says it changed; nothing for one that changes none. A COPY says the same in both directions.
pub(super) fn changed_rows(tag: &str) -> u64 {
    let mut words = tag.split(' ');
    match words.next() {
        Some("INSERT" | "UPDATE" | "DELETE" | "MERGE" | "COPY") => {
            words.next_back().and_then(|count| count.parse().ok()).unwrap_or(0)
        }
        _ => 0,
    }
}

/// Appends that a change is done. How many rows it changed is not known: it will not be committed.
pub(super) fn put_changed(out: &mut BytesMut, verb: Verb) {
    let tag = match verb {
        Verb::Insert => "INSERT 0 1",
        Verb::Update => "UPDATE 1",
        Verb::Delete => "DELETE 1",
    };
    put(out, b'C', |body| put_text(body, tag));
}

/// Appends the description of the one column that `CREATE INDEX ASYNC` answers.
pub(super) fn put_job_columns(out: &mut BytesMut) {
    put(out, b'T', |body| {
        body.put_u16(1);
        put_text(body, "job_id");
        body.put_u32(0); // no table
        body.put_u16(0); // no column of it
        body.put_u32(TEXT_TYPE);
        body.put_i16(-1); // of any length
        body.put_i32(-1); // no modifier
        body.put_u16(0); // as text, which is also its binary form
    });
}

/// Appends the one row that `CREATE INDEX ASYNC` answers.
pub(super) fn put_job_row(out: &mut BytesMut, job_id: &str) {
    put(out, b'D', |body| {
        body.put_u16(1);
        body.put_u32(u32::try_from(job_id.len()).expect("job ids are short"));
        body.extend_from_slice(job_id.as_bytes());
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_from_the_tags_of_changes_only() {
        assert_eq!(changed_rows("INSERT 0 12"), 12);
        assert_eq!(changed_rows("UPDATE 3"), 3);
        assert_eq!(changed_rows("COPY 7"), 7);
        assert_eq!(changed_rows("SELECT 400"), 0);
        assert_eq!(changed_rows("CREATE TABLE"), 0);
    }

    #[test]
    fn an_error_is_read_back_as_written() {
        let mut out = BytesMut::new();
        Refusal::conflict().injected().write_to(&mut out);
        let (code, message) = code_and_message(&out.freeze().slice(5..));
        assert_eq!(code, "40001");
        assert!(message.contains("(OC000)"), "{message}");
    }
}
