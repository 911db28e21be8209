//! Everything a pipeline needs where the environment points: stream, tables, TTL, index, geometry, and the ledger's
//! schema, accounts and slots. Repeatable, and never changes a balance.
//!
//! [`services`] is Kinesis and DynamoDB, [`files`] reads accounts and slots. The ledger's schema and rows are the
//! settler's own (`settler::provision`).

pub mod files;
pub mod services;

use std::io::Write;
use std::path::PathBuf;

use clap::ValueEnum;
use schemas::geometry::{Geometry, Pricing, Ranking};
use schemas::item::GeometryItem;
use schemas::money::Money;
use settler::db::{Connection, Ledger};
use settler::provision::{NewAccount, NewSlot};

use self::files::Lines;
pub use self::services::{provision, sentence};
use crate::failure::Failure;
use crate::output;
use crate::place::Place;

/// How long after a window's end its items go, by default: a week.
pub const TTL_AFTER_MS: u64 = 168 * HOUR_MS;
const HOUR_MS: u64 = 3_600_000;
/// What an account of the load generator begins with: a million, enough for hours of load.
const SAMPLE_BALANCE: Money = Money(10_000_000_000);
/// What a slot of the load generator costs at least.
const SAMPLE_FLOOR: Money = Money(100);

/// Options of `exchange provision`.
#[derive(clap::Args, Debug)]
pub struct Provision {
    #[command(flatten)]
    names: crate::place::Names,
    #[command(flatten)]
    ledger: Ledger,
    /// Shards of a stream that is made.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..=500))]
    shards: i32,
    #[command(flatten)]
    geometry: Agreement,
    /// Accounts to be known to the ledger: CSV with a header, or NDJSON, with account_id, name, balance and
    /// credit_limit; `-` is standard input. One that is known is left as it is.
    #[arg(long, value_name = "FILE")]
    accounts: Option<PathBuf>,
    /// Slots to be known to the ledger: CSV with a header, or NDJSON, with slot_id, publisher_account_id and
    /// floor_price; `-` is standard input. One that is known gets what the file says.
    #[arg(long, value_name = "FILE")]
    slots: Option<PathBuf>,
    /// Makes this many accounts of the load generator.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    sample_accounts: u32,
    /// Makes this many slots of the load generator.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    sample_slots: u32,
}

