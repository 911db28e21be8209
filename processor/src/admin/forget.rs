//! Leases of a stream that is gone begin anew in the one that has its name now.

use std::io::Write;
use std::time::Duration;

use runtime::failure::Failure;
use schemas::geometry::Geometry;
use schemas::lease::Lease;
use serde_json::json;

use super::call;
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
