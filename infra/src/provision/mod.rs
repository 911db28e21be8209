//! Everything a pipeline needs where the environment points: stream, tables, TTL, index, geometry, and the ledger's
//! schema, accounts and slots. Repeatable, and never changes a balance.
//!
//! [`services`] is Kinesis and DynamoDB, [`files`] reads accounts and slots. The ledger's schema and rows are the
//! settler's own (`settler::provision`).

pub mod directory;
pub mod files;
pub mod services;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

use clap::ValueEnum;
use runtime::agreed::AgreedError;
use schemas::geometry::{Geometry, Pricing, Ranking};
use schemas::intake::names::Names;
use schemas::item::{Directory, GeometryItem, NAMES_MAX, ROSTER_ACCOUNTS_MAX, Roster, encode_names};
use schemas::money::Money;
use settler::db::{Connection, Ledger};
use settler::provision::{NewAccount, NewSlot};

use self::directory::Content;
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
    /// Shards of a stream that is made [of a new stream: 4].
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..=500))]
    shards: Option<i32>,
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
    /// What other programs call accounts and slots, for producers: CSV with a header, or NDJSON, with kind (account or
    /// slot), name and id; `-` is standard input. The file is the whole map: a name that it does not have is unknown.
    #[arg(long = "names", value_name = "FILE")]
    names_map: Option<PathBuf>,
    /// Makes this many accounts of the load generator, but for those that the file has.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    sample_accounts: u32,
    /// Makes this many slots of the load generator, but for those that the file has.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    sample_slots: u32,
}

/// What all stages of the pipeline agree on; what is not given is as it was agreed before.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Geometry, agreed once; what is not given is as it was agreed")]
struct Agreement {
    /// Window length, in ms [at first: 10000].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=Geometry::DAY_MS))]
    window_ms: Option<u64>,
    /// How long after a window's end a bid may still arrive, in ms [at first: 2000].
    #[arg(long, value_parser = clap::value_parser!(u64).range(..=Geometry::DAY_MS))]
    grace_ms: Option<u64>,
    /// How far ahead of its shard's clock a bid may be dated, in ms [at first: 1000].
    #[arg(long, value_parser = clap::value_parser!(u64).range(..=Geometry::DAY_MS))]
    ahead_max_ms: Option<u64>,
    /// What candidates are ordered by [at first: amount].
    #[arg(long, value_enum)]
    ranking: Option<RankingName>,
    /// What the winner pays [at first: first].
    #[arg(long, value_enum)]
    pricing: Option<PricingName>,
    /// Candidates kept per auction: the winner and those who follow when it cannot pay [at first: 4].
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=i64::from(Geometry::CANDIDATES_MAX)))]
    candidates: Option<u8>,
    /// Buckets of the outbox [at first: 16].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    outbox_buckets: Option<u32>,
    /// How long after a window's end its items go, in hours; at least the stream's retention and a day [at first: 168].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=876_000))]
    ttl_hours: Option<u64>,
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
    /// What is given, and for the rest what stands, or the defaults of a new pipeline.
    fn item(&self, stands: Option<GeometryItem>) -> Result<GeometryItem, Failure> {
        let stands = stands.unwrap_or(GeometryItem {
            geometry: Geometry::default(),
            ttl_after_ms: TTL_AFTER_MS,
            outbox_buckets: schemas::limits::OUTBOX_BUCKETS,
        });
        let geometry = Geometry {
            window_ms: self.window_ms.unwrap_or(stands.geometry.window_ms),
            grace_ms: self.grace_ms.unwrap_or(stands.geometry.grace_ms),
            ahead_max_ms: self.ahead_max_ms.unwrap_or(stands.geometry.ahead_max_ms),
            ranking: self.ranking.map_or(stands.geometry.ranking, |ranking| match ranking {
                RankingName::Amount => Ranking::Amount,
                RankingName::AmountQuality => Ranking::AmountQuality,
            }),
            pricing: self.pricing.map_or(stands.geometry.pricing, |pricing| match pricing {
                PricingName::First => Pricing::First,
                PricingName::Second => Pricing::Second,
            }),
            candidates: self.candidates.unwrap_or(stands.geometry.candidates),
        };
        Ok(GeometryItem {
            geometry: geometry.check().map_err(|error| Failure::usage(error.to_string()))?,
            ttl_after_ms: self.ttl_hours.map_or(stands.ttl_after_ms, |hours| hours * HOUR_MS),
            outbox_buckets: self.outbox_buckets.unwrap_or(stands.outbox_buckets),
        })
    }
}

