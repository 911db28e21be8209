//! `processor leases`: who reads which shard and what nobody reads, and safe changes of one lease.

mod change;
mod forget;
mod place;
mod skip;

use std::io::Write;
use std::time::Duration;

use runtime::clients::Clients;
use runtime::failure::Failure;
use schemas::geometry::Geometry;
use schemas::lease::{Beginning, Checkpoint, Lease};
use schemas::time::Millis;
use serde_json::{Value, json};

use self::change::{release, rewind};
use self::forget::{forget, may_be_other};
use self::place::{is_not_given, iterator, page};
use crate::config::{Change, Config, Leases as Asked};
use crate::core::lease::{Listed, former, gaps};
use crate::error::Error;
use crate::leases::{Leases, Rows, Unreadable};
use crate::stream::Stream;

/// Shows leases, or changes one. The answer says whether the whole hash space is read and nothing is held back.
///
/// # Errors
/// When table or stream cannot be read, or the change cannot be made safely.
pub async fn run(config: &Config, asked: &Asked, clients: Clients) -> Result<Covered, Error> {
    let names = &config.names;
    let leases = Leases { client: clients.dynamodb.clone(), table: names.lease_table.clone() };
    let stream = Stream::new(clients.kinesis.clone(), names.stream.clone(), clients.kinesis_clock.clone());
    match &asked.change {
        None => {
            let agreed = runtime::agreed::read(&clients.dynamodb, &names.table, None).await?;
            let table = skip::Table { client: &clients.dynamodb, name: &names.table };
            return show((&leases, &table), &stream, &agreed.geometry, asked).await;
        }
        Some(Change::Skip { pk, sk, reason, by }) => {
            let table = skip::Table { client: &clients.dynamodb, name: &names.table };
            skip::skip(&table, skip::Asked { key: (pk, sk), by, reason }, asked.json).await?;
        }
        Some(Change::Release { shard }) => release((&leases, &stream), shard, asked.json).await?,
        Some(Change::Forget) => {
            let agreed = runtime::agreed::read(&clients.dynamodb, &names.table, None).await?;
            forget(&leases, &stream, &agreed.geometry, asked.json).await?;
        }
        Some(Change::Rewind { shard, to }) => {
            let agreed = runtime::agreed::read(&clients.dynamodb, &names.table, None).await?;
            rewind((&leases, &stream), (shard, to), &agreed.geometry, asked.json).await?;
        }
    }
    Ok(Covered::Whole)
}

/// Whether leases cover the whole hash space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covered {
    /// They do.
    Whole,
    /// Some part of it is read by nobody, or waits for an item that the table refuses.
    Gaps,
}

fn call(what: &str) -> impl FnOnce(Failure) -> Error {
    let what = what.to_owned();
    move |failure| Error::Call { what, failure }
}

/// All rows of the lease table.
async fn all(leases: &Leases, stream: &Stream) -> Result<Rows, Error> {
    let now = stream.now().await.map_err(call(&format!("stream {}", stream.name)))?;
    leases.all(now.latest).await.map_err(call(&format!("table {} of leases", leases.table)))
}

