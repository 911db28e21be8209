//! Whether leases and stream belong together: a place in one stream says nothing of another.

use schemas::lease::Lease;
use schemas::time::Millis;

use crate::config::Names;
use crate::core::lease::former;
use crate::error::Error;

/// When the stream was made, as it was told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// The first time; none before it was told.
    pub(super) met: Option<Millis>,
    /// Now; none when it is not told.
    pub(super) now: Option<Millis>,
}

/// Refuses leases of another stream, and a stream that is not the one that was met first.
pub(super) fn same_stream(names: &Names, rows: &[Lease], seen: Seen) -> Result<(), Error> {
    let Some(now) = seen.now else { return Ok(()) };
    let stream = names.stream.clone();
    if seen.met.is_some_and(|met| met != now) {
        return Err(Error::Remade { stream, now });
    }
    let mut others = former(rows, seen.now).filter_map(|row| row.stream_created).peekable();
    let Some(then) = others.peek().copied() else { return Ok(()) };
    Err(Error::Former { count: others.count(), table: names.lease_table.clone(), then, stream, now })
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use schemas::hash::HashRange;
    use schemas::ids::ShardId;

    use super::*;

    #[test]
    fn leases_of_another_stream_and_a_stream_that_was_made_again_are_refused() {
        let names = crate::Config::parse_from(["processor"]).names;
        let row = |created: Option<u64>| Lease {
            stream_created: created.map(Millis),
            ..Lease::new(ShardId("s".into()), HashRange::ALL, Vec::new())
        };
        let seen = |met: Option<u64>, now: Option<u64>, rows: &[Lease]| {
            same_stream(&names, rows, Seen { met: met.map(Millis), now: now.map(Millis) })
        };
        let rows = [row(Some(5)), row(None), row(Some(4)), row(Some(4))];
        assert!(seen(Some(5), Some(5), &rows[..2]).is_ok(), "one that does not say it may be of this one");
        assert!(seen(Some(5), None, &rows).is_ok(), "nothing is known of the stream");
        let former = seen(Some(5), Some(5), &rows).unwrap_err();
        assert!(
            matches!(former, Error::Former { count: 2, then: Millis(4), now: Millis(5), .. }),
            "{former}"
        );
        let remade = seen(Some(4), Some(5), &rows[..1]).unwrap_err();
        assert!(matches!(remade, Error::Remade { now: Millis(5), .. }), "{remade}");
        assert_eq!([former, remade].map(|error| error.exit_code()), [schemas::exit::USAGE; 2]);
    }
}