/// What the pipeline agreed on; none when its table is not made yet, or holds no geometry.
async fn agreed(place: &Place) -> Result<Option<GeometryItem>, Failure> {
    match runtime::agreed::read(&place.clients.dynamodb, &place.names.table, None).await {
        Ok(item) => Ok(Some(item)),
        Err(AgreedError::Absent { .. }) => Ok(None),
        // A table with other keys is told, like all that is there and not ours, by whoever would make it.
        Err(AgreedError::Call { failure, .. })
            if ["ResourceNotFoundException", "ValidationException"].contains(&failure.code()) =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Makes everything the pipeline needs where the environment points. The files and the ledger come first: when a line is
/// bad, or a table of the ledger is not ours, that is told and nothing is made.
///
/// # Errors
/// A [`Failure`] for bad lines, a service that cannot be reached, or something that is there and is not ours.
pub async fn run(options: Provision) -> anyhow::Result<()> {
    let Given { mut accounts, mut slots, names: map } = read(&options)?;
    let given: BTreeSet<_> = accounts.iter().map(|one| one.account_id).collect();
    let samples = (0..options.sample_accounts).map(sample_account);
    accounts.extend(samples.filter(|one| !given.contains(&one.account_id)));
    let given: BTreeSet<_> = slots.iter().map(|one| one.slot_id).collect();
    let samples = (0..options.sample_slots).map(sample_slot);
    slots.extend(samples.filter(|one| !given.contains(&one.slot_id)));
    let ledger = options.ledger.connector().await.map_err(Failure::from)?;
    let place = Place::from_env(options.names).await?;
    let connection = ledger.connect().await.map_err(Failure::from)?;
    settler::provision::known_schema(&connection).await.map_err(Failure::from)?;
    let agreed = options.geometry.item(agreed(&place).await?)?;
    provision(&place, options.shards, &agreed).await?;
    settler::provision::schema(&connection).await.map_err(Failure::from)?;
    rows(&connection, &accounts, &slots).await?;
    roster(&place, &connection).await?;
    if let Some(map) = &map {
        names(&place, map).await?;
    }
    let names = &place.names;
    writeln!(
        std::io::stdout(),
        "stream {}, tables {} and {}, and {} are ready; {} and {} were given",
        names.stream,
        names.table,
        names.lease_table,
        options.ledger.name(),
        output::counted(accounts.len(), "account"),
        output::counted(slots.len(), "slot")
    )
    .map_err(output::lost)?;
    Ok(())
}

/// What the files gave.
struct Given {
    accounts: Vec<NewAccount>,
    slots: Vec<NewSlot>,
    names: Option<Names>,
}

/// All files; every bad line of them is told.
fn read(options: &Provision) -> Result<Given, Failure> {
    let paths = [&options.accounts, &options.slots, &options.names_map];
    let is_stdin = |path: &&&Option<PathBuf>| path.as_ref().is_some_and(|path| path.as_os_str() == "-");
    if paths.iter().filter(is_stdin).count() > 1 {
        return Err(Failure::usage(
            "standard input holds accounts, slots or names, and one of these alone; name a file for the others",
        ));
    }
    let accounts = options.accounts.as_deref().map_or(Ok(Lines::default()), files::accounts)?;
    let slots = options.slots.as_deref().map_or(Ok(Lines::default()), files::slots)?;
    let names = options.names_map.as_deref().map_or(Ok(Lines::default()), files::names)?;
    let bad = [&accounts.bad, &slots.bad, &names.bad];
    if bad.iter().all(|bad| bad.is_empty()) {
        if names.good.len() > NAMES_MAX {
            return Err(Failure::usage(format!(
                "{} names were given; give at most {NAMES_MAX}",
                names.good.len()
            )));
        }
        let names = options.names_map.is_some().then(|| files::map_of(names.good));
        return Ok(Given { accounts: accounts.good, slots: slots.good, names });
    }
    let mut told = std::io::stderr().lock();
    for (path, bad) in paths.into_iter().zip(bad) {
        let path = path.as_deref().unwrap_or_else(|| "-".as_ref());
        // Whoever closed standard error does not want to know.
        let _ = files::tell(&mut told, path, bad);
    }
    let lines: usize = bad.into_iter().map(|bad| files::count_lines(bad)).sum();
    let words = if lines == 1 { "1 line is bad".to_owned() } else { format!("{lines} lines are bad") };
    Err(Failure::found(format!("{words}; nothing was provisioned, correct that and run it again")))
}

/// Publishes the name map; answers its version.
///
/// # Errors
/// A [`Failure`] when the table cannot be read or written.
pub async fn names(place: &Place, names: &Names) -> Result<u64, Failure> {
    let bytes = encode_names(names);
    let entries = names.accounts().len() + names.slots().len();
    directory::publish(place, Directory::Names, Content { entries, bytes: Some(&bytes) }).await
}

/// The ledger's schema, and accounts and slots that it does not know yet; answers the connection that made them.
///
/// # Errors
/// A [`Failure`] when the ledger cannot be reached, refuses, or has tables of ours in another form.
pub async fn ledger(
    ledger: &Ledger,
    accounts: &[NewAccount],
    slots: &[NewSlot],
) -> anyhow::Result<Connection> {
    let connection = ledger.connect().await.map_err(Failure::from)?;
    settler::provision::schema(&connection).await.map_err(Failure::from)?;
    rows(&connection, accounts, slots).await?;
    Ok(connection)
}

async fn rows(connection: &Connection, accounts: &[NewAccount], slots: &[NewSlot]) -> Result<(), Failure> {
    settler::provision::accounts(connection, accounts).await?;
    settler::provision::slots(connection, slots).await?;
    Ok(())
}

/// Publishes the roster of all accounts that the ledger agrees to; answers its version, 0 while there is nothing to
/// publish: a ledger without accounts sells nothing, and a roster of none would only keep a first load out.
///
/// # Errors
/// A [`Failure`] when the ledger cannot be read or the table cannot be written.
pub async fn roster(place: &Place, connection: &Connection) -> Result<u64, Failure> {
    let agreed = settler::provision::agreed(connection, ROSTER_ACCOUNTS_MAX).await?;
    if agreed.is_empty() && !directory::stands(place, Directory::Roster).await? {
        return Ok(0);
    }
    let is_bounded = agreed.len() <= ROSTER_ACCOUNTS_MAX;
    if !is_bounded {
        tracing::warn!(
            most = ROSTER_ACCOUNTS_MAX,
            "the ledger has more accounts than a roster holds: producers refuse nobody by the account"
        );
    }
    let bytes = is_bounded.then(|| Roster::encode(&agreed));
    let content = Content { entries: agreed.len(), bytes: bytes.as_deref() };
    directory::publish(place, Directory::Roster, content).await
}

/// An account of the load generator.
#[must_use]
pub fn sample_account(number: u32) -> NewAccount {
    NewAccount {
        account_id: producer::generator::account(number),
        name: format!("sample account {number}"),
        balance: SAMPLE_BALANCE,
        credit_limit: Money(0),
        status: None,
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
