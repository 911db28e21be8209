//! `processor leases`: who reads which shard and what nobody reads, and safe changes of one lease.

use std::io::Write;
use std::time::Duration;

use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::types::{Record, ShardIteratorType};
use runtime::clients::Clients;
use runtime::failure::{Failure, classify};
use schemas::geometry::Geometry;
use schemas::ids::{SequenceNumber, ShardId};
use schemas::lease::{Beginning, Checkpoint, Lease};
use schemas::time::Millis;
use serde_json::{Value, json};

use crate::config::{Change, Config, Leases as Asked};
use crate::core::holding::Written;
use crate::core::lease::gaps;
use crate::error::Error;
use crate::leases::Leases;
use crate::stream::Stream;

/// How often a change is tried against an owner that renews at the same time.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);
/// How often a shard that has no calls left is asked again: for five seconds, and it gives five calls in each.
const CALLS: u32 = 20;
const CALLS_PAUSE: Duration = Duration::from_millis(250);

/// Shows leases, or changes one. The answer says whether the whole hash space is read.
///
/// # Errors
/// When table or stream cannot be read, or the change cannot be made safely.
pub async fn run(config: &Config, asked: &Asked, clients: Clients) -> Result<Covered, Error> {
    let names = &config.names;
    let leases = Leases { client: clients.dynamodb.clone(), table: names.lease_table.clone() };
    let stream = Stream::new(clients.kinesis.clone(), names.stream.clone());
    match &asked.change {
        None => {
            let agreed = runtime::agreed::read(&clients.dynamodb, &names.table, None).await?;
            return show(&leases, &stream, &agreed.geometry, asked).await;
        }
        Some(Change::Release { shard }) => release(&leases, shard, asked.json).await?,
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
    /// Some part of it is read by nobody.
    Gaps,
}

fn call(what: &str) -> impl FnOnce(Failure) -> Error {
    let what = what.to_owned();
    move |failure| Error::Call { what, failure }
}

async fn show(
    leases: &Leases,
    stream: &Stream,
    geometry: &Geometry,
    asked: &Asked,
) -> Result<Covered, Error> {
    let look = async || leases.all().await.map_err(call(&format!("table {}", leases.table)));
    let (mut rows, mut before) = (look().await?, Vec::new());
    if let Some(apart) = asked.watch_ms {
        tokio::time::sleep(Duration::from_millis(apart)).await;
        before = std::mem::replace(&mut rows, look().await?);
    }
    // Whether the stream answers at all is found out once, not by waiting for each of its shards.
    stream.shards().await.map_err(call(&format!("stream {}", stream.name)))?;
    rows.sort_unstable_by_key(|row| (row.range.start, row.shard_id.clone()));
    let now = runtime::clock::now();
    let mut out = std::io::stdout().lock();
    if !asked.json {
        writeln!(
            out,
            "{:24} {:28} {:9} {:>10} {:>10} {:>10} {:>5} {:>5}  checkpoint",
            "shard", "owner", "state", "behind ms", "age ms", "tail ms", "open", "tails"
        )?;
    }
    for row in &rows {
        let behind = behind_ms(stream, row).await;
        let age = if row.closed_through.0 == 0 { None } else { Some(now.since(row.closed_through)) };
        // What a successor would read again: open windows lie in it.
        let tail = tail_ms(row);
        let open = open_windows(row, geometry);
        let owner = row.owner.as_deref().unwrap_or("-");
        if asked.json {
            let line = line((row, state(row, &before)), (behind, age, tail, open));
            writeln!(out, "{line}")?;
            continue;
        }
        let number = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
        writeln!(
            out,
            "{:24} {:28} {:9} {:>10} {:>10} {:>10} {:>5} {:>5}  {}",
            row.shard_id.0,
            owner,
            state(row, &before),
            number(behind),
            number(age),
            number(tail),
            open,
            row.tails.len(),
            row.checkpoint.as_text()
        )?;
    }
    let holes = gaps(&rows);
    for hole in &holes {
        if asked.json {
            let line = json!({ "gap": { "start": hole.start.to_string(), "end": hole.end.to_string() } });
            writeln!(out, "{line}")?;
        } else {
            writeln!(out, "gap: no lease covers hash keys {} to {}", hole.start, hole.end)?;
        }
    }
    Ok(if holes.is_empty() { Covered::Whole } else { Covered::Gaps })
}

/// A lease's state, when it was seen before as well.
fn state(row: &Lease, before: &[Lease]) -> &'static str {
    let same =
        |one: &Lease| (&one.shard_id, one.counter, &one.owner) == (&row.shard_id, row.counter, &row.owner);
    if row.owner.is_some() && row.checkpoint != Checkpoint::ShardEnd && before.iter().any(same) {
        return "silent";
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
        "cut": row.beginning == Beginning::Cut,
    })
}

