//! Accounts and slots from files: CSV with a header, or NDJSON.
//!
//! A pure reading of text, strict in the same way as the intake of bids: a column that nobody knows, a field that is
//! missing, a number with a fifth decimal and an id that stands there twice are all told, each with its line, its field
//! and what to do. Amounts are read from their digits and never go through a float.

mod names;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;

use schemas::ids::{AccountId, SlotId};
use schemas::money::Money;
use schemas::settlement::AccountStatus;
use serde_json::value::RawValue;
use settler::provision::{NewAccount, NewSlot};

pub use self::names::{Named, map_of, names};
use crate::failure::Failure;

/// Bytes of a file of accounts or slots: some two million lines.
const FILE_BYTES_MAX: u64 = 256 * 1_048_576;
/// Bad lines that are shown; the rest is counted.
const TOLD_MAX: usize = 50;
/// Characters of an account's name.
const NAME_CHARS_MAX: usize = 200;

/// What a file gave.
#[derive(Debug, PartialEq, Eq)]
pub struct Lines<T> {
    /// Entries in the order of the file.
    pub good: Vec<T>,
    /// What is wrong, in the order of the file; one line may be wrong in several fields.
    pub bad: Vec<BadLine>,
}

impl<T> Default for Lines<T> {
    fn default() -> Self {
        Self { good: Vec::new(), bad: Vec::new() }
    }
}

/// One thing that is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// From 1; a CSV's header is line 1.
    pub line: u64,
    /// The field, or `line` when the line as a whole is not understood.
    pub field: String,
    /// What is wrong and what to do; reads on from the field's name.
    pub reason: String,
}

/// Reads accounts.
///
/// # Errors
/// A [`Failure`] when the file cannot be read; bad lines are in the answer.
pub fn accounts(path: &Path) -> Result<Lines<NewAccount>, Failure> {
    Ok(parse(
        &read(path)?,
        form(path),
        (&["account_id", "name", "balance", "credit_limit"], &["status"]),
        account,
    ))
}

/// Reads slots.
///
/// # Errors
/// As [`accounts`].
pub fn slots(path: &Path) -> Result<Lines<NewSlot>, Failure> {
    Ok(parse(&read(path)?, form(path), (&["slot_id", "publisher_account_id", "floor_price"], &[]), slot))
}

/// Writes the first bad lines, and how many more there are.
///
/// # Errors
/// When writing fails.
pub fn tell(out: &mut dyn Write, path: &Path, bad: &[BadLine]) -> std::io::Result<()> {
    for BadLine { line, field, reason } in bad.iter().take(TOLD_MAX) {
        writeln!(out, "{}:{line}: {field} {reason}", path.display())?;
    }
    match bad.len().saturating_sub(TOLD_MAX) {
        0 => Ok(()),
        more => writeln!(out, "{}: and {more} more", path.display()),
    }
}

/// How many lines are bad, however many of their fields are.
#[must_use]
pub fn count_lines(bad: &[BadLine]) -> usize {
    bad.chunk_by(|one, other| one.line == other.line).count()
}

fn account(row: &mut Row<'_>) -> Option<(String, NewAccount)> {
    let account_id: Option<AccountId> = row.get("account_id", uuid);
    let name = row.get("name", name);
    let balance = row.get("balance", money);
    let credit_limit = row.get("credit_limit", money);
    let given = row.given("status");
    let status = if given { Some(row.get("status", status)?) } else { None };
    let account_id = account_id?;
    let (name, balance, credit_limit) = (name?, balance?, credit_limit?);
    let entry = NewAccount { account_id, name, balance, credit_limit, status };
    Some((account_id.to_string(), entry))
}

fn slot(row: &mut Row<'_>) -> Option<(String, NewSlot)> {
    let slot_id: Option<SlotId> = row.get("slot_id", uuid);
    let publisher = row.get("publisher_account_id", uuid);
    let floor = row.get("floor_price", money);
    let slot_id = slot_id?;
    Some((slot_id.to_string(), NewSlot { slot_id, publisher: publisher?, floor: floor? }))
}

