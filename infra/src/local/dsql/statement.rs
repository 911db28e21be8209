//! What a statement is, and whether DSQL would take it.
//!
//! Owns cutting a text into statements, naming their kind, and the list of what DSQL refuses; what
//! stands inside DDL is judged by `dsql-lint`. Pure: no state of a transaction is known here.

use std::ops::Range;

use super::reply::Refusal;

/// What running a statement means for its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Begin,
    Commit,
    Rollback,
    /// `CREATE INDEX ASYNC`, which answers a job id.
    IndexAsync,
    Ddl,
    /// A change that answers nothing but how many rows it changed.
    Change(Verb),
    /// Any other change: one that answers rows, or stands inside a WITH.
    Dml,
    /// `COPY ... FROM STDIN`: rows that the client sends.
    CopyIn,
    /// `COPY ... TO STDOUT`: rows that the client gets.
    CopyOut,
    /// Anything else: reading, settings.
    Other,
}

/// What a change does, as its tag says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Insert,
    Update,
    Delete,
}

impl Kind {
    /// Whether it changes rows.
    pub(super) fn changes(self) -> bool {
        matches!(self, Self::Change(_) | Self::Dml | Self::CopyIn)
    }

    /// Whether its COMMIT has anything to do.
    pub(super) fn writes(self) -> bool {
        self.changes() || matches!(self, Self::Ddl | Self::IndexAsync)
    }
}

/// A statement that may be sent on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) kind: Kind,
    /// The text for PostgreSQL, which differs from the client's where DSQL has words of its own.
    pub(super) sql: String,
}

/// Statements that DSQL has not, by their first word.
const REFUSED: [&str; 20] = [
    "SAVEPOINT",
    "RELEASE",
    "LOCK",
    "LISTEN",
    "UNLISTEN",
    "NOTIFY",
    "DISCARD",
    "TRUNCATE",
    "PREPARE",
    "DEALLOCATE",
    "EXECUTE",
    "DECLARE",
    "FETCH",
    "MOVE",
    "CLOSE",
    "LOAD",
    "VACUUM",
    "CLUSTER",
    "DO",
    "CHECKPOINT",
];
/// Settings that DSQL has not; deadlines live in the client.
const REFUSED_SETTINGS: [&str; 3] = ["STATEMENT_TIMEOUT", "LOCK_TIMEOUT", "TRANSACTION_TIMEOUT"];