/// How far the checkpoint is behind the shard's tip; none when it ended or the stream does not say.
async fn behind_ms(stream: &Stream, row: &Lease) -> Option<u64> {
    if row.checkpoint == Checkpoint::ShardEnd {
        return None;
    }
    let iterator = iterator(stream, &row.shard_id, &row.checkpoint).await.ok()?;
    let page = page(stream, &iterator).await.ok()?;
    u64::try_from(page.millis_behind_latest?).ok()
}

/// Makes a call again while the shard's readers use up its calls.
async fn patient<T, Answer: Future<Output = Result<T, Failure>>>(
    call: impl Fn() -> Answer,
) -> Result<T, Failure> {
    for _ in 0..CALLS {
        match call().await {
            Err(Failure::Throttled { .. }) => tokio::time::sleep(CALLS_PAUSE).await,
            answer => return answer,
        }
    }
    call().await
}

async fn iterator(stream: &Stream, shard: &ShardId, from: &Checkpoint) -> Result<String, Failure> {
    let request = stream.client.get_shard_iterator().stream_name(&stream.name).shard_id(&shard.0);
    let request = match from {
        Checkpoint::After(sequence) => request
            .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
            .starting_sequence_number(sequence.as_str()),
        _ => request.shard_iterator_type(ShardIteratorType::TrimHorizon),
    };
    let send = async || request.clone().send().await.map_err(|error| classify(&error));
    let none = || Failure::Unknown { message: "no iterator in the answer".to_owned() };
    patient(send).await?.shard_iterator.ok_or_else(none)
}

async fn page(stream: &Stream, iterator: &str) -> Result<GetRecordsOutput, Failure> {
    let request = stream.client.get_records().shard_iterator(iterator).limit(1);
    patient(async || request.clone().send().await.map_err(|error| classify(&error))).await
}

/// The first record after a place; empty pages may come before it.
async fn first_record(
    stream: &Stream,
    shard: &ShardId,
    from: &Checkpoint,
) -> Result<Option<Record>, Failure> {
    let mut next = Some(iterator(stream, shard, from).await?);
    while let Some(at) = next {
        let answer = page(stream, &at).await?;
        if let Some(first) = answer.records.into_iter().next() {
            return Ok(Some(first));
        }
        next = answer.next_shard_iterator.filter(|_| answer.millis_behind_latest != Some(0));
    }
    Ok(None)
}

/// Writes what `change` makes of a row, again and again while its owner renews it in between.
async fn write(
    leases: &Leases,
    shard: &str,
    change: impl Fn(&Lease) -> Result<Option<Lease>, Error>,
) -> Result<Option<Lease>, Error> {
    let table = || format!("table {}", leases.table);
    for _ in 0..ATTEMPTS {
        let rows = leases.all().await.map_err(call(&table()))?;
        let row = rows.into_iter().find(|row| row.shard_id.0 == shard);
        let row = row.ok_or_else(|| {
            Error::Usage(format!("no lease for shard {shard} in {}; `processor leases` lists them", table()))
        })?;
        let Some(changed) = change(&row)? else { return Ok(None) };
        let changed = Lease { counter: row.counter + 1, owner: None, checkpoint_owner: None, ..changed };
        if let Written::Done = leases.write(&changed, row.counter).await.map_err(call(&table()))? {
            return Ok(Some(changed));
        }
        tokio::time::sleep(PAUSE).await;
    }
    let message = format!("the owner of {shard} renewed it each time; try again");
    Err(Error::Call { what: "lease".to_owned(), failure: Failure::Unknown { message } })
}

async fn release(leases: &Leases, shard: &str, json: bool) -> Result<(), Error> {
    let owned = |row: &Lease| Ok(row.owner.is_some().then(|| row.clone()));
    let released = write(leases, shard, owned).await?;
    let mut out = std::io::stdout();
    match released {
        row if json => {
            let checkpoint = row.as_ref().map(|row| row.checkpoint.as_text());
            writeln!(
                out,
                "{}",
                json!({ "shard_id": shard, "released": row.is_some(), "checkpoint": checkpoint })
            )?;
        }
        Some(row) => writeln!(
            out,
            "{shard} is free; the next worker that looks reads it from {}",
            row.checkpoint.as_text()
        )?,
        None => writeln!(out, "{shard} has no owner; nothing changed")?,
    }
    Ok(())
}

