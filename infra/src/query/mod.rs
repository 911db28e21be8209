//! `exchange query`: the analysts' access paths to the table, as a table, CSV or JSON.
//!
//! Every path asks by key and never scans: the windows of a slot, the totals of regions, the hot slots of windows, and
//! the outbox. Items past their TTL are left out, as every reader does. An item that cannot be read is named on standard
//! error, and hides no other.

mod damaged;
mod paths;
mod rows;

use clap::{Args, Subcommand};
use schemas::ids::{Region, RegionError, SlotId};
use schemas::time::Millis;

use self::rows::Format;
use crate::failure::Failure;
use crate::output::lost;
use crate::place::{Names, Place};

/// Options of `exchange query`.
#[derive(Args, Debug)]
pub struct Query {
    #[command(flatten)]
    names: Names,
    /// How rows are written.
    #[arg(long, value_enum, default_value = "table", global = true)]
    format: Format,
    #[command(subcommand)]
    path: Path,
}

#[derive(Subcommand, Debug)]
enum Path {
    /// The auctions of a slot, oldest first.
    Windows {
        /// The slot.
        #[arg(long)]
        slot: SlotId,
        #[command(flatten)]
        between: Between,
    },
    /// What regions bid, window by window, all shards together.
    Regions {
        /// A region; repeat it for more.
        #[arg(long = "region", required = true, value_parser = region)]
        regions: Vec<Region>,
        #[command(flatten)]
        between: Between,
    },
    /// The busiest slots of the latest windows, or of one.
    Hot {
        /// The start of a window, as RFC 3339 or as psql prints it.
        #[arg(long, value_parser = runtime::when::parse)]
        window: Option<Millis>,
        /// How many of the latest closed windows.
        #[arg(long, default_value_t = 5, conflicts_with = "window", value_parser = clap::value_parser!(u64).range(1..=1_000))]
        last: u64,
    },
    /// Closed auctions that await their decision, longest first.
    Outbox,
}

/// Which windows.
#[derive(Args, Clone, Copy, Debug)]
struct Between {
    /// The first window's start, as RFC 3339 or as psql prints it.
    #[arg(long, value_parser = runtime::when::parse)]
    from: Option<Millis>,
    /// The last window's start, as RFC 3339 or as psql prints it.
    #[arg(long, value_parser = runtime::when::parse)]
    to: Option<Millis>,
}

/// Asks and writes what was found to standard output.
///
/// # Errors
/// A [`crate::failure::Failure`] when the table cannot be read or the output be written.
pub async fn run(options: Query) -> anyhow::Result<()> {
    if let Path::Windows { between, .. } | Path::Regions { between, .. } = &options.path
        && let Between { from: Some(from), to: Some(to) } = between
        && from > to
    {
        return Err(Failure::usage(format!("--from {from} is later than --to {to}")).into());
    }
    let place = Place::from_env(options.names).await?;
    let name = &place.names.table;
    let mut table = paths::Table { client: &place.clients.dynamodb, name, damaged: Vec::new() };
    let rows = match options.path {
        Path::Windows { slot, between } => table.windows(&slot, between).await?,
        Path::Regions { regions, between } => table.regions(&regions, between).await?,
        Path::Hot { window: Some(window), .. } => {
            let rows = table.hot(&[window]).await?;
            if rows.rows.is_empty() {
                table.why_none(window).await?;
            }
            rows
        }
        Path::Hot { window: None, last } => table.hot(&table.latest(last).await?).await?,
        Path::Outbox => table.outbox().await?,
    };
    rows.write(options.format, &mut std::io::stdout()).map_err(lost)?;
    Ok(damaged::tell(name, &table.damaged, &mut std::io::stderr().lock())?)
}

/// A region, or the sign that bids without a readable one are counted under.
fn region(text: &str) -> Result<Region, RegionError> {
    Region::of_totals(text)
}
