//! Leases of a stream that is gone begin anew in the one that has its name now.
//!
//! Most rows say of which stream they are. Of one that does not, as other tools make them, only the stream can tell: a
//! number that it refuses in a shard that it has is of another one.

use std::io::Write;
use std::time::Duration;

use runtime::failure::Failure;
use schemas::geometry::Geometry;
use schemas::lease::{Checkpoint, Lease};
use schemas::time::Millis;
use serde_json::json;

use super::place::{is_not_given, iterator};
use super::{all, call};
use crate::core::lease::{Listed, former};
use crate::error::Error;
use crate::leases::Leases;
use crate::stream::Stream;

/// Within which an owner renews: a third of the failover time that nobody changed, and what a call may take.
const RENEWED_WITHIN: Duration = Duration::from_millis(4_000);

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
    let before = all(leases, stream).await?.leases;
    let others = others(stream, &before, (&shards, created), json).await?;
    let mut out = std::io::stdout();
    if others.is_empty() {
        if !json {
            writeln!(out, "no lease is of another stream than the one made at {created}; nothing changed")?;
        }
        return Ok(());
    }
    // An owner that lives renews within this time, unless it was given longer.
    tokio::time::sleep(RENEWED_WITHIN).await;
    let rows = all(leases, stream).await?.leases;
    let was_other = |row: &&Lease| others.iter().any(|one| one.shard_id == row.shard_id);
    let stood_still =
        |row: &Lease| others.iter().any(|one| (&one.shard_id, one.counter) == (&row.shard_id, row.counter));
    let mut renewed = rows.iter().filter(was_other).filter(|row| !stood_still(row));
    if let Some(owner) = renewed.find_map(|row| row.owner.as_ref()) {
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
    for row in rows.iter().filter(|row| stood_still(row)) {
        match shards.iter().find(|shard| shard.shard_id == row.shard_id && shard.parents.is_empty()) {
            Some(shard) => {
                let begun = begin(shard, row.counter + 1);
                drop(leases.write(&begun, row.counter).await.map_err(call(&table))?);
            }
            None => leases.remove(&row.shard_id, row.counter).await.map_err(call(&table))?,
        }
        tell(row, created, json)?;
    }
    let is_known = |shard: &&Listed| rows.iter().any(|row| row.shard_id == shard.shard_id);
    for shard in shards.iter().filter(|shard| shard.parents.is_empty()).filter(|shard| !is_known(shard)) {
        leases.make(&begin(shard, runtime::chance::seed() >> 16)).await.map_err(call(&table))?;
    }
    if json {
        let line = json!({ "stream_created": created.to_string(), "not_written_through": cut.to_string() });
        writeln!(out, "{line}")?;
        return Ok(());
    }
    writeln!(
        out,
        "the stream made at {created} is read from its beginning; the windows that start at {cut} or before are not written, for the one before had a part of them"
    )?;
    Ok(())
}

/// The rows that are of another stream. Says why of each that does not say of which it is, and stays.
async fn others<'a>(
    stream: &Stream,
    rows: &'a [Lease],
    (shards, created): (&[Listed], Millis),
    json: bool,
) -> Result<Vec<&'a Lease>, Error> {
    let mut others: Vec<&Lease> = former(rows, Some(created)).collect();
    for row in rows.iter().filter(|row| may_be_other(row, created)) {
        let shard = shards.iter().find(|shard| shard.shard_id == row.shard_id);
        match origin(stream, row, shard).await? {
            Origin::Other => others.push(row),
            Origin::Unknown(why) if row.stream_created.is_none() => {
                let shard_id = &row.shard_id;
                let line = if json {
                    json!({ "shard_id": shard_id, "stays": why }).to_string()
                } else {
                    format!("{shard_id} stays: {why}")
                };
                writeln!(std::io::stdout(), "{line}")?;
            }
            Origin::Unknown(_) => {}
        }
    }
    Ok(others)
}

/// Whether the stream is to be asked whether it gave a row's place: the row does not say of which stream it is, or has
/// got its mark from an owner that never closed anything of this one.
pub(super) fn may_be_other(row: &Lease, created: Millis) -> bool {
    row.stream_created.is_none_or(|of| of == created && row.closed_through < created)
}

/// Of which stream a row is that does not say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// Surely not of this one.
    Other,
    /// Nothing tells, and why.
    Unknown(&'static str),
}

async fn origin(stream: &Stream, row: &Lease, shard: Option<&Listed>) -> Result<Origin, Error> {
    if let Some(why) = unasked(row, shard) {
        return Ok(Origin::Unknown(why));
    }
    match iterator(stream, &row.shard_id, &row.checkpoint).await {
        Ok(_) => Ok(Origin::Unknown("the stream takes its checkpoint")),
        Err(failure) if is_not_given(&failure) => Ok(Origin::Other),
        Err(failure) => Err(call(&format!("shard {} of stream {}", row.shard_id, stream.name))(failure)),
    }
}

/// Why the stream need not be asked.
fn unasked(row: &Lease, shard: Option<&Listed>) -> Option<&'static str> {
    let Some(shard) = shard else {
        return Some("the stream has no such shard, and a processor removes it");
    };
    match row.checkpoint {
        Checkpoint::After(_) => None,
        Checkpoint::ShardEnd if shard.is_open => Some(
            "it says that its shard has ended, which takes records; `processor leases rewind` reads it again",
        ),
        _ => Some("its checkpoint is a word that every stream takes, so nothing tells of which one it is"),
    }
}

fn tell(row: &Lease, created: Millis, json: bool) -> Result<(), Error> {
    let (shard_id, checkpoint) = (&row.shard_id, row.checkpoint.as_text());
    let then = row.stream_created.filter(|then| *then != created).map(|then| then.to_string());
    let line = if json {
        json!({ "shard_id": shard_id, "stream_created": then, "checkpoint": checkpoint }).to_string()
    } else {
        let of = then.map_or("another stream".to_owned(), |then| format!("the stream made at {then}"));
        format!("{shard_id} of {of} is forgotten; it stood at {checkpoint}")
    };
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::hash::HashRange;
    use schemas::ids::ShardId;

    #[test]
    fn the_stream_is_asked_only_of_rows_that_it_can_tell_apart() {
        let mut row = Lease::new(ShardId("s".into()), HashRange::ALL, Vec::new());
        let (made, before) = (Millis(50), Some(Millis(40)));
        let mut of = |created, closed_through| {
            (row.stream_created, row.closed_through) = (created, Millis(closed_through));
            may_be_other(&row, made)
        };
        assert!(of(None, 0) && of(None, 60), "it does not say of which it is");
        assert!(of(Some(made), 49), "its owner marked it and never closed anything");
        assert!(!of(Some(made), 50) && !of(before, 0), "it says of which it is");

        let listed = |is_open| {
            let (shard_id, range) = (ShardId("s".into()), HashRange::ALL);
            Listed { shard_id, range, parents: Vec::new(), is_open }
        };
        let (open, closed) = (listed(true), listed(false));
        let mut why = |checkpoint: Checkpoint, shard| {
            row.checkpoint = checkpoint;
            unasked(&row, shard)
        };
        let after = Checkpoint::After("42".parse().unwrap());
        assert_eq!(why(after.clone(), Some(&open)), None);
        assert!(why(after, None).unwrap().contains("no such shard"));
        assert!(why(Checkpoint::ShardEnd, Some(&open)).unwrap().contains("rewind"));
        for word in [Checkpoint::TrimHorizon, Checkpoint::Latest, Checkpoint::ShardEnd] {
            assert!(why(word, Some(&closed)).unwrap().contains("every stream"));
        }
    }
}
