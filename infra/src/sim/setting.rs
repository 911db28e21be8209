//! What a world is made of: its geometry, slots, accounts, processes and services, all drawn from the seed.
//!
//! Everything is small on purpose: windows of a second, a handful of slots and accounts, pages of a few records. A
//! fault needs two things that meet, and things meet more often in a small world.

use md5::{Digest, Md5};
use processor::core::BidEvents;
use processor::core::trimmed::Kept;
use schemas::geometry::{Geometry, Pricing, Ranking};
use schemas::ids::{AccountId, Region, SlotId};
use schemas::item::GeometryItem;
use schemas::money::Money;
use schemas::record::Envelope;
use schemas::settlement::AccountStatus;
use schemas::time::Millis;
use uuid::Uuid;

use super::chance::Chance;

/// When every world begins, in ms since the epoch.
pub const BEGINNING_MS: u64 = 1_700_000_000_000;

/// A slot that bids may name.
#[derive(Clone, Copy, Debug)]
pub struct SlotSpec {
    /// Its id.
    pub slot_id: SlotId,
    /// Its hash key.
    pub hash: u128,
    /// Who is paid; none when the ledger does not know the slot.
    pub publisher: Option<AccountId>,
    /// The least that is taken.
    pub floor: Money,
    /// Whether the ledger refuses a settlement of this slot for good.
    pub poisoned: bool,
}

/// An account that bids may name.
#[derive(Clone, Copy, Debug)]
pub struct AccountSpec {
    /// Its id.
    pub account_id: AccountId,
    /// What it begins with; none when the ledger does not know the account.
    pub opening: Option<Money>,
    /// How far below zero it may go.
    pub credit_limit: Money,
    /// Whether it may bid.
    pub status: AccountStatus,
}

/// A producer.
#[derive(Clone, Copy, Debug)]
pub struct ProducerSpec {
    /// Where it stands.
    pub region: Region,
    /// How it wraps bids.
    pub envelope: Envelope,
    /// Most bids of one record.
    pub record_bids_max: usize,
    /// How long a bid waits for company.
    pub linger_ms: u64,
    /// How long a bid is tried.
    pub deliver_ms: u64,
    /// Its wall clock less the true time.
    pub skew_ms: i64,
}

/// What a world is made of.
#[derive(Clone, Debug)]
pub struct Setting {
    /// What all stages agreed on.
    pub agreed: GeometryItem,
    /// The slots.
    pub slots: Vec<SlotSpec>,
    /// The accounts.
    pub accounts: Vec<AccountSpec>,
    /// The producers.
    pub producers: Vec<ProducerSpec>,
    /// Each processor's wall clock less the true time.
    pub processors: Vec<i64>,
    /// How many settlers there are.
    pub settlers: usize,
    /// Shards at the beginning.
    pub shards: u32,
    /// Most records of one page.
    pub page_max: usize,
    /// How often a shard is polled.
    pub poll_ms: u64,
    /// After what time a lease that stands still is expired.
    pub failover_ms: u64,
    /// How often a checkpoint is written.
    pub checkpoint_ms: u64,
    /// Which single bids are written.
    pub bid_events: BidEvents,
    /// How long a caller waits for an answer.
    pub timeout_ms: u64,
    /// The most that an answer takes when nothing is wrong.
    pub latency_ms: u64,
    /// How far an arrival may lie behind that of an earlier record.
    pub arrival_jitter_ms: u64,
    /// How long the outbox index may lag behind its table.
    pub index_lag_ms: u64,
    /// How long the stream keeps records.
    pub retention_ms: u64,
    /// Most rows of one transaction.
    pub rows_max: usize,
    /// Most auctions of one batch.
    pub batch: u16,
}

impl Setting {
    /// Whether records may go before the world ends.
    #[must_use]
    pub fn trims(&self) -> bool {
        self.retention_ms < 3_600_000
    }

    /// When the stream was made, and how long it keeps records.
    #[must_use]
    pub fn kept(&self) -> Kept {
        Kept { created: Millis(BEGINNING_MS), retention_ms: self.retention_ms }
    }