fn uuid<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    const EXPECTED: &str = "is no UUID; give 8-4-4-4-12 hexadecimal digits";
    let is_hyphenated = text.len() == uuid::fmt::Hyphenated::LENGTH;
    is_hyphenated.then(|| text.parse().ok()).flatten().ok_or_else(|| EXPECTED.to_owned())
}

fn name(text: &str) -> Result<String, String> {
    match text.chars().count() {
        0 => Err("is empty; give the account's name".to_owned()),
        count if count > NAME_CHARS_MAX => {
            Err(format!("has {count} characters; give at most {NAME_CHARS_MAX}"))
        }
        _ if text.chars().any(char::is_control) => {
            Err("holds a control character; write it with letters, digits and blanks".to_owned())
        }
        _ => Ok(text.to_owned()),
    }
}

fn status(text: &str) -> Result<AccountStatus, String> {
    text.parse().map_err(|()| "is no status; give active or suspended, or leave it empty".to_owned())
}

fn money(text: &str) -> Result<Money, String> {
    match text.parse::<Money>() {
        Ok(money) if money.0 < 0 => Err("is below zero; give zero or more".to_owned()),
        Ok(money) => Ok(money),
        Err(error) => Err(error.reason().to_owned()),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Csv,
    Ndjson,
    /// By the first character.
    Unsaid,
}

fn form(path: &Path) -> Form {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => Form::Csv,
        Some("ndjson" | "jsonl" | "json") => Form::Ndjson,
        _ => Form::Unsaid,
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error: std::io::Error| {
        Failure::io(format!("{} cannot be read: {error}; name another file", path.display()))
    };
    let mut bytes = Vec::new();
    let source: Box<dyn Read> = if path.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(path).map_err(failed)?)
    };
    source.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        return Err(Failure::io(format!("{} is larger than 256 MiB; split it", path.display())));
    }
    Ok(bytes)
}

/// One entry as text by field; `bad` takes what is wrong with it.
struct Row<'a> {
    line: u64,
    fields: Values,
    bad: &'a mut Vec<BadLine>,
}

impl Row<'_> {
    /// Whether an optional field says anything.
    fn given(&self, field: &str) -> bool {
        self.fields.get(field).is_some_and(|value| value.as_ref().is_none_or(|text| !text.trim().is_empty()))
    }

    /// Reads a field; what is wrong with it is noted.
    fn get<T>(&mut self, field: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let value = match self.fields.get(field) {
            Some(Some(text)) => read(text.trim()),
            Some(None) => return None,
            None => Err("is missing; every line needs it".to_owned()),
        };
        value.map_err(|reason| self.bad.push(bad(self.line, field, reason))).ok()
    }
}

fn bad(line: u64, field: &str, reason: impl Into<String>) -> BadLine {
    BadLine { line, field: field.to_owned(), reason: reason.into() }
}

/// Fields by name; one without a text was told about already.
type Values = BTreeMap<String, Option<String>>;

