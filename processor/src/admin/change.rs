//! Safe changes of one lease: released, or read again from an earlier place.

use std::io::Write;
use std::time::Duration;

use aws_sdk_kinesis::types::Record;
use runtime::failure::Failure;
use schemas::geometry::Geometry;
use schemas::ids::{SequenceNumber, ShardId};
use schemas::lease::{Beginning, Checkpoint, Lease};
use schemas::time::Millis;
use serde_json::json;

use super::place::{first_record, holds, is_not_given};
use super::{all, call};
use crate::core::doubt::believe_one;
use crate::core::holding::Written;
use crate::core::lease::{Age, former};
use crate::error::Error;
use crate::leases::{Leases, Rows};
use crate::stream::Stream;

/// How often a change is tried against an owner that renews at the same time.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// Writes what `change` makes of a row, again and again while its owner renews it in between.
async fn write(
    (leases, stream): (&Leases, &Stream),
    shard: &str,
    change: impl Fn(&Lease) -> Result<Option<Lease>, Error>,
) -> Result<Option<Lease>, Error> {
    let table = || format!("table {} of leases", leases.table);
    for _ in 0..ATTEMPTS {
        let Rows { leases: rows, unreadable } = all(leases, stream).await?;
        let row = rows.into_iter().find(|row| row.shard_id.0 == shard);
        let row = row.ok_or_else(|| {
            Error::Usage(match unreadable.iter().find(|row| row.shard_id.0 == shard) {
                Some(row) => format!(
                    "the row of shard {shard} in {} is no lease: {}; remove it (`aws dynamodb delete-item`), and processors make it anew",
                    table(),
                    row.reason
                ),
                None => format!("no lease for shard {shard} in {}; `processor leases` lists them", table()),
            })
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

pub(super) async fn release(
    (leases, stream): (&Leases, &Stream),
    shard: &str,
    json: bool,
) -> Result<(), Error> {
    let shards = stream.shards().await.map_err(call(&format!("stream {}", stream.name)))?;
    let listed = shards.iter().find(|one| one.shard_id.0 == shard);
    let latest = stream.now().await.map_err(call(&format!("stream {}", stream.name)))?.latest;
    // What is not believed must not be sealed as if our processor had written it.
    let owned = |row: &Lease| Ok(row.owner.is_some().then(|| believe_one(row, listed, (Age::Old, latest))));
    let released = write((leases, stream), shard, owned).await?;
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
    let now = stream.now().await.map_err(call(&format!("stream {}", stream.name)))?;
    let kept = stream.kept().await;
    let age = kept.map_or(Age::Old, |kept| kept.age(now.latest));
    let is_first = age == Age::Young && listed.parents.is_empty();
    let target = Target { is_open: listed.is_open, is_first };
    let arrival = first_arrival(stream, (&listed.shard_id, &place), age).await?;
    let change = |row: &Lease| {
        // What a tool wrote beside its place is not taken over.
        let row = believe_one(row, Some(&listed), (age, now.latest));
        rewound(&row, (&place, arrival), target, geometry).map(Some)
    };
    let row = write((leases, stream), shard, change).await?;
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

/// When the first record after a place arrived. Refused where there is none, and where the place is no record's, with
/// what is known of it.
async fn first_arrival(
    stream: &Stream,
    (shard, place): (&ShardId, &Checkpoint),
    age: Age,
) -> Result<Millis, Error> {
    let what = format!("shard {shard} of stream {}", stream.name);
    let found = match first_record(stream, shard, place).await {
        Err(failure) if is_not_given(&failure) => Place::Refused,
        Err(failure) => return Err(call(&what)(failure)),
        // What no record has is refused also where others stand behind it: it may be another shard's.
        Ok(first) => match (place, first) {
            (Checkpoint::After(sequence), _)
                if !holds(stream, shard, sequence).await.map_err(call(&what))? =>
            {
                Place::Absent
            }
            (_, Some(record)) => {
                let unsaid = || Failure::Unknown { message: "a record came without its arrival".to_owned() };
                return arrival(&record).ok_or_else(|| call(&what)(unsaid()));
            }
            (Checkpoint::After(_), None) => Place::Last,
            (_, None) => Place::Empty,
        },
    };
    Err(Error::Usage(found.told(&what, place.as_text(), age)))
}

fn arrival(record: &Record) -> Option<Millis> {
    let ms = record.approximate_arrival_timestamp?.to_millis().ok()?;
    u64::try_from(ms).ok().map(Millis)
}

/// What is known of a place from which nothing is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The stream does not take its number.
    Refused,
    /// Its record is the last one.
    Last,
    /// It has no record.
    Absent,
    /// It is the beginning of a shard without records.
    Empty,
}

impl Place {
    /// What is wrong with a rewind to it.
    fn told(self, shard: &str, to: &str, age: Age) -> String {
        match (self, age) {
            (Self::Empty, _) => format!("{shard} holds no record; there is nothing to read again"),
            (Self::Last, _) => {
                format!("{to} is the last record of {shard}; behind it there is nothing to read again")
            }
            (Self::Absent, Age::Old) => format!(
                "{shard} has no record {to}: that number was never given there, or the stream keeps nothing as old; name the number of one of its records, or TRIM_HORIZON"
            ),
            (Self::Refused, _) | (Self::Absent, Age::Young) => format!(
                "{to} was never given in {shard}; name the number of one of its records, or TRIM_HORIZON"
            ),
        }
    }
}

/// Refuses a lease of a stream that is gone.
async fn same_stream(leases: &Leases, stream: &Stream, shard: &str) -> Result<(), Error> {
    let rows = all(leases, stream).await?.leases;
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
    // A place that is not believed may be sealed as it stands, too.
    let is_earlier = if row.is_trusted() {
        sequence(place) < sequence(&row.checkpoint)
    } else {
        sequence(place) <= sequence(&row.checkpoint)
    };
    if !is_ended && !is_earlier {
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
    // Whoever takes a place that is not believed cuts at least as much.
    if row.is_trusted() && !geometry.passed(last_cut, row.closed_through) {
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
    use schemas::seal::Seal;

    #[test]
    fn a_place_with_nothing_behind_it_is_told_from_one_that_was_never_given() {
        let told = |place: Place, age| place.told("shard s of stream b", "42", age);
        let is_never = |words: &str| words.starts_with("42 was never given in shard s of stream b; ");
        assert!(is_never(&told(Place::Refused, Age::Young)) && is_never(&told(Place::Refused, Age::Old)));
        assert!(is_never(&told(Place::Absent, Age::Young)), "nothing of this stream is gone");
        let either = told(Place::Absent, Age::Old);
        assert!(either.contains("never given") && either.contains("keeps nothing as old"), "{either}");
        assert!(told(Place::Last, Age::Young).starts_with("42 is the last record of shard s"));
        for place in [Place::Last, Place::Empty] {
            let words = told(place, Age::Old);
            assert!(words.ends_with("nothing to read again") && !words.contains("never"), "{words}");
        }
    }

    #[test]
    fn a_rewind_of_a_row_that_another_tool_wrote_is_taken_where_it_cuts_no_more_than_its_take() {
        let geometry = Geometry { window_ms: 10, grace_ms: 2, ahead_max_ms: 5, ..Geometry::default() };
        let after = |number: &str| Checkpoint::After(number.parse().unwrap());
        let row = Lease {
            checkpoint: after("100"),
            seal: Seal::Foreign,
            ..Lease::new(ShardId("s".into()), HashRange::ALL, Vec::new())
        };
        let at = Target { is_open: true, is_first: false };
        let to = |place: Checkpoint, at| rewound(&row, (&place, Millis(125)), at, &geometry);
        for place in ["50", "100"] {
            assert_eq!(to(after(place), at).unwrap().beginning, Beginning::Cut, "it has closed nothing");
        }
        assert!(to(after("101"), at).is_err(), "a later place may pass over bids");
        let anew = to(Checkpoint::TrimHorizon, Target { is_first: true, ..at }).unwrap();
        assert_eq!((anew.checkpoint, anew.beginning), (Checkpoint::TrimHorizon, Beginning::Whole));
    }

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
