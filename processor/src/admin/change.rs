//! Safe changes of one lease: released, read again from an earlier place, or forgotten with the stream it was of.

use std::io::Write;
use std::time::Duration;

use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::types::{Record, ShardIteratorType};
use runtime::failure::{Failure, classify};
use schemas::geometry::Geometry;
use schemas::ids::{SequenceNumber, ShardId};
use schemas::lease::{Beginning, Checkpoint, Lease};
use schemas::time::Millis;
use serde_json::json;

use super::call;
use crate::core::holding::Written;
use crate::core::lease::{Age, Listed, former};
use crate::error::Error;
use crate::leases::Leases;
use crate::stream::Stream;

/// Within which an owner renews: a third of the failover time that nobody changed, and what a call may take.
const RENEWED_WITHIN: Duration = Duration::from_millis(4_000);
/// How often a change is tried against an owner that renews at the same time.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);
/// How often a shard that has no calls left is asked again: for five seconds, and it gives five calls in each.
const CALLS: u32 = 20;
const CALLS_PAUSE: Duration = Duration::from_millis(250);

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

pub(super) async fn iterator(stream: &Stream, shard: &ShardId, from: &Checkpoint) -> Result<String, Failure> {
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

pub(super) async fn page(stream: &Stream, iterator: &str) -> Result<GetRecordsOutput, Failure> {
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
    let table = || format!("table {} of leases", leases.table);
    for _ in 0..ATTEMPTS {
        let rows = leases.all().await.map_err(call(&table()))?.leases;
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

pub(super) async fn release(leases: &Leases, shard: &str, json: bool) -> Result<(), Error> {
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

pub(super) async fn rewind(
    (leases, stream): (&Leases, &Stream),
    (shard, to): (&str, &str),
    geometry: &Geometry,
    json: bool,
) -> Result<(), Error> {
    same_stream(leases, stream, shard).await?;
    let place = match to.parse::<Checkpoint>() {
        Ok(place @ (Checkpoint::TrimHorizon | Checkpoint::After(_))) => place,
        _ => return Err(Error::Usage(format!("{to} is neither TRIM_HORIZON nor a sequence number"))),
    };
    let listed = stream.shards().await.map_err(call(&format!("stream {}", stream.name)))?;
    let Some(listed) = listed.into_iter().find(|one| one.shard_id.0 == shard) else {
        return Err(Error::Usage(format!(
            "stream {} has no shard {shard}; `processor leases` lists them",
            stream.name
        )));
    };
    let kept = stream.kept().await;
    let is_young = kept.is_some_and(|kept| kept.age(runtime::clock::now()) == Age::Young);
    let target = Target { is_open: listed.is_open, is_first: is_young && listed.parents.is_empty() };
    let first = first_record(stream, &ShardId(shard.to_owned()), &place).await;
    let first = first.map_err(call(&format!("shard {shard} of stream {}", stream.name)))?;
    let arrival = first.and_then(|record| record.approximate_arrival_timestamp);
    let arrival = arrival.and_then(|at| at.to_millis().ok()).and_then(|ms| u64::try_from(ms).ok());
    let arrival = arrival.map(Millis).ok_or_else(|| {
        Error::Usage(format!("shard {shard} has no record after {to}; there is nothing to read again"))
    })?;
    let row = write(leases, shard, |row| rewound(row, (&place, arrival), target, geometry).map(Some)).await?;
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

/// Refuses a lease of a stream that is gone.
async fn same_stream(leases: &Leases, stream: &Stream, shard: &str) -> Result<(), Error> {
    let rows = leases.all().await.map_err(call(&format!("table {} of leases", leases.table)))?.leases;
    let created = stream.kept().await.map(|kept| kept.created);
    if let Some(row) = former(&rows, created).find(|row| row.shard_id.0 == shard) {
        let then = row.stream_created.unwrap_or_default();
        return Err(Error::Usage(format!(
            "the lease of {shard} is of a stream that was made at {then}, and {} was made later; `processor leases forget` removes it",
            stream.name
        )));
    }
    Ok(())
}

/// Removes the rows of a stream that is gone. Those of shards that the stream has now begin anew, behind the window in
/// which it was made: the one before had a part of that window.
pub(super) async fn forget(
    leases: &Leases,
    stream: &Stream,
    geometry: &Geometry,
    json: bool,
) -> Result<(), Error> {
    let (table, name) = (format!("table {} of leases", leases.table), format!("stream {}", stream.name));
    let shards = stream.shards().await.map_err(call(&name))?;
    let unsaid = || Failure::Unknown { message: "it does not say when it was made".to_owned() };
    let created = stream.kept().await.ok_or_else(|| call(&name)(unsaid()))?.created;
    let before = leases.all().await.map_err(call(&table))?.leases;
    let mut out = std::io::stdout();
    if former(&before, Some(created)).next().is_none() {
        if !json {
            writeln!(out, "no lease is of another stream than the one made at {created}; nothing changed")?;
        }
        return Ok(());
    }
    // An owner that lives renews within this time, unless it was given longer.
    tokio::time::sleep(RENEWED_WITHIN).await;
    let rows = leases.all().await.map_err(call(&table))?.leases;
    let renewed =
        |row: &&Lease| !before.iter().any(|one| one.shard_id == row.shard_id && one.counter == row.counter);
    if let Some(owner) = former(&rows, Some(created)).find(renewed).and_then(|row| row.owner.as_ref()) {
        return Err(Error::Usage(format!(
            "{owner} still renews its leases; stop it first, then forget them"
        )));
    }
    let cut = geometry.window_start(created);
    let begin = |shard: &Listed, counter| Lease {
        counter,
        stream_created: Some(created),
        closed_through: geometry.closes_at(cut),
        ..Lease::new(shard.shard_id.clone(), shard.range, shard.parents.clone())
    };
    for row in former(&rows, Some(created)) {
        match shards.iter().find(|shard| shard.shard_id == row.shard_id && shard.parents.is_empty()) {
            Some(shard) => {
                let begun = begin(shard, row.counter + 1);
                drop(leases.write(&begun, row.counter).await.map_err(call(&table))?);
            }
            None => leases.remove(&row.shard_id, row.counter).await.map_err(call(&table))?,
        }
        let then = row.stream_created.unwrap_or_default();
        let checkpoint = row.checkpoint.as_text();
        if json {
            let line = json!({ "shard_id": row.shard_id, "stream_created": then.to_string(), "checkpoint": checkpoint });
            writeln!(out, "{line}")?;
        } else {
            writeln!(
                out,
                "{} of the stream made at {then} is forgotten; it stood at {checkpoint}",
                row.shard_id
            )?;
        }
    }
    let is_known = |shard: &&Listed| rows.iter().any(|row| row.shard_id == shard.shard_id);
    for shard in shards.iter().filter(|shard| shard.parents.is_empty()).filter(|shard| !is_known(shard)) {
        leases.make(&begin(shard, runtime::chance::seed() >> 16)).await.map_err(call(&table))?;
    }
    if !json {
        writeln!(
            out,
            "the stream made at {created} is read from its beginning; windows up to {cut} are not written, for the one before had a part of them"
        )?;
    }
    Ok(())
}

/// The shard that a rewind is about.
#[derive(Clone, Copy, Debug)]
struct Target {
    /// Whether it takes records, whatever its row says.
    is_open: bool,
    /// Whether its oldest record is surely its first.
    is_first: bool,
}

/// The row of a rewind, refused where it would lose something: windows that the new place cuts must all be closed.
fn rewound(
    row: &Lease,
    (place, arrival): (&Checkpoint, Millis),
    target: Target,
    geometry: &Geometry,
) -> Result<Lease, Error> {
    let sequence = |checkpoint: &Checkpoint| match checkpoint {
        Checkpoint::After(sequence) => Some(SequenceNumber::clone(sequence)),
        _ => None,
    };
    let shard = &row.shard_id;
    let refused = |why: String| Err(Error::Usage(why));
    if row.checkpoint == Checkpoint::ShardEnd && !target.is_open {
        return refused(format!(
            "{shard} has ended, and its children have what it left; there is nothing to rewind"
        ));
    }
    let is_ended = row.checkpoint == Checkpoint::ShardEnd;
    if !is_ended && sequence(place) >= sequence(&row.checkpoint) {
        return refused(format!(
            "{shard} is read from {} already; name a place before that",
            row.checkpoint.as_text()
        ));
    }
    if target.is_first && *place == Checkpoint::TrimHorizon {
        // The shard's true beginning, of which nothing is gone: no window is cut.
        return Ok(Lease {
            checkpoint: place.clone(),
            replay_clock: Millis(0),
            beginning: Beginning::Whole,
            tail_checkpoint: None,
            children: Vec::new(),
            ..row.clone()
        });
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
    fn a_rewind_that_would_cut_an_open_window_is_refused() {
        let geometry = Geometry { window_ms: 10, grace_ms: 2, ahead_max_ms: 5, ..Geometry::default() };
        let after = |number: &str| Checkpoint::After(number.parse().unwrap());
        let mut row = Lease::new(ShardId("s".into()), HashRange::ALL, Vec::new());
        (row.checkpoint, row.closed_through) = (after("100"), Millis(133));
        // 103 + 5 lies in the window that 113 closes; 117 + 5 in the one that 133 closes.
        let at = Target { is_open: true, is_first: false };
        let rewound_to = |arrival| rewound(&row, (&after("50"), Millis(arrival)), at, &geometry);
        assert!(rewound_to(117).is_ok() && rewound_to(103).is_ok());
        assert!(rewound_to(125).is_err(), "130 is open");
        assert!(rewound(&row, (&after("100"), Millis(1)), at, &geometry).is_err(), "not earlier");
        let back = rewound_to(103).unwrap();
        assert_eq!((back.closed_through, back.beginning), (Millis(133), Beginning::Cut));
        row.checkpoint = Checkpoint::ShardEnd;
        let to = |place: Checkpoint, at| rewound(&row, (&place, Millis(150)), at, &geometry);
        assert!(to(after("50"), Target { is_open: false, ..at }).is_err(), "ended");
        assert!(to(after("50"), at).is_err(), "it would cut what is open");
        assert!(to(Checkpoint::TrimHorizon, at).is_err(), "its oldest record may not be its first");
        let anew = to(Checkpoint::TrimHorizon, Target { is_first: true, ..at }).unwrap();
        assert_eq!((anew.checkpoint, anew.beginning), (Checkpoint::TrimHorizon, Beginning::Whole));
        assert_eq!(anew.closed_through, Millis(133), "it never goes down");
    }
}