async fn show(
    (leases, table): (&Leases, &skip::Table<'_>),
    stream: &Stream,
    geometry: &Geometry,
    asked: &Asked,
) -> Result<Covered, Error> {
    let look = async || all(leases, stream).await;
    let (mut read, mut before) = (look().await?, Vec::new());
    if let Some(apart) = asked.watch_ms {
        tokio::time::sleep(Duration::from_millis(apart)).await;
        before = std::mem::replace(&mut read, look().await?).leases;
    }
    let shards = stream.shards().await.map_err(call(&format!("stream {}", stream.name)))?;
    let created = stream.kept().await.map(|kept| kept.created);
    let Rows { leases: mut rows, unreadable } = read;
    rows.sort_unstable_by_key(|row| (row.range.start, row.shard_id.clone()));
    let now = stream.now().await.map_err(call(&format!("stream {}", stream.name)))?.middle();
    let (mut out, mut refused) = (std::io::stdout().lock(), Vec::new());
    if !asked.json {
        writeln!(
            out,
            "{:24} {:28} {:9} {:>10} {:>10} {:>10} {:>5} {:>5}  checkpoint",
            "shard", "owner", "state", "behind ms", "age ms", "tail ms", "open", "tails"
        )?;
    }
    for row in &rows {
        let behind = match behind_ms(stream, row).await {
            Err(failure) if !failure.is_transient() && !is_former(row, created) => {
                refused.push((row, failure));
                None
            }
            behind => behind.ok().flatten(),
        };
        let state = match refused.last() {
            Some((last, _)) if last.shard_id == row.shard_id => "refused",
            _ => state(row, &before, created),
        };
        let age = if row.closed_through.0 == 0 { None } else { Some(now.since(row.closed_through)) };
        // What a successor would read again: open windows lie in it.
        let tail = tail_ms(row);
        let open = open_windows(row, geometry);
        let owner = row.owner.as_deref().unwrap_or("-");
        if asked.json {
            let line = line((row, state), (behind, age, tail, open));
            writeln!(out, "{line}")?;
            continue;
        }
        let number = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
        writeln!(
            out,
            "{:24} {:28} {:9} {:>10} {:>10} {:>10} {:>5} {:>5}  {}",
            row.shard_id.0,
            owner,
            state,
            number(behind),
            number(age),
            number(tail),
            open,
            row.tails.len(),
            row.checkpoint.as_text()
        )?;
    }
    let mut faults = faults(&rows, &unreadable, &shards, created);
    faults.extend(refused.iter().map(|(row, failure)| refusal(row, failure, created)));
    faults.extend(table.refused(now).await?.iter().map(skip::told));
    for (words, fields) in &faults {
        if asked.json { writeln!(out, "{fields}")? } else { writeln!(out, "{words}")? }
    }
    Ok(if faults.is_empty() { Covered::Whole } else { Covered::Gaps })
}

/// What keeps the hash space from being read whole, in words and as JSON.
fn faults(
    rows: &[Lease],
    unreadable: &[Unreadable],
    shards: &[Listed],
    created: Option<Millis>,
) -> Vec<(String, Value)> {
    let others: Vec<&Lease> = former(rows, created).collect();
    let mut faults = Vec::new();
    if let (Some(then), Some(now)) = (others.first().and_then(|row| row.stream_created), created) {
        let count = others.len();
        let words = format!(
            "former: {count} leases are of a stream that was made at {then}, and this one was made at {now}; where it was made again under this name `processor leases forget` lets them begin anew, where it is another one give it its own --lease-table"
        );
        let of = json!({ "leases": count, "stream_created": then.to_string(), "now": now.to_string() });
        faults.push((words, json!({ "former": of })));
    }
    for Unreadable { shard_id, reason } in unreadable {
        let words = format!("unreadable: the row of {shard_id} is no lease: {reason}; mend it or remove it");
        faults.push((words, json!({ "unreadable": { "shard_id": shard_id, "reason": reason } })));
    }
    for row in rows.iter().filter(|row| row.checkpoint == Checkpoint::ShardEnd && !others.contains(row)) {
        if shards.iter().any(|shard| shard.is_open && shard.shard_id == row.shard_id) {
            let shard_id = &row.shard_id;
            let words = format!(
                "unended: the row of {shard_id} says that it has ended, and it takes records; `processor leases rewind {shard_id} --to TRIM_HORIZON` reads it again"
            );
            faults.push((words, json!({ "unended": { "shard_id": shard_id } })));
        }
    }
    let altered = rows.iter().filter(|row| !row.is_trusted() && !others.contains(row));
    faults.extend(altered.filter_map(alteration));
    let rows: Vec<Lease> = rows.iter().filter(|row| !others.contains(row)).cloned().collect();
    for hole in gaps(&rows, shards) {
        let words = format!("gap: no lease covers hash keys {} to {}", hole.start, hole.end);
        let fields = json!({ "start": hole.start.to_string(), "end": hole.end.to_string() });
        faults.push((words, json!({ "gap": fields })));
    }
    faults
}

/// A row that another tool wrote or changed, in words and as JSON.
fn alteration(row: &Lease) -> Option<(String, Value)> {
    let (shard_id, found, why) = (&row.shard_id, row.checkpoint.as_text(), row.seal.disagrees()?);
    let words = format!(
        "altered: the row of {shard_id} says {found} and our processor did not write that ({why}); where one reads the shard it writes its own place again; else its next reader does not write the windows that may have begun before {found}, unless `processor leases rewind {shard_id} --to TRIM_HORIZON` mends it first"
    );
    let fields = json!({ "shard_id": shard_id, "checkpoint": found, "reason": why });
    Some((words, json!({ "altered": fields })))
}

/// A place that the stream does not give, in words and as JSON.
fn refusal(row: &Lease, failure: &Failure, created: Option<Millis>) -> (String, Value) {
    let (shard_id, reason) = (&row.shard_id, failure.to_string());
    let rewind = format!("`processor leases rewind {shard_id} --to TRIM_HORIZON` begins anew");
    let is_other = is_not_given(failure) && created.is_some_and(|created| may_be_other(row, created));
    let next = if is_other {
        let forget = "where the stream was made again `processor leases forget` lets it begin anew";
        format!("{forget}, else {rewind}")
    } else {
        rewind
    };
    let words = format!("refused: {shard_id} cannot be read from its checkpoint: {reason}; {next}");
    (words, json!({ "refused": { "shard_id": shard_id, "reason": reason } }))
}

fn is_former(row: &Lease, created: Option<Millis>) -> bool {
    former(std::slice::from_ref(row), created).next().is_some()
}

/// A lease's state, when it was seen before as well.
fn state(row: &Lease, before: &[Lease], created: Option<Millis>) -> &'static str {
    if is_former(row, created) {
        return "former";
    }
    let same =
        |one: &Lease| (&one.shard_id, one.counter, &one.owner) == (&row.shard_id, row.counter, &row.owner);
    if row.owner.is_some() && row.checkpoint != Checkpoint::ShardEnd && before.iter().any(same) {
        return "silent";
    }
    if !row.is_trusted() {
        return row.seal.as_str();
    }
    match (&row.checkpoint, &row.owner, &row.checkpoint_owner) {
        (Checkpoint::ShardEnd, ..) => "ended",
        (_, Some(_), Some(_)) => "asked for",
        (_, Some(_), None) if !row.tails.is_empty() => "inherits",
        (_, Some(_), None) => "reading",
        (_, None, _) => "free",
    }
}