/// What all stages of the pipeline will agree on.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Geometry, agreed once")]
struct Agreement {
    /// Window length, in ms.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=Geometry::DAY_MS))]
    window_ms: u64,
    /// How long after a window's end a bid may still arrive, in ms.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(..=Geometry::DAY_MS))]
    grace_ms: u64,
    /// How far ahead of its shard's clock a bid may be dated, in ms.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(..=Geometry::DAY_MS))]
    ahead_max_ms: u64,
    /// What candidates are ordered by.
    #[arg(long, value_enum, default_value = "amount")]
    ranking: RankingName,
    /// What the winner pays.
    #[arg(long, value_enum, default_value = "first")]
    pricing: PricingName,
    /// Candidates kept per auction: the winner and those who follow when it cannot pay.
    #[arg(long, default_value_t = Geometry::default().candidates, value_parser = clap::value_parser!(u8).range(1..=i64::from(Geometry::CANDIDATES_MAX)))]
    candidates: u8,
    /// Buckets of the outbox.
    #[arg(long, default_value_t = schemas::limits::OUTBOX_BUCKETS, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    outbox_buckets: u32,
    /// How long after a window's end its items go, in hours; at least the stream's retention and a day.
    #[arg(long, default_value_t = TTL_AFTER_MS / HOUR_MS, value_parser = clap::value_parser!(u64).range(1..=876_000))]
    ttl_hours: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RankingName {
    Amount,
    AmountQuality,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PricingName {
    First,
    Second,
}

impl Agreement {
    fn item(&self) -> Result<GeometryItem, Failure> {
        let geometry = Geometry {
            window_ms: self.window_ms,
            grace_ms: self.grace_ms,
            ahead_max_ms: self.ahead_max_ms,
            ranking: match self.ranking {
                RankingName::Amount => Ranking::Amount,
                RankingName::AmountQuality => Ranking::AmountQuality,
            },
            pricing: match self.pricing {
                PricingName::First => Pricing::First,
                PricingName::Second => Pricing::Second,
            },
            candidates: self.candidates,
        };
        Ok(GeometryItem {
            geometry: geometry.check().map_err(|error| Failure::usage(error.to_string()))?,
            ttl_after_ms: self.ttl_hours * HOUR_MS,
            outbox_buckets: self.outbox_buckets,
        })
    }
}

/// Makes everything the pipeline needs where the environment points. The files and the ledger come first: when a line is
/// bad, or a table of the ledger is not ours, that is told and nothing is made.
///
/// # Errors
/// A [`Failure`] for bad lines, a service that cannot be reached, or something that is there and is not ours.
pub async fn run(options: Provision) -> anyhow::Result<()> {
    let agreed = options.geometry.item()?;
    let (mut accounts, mut slots) = read(&options)?;
    accounts.extend((0..options.sample_accounts).map(sample_account));
    slots.extend((0..options.sample_slots).map(sample_slot));
    let ledger = options.ledger.connector().await.map_err(Failure::from)?;
    let place = Place::from_env(options.names).await?;
    let connection = ledger.connect().await.map_err(Failure::from)?;
    settler::provision::known_schema(&connection).await.map_err(Failure::from)?;
    provision(&place, options.shards, &agreed).await?;
    settler::provision::schema(&connection).await.map_err(Failure::from)?;
    rows(&connection, &accounts, &slots).await?;
    let names = &place.names;
    writeln!(
        std::io::stdout(),
        "stream {}, tables {} and {}, and {} are ready; {} accounts and {} slots were given",
        names.stream,
        names.table,
        names.lease_table,
        options.ledger.name(),
        accounts.len(),
        slots.len()
    )
    .map_err(output::lost)?;
    Ok(())
}

/// Both files; every bad line of both is told.
fn read(options: &Provision) -> Result<(Vec<NewAccount>, Vec<NewSlot>), Failure> {
    let is_stdin = |path: &Option<PathBuf>| path.as_ref().is_some_and(|path| path.as_os_str() == "-");
    if is_stdin(&options.accounts) && is_stdin(&options.slots) {
        return Err(Failure::usage("standard input holds accounts or slots, not both; name a file for one"));
    }
    let accounts = options.accounts.as_deref().map_or(Ok(Lines::default()), files::accounts)?;
    let slots = options.slots.as_deref().map_or(Ok(Lines::default()), files::slots)?;
    if accounts.bad.is_empty() && slots.bad.is_empty() {
        return Ok((accounts.good, slots.good));
    }
    let mut told = std::io::stderr().lock();
    for (path, bad) in [(&options.accounts, &accounts.bad), (&options.slots, &slots.bad)] {
        let path = path.as_deref().unwrap_or_else(|| "-".as_ref());
        // Whoever closed standard error does not want to know.
        let _ = files::tell(&mut told, path, bad);
    }
    let lines = files::count_lines(&accounts.bad) + files::count_lines(&slots.bad);
    let words = if lines == 1 { "1 line is bad".to_owned() } else { format!("{lines} lines are bad") };
    Err(Failure::found(format!("{words}; nothing was provisioned, correct that and run it again")))
}

/// The ledger's schema, and accounts and slots that it does not know yet.
///
/// # Errors
/// A [`Failure`] when the ledger cannot be reached, refuses, or has tables of ours in another form.
pub async fn ledger(ledger: &Ledger, accounts: &[NewAccount], slots: &[NewSlot]) -> anyhow::Result<()> {
    let connection = ledger.connect().await.map_err(Failure::from)?;
    settler::provision::schema(&connection).await.map_err(Failure::from)?;
    Ok(rows(&connection, accounts, slots).await?)
}

async fn rows(connection: &Connection, accounts: &[NewAccount], slots: &[NewSlot]) -> Result<(), Failure> {
    settler::provision::accounts(connection, accounts).await?;
    settler::provision::slots(connection, slots).await?;
    Ok(())
}

/// An account of the load generator.
#[must_use]
pub fn sample_account(number: u32) -> NewAccount {
    NewAccount {
        account_id: producer::generator::account(number),
        name: format!("sample account {number}"),
        balance: SAMPLE_BALANCE,
        credit_limit: Money(0),
    }
}

/// A slot of the load generator; each has a publisher of its own.
#[must_use]
pub fn sample_slot(number: u32) -> NewSlot {
    NewSlot {
        slot_id: producer::generator::slot(number),
        publisher: producer::generator::account(u32::MAX - number),
        floor: SAMPLE_FLOOR,
    }
}