/// Judges one statement.
pub(super) fn judge(sql: &str) -> Result<Statement, Refusal> {
    let tokens = tokens(sql);
    let words: Vec<String> = tokens.iter().map(|token| sql[token.clone()].to_ascii_uppercase()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let first = words.first().copied().unwrap_or_default();
    if REFUSED.contains(&first) {
        return Err(Refusal::unsupported(format!("unsupported statement: {first}")));
    }
    refuse_isolation(&words)?;
    let kind = match first {
        "BEGIN" | "START" => Kind::Begin,
        "COMMIT" | "END" => Kind::Commit,
        "ROLLBACK" if words.contains(&"TO") => {
            return Err(Refusal::unsupported("unsupported statement: ROLLBACK TO SAVEPOINT"));
        }
        "ROLLBACK" | "ABORT" => Kind::Rollback,
        "SET" | "RESET" if words.iter().any(|word| REFUSED_SETTINGS.contains(word)) => {
            return Err(Refusal::unsupported(format!(
                "setting configuration parameter not supported: {}",
                words[1]
            )));
        }
        "INSERT" | "UPDATE" | "DELETE" | "MERGE" if words.contains(&"RETURNING") => Kind::Dml,
        "INSERT" => Kind::Change(Verb::Insert),
        "UPDATE" => Kind::Change(Verb::Update),
        "DELETE" => Kind::Change(Verb::Delete),
        "MERGE" => Kind::Dml,
        "WITH" | "EXPLAIN"
            if words.iter().any(|word| matches!(*word, "INSERT" | "UPDATE" | "DELETE" | "MERGE")) =>
        {
            // FOR UPDATE looks the same; counting it as a change is the stricter reading.
            Kind::Dml
        }
        "COPY" => copy(sql)?,
        "CREATE" | "ALTER" | "DROP" | "GRANT" | "REVOKE" | "COMMENT" => return ddl(sql, &tokens, &words),
        _ => Kind::Other,
    };
    Ok(Statement { kind, sql: sql.to_owned() })
}

/// Judges DDL with `dsql-lint`, and takes the word ASYNC out for PostgreSQL.
fn ddl(sql: &str, tokens: &[Range<usize>], words: &[&str]) -> Result<Statement, Refusal> {
    let found = dsql_lint::lint_sql(sql);
    // What the linter cannot parse, PostgreSQL decides.
    if let Some(found) = found.iter().find(|found| found.rule != dsql_lint::LintRule::ParseError) {
        return Err(Refusal::unsupported(found.message.clone()));
    }
    let asynchronous = words.windows(2).position(|pair| pair == ["INDEX", "ASYNC"]);
    if words[0] != "CREATE" || asynchronous.is_none_or(|index| index > 2) {
        return Ok(Statement { kind: Kind::Ddl, sql: sql.to_owned() });
    }
    let word = tokens[asynchronous.map_or(0, |index| index + 1)].clone();
    let sql = format!("{}{}", &sql[..word.start], &sql[word.end..]);
    Ok(Statement { kind: Kind::IndexAsync, sql })
}

/// Judges COPY: between client and table alone (DSQL user guide, "Loading data": `\\copy`, which is COPY with STDIN or
/// STDOUT). A file or a program of the server is nothing that a service has.
fn copy(sql: &str) -> Result<Kind, Refusal> {
    let pieces: Vec<String> = pieces(sql).into_iter().map(|piece| sql[piece].to_ascii_uppercase()).collect();
    let mut depth = 0_u32;
    let mut inner = Vec::new();
    let mut outer = Vec::new();
    for piece in pieces.iter().skip(1).map(String::as_str) {
        match piece {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            word if depth > 0 => inner.push(word),
            word => outer.push(word),
        }
    }
    let is_query = pieces.get(1).is_some_and(|piece| piece == "(");
    if is_query && inner.iter().any(|word| matches!(*word, "INSERT" | "UPDATE" | "DELETE" | "MERGE")) {
        return Err(Refusal::unsupported("unsupported statement: COPY of a changing query"));
    }
    let way = outer.iter().position(|word| matches!(*word, "FROM" | "TO"));
    match way.map(|at| (outer[at], outer.get(at + 1).copied().unwrap_or_default())) {
        Some(("FROM", "STDIN")) => Ok(Kind::CopyIn),
        Some(("TO", "STDOUT")) => Ok(Kind::CopyOut),
        Some((way, _)) => {
            let end = if way == "FROM" { "FROM STDIN" } else { "TO STDOUT" };
            let words = "a file or program of the server";
            Err(Refusal::unsupported(format!("unsupported statement: COPY {way} {words}; use COPY {end}")))
        }
        None => Err(Refusal::unsupported("unsupported statement: COPY without FROM STDIN or TO STDOUT")),
    }
}

/// Snapshot isolation is all there is, and REPEATABLE READ is its name.
fn refuse_isolation(words: &[&str]) -> Result<(), Refusal> {
    let level =
        words.windows(2).position(|pair| pair == ["ISOLATION", "LEVEL"]).map(|index| &words[index + 2..]);
    let setting = match words {
        ["SET", "DEFAULT_TRANSACTION_ISOLATION", rest @ ..] => Some(rest),
        ["SET", "SESSION" | "LOCAL", "DEFAULT_TRANSACTION_ISOLATION", rest @ ..] => Some(rest),
        _ => None,
    };
    let control = matches!(words.first(), Some(&("BEGIN" | "START" | "SET")));
    let Some(level) = setting.or(level.filter(|_| control)) else { return Ok(()) };
    if level.windows(2).any(|pair| pair == ["REPEATABLE", "READ"]) || level.contains(&"'REPEATABLE READ'") {
        return Ok(());
    }
    Err(Refusal::unsupported(format!("unsupported isolation level: {}", level.join(" "))))
}

/// The statements of a text, without those that are empty.
pub(super) fn split(sql: &str) -> Vec<&str> {
    let mut statements = Vec::new();
    let mut begin = 0;
    for token in tokens(sql) {
        if &sql[token.clone()] == ";" {
            statements.push(&sql[begin..token.start]);
            begin = token.end;
        }
    }
    statements.push(&sql[begin..]);
    statements.retain(|statement| !tokens(statement).is_empty());
    statements
}

/// Words, quoted pieces and semicolons; other signs and comments are passed over.
fn tokens(sql: &str) -> Vec<Range<usize>> {
    let mut pieces = pieces(sql);
    pieces.retain(|piece| !matches!(&sql[piece.clone()], "(" | ")"));
    pieces
}

/// The same, and parentheses.
fn pieces(sql: &str) -> Vec<Range<usize>> {
    let bytes = sql.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let rest = &sql.as_bytes()[at..];
        let (length, is_token) = match byte {
            b'-' if rest.starts_with(b"--") => (find(rest, b"\n", 2), false),
            b'/' if rest.starts_with(b"/*") => (comment(rest), false),
            b'\'' | b'"' => (quoted(rest), true),
            b'$' => match dollar_quoted(rest) {
                Some(length) => (length, true),
                None => (1, false),
            },
            b';' | b'(' | b')' => (1, true),
            _ if is_word(byte) => (rest.iter().take_while(|byte| is_word(**byte)).count(), true),
            _ => (1, false),
        };
        if is_token {
            found.push(at..at + length);
        }
        at += length;
    }
    found
}

fn is_word(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric() || !byte.is_ascii()
}

/// Length up to and with the first `end` from `from` on, or all of it.
fn find(text: &[u8], end: &[u8], from: usize) -> usize {
    let from = from.min(text.len());
    text[from..]
        .windows(end.len())
        .position(|window| window == end)
        .map_or(text.len(), |at| from + at + end.len())
}

/// Length of a comment; these nest.
fn comment(text: &[u8]) -> usize {
    let (mut depth, mut at) = (0_u32, 0);
    while at < text.len() {
        match &text[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth.saturating_sub(1), at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Length of a quoted piece. A doubled quote reads as two pieces, which cut nothing wrongly.
fn quoted(text: &[u8]) -> usize {
    find(text, &text[..1], 1)
}

/// Length of a piece between two equal `$tag$`.
fn dollar_quoted(text: &[u8]) -> Option<usize> {
    let tag_end = 1 + text[1..].iter().position(|byte| !is_word(*byte))?;
    if text[tag_end] != b'$' || text[1].is_ascii_digit() {
        return None;
    }
    let tag = &text[..=tag_end];
    Some(find(text, tag, tag.len()))
}

#[cfg(test)]
mod tests;