/// How far back a successor reads again, in ms of the shard's clock; none when its replay has no clock yet, as after a
/// rewind and in a child that still inherits.
fn tail_ms(row: &Lease) -> Option<u64> {
    (row.replay_clock.0 > 0).then(|| row.closed_through.since(row.replay_clock))
}

/// How many windows may be open at a row's checkpoint: none when nothing holds it back, else those that the clock it
/// was written at has reached and not closed.
fn open_windows(row: &Lease, geometry: &Geometry) -> u64 {
    if row.replay_clock >= row.closed_through && row.tails.is_empty() {
        return 0;
    }
    let last = geometry.window_start(row.closed_through.plus(geometry.ahead_max_ms));
    let starts = (0..).map_while(|back: u64| last.0.checked_sub(back * geometry.window_ms).map(Millis));
    let open = starts.take_while(|start| !geometry.passed(*start, row.closed_through)).count();
    u64::try_from(open).unwrap_or(u64::MAX)
}

fn line(
    (row, state): (&Lease, &str),
    (behind, age, tail, open): (Option<u64>, Option<u64>, Option<u64>, u64),
) -> Value {
    json!({
        "shard_id": row.shard_id, "owner": row.owner, "state": state, "counter": row.counter,
        "checkpoint": row.checkpoint.as_text(), "behind_ms": behind, "checkpoint_age_ms": age, "tail_ms": tail,
        "open_windows_max": open,
        "tails": row.tails.len(), "closed_through": row.closed_through.to_string(),
        "cut": row.beginning == Beginning::Cut, "seal": row.seal.as_str(),
    })
}

/// How far the checkpoint is behind the shard's tip; none when it ended or the stream does not say.
async fn behind_ms(stream: &Stream, row: &Lease) -> Result<Option<u64>, Failure> {
    if row.checkpoint == Checkpoint::ShardEnd {
        return Ok(None);
    }
    let iterator = iterator(stream, &row.shard_id, &row.checkpoint).await?;
    let page = page(stream, &iterator).await?;
    Ok(page.millis_behind_latest.and_then(|behind| u64::try_from(behind).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::hash::HashRange;
    use schemas::ids::ShardId;

    #[test]
    fn windows_that_the_clock_has_reached_and_not_closed_may_be_open() {
        let geometry = Geometry { window_ms: 10, grace_ms: 2, ahead_max_ms: 5, ..Geometry::default() };
        let open = |replay_clock, closed_through| {
            let mut row = Lease::new(ShardId("s".into()), HashRange::ALL, Vec::new());
            (row.replay_clock, row.closed_through) = (Millis(replay_clock), Millis(closed_through));
            open_windows(&row, &geometry)
        };
        assert_eq!(open(133, 133), 0, "nothing holds the checkpoint back");
        assert_eq!(open(0, 0), 0, "nothing was read");
        assert_eq!(open(131, 132), 2, "120 is within its grace, 130 runs");
        assert_eq!(open(131, 133), 1, "120 is closed");
        assert_eq!(open(131, 136), 2, "140 may have begun ahead of the clock");
    }

    #[test]
    fn an_owner_that_did_not_renew_between_two_looks_is_silent() {
        let free = Lease::new(ShardId("s".into()), HashRange::ALL, Vec::new());
        let held = Lease { owner: Some("w".into()), ..free.clone() };
        let renewed = Lease { counter: held.counter + 1, ..held.clone() };
        // Nobody renews what has ended.
        let ended = Lease { checkpoint: Checkpoint::ShardEnd, ..held.clone() };
        let twice = |row: &Lease| state(row, std::slice::from_ref(row), None);
        assert_eq!([&free, &held, &ended].map(twice), ["free", "silent", "ended"]);
        let once = |row: &Lease, before: &[Lease]| state(row, before, Some(Millis(5)));
        assert_eq!([once(&held, &[]), once(&renewed, std::slice::from_ref(&held))], ["reading"; 2]);
        let of = |created| Lease { stream_created: Some(Millis(created)), ..held.clone() };
        assert_eq!([once(&of(5), &[]), once(&of(4), &[])], ["reading", "former"]);
    }

    #[test]
    fn a_row_whose_replay_has_no_clock_has_no_tail() {
        let mut row = Lease::new(ShardId("s".into()), HashRange::ALL, Vec::new());
        (row.replay_clock, row.closed_through) = (Millis(131), Millis(133));
        assert_eq!(tail_ms(&row), Some(2));
        row.replay_clock = Millis(0);
        assert_eq!(tail_ms(&row), None);
    }
}