fn parse<T>(
    bytes: &[u8],
    form: Form,
    (fields, optional): (&[&str], &[&str]),
    entry: fn(&mut Row<'_>) -> Option<(String, T)>,
) -> Lines<T> {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let is_json = bytes.trim_ascii_start().starts_with(b"{");
    let mut lines = Lines::default();
    let rows = match form {
        Form::Csv => csv(bytes, (fields, optional), &mut lines.bad),
        Form::Unsaid if !is_json => csv(bytes, (fields, optional), &mut lines.bad),
        Form::Ndjson | Form::Unsaid => ndjson(bytes, &[fields, optional].concat(), &mut lines.bad),
    };
    let mut first_lines: BTreeMap<String, u64> = BTreeMap::new();
    for (line, values) in rows {
        let read = entry(&mut Row { line, fields: values, bad: &mut lines.bad });
        let Some((key, value)) = read else { continue };
        match first_lines.get(&key) {
            Some(first) => {
                lines.bad.push(bad(line, fields[0], format!("stands on line {first} already; give it once")));
            }
            None => {
                first_lines.insert(key, line);
                lines.good.push(value);
            }
        }
    }
    lines.bad.sort_by_key(|bad| bad.line);
    lines
}

fn csv(bytes: &[u8], (fields, optional): (&[&str], &[&str]), told: &mut Vec<BadLine>) -> Vec<(u64, Values)> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(bytes);
    let mut names: Vec<String> = Vec::new();
    match reader.byte_headers() {
        Ok(headers) => {
            names.extend(headers.iter().map(|name| String::from_utf8_lossy(name).into_owned()));
        }
        Err(error) => told.push(bad(1, "line", format!("is no header: {error}"))),
    }
    let before = told.len();
    let known = [fields, optional].concat();
    let wrong = |name: &&String| !known.contains(&name.as_str());
    told.extend(names.iter().filter(wrong).map(|name| bad(1, name, unknown(&known))));
    let again = |(place, name): &(usize, &String)| names[..*place].contains(name);
    told.extend(
        names.iter().enumerate().filter(again).map(|(_, name)| bad(1, name, "stands in the header twice")),
    );
    let missing = fields.iter().filter(|field| !names.iter().any(|name| name == *field));
    told.extend(
        missing.map(|field| bad(1, field, "is missing in the header; the first line names the columns")),
    );
    if told.len() > before {
        // Without its columns no line can be understood.
        return Vec::new();
    }
    let mut rows = Vec::new();
    let mut record = csv::ByteRecord::new();
    loop {
        match reader.read_byte_record(&mut record) {
            Ok(false) => return rows,
            Ok(true) => {}
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                told.push(bad(line, "line", format!("is no CSV: {error}")));
                return rows;
            }
        }
        let line = record.position().map_or(0, csv::Position::line);
        if record.len() != names.len() {
            let reason = format!("has {} columns; the header has {}", record.len(), names.len());
            told.push(bad(line, "line", reason));
            continue;
        }
        let texts: Result<Vec<&str>, _> = record.iter().map(std::str::from_utf8).collect();
        match texts {
            Ok(texts) => {
                let texts = texts.into_iter().map(|text| Some(text.to_owned()));
                rows.push((line, names.iter().cloned().zip(texts).collect()));
            }
            Err(_) => told.push(bad(line, "line", "is not UTF-8; save the file as UTF-8")),
        }
    }
}

fn ndjson(bytes: &[u8], fields: &[&str], told: &mut Vec<BadLine>) -> Vec<(u64, Values)> {
    let mut rows = Vec::new();
    for (line, text) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        let text = text.trim_ascii();
        if text.is_empty() {
            continue;
        }
        let object: BTreeMap<String, &RawValue> = match serde_json::from_slice(text) {
            Ok(object) => object,
            Err(error) => {
                told.push(bad(
                    line,
                    "line",
                    format!("is no JSON object: {error}; write one object per line"),
                ));
                continue;
            }
        };
        let mut values = Values::new();
        for (name, value) in object {
            if !fields.contains(&name.as_str()) {
                told.push(bad(line, &name, unknown(fields)));
                continue;
            }
            let text = match value.get().as_bytes() {
                [b'"', ..] => serde_json::from_str(value.get()).ok(),
                [b'0'..=b'9' | b'-', ..] => Some(value.get().to_owned()),
                _ => None,
            };
            if text.is_none() {
                told.push(bad(line, &name, "has another type; give a text or a number"));
            }
            values.insert(name, text);
        }
        rows.push((line, values));
    }
    rows
}

fn unknown(fields: &[&str]) -> String {
    format!("is no field here; the fields are {}", fields.join(", "))
}

#[cfg(test)]
mod tests;