    /// The setting of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut chance = Chance::of(seed, [1, 0, 0]);
        let slots = chance.between(2, 6);
        let accounts = chance.between(2, 6);
        let geometry = Geometry {
            window_ms: chance.pick(&[400, 1_000, 1_000, 2_000]),
            grace_ms: chance.pick(&[0, 50, 200, 400]),
            ahead_max_ms: chance.pick(&[0, 50, 300]),
            ranking: chance.pick(&[Ranking::Amount, Ranking::AmountQuality]),
            pricing: chance.pick(&[Pricing::First, Pricing::Second]),
            candidates: chance.pick(&[1, 2, 3, 4, 4]),
        };
        let ttl_after_ms = chance.pick(&[1_000, 1_000, 3_000, 1_000_000_000]);
        let agreed = GeometryItem { geometry, ttl_after_ms, outbox_buckets: chance.pick(&[1, 1, 2, 4]) };
        let failover_ms = chance.pick(&[1_500, 3_000]);
        let phantoms = phantoms(seed);
        // Each that the ledger knows leaves evidence.
        let rows_min = if phantoms.is_empty() { 0 } else { 60 };
        Self {
            agreed,
            slots: (0..slots).map(|index| slot(index, &mut chance)).collect(),
            accounts: (0..accounts).map(|index| account(index, &mut chance)).chain(phantoms).collect(),
            producers: (0..2).map(|index| producer(index, &mut chance)).collect(),
            processors: far(seed, (0..chance.between(2, 3)).map(|_| skew(&mut chance)).collect()),
            settlers: chance.index(2) + 1,
            shards: chance.pick(&[1, 1, 2, 3]),
            page_max: chance.pick(&[3, 4, 8, 50]),
            poll_ms: chance.pick(&[30, 60, 150]),
            failover_ms,
            checkpoint_ms: chance.pick(&[100, 300, 1_000]),
            bid_events: chance.pick(&[BidEvents::None, BidEvents::Best]),
            timeout_ms: chance.pick(&[150, 400]),
            latency_ms: chance.pick(&[2, 10, 40]),
            arrival_jitter_ms: chance.pick(&[0, 0, 3, 60]),
            index_lag_ms: chance.pick(&[0, 0, 50, 500]),
            retention_ms: if chance.happens(120) { 12_000 } else { 86_400_000 },
            rows_max: chance.pick(&[12, 24, 3_000]).max(rows_min),
            batch: chance.pick(&[1, 3, 25]),
        }
    }
}

/// An id of this kind and number.
fn id(kind: u128, number: u64) -> Uuid {
    Uuid::from_u128(kind << 96 | 0x4000_8000_0000_0000_0000 | u128::from(number))
}

fn slot(index: u64, chance: &mut Chance) -> SlotSpec {
    let slot_id = SlotId(id(0x510_7510, chance.draw() >> 16));
    let hash = u128::from_be_bytes(Md5::digest(slot_id.to_string()).into());
    let publisher = AccountId(id(0xAB_11_5E, index));
    let floor = Money(i128::from(chance.pick(&[0_i64, 1, 150, 400])));
    let publisher = (!chance.happens(80)).then_some(publisher);
    SlotSpec { slot_id, hash, publisher, floor, poisoned: chance.happens(60) }
}

fn account(index: u64, chance: &mut Chance) -> AccountSpec {
    let opening = Money(i128::from(chance.pick(&[0_i64, 300, 2_000, 2_000, 1_000_000])));
    let credit_limit = Money(i128::from(chance.pick(&[0_i64, 0, 500])));
    let account_id = AccountId(id(0xACC0_0417, index + 1));
    let opening = (!chance.happens(80)).then_some(opening);
    AccountSpec { account_id, opening, credit_limit, status: AccountStatus::Active }
}

/// Accounts that nobody can be held to, in some worlds: unknown, broke or suspended, more than candidates are kept.
fn phantoms(seed: u64) -> Vec<AccountSpec> {
    let mut chance = Chance::of(seed, [9, 0, 0]);
    let many = if chance.happens(150) { chance.between(4, 16) } else { 0 };
    let phantom = |index| {
        let opening = chance.pick(&[None, None, Some(Money(0)), Some(Money(1_000_000))]);
        let status = if opening == Some(Money(0)) { AccountStatus::Active } else { AccountStatus::Suspended };
        AccountSpec { account_id: AccountId(id(0xFA_17_03, index)), opening, credit_limit: Money(0), status }
    };
    (0..many).map(phantom).collect()
}

fn producer(index: usize, chance: &mut Chance) -> ProducerSpec {
    ProducerSpec {
        region: ["eu-central-1", "us-east-1"][index].parse().expect("a region"),
        envelope: chance.pick(&[Envelope::Block, Envelope::Block, Envelope::Aggregated, Envelope::Plain]),
        record_bids_max: chance.pick(&[1, 3, 8]),
        linger_ms: chance.pick(&[0, 5, 60]),
        deliver_ms: chance.pick(&[700, 2_500, 6_000]),
        skew_ms: skew(chance),
    }
}

/// A day and an hour: more than any world's retention.
pub const FAR_MS: i64 = 90_000_000;

/// In some worlds one processor's wall clock is further off than records are kept. Drawn apart, so that others stay as
/// they were.
fn far(seed: u64, mut processors: Vec<i64>) -> Vec<i64> {
    let mut chance = Chance::of(seed, [12, 0, 0]);
    if chance.happens(60) {
        let at = chance.index(processors.len());
        processors[at] = chance.pick(&[FAR_MS, -FAR_MS]);
    }
    processors
}

fn skew(chance: &mut Chance) -> i64 {
    chance.pick(&[0, 0, 0, -30, 30, -700, 700])
}

/// The id of a bid of a script.
#[must_use]
pub fn bid_id(number: u32) -> schemas::ids::BidId {
    schemas::ids::BidId(id(0xB1D, u64::from(number)))
}