async fn rewind(
    (leases, stream): (&Leases, &Stream),
    (shard, to): (&str, &str),
    geometry: &Geometry,
    json: bool,
) -> Result<(), Error> {
    let place = match to.parse::<Checkpoint>() {
        Ok(place @ (Checkpoint::TrimHorizon | Checkpoint::After(_))) => place,
        _ => return Err(Error::Usage(format!("{to} is neither TRIM_HORIZON nor a sequence number"))),
    };
    let first = first_record(stream, &ShardId(shard.to_owned()), &place).await;
    let first = first.map_err(call(&format!("shard {shard} of stream {}", stream.name)))?;
    let arrival = first.and_then(|record| record.approximate_arrival_timestamp);
    let arrival = arrival.and_then(|at| at.to_millis().ok()).and_then(|ms| u64::try_from(ms).ok());
    let arrival = arrival.map(Millis).ok_or_else(|| {
        Error::Usage(format!("shard {shard} has no record after {to}; there is nothing to read again"))
    })?;
    let row = write(leases, shard, |row| rewound(row, &place, arrival, geometry).map(Some)).await?;
    let closed_through = row.map(|row| row.closed_through).unwrap_or_default();
    if json {
        let line =
            json!({ "shard_id": shard, "rewound_to": to, "closed_through": closed_through.to_string() });
        writeln!(std::io::stdout(), "{line}")?;
        return Ok(());
    }
    writeln!(
        std::io::stdout(),
        "{shard} is read again from {to}; what was closed up to {closed_through} is not written again"
    )?;
    Ok(())
}

/// The row of a rewind, refused where it would lose something: windows that the new place cuts must all be closed.
fn rewound(row: &Lease, place: &Checkpoint, arrival: Millis, geometry: &Geometry) -> Result<Lease, Error> {
    let sequence = |checkpoint: &Checkpoint| match checkpoint {
        Checkpoint::After(sequence) => Some(SequenceNumber::clone(sequence)),
        _ => None,
    };
    let shard = &row.shard_id;
    let refused = |why: String| Err(Error::Usage(why));
    if row.checkpoint == Checkpoint::ShardEnd {
        return refused(format!(
            "{shard} has ended, and its children have what it left; there is nothing to rewind"
        ));
    }
    if sequence(place) >= sequence(&row.checkpoint) {
        return refused(format!(
            "{shard} is read from {} already; name a place before that",
            row.checkpoint.as_text()
        ));
    }
    let last_cut = geometry.window_start(arrival.plus(geometry.ahead_max_ms));
    if !geometry.passed(last_cut, row.closed_through) {
        return refused(format!(
            "a reader that begins at {arrival} cannot see windows up to {last_cut} whole, and {shard} has closed only what {} closes; rewind further back",
            row.closed_through
        ));
    }
    Ok(Lease { checkpoint: place.clone(), replay_clock: Millis(0), beginning: Beginning::Cut, ..row.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::hash::HashRange;

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
        let twice = |row: &Lease| state(row, std::slice::from_ref(row));
        assert_eq!([&free, &held, &ended].map(twice), ["free", "silent", "ended"]);
        assert_eq!([state(&held, &[]), state(&renewed, &[held])], ["reading"; 2]);
    }

    #[test]
    fn a_row_whose_replay_has_no_clock_has_no_tail() {
        let mut row = Lease::new(ShardId("s".into()), HashRange::ALL, Vec::new());
        (row.replay_clock, row.closed_through) = (Millis(131), Millis(133));
        assert_eq!(tail_ms(&row), Some(2));
        row.replay_clock = Millis(0);
        assert_eq!(tail_ms(&row), None);
    }

    #[test]
    fn a_rewind_that_would_cut_an_open_window_is_refused() {
        let geometry = Geometry { window_ms: 10, grace_ms: 2, ahead_max_ms: 5, ..Geometry::default() };
        let after = |number: &str| Checkpoint::After(number.parse().unwrap());
        let mut row = Lease::new(ShardId("s".into()), HashRange::ALL, Vec::new());
        (row.checkpoint, row.closed_through) = (after("100"), Millis(133));
        // 103 + 5 lies in the window that 113 closes; 117 + 5 in the one that 133 closes.
        let rewound_to = |arrival| rewound(&row, &after("50"), Millis(arrival), &geometry);
        assert!(rewound_to(117).is_ok() && rewound_to(103).is_ok());
        assert!(rewound_to(125).is_err(), "130 is open");
        assert!(rewound(&row, &after("100"), Millis(1), &geometry).is_err(), "not earlier");
        let back = rewound_to(103).unwrap();
        assert_eq!((back.closed_through, back.beginning), (Millis(133), Beginning::Cut));
        row.checkpoint = Checkpoint::ShardEnd;
        assert!(rewound(&row, &after("50"), Millis(1), &geometry).is_err(), "ended");
    }
}
